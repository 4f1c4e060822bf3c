"""What a vision-language model is shown of a state: a picture of the raster and a sentence on the ego and its route."""

import math

import torch
from torch import Tensor

from craft_lightning.conventions import BEV_CHANNELS, ROUTE_FEATURE_SPACING
from craft_lightning.structures import Observation

PAINT = {
    "drivable": (70, 70, 70),
    "lane_marking": (200, 200, 200),
    "route": (0, 140, 0),
    "stop_line_red": (255, 0, 0),
    "vehicle": (60, 90, 255),
    "walker": (255, 220, 0),
}
"""Colour of each raster layer, in the order in which they are painted: later ones cover earlier ones."""

_TURN = math.radians(25.0)
_BEND = math.radians(10.0)
_MAX_SPEED, _MAX_ACCELERATION, _MAX_STEER = 25.0, 9.5, 9


def paint(bev: Tensor) -> Tensor:
    """Return the picture [B, 3, H, W] uint8 of a raster [B, 6, H, W] uint8.

    Six layers do not fit three colours one to one, so they are painted over each other: what must not be hit is on top.
    """
    top = torch.zeros(len(bev), *bev.shape[-2:], dtype=torch.uint8, device=bev.device)
    for number, name in enumerate(PAINT, 1):
        top.masked_fill_(bev[:, BEV_CHANNELS.index(name)] > 0, number)
    palette = torch.tensor([(0, 0, 0), *PAINT.values()], dtype=torch.uint8, device=bev.device)
    return palette[top.int()].movedim(-1, 1).contiguous()


def commands(route: Tensor) -> list[str]:
    """Return what a navigator would say about routes [B, N, 2] in the ego frame: "left in 8" (metres) or "straight".

    A turn is a change of heading of more than 25 degrees over the piece; it begins where the heading has changed by 10.
    """
    step = torch.diff(route.float(), dim=1)
    heading = torch.atan2(step[..., 1], step[..., 0])
    change = heading - heading[:, :1]
    change = torch.atan2(change.sin(), change.cos())
    turns = change[:, -1]
    begin = (change.abs() > _BEND).float().argmax(1)
    texts = []
    for turn, first in zip(turns.tolist(), begin.tolist(), strict=True):
        distance = int(4 * round(first * ROUTE_FEATURE_SPACING / 4))
        texts.append("straight" if abs(turn) < _TURN else f"{'left' if turn > 0 else 'right'} in {distance}")
    return texts


def sentences(observation: Observation) -> list[str]:
    """Return one sentence a state: speed, acceleration, steering, speed limit and the route's command."""
    said = []
    # Columns of EGO_FEATURES; the yaw rate says what speed and steering say already.
    for (speed, acceleration, _, steer, limit), command in zip(
        observation.ego.tolist(), commands(observation.route), strict=True
    ):
        said.append(sentence(speed, acceleration, steer, limit, command))
    return said


def sentence(speed: float, acceleration: float, steer: float, limit: float, command: str) -> str:
    """Return the sentence for one state; numbers are rounded and clipped, so that few words cover them.

    Args:
        speed: m/s, in steps of 0.5.
        acceleration: m/s^2, in steps of 0.5.
        steer: in [-1, 1], in steps of 0.1, positive to the left.
        limit: m/s, in steps of 1.
        command: what ``commands`` answers.

    """
    fast = min(max(round(2 * speed) / 2, 0.0), _MAX_SPEED)
    push = min(max(round(2 * acceleration) / 2, -_MAX_ACCELERATION), _MAX_ACCELERATION) + 0.0
    turn = min(max(round(10 * steer), -_MAX_STEER), _MAX_STEER)
    top = min(max(round(limit), 0), round(_MAX_SPEED))
    return f"speed {fast:.1f} change {push:.1f} steer {turn} limit {top} go {command}"


def corpus() -> list[str]:
    """Return sentences with every word and number that ``sentence`` can say; a tokenizer is trained on them."""
    ways = ["straight", *(f"{side} in {metres}" for side in ("left", "right") for metres in range(0, 40, 4))]
    halves = range(round(2 * _MAX_SPEED) + 1)
    lines = [sentence(k / 2, k / 2 - 10.0, 0.1 * (k % 19 - 9), k % 26, ways[k % len(ways)]) + " plan" for k in halves]
    return lines * 4
