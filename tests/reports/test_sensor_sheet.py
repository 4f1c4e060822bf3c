"""The contact sheet of the sensors: its paintings of known measurements, and the whole of it through the client."""

import types

import numpy as np
import pytest
from PIL import Image

from craft_lightning.errors import CraftError
from craft_lightning.reports import sensor_sheet
from craft_lightning.reports.sensor_painting import (
    REACH,
    TAG_COLOURS,
    captioned,
    paint_instances,
    paint_lidar,
    paint_radar,
    paint_tags,
)


def image(pixels):
    pixels = np.asarray(pixels, np.uint8)
    return types.SimpleNamespace(raw_data=pixels.tobytes(), height=pixels.shape[0], width=pixels.shape[1])


def cloud(*points):
    return types.SimpleNamespace(raw_data=np.array(points, "<f4").tobytes())


def test_tags_have_the_colours_of_the_documentation_and_actors_their_own():
    tagged = image([[[0, 0, 1, 255], [0, 0, 14, 255], [0, 0, 24, 255], [0, 0, 200, 255]]])
    assert paint_tags(tagged)[0, :3].tolist() == [[128, 64, 128], [0, 0, 142], [157, 234, 50]]
    assert (paint_tags(tagged)[0, 3] == TAG_COLOURS[-1]).all()
    several = paint_instances(image([[[0, 0, 1, 255], [0, 7, 14, 255], [1, 7, 14, 255], [0, 7, 12, 255]]]))[0]
    assert several[0].max() < 80
    assert (several[1] == several[3]).all()
    assert (several[1] != several[2]).any()


def test_a_point_ahead_is_above_the_middle_and_one_beside_to_its_right():
    size = 80
    empty = paint_lidar(cloud(), size)
    painted = paint_lidar(cloud((20.0, 0.0, 0.0, 1.0), (0.0, 30.0, -2.0, 1.0), (500.0, 0.0, 0.0, 1.0)), size)
    rows, columns = np.nonzero((painted != empty).any(2))
    scale = 0.5 * size / REACH
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (round(size / 2 - 20.0 * scale), size // 2),
        (size // 2, round(size / 2 + 30.0 * scale)),
    ]


def test_what_nears_is_red_what_leaves_is_blue_and_what_stands_is_grey():
    def echo(velocity):
        return types.SimpleNamespace(velocity=velocity, azimuth=0.0, altitude=0.0, depth=17.5)

    empty, shades = paint_radar([], 80, 5.0), []
    for velocity in (-12.0, 3.0, -5.0):
        painted = paint_radar([echo(velocity)], 80, 5.0)
        changed = (painted != empty).any(2)
        assert changed[20, 40]
        shades.append(painted[20, 40].astype(int))
    near, leaving, still = shades
    assert near[0] > near[2] + 50
    assert leaving[2] > leaving[0] + 50
    assert np.ptp(still) == 0


def test_a_caption_stays_in_its_corner():
    picture = np.full((180, 320, 3), 90, np.uint8)
    marked = captioned(picture.copy(), "depth")
    changed = (marked != picture).any(2)
    assert changed.any()
    assert not changed[40:].any()
    assert not changed[:, 200:].any()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CraftError, match=r"sensors\.png cannot be written: .*; give another folder"):
        sensor_sheet._write(tmp_path / "file" / "below", np.zeros((2, 2, 3), np.uint8))


@pytest.mark.slow
def test_the_sheet_shows_every_sensor(tmp_path, monkeypatch):
    monkeypatch.setattr(sensor_sheet, "FEWEST_TICKS", 10)
    monkeypatch.setattr(sensor_sheet, "MOST_TICKS", 20)
    path = sensor_sheet.write_sensor_sheet(tmp_path / "new", "craftside", seed=1)
    picture = np.array(Image.open(path))
    assert picture.shape == (180 + 180 + 320 + 90, 960, 3)
    assert path.stat().st_size < 600_000
    noon, night = picture[30:180, :320], picture[30:180, 640:]
    assert night.mean() < 0.4 * noon.mean()
    tags = {tuple(colour) for colour in picture[210:360, :320].reshape(-1, 3).tolist()}
    assert (128, 64, 128) in tags
    assert (70, 130, 180) in tags
    assert tags <= {tuple(colour) for colour in TAG_COLOURS.tolist()}
    for column in range(3):
        assert np.ptp(picture[400:680, 320 * column : 320 * (column + 1)]) > 50
