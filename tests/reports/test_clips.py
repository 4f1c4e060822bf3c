"""Moving pictures of scenarios: their parts, the page, and what a dying world costs."""

import json
import os
import signal
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from craft_lightning import commands
from craft_lightning.conventions import AGENT_STATIC, AGENT_VEHICLE
from craft_lightning.errors import CraftError, WorldError
from craft_lightning.reports import clips, gallery
from craft_lightning.reports.bird_camera import BirdCamera, Window
from craft_lightning.reports.clips import Clip, Played, Studio, write_moving_picture
from craft_lightning.reports.filming import Operator, find_route
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.view import LIGHT_RED, WorldView


def view_of(network, x, y, yaw, others=(), signals=None):
    rows = np.array([(x, y, 0.0, yaw, 4.8, 1.9, AGENT_VEHICLE), *others], float)
    zeros = np.zeros(len(rows))
    return WorldView(
        frame=1,
        time=0.0,
        ego=0,
        ids=np.arange(1, len(rows) + 1),
        kind=rows[:, 6].astype(int),
        x=rows[:, 0],
        y=rows[:, 1],
        z=rows[:, 2],
        yaw=rows[:, 3],
        speed=zeros,
        vx=zeros,
        vy=zeros,
        acceleration=zeros,
        yaw_rate=zeros,
        length=rows[:, 4],
        width=rows[:, 5],
        signals=signals or {},
    )


@pytest.fixture(scope="module")
def network():
    return load_town("craftville").network


def test_a_frame_shows_ego_cast_and_lights_where_they_are(network):
    lane = int(network.line_lane[0])
    signal = str(network.line_signal[0])
    x, y, _, yaw, _ = network.lane_at(lane, float(network.lane_length[lane]) - 20.0)
    cos, sin = np.cos(yaw), np.sin(yaw)
    # Ten metres ahead of the ego and five to its left; a second one is parked under the ground.
    other = (x + 10.0 * cos - 5.0 * sin, y + 10.0 * sin + 5.0 * cos, 0.0, yaw, 4.0, 2.0, AGENT_STATIC)
    hidden = (x + 15.0 * cos, y + 15.0 * sin, -50.0, yaw, 4.0, 2.0, AGENT_VEHICLE)
    window = Window()
    frame = BirdCamera(network, window).frame(
        view_of(network, x, y, yaw, [other, hidden], {signal: LIGHT_RED}), cast={2}, caption=""
    )
    width, height = window.size
    assert frame.shape == (height, width, 3)

    def pixel(ahead, left):
        return frame[round((window.ahead - ahead) * window.scale), round((window.side - left) * window.scale)].astype(
            int
        )

    assert pixel(-1.0, 0.0)[2] > 180  # the ego is blue
    assert pixel(-1.0, 0.0)[0] < 60
    assert pixel(10.0, 5.0)[0] > 180  # the cast is red
    assert pixel(10.0, 5.0)[2] < 80
    assert np.ptp(pixel(15.0, 0.0)) < 40  # nothing but asphalt
    red = (frame[:, :, 0] > 200) & (frame[:, :, 1] < 60) & (frame[:, :, 2] < 80)
    rows, _ = np.nonzero(red[: round((window.ahead - 15.0) * window.scale)])
    assert len(rows) > 10
    assert (window.ahead - rows.mean() / window.scale) == pytest.approx(20.0, abs=2.0)


@pytest.mark.parametrize("kind", ["206", "205"])
def test_a_sign_stands_upright_beside_its_line(kind):
    network = load_town("craftway").network
    number = int(np.flatnonzero(network.sign_type == kind)[0])
    left, right = network.sign_xy[number].reshape(2, 2)
    across = (right - left) / np.hypot(*(right - left))
    yaw = float(np.arctan2(across[0], -across[1]))  # the line runs from left to right
    x, y = right + 1.6 * across - 20.0 * np.array([np.cos(yaw), np.sin(yaw)])  # the sign is 20 m straight ahead
    window = Window()
    frame = BirdCamera(network, window).frame(view_of(network, x, y, yaw))
    row, column = round((window.ahead - 20.0) * window.scale), round(window.side * window.scale)
    red = (np.abs(frame.astype(int) - (209, 32, 47)).sum(2) < 40)[row - 12 : row + 13, column - 12 : column + 13]
    assert red[12, 12] == (kind == "206")  # a yield sign is white inside
    upper, lower = red[:12].sum(), red[13:].sum()
    assert red.sum() > 20
    # A triangle stands on its tip, an octagon is the same both ways.
    assert lower < 0.7 * upper if kind == "205" else abs(int(lower) - int(upper)) < 0.1 * red.sum()


def moving(count=12):
    frames = np.full((count, 40, 60, 3), 220, np.uint8)
    for number, frame in enumerate(frames):
        frame[10:20, 3 * number : 3 * number + 8] = (21, 80, 216)
    return list(frames)


