"""Moving pictures of scenarios, played in a supervised process: a dying world costs a clip, not the caller."""

import contextlib
import dataclasses
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.reports.bird_camera import KEY_COLOURS
from craft_lightning.roads.cache import atomic_path

ENDINGS = (".gif", ".webp", ".mp4")
PATIENCE = 240.0  # seconds that one clip may take
_COLOURS = 96  # of a GIF's palette
_QUALITY = 55  # of WebP


@dataclasses.dataclass(frozen=True)
class Clip:
    """One clip to be made.

    Args:
        kind: scenario type.
        town: built-in town or OpenDRIVE file; empty = any built-in one that has room for the type.
        seed: draws the place, the scenario and the traffic.
        driver: ``expert``, or a policy.
        camera: show the ego's camera beside the bird's-eye view.
        output: a .gif, .webp or .mp4 file.

    Raises:
        CraftError: another kind of file, or a seed that is none.

    """

    kind: str
    town: str = ""
    seed: int = 0
    driver: str = "expert"
    camera: bool = False
    output: str = "clip.gif"

    def __post_init__(self) -> None:
        if Path(self.output).suffix not in ENDINGS:
            raise CraftError(f"--output is '{self.output}'; give a file that ends in {', '.join(ENDINGS)}")
        if self.seed < 0:
            raise CraftError(f"--seed is {self.seed}; give a whole number of at least 0")


@dataclasses.dataclass(frozen=True)
class Played:
    """What came of a clip: where it was played, how the drive ended, and how many frames it has."""

    town: str
    outcome: str
    frames: int


class Studio:
    """Makes clips, one after the other, in a process that is started anew when it dies; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def film(self, clip: Clip) -> Played:
        """Play a scenario and write its moving picture.

        Raises:
            CraftError: an unknown type, town or driver, no room, or a file that cannot be written.
            WorldError: the world died or froze.

        """
        connection = self._open()
        try:
            connection.send(dataclasses.asdict(clip))
            if not connection.poll(PATIENCE):
                raise TimeoutError
            kind, answer = connection.recv()
        except (EOFError, OSError, TimeoutError) as error:
            slow = isinstance(error, TimeoutError)
            self.close()
            raise WorldError(
                f"the world of the clip of {clip.kind} "
                + (f"did not end within {PATIENCE:.0f} s" if slow else "died")
                + "; try again, or another seed"
            ) from error
        if kind != "played":
            raise (CraftError if kind == "input" else WorldError)(answer)
        return Played(**answer)

    def _open(self) -> Connection:
        if self._connection is None:
            ours, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, "-m", "craft_lightning.reports.clip_process", str(theirs.fileno())]
                self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL)
            self._connection = Connection(ours.detach())
        return self._connection

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            try:
                self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5.0)
                if self._process.poll() is None:
                    self._process.kill()
                    self._process.wait(10.0)
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_moving_picture(path: Path, frames: list[np.ndarray], seconds: float) -> None:
    """Write frames [H, W, 3] uint8, red first, as a GIF, a WebP or an MP4 that appears whole or not at all.

    Args:
        path: the file; its ending says which kind.
        frames: at least one.
        seconds: that each frame is shown.

    Raises:
        CraftError: no frame, or a file that cannot be written.

    """
    if not frames:
        raise CraftError(f"there is no frame for {path}; the scenario was over before it began, try another seed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as scratch:
            if path.suffix == ".mp4":
                _write_video(scratch, frames, seconds)
            else:
                _write_animation(scratch, frames, seconds)
    except OSError as error:
        raise CraftError(f"{path} cannot be written: {error.strerror or error}") from error


def _write_animation(path: Path, frames: list[np.ndarray], seconds: float) -> None:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    options: dict[str, Any] = {"save_all": True, "duration": round(1000.0 * seconds), "loop": 0}
    if path.suffix == ".webp":
        options |= {"quality": _QUALITY, "method": 2}
    else:
        # One palette for all frames, from several of them and the colours of what is small, so that none flickers.
        height, width = frames[0].shape[:2]
        keys = np.array(KEY_COLOURS, np.uint8)
        strip = keys[np.arange(width) * len(keys) // width][None].repeat(max(height // 2, 1), 0)
        sample = Image.fromarray(np.vstack([strip, *frames[:: max(1, len(frames) // 4)]]))
        palette = sample.quantize(_COLOURS)
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(path, append_images=images[1:], **options)


def _write_video(path: Path, frames: list[np.ndarray], seconds: float) -> None:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 1.0 / seconds, (width, height))  # type: ignore[attr-defined]
    if not writer.isOpened():
        raise OSError("OpenCV has no encoder for it; choose .gif or .webp")
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    writer.release()
