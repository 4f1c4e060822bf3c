"""Plain data round an episode: which one it is, what all of a world share, what a decision led to."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_lightning.conventions import TICK_SECONDS, TICKS_PER_DECISION
from craft_lightning.errors import CraftError
from craft_lightning.simulation.clock import ticks_in_a_step
from craft_lightning.simulation.criteria import CriteriaParameters, Incident
from craft_lightning.simulation.stage import SUMO, TRAFFIC_SOURCES

if TYPE_CHECKING:
    from craft_lightning.roads.routes import RouteConfig

_WAYPOINTS = CriteriaParameters.waypoints_a_tick


@dataclasses.dataclass(frozen=True)
class EpisodeSpec:
    """Which episode: equal specifications give equal episodes.

    Args:
        route: the route with its scenarios.
        number: rollout number.
        seed: seed of traffic and scenarios.
        vehicles: vehicles of the background traffic.
        walkers: pedestrians of the background traffic.
        end_on_collision: end at the first collision.
        expert: let the expert plan at every visited state (``StepResult.expert_plan``).
        rules: fields of ``criteria.CriteriaParameters`` that differ from the world's, as a protocol prescribes.
        ignore_stop_sign_at_origin: leave out a stop sign at the map's origin (Town07 has a phantom there).
        clear_blocking_after: seconds of standing after which background vehicles that stand in the ego's way are
            removed; 0 = never.
        record_motion: record the ego's motion of every tick (``StepResult.motion``).
        traffic: who drives the background vehicles, ``sumo`` or ``traffic_manager`` (CARLA's own, which is not
            deterministic: equal specifications then do not give equal episodes).

    """

    route: "RouteConfig"
    number: int = 0
    seed: int = 0
    vehicles: int = 20
    walkers: int = 10
    end_on_collision: bool = True
    expert: bool = False
    rules: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ignore_stop_sign_at_origin: bool = False
    clear_blocking_after: float = 0.0
    record_motion: bool = False
    traffic: str = SUMO

    def __post_init__(self) -> None:
        if self.traffic not in TRAFFIC_SOURCES:
            raise CraftError(f"traffic is '{self.traffic}'; choose {' or '.join(TRAFFIC_SOURCES)}")


@dataclasses.dataclass(frozen=True)
class EpisodeOptions:
    """What all episodes of a world share.

    Args:
        ego: blueprint of the ego; where the server lacks it, its first car.
        town_index: index of the town's road grid in scenes.
        tick_seconds: simulated seconds of a tick: 0.05, or another that 0.1 s is a multiple of. Longer ticks cost less
            and show contacts and lights less finely; protocols are defined at 0.05 s.
        ticks_per_decision: ticks that one decision spans; 0 = those of half a second.
        settle_ticks: ticks between spawning and the first observation.
        blocked_seconds: standing this long ends the episode.
        timeout_base: seconds every route is given.
        timeout_share: further time: the route's length at this share of its speed limit.
        offroute_distance: metres from the route above which a decision counts as off it.
        stop_zone: metres before a red light's line in which the ego must stand.
        go_zone: metres before a green light's line in which the ego must drive.

    """

    ego: str = "vehicle.lincoln.mkz_2020"
    town_index: int = 0
    tick_seconds: float = TICK_SECONDS
    ticks_per_decision: int = 0
    settle_ticks: int = 4
    blocked_seconds: float = CriteriaParameters.blocked_seconds
    timeout_base: float = CriteriaParameters.timeout_base
    timeout_share: float = CriteriaParameters.timeout_share
    offroute_distance: float = CriteriaParameters.offroute_distance
    stop_zone: float = CriteriaParameters.stop_zone
    go_zone: float = CriteriaParameters.go_zone

    def __post_init__(self) -> None:
        ticks_in_a_step(self.tick_seconds)
        if self.ticks_per_decision < 0 or self.settle_ticks < 1:
            raise CraftError(
                "episode.ticks_per_decision must not be negative and episode.settle_ticks at least 1; correct them"
            )
        if self.ticks_per_decision == 0:
            half_a_second = round(TICK_SECONDS * TICKS_PER_DECISION / self.tick_seconds)
            object.__setattr__(self, "ticks_per_decision", half_a_second)

    def criteria(self, spec: EpisodeSpec) -> CriteriaParameters:
        """Return the criteria's limits of an episode."""
        names = {field.name for field in dataclasses.fields(CriteriaParameters)}
        shared = {name: value for name, value in dataclasses.asdict(self).items() if name in names}
        # As many a second as the leaderboard passes in its ticks, and never fewer a tick.
        shared["waypoints_a_tick"] = math.ceil(_WAYPOINTS * max(self.tick_seconds / TICK_SECONDS, 1.0))
        return CriteriaParameters(**{"end_on_collision": spec.end_on_collision, **shared, **spec.rules})


@dataclasses.dataclass
class StepResult:
    """What a decision led to, numpy only.

    Attributes:
        observation: fields of ``structures.Observation`` at the state reached; ``sensors`` with a rig, until done.
        scene: fields of ``structures.Scene`` at the state reached.
        events: [len(EVENTS)] float32, 0 or 1, what happened during the decision.
        done: whether the episode has ended.
        record: fields of a ``metrics.records.RouteRecord`` where done, else None.
        expert_plan: [40, 3] float32 ego frame, the expert's plan from the state reached, where it was asked for.
        incidents: what went wrong during the decision.
        motion: [ticks, len(recorder.COLUMNS)] where done and asked for, else None.

    """

    observation: dict[str, Any]
    scene: dict[str, np.ndarray]
    events: np.ndarray
    done: bool
    record: dict[str, Any] | None
    expert_plan: np.ndarray | None
    incidents: list[Incident]
    motion: np.ndarray | None = None
