"""A protocol's rules, translated into the plain numbers that worlds judge by."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from craft_lightning.errors import CraftError
from craft_lightning.metrics.protocols import Rules, protocol_rules

if TYPE_CHECKING:
    from craft_lightning.roads.routes import RouteConfig, ScenarioConfig

# Limits that carry the same name in a protocol's rules and in the criteria of a world.
_SAME = (
    "end_on_collision",
    "blocked_seconds",
    "timeout_base",
    "timeout_per_metre",
    "min_collision_speed",
    "collision_memory",
    "collision_distance",
    "deviation_distance",
    "deviation_far",
    "deviation_share",
    "min_speed_checkpoints",
    "min_speed_always",
    "scenario_timeout",
    "yield_emergency",
)


@dataclasses.dataclass(frozen=True)
class Judging:
    """How routes are judged and driven to their end.

    Args:
        name: name of the protocol; "" = the house's own limits, under which the shipped recipe was measured.
        criteria: fields of ``simulation.criteria.CriteriaParameters``.
        ignore_stop_sign_at_origin: leave out Town07's phantom stop sign.
        clear_blocking_after: seconds of standing after which background vehicles that block the ego are removed; 0 =
            never.
        bicycle_flow_range: metres before the ego's crossing within which bicycles of a flow appear, None = anywhere.
        speed_caps: route id -> speed that the flows of its scenarios have at most, m/s.

    """

    name: str = ""
    criteria: dict[str, Any] = dataclasses.field(default_factory=dict)
    ignore_stop_sign_at_origin: bool = False
    clear_blocking_after: float = 0.0
    bicycle_flow_range: tuple[float, float] | None = None
    speed_caps: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def prescribed(self, route: "RouteConfig") -> "RouteConfig":
        """Return a route as the protocol has it driven: the same way, with its scenarios' parameters patched."""
        scenarios = tuple(self._patched(route.id, scenario) for scenario in route.scenarios)
        if all(old is new for old, new in zip(route.scenarios, scenarios, strict=True)):
            return route
        return dataclasses.replace(route, scenarios=scenarios)

    def _patched(self, route: str, scenario: "ScenarioConfig") -> "ScenarioConfig":
        patches: dict[str, Any] = {}
        cap, given = self.speed_caps.get(route), scenario.parameters.get("flow_speed")
        if cap is not None and given is not None:
            patches["flow_speed"] = min(float(given), cap)
        if self.bicycle_flow_range is not None and scenario.type == "CrossingBicycleFlow":
            nearest, farthest = self.bicycle_flow_range
            patches["spawn_range"] = {"from": nearest, "to": farthest}
        if not patches:
            return scenario
        return dataclasses.replace(scenario, parameters={**scenario.parameters, **patches})


# Blocking traffic goes when this share of the time is over that a route may stand.
_CLEAR_SHARE = 2.0 / 3.0


def judging(rules: Rules | None) -> Judging:
    """Return how a protocol judges; None = the house's own limits."""
    if rules is None:
        return Judging()
    criteria: dict[str, Any] = {name: getattr(rules, name) for name in _SAME}
    criteria |= {"leaderboard": True, "timeout_share": rules.timeout_share or 0.0, "tick_cap": rules.tick_cap or 0}
    return Judging(
        name=rules.name,
        criteria=criteria,
        ignore_stop_sign_at_origin=rules.ignore_stop_sign_at_origin,
        clear_blocking_after=_CLEAR_SHARE * rules.blocked_seconds if rules.clear_blocking_traffic else 0.0,
        bicycle_flow_range=rules.bicycle_flow_range,
        speed_caps=rules.speed_caps,
    )


SUITE_PROTOCOL = "bench2drive-star"


def named_rules(protocol: str, episode: dict[str, Any], suite: str = "") -> Rules | None:
    """Return the rules of ``data.protocol``; where it is empty, those of ``data.suite``, None without either.

    Args:
        protocol: the field.
        episode: ``data.episode``, which must not set what the protocol sets.
        suite: ``data.suite``, which is judged by ``SUITE_PROTOCOL`` unless a protocol is named.

    Raises:
        CraftError: an unknown protocol (the sentence names the closest), or a limit set twice.

    """
    if not (protocol or suite):
        return None
    named = f"data.protocol={protocol}" if protocol else f"data.suite={suite} (judged by {SUITE_PROTOCOL})"
    try:
        rules = protocol_rules(protocol or SUITE_PROTOCOL)
    except CraftError as error:
        raise CraftError(f"data.protocol: {error}") from error
    twice = sorted(set(episode) & set(judging(rules).criteria))
    if twice:
        own = "an empty data.protocol judges" if protocol else "routes given as data.eval_routes are judged"
        raise CraftError(
            f"data.episode.{twice[0]} is set by {named}; leave one of the two out ({own} by limits of your own)"
        )
    tick = float(episode.get("tick_seconds", rules.tick_seconds))
    if tick != rules.tick_seconds:
        raise CraftError(
            f"data.episode.tick_seconds is {tick:g}, but {named} is defined at ticks of {rules.tick_seconds:g} s; "
            "leave one of the two out"
        )
    return rules
