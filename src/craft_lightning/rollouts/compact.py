"""Sensor data of many states in little memory: pictures as PNG, everything else deflated, both without loss."""

import io
import zlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from craft_lightning.errors import CraftError

_PREFIX, _BYTES, _ENDS = "sensors/", "/bytes", "/ends"


def packed(array: np.ndarray) -> bytes:
    """Return an array as bytes that ``unpacked`` reads; [H, W, 3] and [H, W] uint8 as a PNG file."""
    if array.dtype == np.uint8 and array.ndim in (2, 3):
        picture = array if array.ndim == 2 else cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
        return bytes(cv2.imencode(".png", picture)[1].data)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return zlib.compress(stream.getvalue(), 1)


def unpacked(data: np.ndarray) -> np.ndarray:
    """Return the array of bytes [N] uint8 that ``packed`` wrote.

    Raises:
        CraftError: they are damaged.

    """
    try:
        if data[:1].tobytes() == b"\x89":
            picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            if picture is None:
                raise ValueError("no PNG file")
            return np.asarray(picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        found: np.ndarray = np.load(io.BytesIO(zlib.decompress(data.tobytes())), allow_pickle=False)
    except (zlib.error, ValueError, EOFError, OSError, cv2.error) as error:
        raise CraftError(f"a stored picture is damaged ({error}); delete the file and collect anew") from error
    return found


def pack_sensors(sensors: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """Return every measurement of one state as bytes."""
    return {name: packed(array) for name, array in sensors.items()}


def stack_packed(states: Sequence[Mapping[str, bytes]]) -> dict[str, Tensor]:
    """Return the packed measurements of N states as flat tensors: all bytes of a sensor, and where each state ends."""
    tensors: dict[str, Tensor] = {}
    for name in states[0]:
        parts = [state[name] for state in states]
        tensors[f"{_PREFIX}{name}{_BYTES}"] = torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8)
        tensors[f"{_PREFIX}{name}{_ENDS}"] = torch.tensor([len(part) for part in parts]).cumsum(0)
    return tensors


def unpack_sensors(tensors: Mapping[str, Tensor], index: Tensor) -> TensorDict | None:
    """Return the measurements of the states ``index`` [B], None where none were stored.

    Args:
        tensors: what ``stack_packed`` made, among others.
        index: rows.

    """
    names = [key[len(_PREFIX) : -len(_ENDS)] for key in tensors if key.startswith(_PREFIX) and key.endswith(_ENDS)]
    found = {}
    for name in names:
        data = tensors[f"{_PREFIX}{name}{_BYTES}"].numpy()
        ends = [0, *tensors[f"{_PREFIX}{name}{_ENDS}"].tolist()]
        rows = [unpacked(data[ends[row] : ends[row + 1]]) for row in index.tolist()]
        found[name] = torch.from_numpy(np.stack(rows))
    return TensorDict(found, batch_size=[len(index)]) if found else None
