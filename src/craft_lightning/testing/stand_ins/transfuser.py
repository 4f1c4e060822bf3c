"""Small models laid out like TransFuser++ (carla_garage), TFv6 (lead) and PlanT 2."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from craft_lightning.testing.stand_ins.parts import Trunk, pooled_picture


def _speed_head(width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, classes))


class _Planner(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.trunk = Trunk(6 * 36 + 3, 11, width)
        self.route_decoder = nn.Linear(width, 2)
        self.target_speed_decoder = _speed_head(width, classes)

    def forward(self, *parts: Tensor) -> tuple[Tensor, None, Tensor]:
        queries = self.trunk(*parts)
        ahead = torch.tensor([1.0, 0.0])
        route = torch.cumsum(0.2 * self.route_decoder(queries[:, :10]) + ahead, 1)
        return route, None, self.target_speed_decoder(queries[:, 10])


class StandInTFv6(nn.Module):
    """TFv6: a mapping in, an object with fields out."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.planning_decoder = _Planner(width, classes)

    def forward(self, data: Mapping[str, Tensor]) -> SimpleNamespace:
        """Return the plan by the fields of upstream's answer."""
        speed = data["speed"].flatten().unflatten(0, (len(data["rgb"]), -1))[:, :1]
        route, _, classes = self.planning_decoder(pooled_picture(data["rgb"]), speed, data["target_point"])
        return SimpleNamespace(pred_route=route, pred_target_speed_distribution=classes)


class StandInTransFuserPP(nn.Module):
    """TransFuser++: five positional inputs, a tuple out."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.trunk = Trunk(6 * 36 * 2 + 3, 11, width)
        self.checkpoint_decoder = nn.Linear(width, 2)
        self.target_speed_network = _speed_head(width, classes)

    def forward(self, *parts: Tensor) -> tuple[None, Tensor, Tensor]:
        """Return no waypoints, speed logits and path."""
        queries = self.trunk(pooled_picture(parts[0]), pooled_picture(parts[1]), *parts[2:4])
        path = self.checkpoint_decoder(queries[:, :10]) * 0.1 + torch.arange(1.0, 11.0)[:, None]
        return None, self.target_speed_network(queries[:, 10]), path


class _Waypoints(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.wp_decoder = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.cumsum(0.3 * self.wp_decoder(tokens) + torch.tensor([1.0, 0.0]), 1)


class StandInPlanT(nn.Module):
    """PlanT 2: a mapping in; forecasts, targets, (path, waypoints, speed logits) and attention out."""

    def __init__(self, width: int, classes: int, two_hot: bool) -> None:
        super().__init__()
        self.trunk = Trunk(6 * 36 + 40, 28, width)
        self.path_generator = _Waypoints(width)
        if two_hot:
            self.speed_classifier = nn.Linear(width, classes)
        else:
            self.wp_generator = _Waypoints(width)

    def forward(self, batch: Mapping[str, Any]) -> tuple[None, None, tuple[Tensor | None, ...], None]:
        """Return the plan in upstream's order."""
        assert batch["y_objs"] is None
        tokens = self.trunk(batch["BEV"], batch["route_original"])
        path = self.path_generator(tokens[:, -20:])
        if hasattr(self, "speed_classifier"):
            return None, None, (path, None, self.speed_classifier(tokens[:, 0])), None
        return None, None, (path, self.wp_generator(tokens[:, :8]), None), None
