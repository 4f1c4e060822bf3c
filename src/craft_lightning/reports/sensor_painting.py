"""Paints what the client's sensors said as pictures, [H, W, 3] uint8, red first."""

import itertools
from typing import Any

import cv2
import numpy as np

TAG_WALKER, TAG_STATIC = 12, 20  # pedestrians, riders and vehicles lie between
REACH = 40.0  # m from the middle of a bird's-eye view to its edge
# Colours of CARLA's documentation for its semantic tags 0 to 28.
TAG_COLOURS = np.array(
    [
        *((0, 0, 0), (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153)),
        *((250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0)),
        *((0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32), (110, 190, 160)),
        *((170, 120, 50), (55, 90, 80), (45, 60, 150), (157, 234, 50), (81, 0, 81), (150, 100, 100), (230, 150, 140)),
        (180, 165, 180),
    ],
    np.uint8,
)
_STILL = 0.3  # m/s
_GROUND = 28  # grey of a bird's-eye view's background
_POINT = np.dtype([("place", "<f4", 3), ("value", "<f4")])
_TAGGED = np.dtype([("place", "<f4", 3), ("value", "<f4"), ("owner", "<u4"), ("tag", "<u4")])


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """Return a picture with a text in its upper left corner."""
    marked = np.ascontiguousarray(picture)
    size = 0.42 if picture.shape[1] > 200 else 0.34
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    marked[: high + 8, : wide + 10] //= 3
    cv2.putText(marked, text, (5, high + 3), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return marked


def paint_image(image: Any, converter: Any = None) -> np.ndarray:
    """Return a ``carla.Image`` as it is, or as one of the client's converters shows it."""
    if converter is not None:
        image.convert(converter)
    raw = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)
    return np.ascontiguousarray(raw[:, :, 2::-1])


def paint_tags(image: Any) -> np.ndarray:
    """Return a semantic picture in the colours of CARLA's documentation."""
    tags = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)[:, :, 2]
    painted: np.ndarray = TAG_COLOURS[np.minimum(tags, len(TAG_COLOURS) - 1)]
    return painted


def paint_instances(image: Any) -> np.ndarray:
    """Return an instance picture: each actor in a colour of its own, ground and sky dark."""
    raw = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4).astype(np.int64)
    owner = raw[:, :, 1] + 256 * raw[:, :, 0]
    hue = (owner * 67 % 180).astype(np.uint8)
    lively = np.where(owner > 0, 220, 0).astype(np.uint8)
    value = np.where(owner > 0, 230, 30 + 5 * (raw[:, :, 2] % 8)).astype(np.uint8)
    painted: np.ndarray = cv2.cvtColor(np.dstack([hue, lively, value]), cv2.COLOR_HSV2RGB)
    return painted


def _bird(size: int) -> np.ndarray:
    """Return an empty bird's-eye view with circles every 10 m and the ego in its middle, heading up."""
    canvas = np.full((size, size, 3), _GROUND, np.uint8)
    scale = 0.5 * size / REACH
    for metres in range(10, int(REACH) + 1, 10):
        cv2.circle(canvas, (size // 2, size // 2), round(metres * scale), (60, 60, 60), 1, cv2.LINE_AA)
    half = (round(0.92 * scale), round(2.45 * scale))
    corner = size // 2 - half[0], size // 2 - half[1]
    cv2.rectangle(canvas, corner, (size // 2 + half[0], size // 2 + half[1]), (255, 255, 255), 1)
    return canvas


def _pixels(places: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows and columns of places [N, 2] (forward, right) in a bird's-eye view, and which lie inside."""
    scale = 0.5 * size / REACH
    rows = np.floor(0.5 * size - places[:, 0] * scale).astype(int)
    columns = np.floor(0.5 * size + places[:, 1] * scale).astype(int)
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    return rows[inside], columns[inside], inside


def tagged_points(data: Any) -> np.ndarray:
    """Return a semantic lidar's points: place (x, y, z), value (cosine), owner and tag."""
    return np.frombuffer(data.raw_data, _TAGGED)


def paint_lidar(data: Any, size: int, tagged: bool = False) -> np.ndarray:
    """Return a lidar's points from above, coloured by height, or by tag for a semantic lidar."""
    points = tagged_points(data) if tagged else np.frombuffer(data.raw_data, _POINT)
    points = points[np.argsort(points["place"][:, 2], kind="stable")]  # what is higher hides what is lower
    rows, columns, inside = _pixels(points["place"], size)
    canvas = _bird(size)
    if tagged:
        tags = points["tag"][inside]
        canvas[rows, columns] = TAG_COLOURS[tags]
        # Road users are few points in dark colours: larger and lighter ones are seen.
        users = (tags >= TAG_WALKER) & (tags < TAG_STATIC)
        bright = TAG_COLOURS[tags[users]] // 2 + 110
        for down, right in itertools.product((0, 1), repeat=2):
            canvas[np.minimum(rows[users] + down, size - 1), np.minimum(columns[users] + right, size - 1)] = bright
    elif inside.any():
        low, high = -3.2, 0.6
        share = np.clip((points["place"][inside, 2] - low) / (high - low), 0.0, 1.0)
        colours = cv2.applyColorMap((255 * share).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
        canvas[rows, columns] = colours
    return canvas


def paint_radar(data: Any, size: int, speed: float) -> np.ndarray:
    """Return a radar's echoes from above: grey for what stands, red for what nears, blue for what leaves.

    Args:
        data: ``carla.RadarMeasurement``.
        size: pixels of a side.
        speed: of the ego [m/s], taken off so that what stands on the ground is grey.

    """
    echoes = np.array([[e.velocity, e.azimuth, e.altitude, e.depth] for e in data]).reshape(-1, 4)
    level = echoes[:, 3] * np.cos(echoes[:, 2])
    places = np.stack([level * np.cos(echoes[:, 1]) + 2.5, level * np.sin(echoes[:, 1])], 1)
    own = echoes[:, 0] + speed * np.cos(echoes[:, 1]) * np.cos(echoes[:, 2])
    canvas = _bird(size)
    for (forward, right), velocity in zip(places.tolist(), own.tolist(), strict=True):
        row, column = round(0.5 * size * (1.0 - forward / REACH)), round(0.5 * size * (1.0 + right / REACH))
        shade = round(min(abs(velocity) / 6.0, 1.0) * 160)
        moving = (255, 90, 160 - shade) if velocity < 0.0 else (160 - shade, 120, 255)
        colour = moving if abs(velocity) > _STILL else (150, 150, 150)
        cv2.circle(canvas, (column, row), 1, colour, -1)
    return canvas
