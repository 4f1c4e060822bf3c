"""Small models that answer named tensors, as a user's factory does for policies whose code needs an old environment."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from craft_lightning.testing.stand_ins.parts import Trunk, small_mlp


class StandInVADv2(nn.Module):
    """VADv2: a head with ``plan_cls_expert_branch`` over anchors that it shuffles at every pass."""

    def __init__(self, entries: int, width: int) -> None:
        super().__init__()
        self.pts_bbox_head = _VADv2Head(entries, width)

    def forward(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return plans and scores in the order of this pass."""
        return self.pts_bbox_head(data["img"], data["ego_lcf_feat"])


class _VADv2Head(nn.Module):
    plan_anchors: Tensor

    def __init__(self, entries: int, width: int) -> None:
        super().__init__()
        along = torch.linspace(0.0, 6.0, entries)[:, None] * torch.arange(1.0, 7.0)
        side = torch.linspace(-1.0, 1.0, entries).sin()[:, None] * along * 0.2
        # x right, y forward; the first entry stands.
        self.register_buffer("plan_anchors", torch.stack([side, along], -1))
        self.trunk = Trunk(6 * 36 + 9, 1, width)
        self.embed = small_mlp(12, width, width)
        self.plan_cls_expert_branch = nn.Sequential(
            nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(inplace=True), nn.Linear(width, 1)
        )

    def forward(self, images: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        order = torch.multinomial(torch.ones(len(self.plan_anchors)), len(self.plan_anchors))
        used = self.plan_anchors[order]
        features = self.embed(used.flatten(1) / 20.0)[None] + self.trunk(images, numbers)
        plans = used.expand(len(images), *used.shape)
        return {"ego_fut_preds": plans, "ego_cls_expert_preds": self.plan_cls_expert_branch(features)}


class StandInMindDrive(nn.Module):
    """MindDrive: the hidden state at the action slot, seven logits, seven speed plans and six paths."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = Trunk(6 * 36 + 9, 1, width)
        self.speed, self.paths = nn.Linear(width, 7), nn.Linear(width, 12)

    def forward(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return increments, x right and y forward."""
        hidden = self.trunk(data["img"], data["can_bus"])[:, 0]
        pace = torch.tensor([5.0, 0.0, 2.0, 7.0, 3.0, 11.0, 1.0])[:, None] * 0.5
        forward = pace.expand(-1, 6)
        plans = torch.stack([torch.zeros_like(forward), forward], -1).expand(len(hidden), -1, -1, -1)
        bend = torch.tensor([0.0, 0.0, -0.04, -0.02, 0.04, 0.02])[:, None] * torch.arange(20.0)
        paths = torch.stack([bend, torch.ones_like(bend)], -1) + 0.02 * self.paths(hidden).view(-1, 6, 1, 2)
        return {
            "hidden": hidden,
            "action_logits": self.speed(hidden),
            "ego_fut_preds": plans,
            "pw_ego_fut_preds": paths,
            "path_command": data["command"].long().flatten(),
        }


class StandInOrion(nn.Module):
    """ORION: the planning token, its latent Gaussian, samples of it and what they decode to."""

    def __init__(self, width: int, samples: int, latent: int) -> None:
        super().__init__()
        self.samples = samples
        self.trunk = Trunk(6 * 36 + 9, 1, width)
        self.law, self.decode = nn.Linear(width, 2 * latent), nn.Linear(latent, 12)

    def forward(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return plans as positions, x right and y forward; the first sample is the mean."""
        token = self.trunk(data["img"], data["can_bus"])[:, 0]
        mean, deviation = self.law(token).chunk(2, -1)
        noise = torch.randn(len(token), self.samples + 1, mean.shape[-1])
        noise[:, 0] = 0.0
        value = mean[:, None] + noise * deviation[:, None].exp()
        steps = torch.tensor([0.0, 2.0]) + 0.3 * self.decode(value).unflatten(-1, (6, 2))
        return {"token": token, "mean": mean, "log_sigma": deviation, "samples": value, "plans": steps.cumsum(-2)}


class StandInSparseDriveB2D(nn.Module):
    """SparseDriveV2 (Bench2Drive): features, logits and plans of the composed candidates that are kept."""

    def __init__(self, kept: tuple[int, int], width: int) -> None:
        super().__init__()
        self.kept = kept
        self.trunk = Trunk(6 * 36 + 9, 1, width)
        self.embed, self.score = nn.Linear(2, width), nn.Linear(width, 1)

    def forward(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ids, positions (x right, y forward) and scores."""
        paths, speeds = self.kept
        first = (data["img"].flatten(1).sum(1).abs() * 7).long() % 5
        path = first[:, None] + torch.arange(paths)
        speed = (first[:, None] + torch.arange(speeds)) % (speeds + 4)
        along = (speed.float()[..., None] * 0.6 + 0.5) * 0.5 * torch.arange(1.0, 7.0)
        side = (path.float() - 6.0)[..., None, None] * 0.002 * along[:, None] ** 2
        plans = torch.stack([side, along[:, None].expand_as(side)], -1).flatten(1, 2)
        kind = torch.stack([path.repeat_interleave(speeds, 1) / paths, speed.repeat(1, paths) / speeds], -1)
        features = torch.tanh(self.embed(kind) + self.trunk(data["img"], data["ego_status"]))
        return {
            "features": features,
            "traj_cls": self.score(features).squeeze(-1),
            "plans": plans,
            "path_ids": path,
            "velocity_ids": speed,
            "collision": (plans[..., -1, 0].abs() > 1.5).float(),
        }


class StandInSimLingo(nn.Module):
    """SimLingo: waypoints, route and language of hidden states that two small heads read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = Trunk(6 * 36 + 9, 30, width)
        self.adaptors = nn.Module()
        self.adaptors.driving = nn.Module()
        self.adaptors.driving.route_head = small_mlp(width, width, 2)
        self.adaptors.driving.speed_wps_head = small_mlp(width, width, 2)

    def forward(self, data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, list[str]]:
        """Return positions of CARLA's ego frame."""
        hidden = self.trunk(data["camera_images"], data["vehicle_speed"])
        heads = self.adaptors.driving
        ahead = torch.tensor([1.0, 0.0])
        route = (0.2 * heads.route_head(hidden[:, :20]) + ahead).cumsum(1)  # type: ignore[operator,union-attr]
        speed = (0.2 * heads.speed_wps_head(hidden[:, 20:]) + ahead).cumsum(1)  # type: ignore[operator,union-attr]
        return speed, route, [""] * len(route)
