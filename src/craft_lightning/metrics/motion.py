"""``metric_info.json``: the ego's motion, tick by tick, in the file that Bench2Drive's comfort tool reads.

``{step: {acceleration, angular_velocity, forward_vector, right_vector, location, rotation}}``, each three numbers in
CARLA's left-handed frame: m/s2, **degrees** a second, unit vectors, metres, and roll, pitch, yaw in degrees. With the
benchmark every agent writes it by itself (``autonomous_agent.get_metric_info``); here the evaluation does.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from craft_lightning.errors import CraftError
from craft_lightning.frames import points_to_carla
from craft_lightning.metrics.results import write_json

FILE_NAME = "metric_info.json"
FIELDS = ("acceleration", "angular_velocity", "forward_vector", "right_vector", "location", "rotation")


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """The ego's motion along one route, in CARLA's frame and units as the file holds it.

    Args:
        acceleration: [N, 3] along the world's axes, m/s2.
        angular_velocity: [N, 3] degrees a second (x, y, z).
        forward_vector: [N, 3] unit vectors.
        right_vector: [N, 3] unit vectors.
        location: [N, 3] metres.
        rotation: [N, 3] roll, pitch, yaw, degrees.

    Raises:
        CraftError: arrays of different lengths or not [N, 3], or numbers that are not finite.

    """

    acceleration: np.ndarray
    angular_velocity: np.ndarray
    forward_vector: np.ndarray
    right_vector: np.ndarray
    location: np.ndarray
    rotation: np.ndarray

    def __post_init__(self) -> None:
        length = None
        for name in FIELDS:
            values = np.asarray(getattr(self, name), dtype=np.float64)
            values = values.reshape(0, 3) if values.size == 0 else values
            length = len(values) if length is None else length
            if values.ndim != 2 or values.shape[1] != 3 or len(values) != length:
                raise CraftError(f"motion field {name} has shape {values.shape}; give [{length}, 3] numbers")
            if not np.isfinite(values).all():
                step = int(np.argmin(np.isfinite(values).all(axis=1)))
                raise CraftError(f"motion field {name} of step {step} is not finite")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.acceleration)

    @classmethod
    def from_world(
        cls,
        location: ArrayLike,
        yaw: ArrayLike,
        yaw_rate: ArrayLike,
        acceleration: ArrayLike,
        pitch: ArrayLike | None = None,
        roll: ArrayLike | None = None,
    ) -> Self:
        """Build from per-tick arrays in the right-handed world frame.

        Args:
            location: [N, 2 or 3] metres.
            yaw: [N] radians, counter-clockwise.
            yaw_rate: [N] rad/s, counter-clockwise.
            acceleration: [N, 2 or 3] along the world's axes, m/s2.
            pitch: [N] radians, nose up positive; None = level.
            roll: [N] radians, as CARLA counts it; None = level.

        """
        heading = np.asarray(yaw, dtype=np.float64).reshape(-1)
        count = len(heading)
        tilt = np.zeros(count) if pitch is None else np.asarray(pitch, dtype=np.float64)
        bank = np.zeros(count) if roll is None else np.asarray(roll, dtype=np.float64)
        flat, zero = np.cos(tilt), np.zeros(count)
        forward = np.stack([np.cos(heading) * flat, np.sin(heading) * flat, np.sin(tilt)], axis=1)
        right = np.stack([np.sin(heading), -np.cos(heading), zero], axis=1)
        turning = -np.degrees(np.asarray(yaw_rate, dtype=np.float64).reshape(-1))
        return cls(
            acceleration=points_to_carla(_spatial(acceleration)),
            angular_velocity=np.stack([zero, zero, turning], axis=1),
            forward_vector=points_to_carla(forward),
            right_vector=points_to_carla(right),
            location=points_to_carla(_spatial(location)),
            rotation=np.degrees(np.stack([bank, tilt, -heading], axis=1)),
        )


def write_motion(path: str | Path, motion: Motion) -> None:
    """Write ``metric_info.json`` in one step.

    Args:
        path: the file, or the route's folder (``<metric_dir>/<save_name>``).
        motion: one entry a tick, from the first on.

    """
    columns = [np.round(getattr(motion, name), 6).tolist() for name in FIELDS]
    steps = {str(step): dict(zip(FIELDS, row, strict=True)) for step, row in enumerate(zip(*columns, strict=True))}
    write_json(_file(path), steps, indent=None)


def read_motion(path: str | Path) -> Motion:
    """Read a ``metric_info.json``.

    Args:
        path: the file, or the route's folder.

    Raises:
        CraftError: no such file, no JSON, or a step without one of the fields.

    """
    from craft_lightning.metrics.documents import load_json

    file = _file(path)
    document = load_json(file)
    if not isinstance(document, Mapping):
        raise CraftError(f"{file} is not a metric_info.json: it should be an object with one entry a step")
    columns: dict[str, list[Any]] = {name: [] for name in FIELDS}
    for step, values in document.items():
        for name in FIELDS:
            if not isinstance(values, Mapping) or name not in values:
                raise CraftError(f"{file}: step {step} lacks the field {name}")
            columns[name].append(values[name])
    try:
        return Motion(**{name: np.asarray(values, dtype=np.float64) for name, values in columns.items()})
    except (TypeError, ValueError) as error:
        raise CraftError(f"{file}: a field is not three numbers: {error}") from error
    except CraftError as error:
        raise CraftError(f"{file}: {error}") from error


def read_motions(folder: str | Path, save_names: Sequence[str]) -> list[Motion | None]:
    """Read ``<folder>/<save_name>/metric_info.json`` of each route.

    Returns:
        The motions, None where there is no file.

    Raises:
        CraftError: ``folder`` does not exist, or a file is broken.

    """
    if not Path(folder).is_dir():
        raise CraftError(f"--metric-info {folder} is no folder; give the one with <save_name>/{FILE_NAME} in it")
    motions: list[Motion | None] = []
    for name in save_names:
        found = bool(name) and (Path(folder) / name / FILE_NAME).is_file()
        motions.append(read_motion(Path(folder) / name) if found else None)
    return motions


def _spatial(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 2 and array.shape[1] == 2:
        return np.concatenate([array, np.zeros((len(array), 1))], axis=1)
    return array


def _file(path: str | Path) -> Path:
    return Path(path) if Path(path).suffix == ".json" else Path(path) / FILE_NAME
