"""A protocol's rules, translated into the plain numbers that worlds judge by."""

import dataclasses
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.metrics.protocols import Rules, protocol_rules

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

    """

    name: str = ""
    criteria: dict[str, Any] = dataclasses.field(default_factory=dict)
    ignore_stop_sign_at_origin: bool = False
    clear_blocking_after: float = 0.0


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
    )


def named_rules(protocol: str, episode: dict[str, Any]) -> Rules | None:
    """Return the rules of ``data.protocol``, None where it is empty.

    Args:
        protocol: the field.
        episode: ``data.episode``, which must not set what the protocol sets.

    Raises:
        CraftError: an unknown protocol (the sentence names the closest), or a limit set twice.

    """
    if not protocol:
        return None
    try:
        rules = protocol_rules(protocol)
    except CraftError as error:
        raise CraftError(f"data.protocol: {error}") from error
    twice = sorted(set(episode) & set(judging(rules).criteria))
    if twice:
        raise CraftError(
            f"data.episode.{twice[0]} is set by data.protocol={protocol}; leave one of the two out (an empty "
            "data.protocol judges by limits of your own)"
        )
    return rules
