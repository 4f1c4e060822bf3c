"""A small model laid out like CaRL's policy: features, a policy head, two Beta concentrations an action."""

from collections.abc import Mapping

from torch import Tensor, nn

from craft_lightning.testing.stand_ins.parts import Trunk


class StandInCaRL(nn.Module):
    """See the module.

    Args:
        width: features of the trunk and of the head.
        normed: whether a layer norm stands before each rectifier.

    """

    def __init__(self, width: int, normed: bool) -> None:
        super().__init__()
        self.features_extractor = Trunk(6 * 36 + 8, 1, width)
        parts: list[nn.Module] = []
        for _ in range(2):
            parts += [nn.Linear(width, width), *([nn.LayerNorm(width)] if normed else []), nn.ReLU()]
        self.policy_head = nn.Sequential(*parts)
        self.dist_mu, self.dist_sigma = (nn.Sequential(nn.Linear(width, 2)) for _ in range(2))

    def forward(self, observations: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return both concentrations, which are one above a softplus."""
        features = self.features_extractor(observations["bev_semantics"], observations["measurements"])[:, 0]
        latent = self.policy_head(features)
        return tuple(1.0 + nn.functional.softplus(part(latent)) for part in (self.dist_mu, self.dist_sigma))  # type: ignore[return-value]
