"""One driven route as numbers: the record that worlds write and that every metric reads.

Field meanings follow the result files of the CARLA leaderboard and Bench2Drive (one count an infraction list, one
percentage for driving outside the route's lanes); no metric ever reads a message.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, Self

from craft_lightning.errors import CraftError
from craft_lightning.metrics.scores import COUNTED, Variant, driving_score, infraction_score, variant_score

# How a route can end; the wording of the CARLA leaderboard's result files.
COMPLETED, PERFECT = "Completed", "Perfect"
CRASHED = "Failed - Simulation crashed"
COLLIDED = "Failed - Agent collided"  # ours: worlds may end an episode at the first collision
STATUSES = (
    PERFECT,
    COMPLETED,
    "Failed",
    "Failed - Agent timed out",
    "Failed - Agent deviated from the route",
    "Failed - Agent got blocked",
    COLLIDED,
    "Failed - Agent crashed",
    "Failed - Agent couldn't be set up",
    "Failed - Agent's sensors were invalid",
    CRASHED,
    "Failed - TickRuntime",
)
# Infractions that end a route and cost no factor, but do spoil its success.
TERMINAL = ("route_deviation", "vehicle_blocked", "route_timeout")


@dataclasses.dataclass(frozen=True)
class RouteRecord:
    """What happened on one route.

    Args:
        route_id: the route's id in its route file.
        status: how it ended, one of ``STATUSES``.
        route_completion: percent of the route driven, 0 to 100.
        index: position of the route in its suite; metrics count one record an index. -1 = in no suite (training).
        town: the town's name.
        scenario: type of the route's scenario, empty for traffic alone.
        collisions_pedestrian: collisions with pedestrians.
        collisions_vehicle: collisions with vehicles.
        collisions_layout: collisions with anything that never moves.
        red_light: red lights run.
        stop_sign: stop signs run.
        scenario_timeout: scenarios that timed out.
        yield_emergency: failures to let an emergency vehicle pass.
        route_deviation: 1 where leaving the route ended it.
        vehicle_blocked: 1 where standing still ended it.
        route_timeout: 1 where the time limit ended it.
        outside_percent: percent of the driven distance outside the route's lanes, 0 to 100.
        outside_m: the same in metres.
        min_speed: the ego's mean speed in percent of the surrounding traffic's, one value a min-speed event.
        length_m: length of the whole route, metres.
        duration_s: simulated duration, seconds.
        duration_system_s: duration on the clock on the wall, seconds.
        scenario_name: name of the scenario in the route file, e.g. "Accident_1".
        weather_id: the weather's id in the benchmark's list.
        save_name: folder of what else was kept of the route, e.g. its ``metric_info.json``.
        sign_percent: route completion above which the route's first junction is passed (``abilities.sign_percent``);
            -1 = unknown.
        number: rollout number, which with the seed fixes traffic and scenario.
        seed: seed of the episode.
        attempts: how often it was driven until a world finished it.

    Raises:
        CraftError: a value that is not a finite number, out of its range, or an unknown status.

    """

    route_id: str
    status: str
    route_completion: float
    index: int = -1
    town: str = ""
    scenario: str = ""
    collisions_pedestrian: int = 0
    collisions_vehicle: int = 0
    collisions_layout: int = 0
    red_light: int = 0
    stop_sign: int = 0
    scenario_timeout: int = 0
    yield_emergency: int = 0
    route_deviation: int = 0
    vehicle_blocked: int = 0
    route_timeout: int = 0
    outside_percent: float = 0.0
    outside_m: float = 0.0
    min_speed: tuple[float, ...] = ()
    length_m: float = 0.0
    duration_s: float = 0.0
    duration_system_s: float = 0.0
    scenario_name: str = ""
    weather_id: str = ""
    save_name: str = ""
    sign_percent: float = -1.0
    number: int = 0
    seed: int = 0
    attempts: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.route_id, str) or not self.route_id:
            raise CraftError(f"route_id of a route record is {self.route_id!r}; give the id of its route file")
        for name in ("town", "scenario", "scenario_name", "weather_id", "save_name"):
            if not isinstance(getattr(self, name), str):
                raise self._error(name, "give a text")
        if self.status not in STATUSES:
            raise self._error("status", f"give one of: {', '.join(STATUSES)}")
        for name in ("route_completion", "outside_percent"):
            self._number(name, 0.0, 100.0)
        for name in ("outside_m", "length_m", "duration_s", "duration_system_s"):
            self._number(name, 0.0, math.inf)
        self._number("sign_percent", -1.0, math.inf)
        self._percentages("min_speed")
        for name in (*COUNTED, *TERMINAL, "number", "seed"):
            self._integer(name, 0)
        self._integer("index", -1)
        self._integer("attempts", 1)

    def _error(self, name: str, remedy: str) -> CraftError:
        return CraftError(f"route '{self.route_id}': field {name} is {getattr(self, name)!r}; {remedy}")

    def _number(self, name: str, low: float, high: float) -> None:
        try:
            value = float(getattr(self, name))
        except (TypeError, ValueError):
            raise self._error(name, "give a number") from None
        if not (math.isfinite(value) and low <= value <= high):
            raise self._error(name, f"give a finite number in [{low:g}, {high:g}]")
        object.__setattr__(self, name, value)

    def _percentages(self, name: str) -> None:
        """Accept any list of numbers: JSON knows no tuples, and worlds hand over arrays."""
        try:
            values = tuple(float(value) for value in getattr(self, name))
        except (TypeError, ValueError):
            raise self._error(name, "give a list of numbers") from None
        if not all(math.isfinite(value) and value >= 0.0 for value in values):
            raise self._error(name, "give finite numbers of at least 0")
        object.__setattr__(self, name, values)

    def _integer(self, name: str, low: int) -> None:
        value = getattr(self, name)
        # Worlds hand over numpy integers; 2.0 is accepted, 2.5, NaN and "2" are not.
        if isinstance(value, str) or value is None or not math.isfinite(value) or int(value) != value:
            raise self._error(name, "give a whole number")
        if value < low:
            raise self._error(name, f"give a whole number of at least {low}")
        object.__setattr__(self, name, int(value))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a record from its dictionary.

        Raises:
            CraftError: naming the route and the field that is missing, unknown or wrong.

        """
        route = values.get("route_id", "?")
        names = {field.name: field for field in dataclasses.fields(cls)}
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise CraftError(f"route '{route}': a route record has no field '{name}'{hint}")
        for name, field in names.items():
            if field.default is dataclasses.MISSING and name not in values:
                raise CraftError(f"route '{route}': the route record lacks its field '{name}'")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a dictionary of strings and plain Python numbers."""
        return dataclasses.asdict(self)

    @property
    def infraction_score(self) -> float:
        """Bench2Drive's infraction score in [0, 1]."""
        return infraction_score([getattr(self, name) for name in COUNTED], self.outside_percent)

    def variant_score(self, variant: Variant) -> float:
        """Return the infraction score of another leaderboard, in [0, 1]."""
        counts = [getattr(self, name) for name in COUNTED]
        return variant_score(variant, counts, self.outside_percent, self.min_speed)

    @property
    def driving_score(self) -> float:
        """Bench2Drive's driving score in [0, 100]."""
        return driving_score(self.route_completion, self.infraction_score)

    @property
    def success(self) -> bool:
        """Whether the route was completed without any infraction (Bench2Drive's success; speed does not matter)."""
        spotless = self.outside_percent == self.outside_m == 0.0 and not any(
            getattr(self, name) for name in (*COUNTED, *TERMINAL)
        )
        return self.status in (COMPLETED, PERFECT) and spotless
