"""The numbers that criteria judge by; a protocol is a set of them."""

import dataclasses

VERDICTS = ("scenario_timeout", "yield_emergency")
"""What scenarios judge themselves; a protocol counts them or not."""


@dataclasses.dataclass(frozen=True)
class CriteriaParameters:
    """Limits of the criteria; the defaults are the house's own rules (training, and the shipped recipe's comparison).

    Args:
        end_on_collision: the first collision ends the episode (training, Bench2Drive*).
        leaderboard: judge by the letter of the CARLA leaderboard: its filter of collisions, its OutsideRouteLanes, a
            time-out that grows along the route, a share far from the route measured along it. Otherwise collisions are
            filtered by kind, outside is off the drivable area by 0.5 m or against the traffic, and the time is given at
            the start.
        blocked_seconds: standing (under 0.1 m/s) this long ends the episode; 60 in Bench2Drive, 180 in leaderboard 2.
        timeout_base: seconds every route is given; 300 in the leaderboards.
        timeout_share: further time, the route's length at this share of its mean speed limit; 0.1 in the leaderboards,
            0 = none.
        timeout_per_metre: further seconds a metre of route (leaderboard 1.0, which cuts the sum to whole seconds).
        tick_cap: ticks after which the episode ends as "Failed - TickRuntime"; 0 = never.
        min_collision_speed: contacts slower than this are ignored, m/s.
        collision_memory: seconds in which the same actor does not count again.
        collision_distance: metres from the last collision within which none counts.
        deviation_distance: metres from the route that end it.
        deviation_far: metres from the route that count as far.
        deviation_share: share of the route driven so far away that ends it.
        waypoints_a_tick: waypoints, a metre apart, that can be passed in one tick.
        min_speed_checkpoints: parts of the route in which the ego's speed is compared with the traffic's; 0 = none.
        min_speed_always: keep every comparison, not only those below 100 %.
        scenario_timeout: count scenarios that timed out.
        yield_emergency: count emergency vehicles that were not let past.
        offroad_margin: metres a corner may lie outside the drivable area.
        offroute_distance: metres of the centre from the route above which a decision counts as off its route.
        stop_zone: metres before a red light's line in which the ego must stand.
        go_zone: metres before a green light's line in which the ego must drive.

    """

    end_on_collision: bool = True
    leaderboard: bool = False
    blocked_seconds: float = 60.0
    timeout_base: float = 60.0
    timeout_share: float = 0.25
    timeout_per_metre: float = 0.0
    tick_cap: int = 0
    min_collision_speed: float = 0.1
    collision_memory: float = 5.0
    collision_distance: float = 5.0
    deviation_distance: float = 30.0
    deviation_far: float = 15.0
    deviation_share: float = 0.3
    waypoints_a_tick: int = 2
    min_speed_checkpoints: int = 0
    min_speed_always: bool = False
    scenario_timeout: bool = False
    yield_emergency: bool = False
    offroad_margin: float = 0.2
    offroute_distance: float = 4.0
    stop_zone: float = 1.0
    go_zone: float = 15.0
