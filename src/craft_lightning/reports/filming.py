"""Plays one scenario and films it: bird's-eye frames, the ego's camera beside them on request."""

import dataclasses
import queue
import zlib
from typing import TYPE_CHECKING, Any

import carla
import cv2
import numpy as np

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.reports.bird_camera import BirdCamera, Window
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.roads.sites import finders
from craft_lightning.roads.suites.assemble import Assembler, Ground
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.session import Session

if TYPE_CHECKING:
    from craft_lightning.roads.towns import Town
    from craft_lightning.simulation.episode_spec import StepResult

TICKS_A_FRAME = 4  # a frame every 0.2 simulated seconds ...
FRAME_SECONDS = 0.1  # ... shown twice as fast
BEFORE, AFTER = 3.0, 3.0  # simulated seconds shown before the trigger and after the scenario's end
MOST_FRAMES = 100
VEHICLES, WALKERS = 8, 4  # of the background traffic
_WINDOWS = {"YieldToEmergencyVehicle": Window(behind=40.0, ahead=24.0)}  # what comes from behind is seen coming
_CAMERA = (480, 320)
_MOUNT = carla.Transform(carla.Location(x=1.2, z=1.6))
_IMAGE_WAIT, _FIRST_CAMERA, _ANSWER = 10.0, 180.0, 20.0  # wall-clock seconds


def find_route(kind: str, towns: dict[str, "Town"], seed: int) -> RouteConfig:
    """Return a route with one scenario of a type, drawn by the type's finder.

    Args:
        kind: scenario type.
        towns: towns to look in, by name; the seed says in which first.
        seed: of the draw.

    Raises:
        CraftError: none of the towns has room.

    """
    finder = finders().get(kind)
    if finder is None:
        raise CraftError(f"scenario type '{kind}' has no finder of sites, so it cannot be placed; place it by hand")
    order = np.random.default_rng([seed, zlib.crc32(kind.encode())]).permutation(list(towns)).tolist()
    for name in order:
        try:
            (route,), _ = Assembler({name: Ground.of(towns[name].network)}, {kind: finder}, seed).assemble(1, 0)
        except CraftError:
            continue  # the next town may have room
        return route
    raise CraftError(f"{', '.join(towns)} has no room for scenario type '{kind}'; choose another town or seed")


@dataclasses.dataclass
class Film:
    """What was filmed: frames [H, W, 3] uint8, red first, and how the drive ended."""

    frames: list[np.ndarray]
    outcome: str


class FilmingSession(Session):
    """A session that tells a camera operator about every tick."""

    operator: "Operator | None" = None
    at_once = 1  # a tick is filmed before the next one

    def ticks(self, count: int) -> list[Any]:
        """Advance the world by a tick and film it."""
        found = super().ticks(count)
        if self.operator is not None:
            self.operator.ticked(int(found[-1].frame))
        return found


