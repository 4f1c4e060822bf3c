"""What all episodes of a world share: the car, the clock and the limits; ``data.episode`` in a recipe."""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from craft_lightning.conventions import TICK_SECONDS, TICKS_PER_DECISION
from craft_lightning.errors import CraftError
from craft_lightning.simulation.clock import ticks_in_a_step
from craft_lightning.simulation.criteria_parameters import CriteriaParameters
from craft_lightning.simulation.episode_spec import EpisodeSpec
from craft_lightning.simulation.stage import DEFAULT_EGO

LONGEST_DECISION = 4.0  # seconds: what a plan of 40 poses describes


class _Range(NamedTuple):
    least: float
    most: float
    unit: str


_RANGES = {
    "ticks_per_decision": _Range(0, 400, "ticks"),
    "settle_ticks": _Range(1, 1000, "ticks"),
    "blocked_seconds": _Range(1.0, 1e6, "seconds"),
    "timeout_base": _Range(1.0, 1e6, "seconds"),
    "timeout_share": _Range(0.0, 10.0, "times the speed limit"),
    "offroute_distance": _Range(0.1, 1e4, "metres"),
    "stop_zone": _Range(0.0, 100.0, "metres"),
    "go_zone": _Range(0.0, 100.0, "metres"),
}


@dataclasses.dataclass(frozen=True)
class EpisodeOptions:
    """What all episodes of a world share.

    Args:
        ego: blueprint of the ego; only for the default one, a server that lacks it may take its first car.
        tick_seconds: simulated seconds of a tick: 0.05, or another from 0.01 to 0.1 that 0.1 s is a multiple of. Longer
            ticks cost less and show contacts and lights less finely; protocols are defined at 0.05 s.
        ticks_per_decision: ticks that one decision spans, up to 4 s; 0 = those of half a second.
        settle_ticks: ticks between spawning and the first observation.
        blocked_seconds: standing this long ends the episode.
        timeout_base: seconds every route is given.
        timeout_share: further time: the route's length at this share of its speed limit; 0 = none.
        offroute_distance: metres from the route above which a decision counts as off it.
        stop_zone: metres before a red light's line in which the ego must stand.
        go_zone: metres before a green light's line in which the ego must drive.

    Raises:
        CraftError: a value of another kind, or outside its range.

    """

    ego: str = DEFAULT_EGO
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
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), field.default)
        ticks_in_a_step(self.tick_seconds)
        if self.ticks_per_decision == 0:
            half_a_second = round(TICK_SECONDS * TICKS_PER_DECISION / self.tick_seconds)
            object.__setattr__(self, "ticks_per_decision", half_a_second)
        seconds = self.ticks_per_decision * self.tick_seconds
        if seconds > LONGEST_DECISION:
            raise CraftError(
                f"data.episode.ticks_per_decision is {self.ticks_per_decision}: {seconds:g} s of {self.tick_seconds:g} "
                f"s a tick, but a plan ends after {LONGEST_DECISION:g} s; give "
                f"{math.floor(LONGEST_DECISION / self.tick_seconds + 1e-9)} or fewer, or 0 for half a second"
            )

    def changed(self) -> dict[str, Any]:
        """Return the options that differ from the defaults, but for the lengths of ticks and decisions."""
        clock = ("tick_seconds", "ticks_per_decision")
        fields = [field for field in dataclasses.fields(self) if field.name not in clock]
        return {field.name: getattr(self, field.name) for field in fields if getattr(self, field.name) != field.default}

    def criteria(self, spec: EpisodeSpec) -> CriteriaParameters:
        """Return the criteria's limits of an episode."""
        names = {field.name for field in dataclasses.fields(CriteriaParameters)}
        shared = {name: value for name, value in dataclasses.asdict(self).items() if name in names}
        # As many a second as the leaderboard passes in its ticks, and never fewer a tick.
        waypoints = CriteriaParameters.waypoints_a_tick
        shared["waypoints_a_tick"] = math.ceil(waypoints * max(self.tick_seconds / TICK_SECONDS, 1.0))
        return CriteriaParameters(**{"end_on_collision": spec.end_on_collision, **shared, **spec.rules})


def episode_options(episode: Mapping[str, Any]) -> EpisodeOptions:
    """Return the options that ``data.episode`` gives.

    Raises:
        CraftError: a name that there is not (the sentence names the closest), or a value that does not fit.

    """
    known = [field.name for field in dataclasses.fields(EpisodeOptions)]
    for name in episode:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            meant = f"did you mean {close[0]}? There are" if close else "there are"
            raise CraftError(f"data.episode has no '{name}'; {meant} {', '.join(known)}")
    return EpisodeOptions(**episode)


def _check(name: str, value: Any, default: Any) -> None:
    """Refuse a value that is not of the default's kind, or outside the option's range."""
    if isinstance(default, str):
        if not (isinstance(value, str) and value):
            raise CraftError(f"data.episode.{name} is {value!r}; give a name such as {default}")
        return
    whole = isinstance(default, int)
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if name not in _RANGES:
        if not fits:
            raise CraftError(f"data.episode.{name} is {value!r}; give a number such as {default:g}")
        return
    least, most, unit = _RANGES[name]
    if not fits or not least <= value <= most:  # not a number is not in between
        kind = "a whole number" if whole else "a number"
        raise CraftError(
            f"data.episode.{name} is {value!r}; give {kind} of {unit} from {least:g} to {most:g}, such as {default:g}"
        )
