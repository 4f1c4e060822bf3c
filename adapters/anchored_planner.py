"""A deterministic planner with anchors around its plan: path points, and speeds regressed or as classes (TF++)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.anchored import AnchoredPolicy
from craft_lightning.policies.decoder import CandidateDecoder
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.policies.regressed_plan import RegressedPlan, changed_speeds, waypoint_speeds
from craft_lightning.policies.released.frames import approach
from craft_lightning.structures import Observation

_POINTS, _WAYPOINTS, _SPACING = 20, 10, 0.25  # path points about 1 m apart; timed waypoints, seconds apart
_PUSH, _BRAKE = 2.5, 6.0  # m/s^2 at which other speeds are reached


class AnchoredPlanner(AnchoredPolicy):
    """A query cross-attends to the state's tokens; heads regress a path and timed waypoints, or score target speeds.

    The place to start from where a planner regresses: keep ``regress`` and put the planner into it.

    Args:
        offsets: metres to the left of the regressed path, beside 0.
        speed_changes: metres per second by which the regressed speed is changed, beside 0; -50 stops.
        target_speeds: metres per second of speed classes instead of regressed waypoints (TF++, PlanT 2's two-hot); the
            planner's own plan then drives the expected speed.
        keep: prior probability of each factor's original value.
        backbone: name of a timm model.
        pretrained: download timm's weights.
        width: features of tokens and query.
        layers: cross-attention layers.
        heads: attention heads.
        feedforward: hidden features of feed-forward blocks.
        dropout: dropout in pre-training.

    """

    others: Tensor

    def __init__(
        self,
        offsets: Sequence[float] = (-1.5, -0.75, 0.75, 1.5),
        speed_changes: Sequence[float] = (-50.0, -4.0, -2.0, 2.0),
        target_speeds: Sequence[float] | None = None,
        keep: float = 0.7,
        backbone: str = "test_resnet",
        pretrained: bool = False,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 192,
        dropout: float = 0.0,
    ) -> None:
        if 0.0 in speed_changes:
            raise CraftError(f"speed_changes={list(speed_changes)} must leave out 0: it is always there")
        others = speed_changes if target_speeds is None else target_speeds
        super().__init__(width, 1 + len(others), offsets, keep, keep, reach=12.0, width=width)
        self.targets = target_speeds is not None
        self.register_buffer("others", torch.tensor([float(other) for other in others]), persistent=False)
        self.trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, dropout=dropout)
        self.query = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.decoder = CandidateDecoder(width, layers, heads, feedforward, 0, dropout)
        self.path_head = nn.Linear(width, 2 * _POINTS)
        self.speed_out = nn.Linear(width, len(others) if self.targets else 2 * _WAYPOINTS)

    def regress(self, observation: Observation) -> RegressedPlan:
        """Return path, speeds and the query's last features."""
        hidden = self.decoder(self.query, self.trunk(observation)[0]).squeeze(1)
        # Steps of about a metre ahead, so that an untrained head drives straight on.
        step = self.path_head(hidden).unflatten(1, (_POINTS, 2)) * 0.2 + hidden.new_tensor([1.0, 0.0])
        ego_speed = observation.ego[:, :1].float()
        out = self.speed_out(hidden)
        if self.targets:
            speed = out.softmax(1) @ self.others
            time = self.dt * torch.arange(1, self.num_poses + 1, device=speed.device)
            others = approach(ego_speed.clamp(min=0.0), self.others.expand(len(speed), -1), _PUSH, _BRAKE)
            distance = torch.cat([(speed[:, None] * time).unsqueeze(1), others], 1)
            return RegressedPlan(step.cumsum(1), distance, hidden, out.log_softmax(1))
        ahead = ego_speed.unsqueeze(1) * hidden.new_tensor([_SPACING, 0.0])
        waypoints = (out.unflatten(1, (_WAYPOINTS, 2)) * 0.2 + ahead).cumsum(1)
        speed = waypoint_speeds(waypoints, _SPACING, self.num_poses, self.dt)
        speeds = torch.cat([speed.unsqueeze(1), changed_speeds(speed, self.others, self.dt, _PUSH, _BRAKE)], 1)
        return RegressedPlan(step.cumsum(1), speeds.cumsum(-1) * self.dt, hidden)
