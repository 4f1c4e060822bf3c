"""Sub-scores of NAVSIM and nuPlan for every candidate of every visited state, under the names that both write."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from craft_lightning.counterfactual.inputs import check_grids, check_scene
from craft_lightning.counterfactual.parameters import DecayParameters
from craft_lightning.counterfactual.reference import Motion, route_progress
from craft_lightning.counterfactual.scores.areas import Areas, road_areas
from craft_lightning.counterfactual.scores.comfort import comfortable, drive_signals, extended_comfort
from craft_lightning.counterfactual.scores.contacts import (
    Contacts,
    Pairs,
    at_fault,
    collision_classes,
    first_contacts,
    no_at_fault_collision,
)
from craft_lightning.counterfactual.scores.drive import Drive
from craft_lightning.counterfactual.scores.looking_ahead import navsim_ttc, nuplan_ttc
from craft_lightning.counterfactual.scores.parameters import ScoreParameters
from craft_lightning.counterfactual.scores.progress import gained_metres, navsim_progress, nuplan_progress
from craft_lightning.counterfactual.scores.rules import (
    drivable_area,
    lane_keeping,
    navsim_direction,
    nuplan_direction,
    red_lights,
    speed_compliance,
)
from craft_lightning.errors import CraftError
from craft_lightning.geometry import project_on_polyline
from craft_lightning.structures import Scene

# Candidates scored at once: what they need then stays within a few hundred megabytes.
CHUNK = 4096


@dataclasses.dataclass
class _Known:
    """What several sub-scores of some states share."""

    drive: Drive
    states: Tensor
    areas: Areas
    pairs: Pairs
    contacts: Contacts
    metres: Tensor
    acceleration: Tensor


class PlannerScorer:
    """Computes sub-scores from the tracked states of ``CounterfactualWorld.rollout(..., keep_states=True)``.

    The map is a RoadGrid (see ``areas``), the others decay as they do in the counterfactual world, light states stay as
    they are, and the ego is that of CRAFT's tracker. So the numbers follow NAVSIM's and nuPlan's definitions and are
    not comparable with their tables.

    Args:
        parameters: thresholds.
        others: constants of the others' rollout, those of the world that made the states.
        chunk: candidates scored at once.

    Example:
        >>> world = CounterfactualWorld(horizon=4.0)
        >>> states = world.rollout(scene, trajectories, mask, grids, keep_states=True).states
        >>> scores = PlannerScorer().navsim(scene, states, mask, grids)
        >>> scores["no_at_fault_collisions"]  # [B, K]

    """

    def __init__(
        self,
        parameters: ScoreParameters | None = None,
        others: DecayParameters | None = None,
        chunk: int = CHUNK,
    ) -> None:
        if chunk < 1:
            raise CraftError(f"chunk is {chunk}: give at least 1.")
        self.parameters = parameters or ScoreParameters()
        self.others = others or DecayParameters()
        self.chunk = chunk

    @torch.no_grad()
    def navsim(
        self,
        scene: Scene,
        states: Tensor,
        mask: Tensor,
        grids: Sequence[Any],
        version: int = 2,
        tracks: Motion | None = None,
        past: Tensor | None = None,
        previous: Tensor | None = None,
        previous_acceleration: Tensor | None = None,
        previous_steps: int = 5,
        reference_progress: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sub-scores of PDMS (version 1) or EPDMS (version 2).

        Args:
            scene: the B visited states.
            states: [B, K, S, 4] tracked states; masked candidates may hold anything finite.
            mask: [B, K] bool, candidates that count.
            grids: ``RoadGrid`` of every town index in the scene.
            version: 1 or 2.
            tracks: [B, A, S] the others' motion instead of the decay, now first.
            past: [B, H, 4] the ego's states before now, 0.1 s apart, for comfort with its history; without it comfort
                is asked of the rollout alone (NAVSIM then gives 1).
            previous: [B, S, 4] tracked states of the plan before this one, for extended comfort.
            previous_acceleration: [B] m/s2 where that plan began; None takes 0.
            previous_steps: steps since.
            reference_progress: [B] metres of one more proposal in the normalisation of progress.

        Returns:
            NAVSIM's column names to [B, K] tensors; masked candidates get 0. "two_frame_extended_comfort" is there
            where ``previous`` is.

        Raises:
            CraftError: an unknown version, or input that is misshapen.

        """
        if version not in (1, 2):
            raise CraftError(f"version is {version}: give 1 (PDMS) or 2 (EPDMS).")
        p = self.parameters
        parts = []
        for rows in self._pieces(scene, states, mask, grids):
            known = self._know(scene, states, grids, rows, tracks)
            drive, areas = known.drive, known.areas
            loose = areas.several_lanes | areas.off_road
            found = {
                "no_at_fault_collisions": no_at_fault_collision(drive, known.contacts, loose, p),
                "drivable_area_compliance": drivable_area(areas),
                "driving_direction_compliance": navsim_direction(drive, areas, p),
                "time_to_collision_within_bound": navsim_ttc(drive, areas, known.pairs, known.contacts, p),
            }
            multiplier = found["no_at_fault_collisions"] * found["drivable_area_compliance"]
            history = None if past is None else past[rows]
            signals = drive_signals(known.states, known.acceleration, drive.dt, p.lateral_acceleration, history)
            comfort = comfortable(signals, p.comfort).to(states.dtype)
            if version == 1:
                found["comfort"] = comfort
            else:
                found["traffic_light_compliance"] = red_lights(drive)
                multiplier = multiplier * found["driving_direction_compliance"] * found["traffic_light_compliance"]
                _, offset, _ = route_progress(drive.ego, drive.scene.route.to(states.dtype))
                found["lane_keeping"] = lane_keeping(drive, areas, offset, p)
                found["history_comfort"] = comfort
                if previous is not None:
                    before = previous[rows]
                    start = before.new_zeros(len(before))
                    if previous_acceleration is not None:
                        start = previous_acceleration[rows].to(before)
                    found["two_frame_extended_comfort"] = extended_comfort(
                        known.states, before, known.acceleration, start, previous_steps, drive.dt, p.comfort
                    )
            extra = None if reference_progress is None else reference_progress[rows]
            found["ego_progress"] = navsim_progress(known.metres, multiplier, mask[rows], p, version, extra)
            parts.append(found)
        return _joined(parts, mask)

    @torch.no_grad()
    def nuplan(
        self,
        scene: Scene,
        states: Tensor,
        mask: Tensor,
        grids: Sequence[Any],
        tracks: Motion | None = None,
        expert_progress: Tensor | None = None,
        best_as_expert: bool = False,
        limits: Sequence[Any] | Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sub-scores of nuPlan's closed-loop score.

        Args:
            scene: the B visited states.
            states: [B, K, S, 4] tracked states; masked candidates may hold anything finite.
            mask: [B, K] bool, candidates that count.
            grids: ``RoadGrid`` of every town index in the scene.
            tracks: [B, A, S] the others' motion instead of the decay, now first.
            expert_progress: [B] metres of route that the expert gains; None or NaN gives a ratio of 1.
            best_as_expert: where there is no expert, take the most that a candidate gains times its multipliers, so
                that standing still is no perfect drive.
            limits: speed limits as in ``rules.speed_compliance``; without them the speed compliance is left out, as
                nuPlan leaves out a metric that is None.

        Returns:
            nuPlan's metric names to [B, K] tensors; masked candidates get 0.

        Raises:
            CraftError: input that is misshapen.

        """
        p = self.parameters
        parts = []
        for rows in self._pieces(scene, states, mask, grids):
            known = self._know(scene, states, grids, rows, tracks)
            drive, areas = known.drive, known.areas
            fault = at_fault(drive, known.contacts, areas.apart, p)
            signals = drive_signals(known.states, known.acceleration, drive.dt, p.lateral_acceleration)
            found = {
                "no_ego_at_fault_collisions": collision_classes(drive, known.contacts, fault, p),
                "drivable_area_compliance": drivable_area(areas, p.drivable_tolerance),
                "driving_direction_compliance": nuplan_direction(drive, areas, p),
                "time_to_collision_within_bound": nuplan_ttc(drive, areas, known.pairs, known.contacts, fault, p),
                "ego_is_comfortable": comfortable(signals, p.comfort).to(states.dtype),
            }
            expert = None if expert_progress is None else expert_progress[rows].to(known.metres)
            if best_as_expert:
                earned = known.metres * found["no_ego_at_fault_collisions"] * found["drivable_area_compliance"]
                earned = earned * found["driving_direction_compliance"]
                best = earned.masked_fill(~mask[rows], 0.0).amax(-1)
                expert = best if expert is None else torch.where(expert.isnan(), best, expert)
            ratio = nuplan_progress(known.metres, expert, p)
            found["ego_is_making_progress"] = (ratio >= p.making_progress).to(states.dtype)
            found["ego_progress_along_expert_route"] = ratio
            if limits is not None:
                own = limits[rows] if isinstance(limits, Tensor) else limits
                found["speed_limit_compliance"] = speed_compliance(drive, areas, own, p)
            parts.append(found)
        return _joined(parts, mask)

    def plan_progress(self, scene: Scene, plans: Tensor, steps: int) -> Tensor:
        """Metres of route [B] that plans gain, such as the expert's for ``expert_progress``; NaN where they are NaN.

        Args:
            scene: the B visited states.
            plans: [B, T, 3] every 0.1 s in the ego frame.
            steps: of the rollouts; a shorter plan is taken to its end.

        """
        end = plans[:, min(steps, plans.shape[1]) - 1, :2]
        ends = torch.stack([torch.zeros_like(end), end], dim=1)
        arc, _ = project_on_polyline(ends, scene.route.to(ends))
        return torch.where(end.isnan().any(-1), torch.nan, arc[:, 1] - arc[:, 0])

    def _pieces(self, scene: Scene, states: Tensor, mask: Tensor, grids: Sequence[Any]) -> list[slice]:
        """Slices of states with at most ``chunk`` candidates (one state at least)."""
        check_scene(scene)
        check_grids(scene.town, scene.route_lanes, grids)
        if states.shape[:2] != mask.shape or mask.dtype != torch.bool:
            raise CraftError(
                f"mask is {mask.dtype} of shape {list(mask.shape)}: give bool of shape {list(states.shape[:2])}."
            )
        size = max(self.chunk // max(mask.shape[1], 1), 1)
        return [slice(begin, begin + size) for begin in range(0, mask.shape[0], size)]

    def _know(self, scene: Scene, states: Tensor, grids: Sequence[Any], rows: slice, tracks: Motion | None) -> _Known:
        part = scene[rows].to(states.device)
        if tracks is not None:
            tracks = Motion(*(getattr(tracks, field.name)[rows] for field in dataclasses.fields(Motion)))
        drive = Drive.of(part, states[rows], tracks, self.others)
        acceleration = part.ego_motion[:, 1].to(states.dtype)
        areas = road_areas(drive, grids, self.parameters)
        pairs = Pairs.near(drive, max(self.parameters.ttc_window, self.parameters.least_ttc))
        contacts = first_contacts(drive, pairs)
        return _Known(drive, states[rows], areas, pairs, contacts, gained_metres(drive), acceleration)


def _joined(parts: Sequence[dict[str, Tensor]], mask: Tensor) -> dict[str, Tensor]:
    if not parts:
        return {}
    return {name: torch.cat([part[name] for part in parts]) * mask for name in parts[0]}


def chosen_scores(scores: dict[str, Tensor], index: Tensor) -> dict[str, Tensor]:
    """Sub-scores [B] of one candidate a state, ``index`` [B], as the metrics of ``metrics.planner`` take them."""
    return {name: values.gather(1, index[:, None].to(values.device))[:, 0] for name, values in scores.items()}