@pytest.mark.parametrize("ending", clips.ENDINGS)
def test_moving_pictures_hold_every_frame(tmp_path, ending):
    path = tmp_path / f"deep/clip{ending}"
    write_moving_picture(path, moving(), 0.1)
    if ending == ".mp4":
        reader = cv2.VideoCapture(str(path))
        frames = []
        while (read := reader.read())[0]:
            frames.append(read[1][:, :, ::-1])
        assert len(frames) == 12
        last = frames[-1]
    else:
        picture = Image.open(path)
        assert picture.n_frames == 12
        picture.seek(11)
        picture.load()
        assert picture.info["duration"] == 100
        last = np.array(picture.convert("RGB"))
    assert np.abs(last[15, 36].astype(int) - (21, 80, 216)).max() < 40
    assert list(tmp_path.rglob("*")) == [path.parent, path]


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CraftError, match="cannot be written"):
        write_moving_picture(tmp_path / "file" / "clip.gif", moving(), 0.1)
    with pytest.raises(CraftError, match="no frame"):
        write_moving_picture(tmp_path / "clip.gif", [], 0.1)
    with pytest.raises(CraftError, match=r"ends in \.gif"):
        Clip("ParkingCutIn", output="clip.avi")
    with pytest.raises(CraftError, match="did you mean 'ParkingCutIn'"):
        commands.main(["clip", "ParkingCutin"])
    with pytest.raises(CraftError, match="did you mean 'T_Junction'"):
        commands.main(["gallery", str(tmp_path), "--only", "TJunction"])


def test_the_clip_is_cut_around_the_scenario():
    operator = Operator.__new__(Operator)
    operator.times = [0.2 * number for number in range(200)]
    operator.frames = list(range(200))
    operator.triggered, operator.ended = 10.0, 14.0
    shown = [operator.times[frame] for frame in operator.cut()]
    assert (shown[0], shown[-1]) == (pytest.approx(7.0, abs=0.21), pytest.approx(17.0, abs=0.21))
    operator.ended = -1.0
    assert len(operator.cut()) == 100
    operator.triggered = -1.0
    assert operator.cut()[-1] == 199


def test_routes_are_drawn_by_the_finders():
    towns = {"craftville": load_town("craftville")}
    first, again, other = (find_route("HardBreakRoute", towns, seed) for seed in (1, 1, 2))
    assert first.scenarios[0].type == "HardBreakRoute"
    assert (first.waypoints == again.waypoints).all()
    assert first.waypoints.shape != other.waypoints.shape or (first.waypoints != other.waypoints).any()
    with pytest.raises(CraftError, match="no room for scenario type 'HighwayExit'"):
        find_route("HighwayExit", towns, 0)


def test_the_page_names_every_type_even_those_that_failed(tmp_path, monkeypatch):
    class Stub:
        """Fails for one type, as a world that dies does."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            """Nothing to end."""

        def film(self, clip):
            if clip.kind == "Accident":
                raise WorldError("the world died <suddenly>")
            return Played("craftville", "perfect", 3)

    monkeypatch.setattr(gallery, "Studio", Stub)
    page, played, failed = gallery.build_gallery(tmp_path / "g")
    assert (played, failed) == (43, 1)
    text = page.read_text()
    for kind in gallery.known_types():
        assert f"<h2>{kind}</h2>" in text
    assert text.count("<img ") == 43
    assert "the world died &lt;suddenly&gt;" in text
    assert "``" not in text
    assert "overtaking" in text


def test_every_type_has_a_story_and_an_ability():
    for kind in gallery.known_types():
        assert len(gallery.story_of(kind)) > 20
        assert gallery.abilities_of(kind)


def test_a_process_that_dies_costs_its_clip_and_the_next_gets_a_new_one(tmp_path):
    with Studio() as studio:
        connection = studio._open()
        first = studio._process.pid
        os.kill(first, signal.SIGKILL)
        with pytest.raises(WorldError, match="died"):
            studio.film(Clip("HardBreakRoute", output=str(tmp_path / "a.gif")))
        assert connection.closed
        with pytest.raises(CraftError, match="town 'nowhere' is neither"):
            studio.film(Clip("HardBreakRoute", town="nowhere", output=str(tmp_path / "a.gif")))
        assert studio._process.pid != first


@pytest.mark.slow
def test_one_command_films_a_scenario(tmp_path, capsys):
    output = tmp_path / "clip.gif"
    words = ["clip", "HardBreakRoute", "--town", "craftville", "--camera", "--output", str(output)]
    commands.main(words)
    assert "HardBreakRoute in craftville" in capsys.readouterr().out
    picture = Image.open(output)
    assert picture.size == (800, 320)
    assert picture.n_frames > 20
    frames = []
    for number in range(picture.n_frames):
        picture.seek(number)
        frames.append(np.array(picture.convert("RGB")).astype(int))
    first, last = frames[0], frames[-1]
    assert np.abs(first[:, :320] - last[:, :320]).mean() > 1.0  # the bird's eye moves
    assert np.abs(first[:, 320:] - last[:, 320:]).mean() > 1.0  # and so does the camera
    assert json.dumps(SimpleNamespace(**picture.info).duration) == "100"
