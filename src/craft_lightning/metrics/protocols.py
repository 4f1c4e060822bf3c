"""Evaluation protocols by name: how a route is judged, when it ends, and what its score is made of.

A number is only as good as its protocol, so that each is one row of one table and its name is stamped into every
result. Sources: Thinklab-SJTU/Bench2Drive@7ec25d1 and carla-simulator/leaderboard, branches leaderboard-1.0, -2.0 and
-2.1. Bench2Drive* is the protocol of CRAFT (arXiv 2605.04470): Bench2Drive with six patches.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from craft_lightning.errors import CraftError

OWN_LIMITS = "own-limits"
"""Stands for a protocol where a run was judged by limits of its own."""
FORMULAS_OF_OWN_LIMITS = "bench2drive"
"""Whose formulas score such a run."""

VariantName = Literal["lb1.0", "lb2.0", "lb2.1", "b2d"]
AbilityFormula = Literal["0.0.3", "0.0.4"]


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a protocol prescribes. Limits are in seconds, metres and metres a second.

    Args:
        name: name of the protocol, as stamped into results.
        variant: formula and coefficients of the driving score, a key of ``scores.VARIANTS``.
        ability: formula of the Traffic_Signs ability, or None where the protocol knows no abilities.
        suite_size: routes of the protocol's own suite, the denominator of its published scores; None = those given.
        tick_cap: ticks of ``tick_seconds`` after which a route ends as "Failed - TickRuntime", or None.
        tick_seconds: length of a tick that ``tick_cap`` counts.
        blocked_seconds: standing (under 0.1 m/s) this long ends the route.
        timeout_base: seconds every route is given.
        timeout_per_metre: further seconds a metre of route; where there are any, the sum is cut to whole seconds.
        timeout_share: further time, the route at this share of its mean speed limit; None = no such term.
        end_on_collision: whether the first collision ends the route.
        min_collision_speed: collisions of an ego slower than this are ignored.
        collision_memory: a collision with the same actor is ignored this many seconds.
        collision_distance: a collision is ignored within these metres of the last one.
        min_speed_checkpoints: places along the route where the ego's speed is compared with the traffic's; 0 = never.
        min_speed_always: whether a comparison is an event whatever it says, or only below 100 %.
        scenario_timeout: whether scenarios that time out are events.
        yield_emergency: whether failing to let an emergency vehicle pass is an event.
        deviation_distance: farther from the route than this ends it.
        deviation_far: metres from the route that count as far ...
        deviation_share: ... and the share of the route that may be driven so far away.
        clear_blocking_traffic: whether background vehicles that block the road are removed.
        bicycle_flow_range: least and greatest metres before the place where the ego crosses a flow of bicycles at which
            they may appear; None = anywhere on their way.
        speed_caps: route id -> speed that the flows of its scenarios have at most, m/s.
        ignore_stop_sign_at_origin: whether Town07's stop sign at the map's origin is ignored.

    """

    name: str
    variant: VariantName
    ability: AbilityFormula | None = None
    suite_size: int | None = None
    tick_cap: int | None = None
    tick_seconds: float = 0.05
    blocked_seconds: float = 180.0
    timeout_base: float = 300.0
    timeout_per_metre: float = 0.0
    timeout_share: float | None = 0.1
    end_on_collision: bool = False
    min_collision_speed: float = 0.1
    collision_memory: float = 5.0
    collision_distance: float = 5.0
    min_speed_checkpoints: int = 4
    min_speed_always: bool = False
    scenario_timeout: bool = True
    yield_emergency: bool = True
    deviation_distance: float = 30.0
    deviation_far: float = 15.0
    deviation_share: float = 0.3
    clear_blocking_traffic: bool = False
    bicycle_flow_range: tuple[float, float] | None = None
    speed_caps: Mapping[str, float] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    ignore_stop_sign_at_origin: bool = False

    @property
    def time_cap(self) -> float | None:
        """Seconds after which a route ends as "Failed - TickRuntime", or None."""
        return None if self.tick_cap is None else self.tick_cap * self.tick_seconds

    def route_timeout(self, length: float, speed_limit: float) -> float:
        """Return the seconds that a route is given.

        Args:
            length: its length, metres.
            speed_limit: mean speed limit along it, m/s.

        """
        slow = 0.0 if self.timeout_share is None else length / max(self.timeout_share * speed_limit, 0.1)
        given = self.timeout_base + self.timeout_per_metre * length
        return (math.floor(given) if self.timeout_per_metre else given) + slow

    def to_dict(self) -> dict[str, Any]:
        """Return the rules as plain values for a result file."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**values, "speed_caps": dict(self.speed_caps)}


_BENCH2DRIVE = Rules(
    "bench2drive",
    "b2d",
    ability="0.0.3",
    suite_size=220,
    tick_cap=4000,
    blocked_seconds=60.0,
    min_speed_checkpoints=20,
    min_speed_always=True,
)
_STAR = dataclasses.replace(
    _BENCH2DRIVE,
    name="bench2drive-star",
    end_on_collision=True,
    # The paper says shorter, and names a range, without numbers; these are ours.
    timeout_base=60.0,
    timeout_share=0.25,
    clear_blocking_traffic=True,
    bicycle_flow_range=(10.0, 40.0),
    speed_caps=MappingProxyType({"3749": 12.0}),
    ignore_stop_sign_at_origin=True,
)
PROTOCOLS: Mapping[str, Rules] = {
    rules.name: rules
    for rules in (
        _BENCH2DRIVE,
        dataclasses.replace(_BENCH2DRIVE, name="bench2drive-0.0.4", ability="0.0.4"),
        _STAR,
        dataclasses.replace(_STAR, name="bench2drive-star-0.0.4", ability="0.0.4"),
        Rules(
            "leaderboard-1.0",
            "lb1.0",
            # 0.8 s a metre and 5 s, cut to whole seconds (route_scenario.py of the branch, 2165f5e).
            timeout_base=5.0,
            timeout_per_metre=0.8,
            timeout_share=None,
            min_speed_checkpoints=0,
            scenario_timeout=False,
            yield_emergency=False,
        ),
        Rules("leaderboard-2.0", "lb2.0"),
        Rules("leaderboard-2.1", "lb2.1"),
    )
}
# Spellings that mean a row of the table.
ALIASES = {"bench2drive-0.0.3": "bench2drive", "bench2drive*": "bench2drive-star"}


def protocol_rules(name: str, ability: AbilityFormula | None = None) -> Rules:
    """Return the rules of a protocol.

    Args:
        name: a key of ``PROTOCOLS`` or ``ALIASES``.
        ability: "0.0.3" or "0.0.4" replaces the protocol's own ability formula.

    Raises:
        CraftError: an unknown name, with the closest one, or an unknown formula.

    """
    rules = PROTOCOLS.get(ALIASES.get(name, name))
    if rules is None:
        near = difflib.get_close_matches(str(name).lower(), [*PROTOCOLS, *ALIASES], n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise CraftError(f"there is no protocol '{name}'{hint} (use one of: {', '.join(PROTOCOLS)})")
    if ability is None:
        return rules
    if ability not in ("0.0.3", "0.0.4"):
        raise CraftError(f"ability formula '{ability}' of protocol '{name}' is unknown; use '0.0.3' or '0.0.4'")
    base = rules.name.removesuffix("-0.0.4")
    return PROTOCOLS.get(base if ability == "0.0.3" else f"{base}-0.0.4", dataclasses.replace(rules, ability=ability))
