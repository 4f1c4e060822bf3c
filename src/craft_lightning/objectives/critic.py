"""A critic on a policy's stored contexts; owned by the objective that needs one, never by the policy."""

import torch
from torch import Tensor, nn

from craft_lightning.conventions import (
    BEV_CELLS,
    BEV_CHANNELS,
    EGO_FEATURES,
    MAX_CLOSED_LINES,
    MAX_OBJECTS,
    OBJECT_FEATURES,
    ROUTE_FEATURE_POINTS,
)
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.structures import Context, Observation


class Critic(nn.Module):
    """V(s) from whatever tensors a context holds: each is averaged over its middle dimensions, all are joined.

    Args:
        features: number of features of a pooled context.
        hidden: features of the hidden layers.

    """

    def __init__(self, features: int, hidden: int = 64) -> None:
        super().__init__()
        last = nn.Linear(hidden, 1)
        # The first values are 0, so that the first advantages are plain returns.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            last,
        )

    def forward(self, context: Context) -> Tensor:
        """Return the value [B] of states by their contexts."""
        return self.network(pooled(context)).squeeze(-1)


def pooled(context: Context) -> Tensor:
    """Return one vector a state [B, F]: every tensor of the context averaged over its middle dimensions."""
    parts = []
    for key in sorted(context.keys(include_nested=True, leaves_only=True), key=str):
        leaf = (
            context[key].float().flatten(1) if context[key].dim() < 3 else context[key].float().flatten(1, -2).mean(1)
        )
        parts.append(leaf)
    return torch.cat(parts, 1)


def critic_of(adapter: PolicyAdapter, hidden: int = 64) -> Critic:
    """Return a critic for the contexts of a policy, whose size one blank observation tells."""
    device = next(adapter.parameters()).device
    blank = Observation(
        bev=torch.zeros(1, len(BEV_CHANNELS), BEV_CELLS, BEV_CELLS, dtype=torch.uint8, device=device),
        ego=torch.zeros(1, len(EGO_FEATURES), device=device),
        route=torch.zeros(1, ROUTE_FEATURE_POINTS, 2, device=device),
        objects=torch.zeros(1, MAX_OBJECTS + MAX_CLOSED_LINES, len(OBJECT_FEATURES), device=device),
        batch_size=[1],
    )
    training = adapter.training
    adapter.eval()
    with torch.no_grad():
        features = pooled(adapter.encode(blank)).shape[1]
    adapter.train(training)
    return Critic(features, hidden)