class Operator:
    """Films a running episode.

    Args:
        episode: the episode, just begun.
        bird: paints its town.
        camera: film the ego's view as well.

    """

    def __init__(self, episode: RouteEpisode, bird: BirdCamera, camera: bool) -> None:
        self.episode, self._bird = episode, bird
        self.times: list[float] = []
        self.frames: list[np.ndarray] = []
        self.triggered = self.ended = -1.0
        self._begin = episode.view.time
        self._count = 0
        self._cast: set[int] = set()
        self._images: queue.Queue[Any] | None = None
        if camera:
            self._images = queue.Queue()
            session = episode.session
            width, height = _CAMERA
            blueprint = session.blueprint("sensor.camera.rgb", image_size_x=width, image_size_y=height, fov=90)
            ego = session.world.get_actor(episode.reader.ego_id)
            # The first camera of an installation waits for its machine code to be compiled.
            session.client.set_timeout(_FIRST_CAMERA)
            session.spawn(blueprint, _MOUNT, attach_to=ego).listen(self._images.put)
            session.client.set_timeout(_ANSWER)

    def ticked(self, frame: int) -> None:
        """Film the tick, if it is one of those that are shown."""
        image = self._image(frame)
        self._count += 1
        scenario = next(iter(self.episode.scenarios), None)
        if scenario is not None:
            self._cast |= scenario.actor_ids
        if self._count % TICKS_A_FRAME:
            return
        view = self.episode.reader.read()
        if view.ego < 0:
            return
        if scenario is not None and scenario.triggered and self.triggered < 0.0:
            self.triggered = view.time
        if scenario is not None and scenario.finished and self.ended < 0.0:
            self.ended = view.time
        name = scenario.config.type if scenario is not None else ""
        caption = f"{name}  {view.time - self._begin:4.1f} s  {view.ego_speed:4.1f} m/s"
        picture = self._bird.frame(view, self.episode.route, self._cast, caption, _WINDOWS.get(name))
        if image is not None:
            picture = np.hstack(
                [
                    picture,
                    cv2.resize(image, (round(image.shape[1] * picture.shape[0] / image.shape[0]), picture.shape[0])),
                ]
            )
        self.times.append(view.time)
        self.frames.append(picture)

    def _image(self, frame: int) -> np.ndarray | None:
        if self._images is None:
            return None
        try:
            image = self._images.get(timeout=_IMAGE_WAIT)
            while image.frame < frame:
                image = self._images.get(timeout=_IMAGE_WAIT)
        except queue.Empty as error:
            raise WorldError(f"the camera sent no image for frame {frame}; play the clip again") from error
        pixels = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)
        return np.ascontiguousarray(pixels[:, :, 2::-1])

    def cut(self) -> list[np.ndarray]:
        """Return the frames around the scenario; where it was never triggered, the last ones."""
        if self.triggered < 0.0:
            return self.frames[-MOST_FRAMES:]
        end = self.ended if self.ended >= 0.0 else self.times[-1]
        first = next(row for row, time in enumerate(self.times) if time >= self.triggered - BEFORE)
        chosen = [frame for time, frame in zip(self.times, self.frames, strict=True) if time <= end + AFTER]
        return chosen[first:][:MOST_FRAMES]


def film(episode: RouteEpisode, route: RouteConfig, seed: int, bird: BirdCamera, driver: Any, camera: bool) -> Film:
    """Drive a route to its end and film its scenario.

    Args:
        episode: in a ``FilmingSession``.
        route: with one scenario.
        seed: of scenario and traffic.
        bird: paints the route's town.
        driver: called with the last ``StepResult``, returns a trajectory; None = the expert.
        camera: film the ego's view as well.

    """
    session = episode.session
    if not isinstance(session, FilmingSession):
        raise CraftError("only an episode in a FilmingSession can be filmed; build the episode in one")
    result = episode.reset(EpisodeSpec(route, seed=seed, vehicles=VEHICLES, walkers=WALKERS))
    session.operator = operator = Operator(episode, bird, camera)
    try:
        incidents = []
        while not result.done:
            result = episode.expert_step() if driver is None else episode.step(driver(result))
            incidents += [incident.kind for incident in result.incidents]
    finally:
        session.operator = None
    film = Film(operator.cut(), _outcome(result, incidents, operator))
    episode.clear()
    return film


def _outcome(result: "StepResult", incidents: list[str], operator: Operator) -> str:
    record = result.record or {}
    seconds = len(operator.times) * TICKS_A_FRAME * operator.episode.session.delta
    words = [str(record.get("status", "")).lower(), f"{record.get('route_completion', 0.0):.0f} % of the route"]
    words.append(f"{seconds:.0f} s")
    if incidents:
        words.append(", ".join(dict.fromkeys(kind.replace("_", " ") for kind in incidents)))
    if operator.triggered < 0.0:
        words.append("the scenario was never triggered")
    return "; ".join(word for word in words if word)
