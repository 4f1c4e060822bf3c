"""A deterministic planner with anchors around its plan: path points, and speeds regressed or as classes (TF++)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from craft_lightning.policies.anchored import AnchoredPolicy
from craft_lightning.policies.decoder import CandidateDecoder
from craft_lightning.policies.raster_trunk import RasterTrunk
from craft_lightning.policies.regressed_plan import RegressedPlan, waypoint_speeds
from craft_lightning.structures import Observation

_POINTS, _WAYPOINTS, _SPACING = 20, 10, 0.25  # path points 1 m apart; timed waypoints, seconds apart


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
        super().__init__(width, offsets, speed_changes, target_speeds, keep, width=width)
        self.trunk = RasterTrunk(backbone, pretrained, width, heads, feedforward, dropout=dropout)
        self.query = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.decoder = CandidateDecoder(width, layers, heads, feedforward, 0, dropout)
        self.path_head = nn.Linear(width, 2 * _POINTS)
        speeds = 2 * _WAYPOINTS if target_speeds is None else len(target_speeds)
        self.speed_out = nn.Linear(width, speeds)

    def regress(self, observation: Observation) -> RegressedPlan:
        """Return path, speeds and the query's last features."""
        hidden = self.decoder(self.query, self.trunk(observation)[0]).squeeze(1)
        # Steps of about a metre ahead, so that an untrained head drives straight on.
        step = self.path_head(hidden).unflatten(1, (_POINTS, 2)) * 0.2 + hidden.new_tensor([1.0, 0.0])
        ego_speed = observation.ego[:, :1].float()
        out = self.speed_out(hidden)
        if self._has_targets:
            scores: Tensor | None = out.log_softmax(1)
            speed = (out.softmax(1) @ self.target_table).unsqueeze(1).expand(-1, self.num_poses)
        else:
            scores = None
            ahead = ego_speed.unsqueeze(1) * hidden.new_tensor([_SPACING, 0.0])
            waypoints = (out.unflatten(1, (_WAYPOINTS, 2)) * 0.2 + ahead).cumsum(1)
            speed = waypoint_speeds(waypoints, _SPACING, self.num_poses, self.dt)
        return RegressedPlan(step.cumsum(1), speed, hidden, scores)
