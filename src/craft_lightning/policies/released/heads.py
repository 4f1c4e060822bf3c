"""Layers and priors that the heads of several policies are made of; layers of released ones in upstream's order."""

import torch
from torch import Tensor, nn


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


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer of zeros: what it is added to starts unchanged, and gradients reach it."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def kept(keep: float, rest: Tensor) -> Tensor:
    """Return log-probabilities [..., 1 + N]: ``keep`` for the original, the remainder shared out by ``rest``."""
    first = torch.full_like(rest[..., :1], keep).log()
    return torch.cat([first, torch.full_like(first, 1.0 - keep).log() + rest], -1)


def class_logits(decision: Tensor, classes: Tensor, keep: float) -> Tensor:
    """Return logits [B, 1 + C] of the released mean speed, with probability ``keep`` at the start, and of the classes.

    Args:
        decision: [B, 1] what has been learnt about the released decision, 0 at the start.
        classes: [B, C] logits of the speed classes.
        keep: see above.

    """
    logits = kept(keep, classes.log_softmax(-1))
    return torch.cat([logits[:, :1] + decision, logits[:, 1:]], -1)
