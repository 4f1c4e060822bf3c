"""Layers that the scoring heads of several released policies are made of, with upstream's order of parameters."""

from torch import nn


def score_mlp(width: int, hidden: int, layers: int = 2) -> nn.Sequential:
    """Return linear layers with rectifiers between them and one output (NAVSIM scorers)."""
    parts: list[nn.Module] = [nn.Linear(width, hidden), nn.ReLU()]
    for _ in range(layers - 2):
        parts += [nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(hidden, 1))


def normed_mlp(width: int, outputs: int = 1, blocks: int = 2, inner: int = 1) -> nn.Sequential:
    """Return blocks of linear, rectifier and layer norm, then a linear layer.

    The classification branches of SparseDrive and its relatives have this shape.

    Args:
        width: features in and inside.
        outputs: numbers out.
        blocks: blocks that end with a layer norm.
        inner: linear layers with rectifier in a block.

    """
    parts: list[nn.Module] = []
    for _ in range(blocks):
        for _ in range(inner):
            parts += [nn.Linear(width, width), nn.ReLU()]
        parts.append(nn.LayerNorm(width))
    return nn.Sequential(*parts, nn.Linear(width, outputs))
