"""The strip of road that the ego will sweep, and when the others are in it."""

import dataclasses

import numpy as np

from craft_lightning.simulation.prediction import Prediction


@dataclasses.dataclass(frozen=True)
class Corridor:
    """The path ahead of the ego as points every half metre.

    Attributes:
        xy: [M, 2] world frame, metres.
        s: [M] metres of path.
        cos: [M] of the direction; ``sin`` likewise.
        sin: [M].
        half_width: metres from the path to the ego's side.

    """

    xy: np.ndarray
    s: np.ndarray
    cos: np.ndarray
    sin: np.ndarray
    half_width: float


@dataclasses.dataclass(frozen=True)
class Occupancy:
    """When hypotheses are in a corridor.

    Attributes:
        low: [H, T] metres of path where the occupied stretch begins; inf where the corridor is free.
        high: [H, T] metres of path where it ends; -inf where it is free.
        along: [H, T] cosine between the agent's heading and the path where it is met; 1 = same direction.

    """

    low: np.ndarray
    high: np.ndarray
    along: np.ndarray


def occupancy(
    corridor: Corridor, prediction: Prediction, length: np.ndarray, width: np.ndarray, margin: np.ndarray
) -> Occupancy:
    """Find which stretch of a corridor every predicted box covers at every time.

    A point of the path is covered when the box lies nearer to it than the ego's half width and the margin.

    Args:
        corridor: M points.
        prediction: H hypotheses, T times.
        length: [H] metres of the boxes; ``width`` likewise.
        width: [H].
        margin: [H] metres kept to them.

    """
    shape = prediction.x.shape
    low, high, along = np.full(shape, np.inf), np.full(shape, -np.inf), np.ones(shape)
    reach = 0.5 * np.hypot(length, width) + corridor.half_width + margin
    # Coarse: boxes whose circle touches the bounding box of the path, then the path's every fourth point.
    (x0, y0), (x1, y1) = corridor.xy.min(0), corridor.xy.max(0)
    wide = reach[:, None]
    inside = (prediction.x > x0 - wide) & (prediction.x < x1 + wide)
    inside &= (prediction.y > y0 - wide) & (prediction.y < y1 + wide)
    hyp, step = np.nonzero(inside)
    if not len(hyp):
        return Occupancy(low, high, along)
    coarse = corridor.xy[::4].astype(np.float32)
    px, py = prediction.x[hyp, step].astype(np.float32), prediction.y[hyp, step].astype(np.float32)
    gap = (px[:, None] - coarse[:, 0]) ** 2 + (py[:, None] - coarse[:, 1]) ** 2
    nearest = gap.argmin(-1)
    near = gap[np.arange(len(hyp)), nearest] < (reach[hyp] + 1.1) ** 2
    hyp, step, nearest = hyp[near], step[near], nearest[near]
    if not len(hyp):
        return Occupancy(low, high, along)

    # Fine: distance to the box of the points of the path around the nearest one, in the box's frame.
    around = int(np.ceil((reach[hyp].max() + 2.0) / (corridor.s[1] - corridor.s[0])))
    last = len(corridor.s) - 1
    index = np.minimum(np.maximum(4 * nearest[:, None] + np.arange(-around, around + 1), 0), last)
    dx = corridor.xy[index, 0] - prediction.x[hyp, step][:, None]
    dy = corridor.xy[index, 1] - prediction.y[hyp, step][:, None]
    cos, sin = prediction.cos[hyp, step][:, None], prediction.sin[hyp, step][:, None]
    beyond = np.maximum(np.abs(dx * cos + dy * sin) - 0.5 * length[hyp, None], 0.0)
    beside = np.maximum(np.abs(dy * cos - dx * sin) - 0.5 * width[hyp, None], 0.0)
    covered = beyond * beyond + beside * beside < (corridor.half_width + margin[hyp, None]) ** 2
    met = covered.any(-1)
    hyp, step, covered, index = hyp[met], step[met], covered[met], index[met]
    pair = np.arange(len(hyp))
    first = index[pair, covered.argmax(-1)]
    final = index[pair, covered.shape[1] - 1 - covered[:, ::-1].argmax(-1)]
    low[hyp, step], high[hyp, step] = corridor.s[first], corridor.s[final]
    middle = (first + final) // 2
    along[hyp, step] = (
        prediction.cos[hyp, step] * corridor.cos[middle] + prediction.sin[hyp, step] * corridor.sin[middle]
    )
    return Occupancy(low, high, along)
