"""What stand-ins share: inputs made of a bird's-eye raster, and a trunk that is no more than two layers."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from craft_lightning.structures import Observation

_GRID = 6


def pooled_raster(observation: Observation) -> Tensor:
    """Return the raster pooled to [B, C, 6, 6], standardised a state, so that random rasters look different too."""
    return _standardised(functional.adaptive_avg_pool2d(observation.bev.float() / 255.0, _GRID))


def pooled_picture(picture: Tensor) -> Tensor:
    """Return 216 numbers [B, 216] of a picture [B, C, H, W], C = 1, 3 or 6, standardised a state."""
    channels = picture.shape[1]
    grid = {1: (12, 18), 3: (6, 12), 6: (6, 6)}[channels]
    return _standardised(functional.adaptive_avg_pool2d(picture.float(), grid)).flatten(1)


def _standardised(values: Tensor) -> Tensor:
    deviation, mean = torch.std_mean(values, (1, 2, 3), keepdim=True)
    return (values - mean) / (deviation + 1e-3)


def state_numbers(size: int) -> Callable[[Observation], Tensor]:
    """Return a function that makes [B, size] numbers near one of the ego's state and the route."""

    def make(observation: Observation) -> Tensor:
        values = torch.cat([observation.ego.float() / 10.0, observation.route.float().flatten(1) / 20.0], 1)
        return values[:, :size]

    return make


class Trunk(nn.Module):
    """Pools what it is given and answers ``count`` feature vectors a state.

    Args:
        inputs: numbers a state.
        count: feature vectors.
        width: features of each.

    """

    def __init__(self, inputs: int, count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.net = nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, count * width))

    def forward(self, *parts: Tensor) -> Tensor:
        """Return [B, count, width]."""
        return self.net(torch.cat([part.float().flatten(1) for part in parts], 1)).unflatten(1, (self.count, -1))


def small_mlp(width: int, hidden: int, outputs: int = 1, layers: int = 2) -> nn.Sequential:
    """Return ``layers`` linear layers with rectifiers between them, as the scoring heads of several policies."""
    sizes = [width, *[hidden] * (layers - 1)]
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], outputs))
