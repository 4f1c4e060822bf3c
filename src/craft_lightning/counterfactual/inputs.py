"""Checks what is handed to the counterfactual world and tells a user in one sentence what is wrong with it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from craft_lightning.conventions import AGENT_NONE, LINE_NONE
from craft_lightning.errors import CraftError
from craft_lightning.structures import Scene

# Trailing shape of each field of a Scene; None = any length.
_SHAPES: dict[str, tuple[int | None, ...]] = {
    "town": (),
    "ego_pose": (3,),
    "ego_motion": (4,),
    "ego_size": (3,),
    "agents": (None, 8),
    "agent_kind": (None,),
    "agent_junction": (None,),
    "route": (None, 2),
    "route_lanes": (None,),
    "stop_lines": (None, 4),
    "stop_kind": (None,),
}

_GRID_FIELDS = ("origin", "resolution", "sdf", "nearest", "segments", "segment_lane", "lane_kind", "lane_junction")


def _refuse_not_finite(field: str, values: Tensor, used: Tensor | None = None) -> None:
    """Raise if a used entry of ``values`` [B, ...] is NaN or infinite; ``used`` [B, ...] leaves padding out."""
    finite = torch.isfinite(values)
    bad = ~finite.flatten(used.dim()).all(-1) & used if used is not None else ~finite.flatten(1).all(-1)
    where = torch.nonzero(bad)
    if len(where):
        indices = ", ".join(str(int(index)) for index in where[0])
        raise CraftError(
            f"{field} holds NaN or infinity at index [{indices}] ({len(where)} such entries): "
            "look for the policy or world that produced it, its numbers have diverged."
        )


def check_candidates(trajectories: Tensor, mask: Tensor, batch: int) -> None:
    """Raise a CraftError unless trajectories [B or 1, K, T, 3] and mask [B, K] fit together and are finite.

    Padding (mask False) may hold anything.
    """
    if trajectories.dim() != 4 or trajectories.shape[-1] != 3 or trajectories.shape[2] == 0:
        raise CraftError(
            f"trajectories has the shape {list(trajectories.shape)}: give [B, K, T, 3] (x, y, yaw every 0.1 s), "
            "or [1, K, T, 3] for a vocabulary that all states share."
        )
    if trajectories.shape[0] not in (1, batch):
        raise CraftError(
            f"trajectories has {trajectories.shape[0]} states but the scene has {batch}: give {batch} or 1."
        )
    if not trajectories.is_floating_point():
        raise CraftError(f"trajectories is of type {trajectories.dtype}: give float32.")
    if mask.dtype != torch.bool or tuple(mask.shape) != (batch, trajectories.shape[1]):
        raise CraftError(
            f"mask is {mask.dtype} of shape {list(mask.shape)}: give bool of shape [{batch}, {trajectories.shape[1]}]."
        )
    if not math.isfinite(float(trajectories.sum())):
        used = mask if trajectories.shape[0] == batch else mask.any(0, keepdim=True)
        _refuse_not_finite("trajectories", trajectories, used)


def check_scene(scene: Scene) -> None:
    """Raise a CraftError that names the field of ``scene`` that is misshapen, not finite or impossible."""
    # A field of a TensorClass is looked up once: that alone takes longer than most of these checks.
    fields = {name: getattr(scene, name) for name in _SHAPES}
    batch = fields["town"].shape[0]
    for name, shape in _SHAPES.items():
        value = fields[name]
        if value.dim() != 1 + len(shape) or any(
            want is not None and have != want for want, have in zip((batch, *shape), value.shape, strict=True)
        ):
            text = ", ".join("any" if want is None else str(want) for want in (batch, *shape))
            raise CraftError(f"scene.{name} has the shape {list(value.shape)}: give [{text}].")
    for first, second in (("agents", "agent_kind"), ("agents", "agent_junction"), ("stop_lines", "stop_kind")):
        if fields[first].shape[1] != fields[second].shape[1]:
            raise CraftError(f"scene.{first} and scene.{second} have different lengths: give a row for every entry.")
    # NaN and infinity survive a sum: one number tells that nothing is wrong.
    numbers = ("ego_pose", "ego_motion", "ego_size", "route", "agents", "stop_lines")
    if not math.isfinite(float(sum(fields[name].sum() for name in numbers))):
        for name in numbers[:4]:
            _refuse_not_finite(f"scene.{name}", fields[name])
        _refuse_not_finite("scene.agents", fields["agents"], fields["agent_kind"] != AGENT_NONE)
        _refuse_not_finite("scene.stop_lines", fields["stop_lines"], fields["stop_kind"] != LINE_NONE)
    if bool((fields["ego_size"] <= 0).any()):
        raise CraftError("scene.ego_size holds a length, width or wheelbase of 0 or less: give metres above 0.")
    flat = fields["agents"][..., 4:6] <= 0
    if bool(flat.any()) and bool((flat.any(-1) & (fields["agent_kind"] != AGENT_NONE)).any()):
        raise CraftError("scene.agents holds a length or width of 0 or less: give metres, or mark the row AGENT_NONE.")
    route = fields["route"]
    steps = route[:, 1:] - route[:, :-1] if route.shape[1] > 1 else route.new_zeros(batch, 1, 2)
    if bool((steps.abs().flatten(1).amax(1) < 1e-3).any()):
        raise CraftError(
            "scene.route holds a route of a single point: give points 1 m apart, the first 10 m behind the ego."
        )


def check_grids(town: Tensor, route_lanes: Tensor, grids: Sequence[Any]) -> None:
    """Raise a CraftError unless ``grids`` are RoadGrids and every town index of the scene has one."""
    if len(town) and (int(town.min()) < 0 or int(town.max()) >= len(grids)):
        raise CraftError(
            f"scene.town holds {int(town.min())} .. {int(town.max())} but {len(grids)} grids were given: "
            "give a RoadGrid for every town index."
        )
    for index, grid in enumerate(grids):
        for field in _GRID_FIELDS:
            if not hasattr(grid, field):
                raise CraftError(f"grids[{index}] has no field {field}: give a roads.grid.RoadGrid.")
        if grid.sdf.shape != grid.nearest.shape or grid.sdf.ndim != 2 or min(grid.sdf.shape) < 2:
            raise CraftError(f"grids[{index}].sdf and .nearest must be of one shape [H, W]: build the grid again.")
    if not len(town) or not route_lanes.shape[1]:
        return
    lanes = [len(grid.lane_kind) for grid in grids]
    if int(route_lanes.max()) < min(lanes):
        return
    if bool((route_lanes.cpu().amax(1) >= torch.tensor(lanes)[town.cpu()]).any()):
        raise CraftError(
            f"scene.route_lanes holds lane {int(route_lanes.max())} but its town has fewer lanes: "
            "make the scene and the grid from the same network."
        )
