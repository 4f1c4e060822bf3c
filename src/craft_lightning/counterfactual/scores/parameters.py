"""Every constant of the planner scores of NAVSIM and nuPlan."""

import dataclasses
import math

from craft_lightning.errors import CraftError


@dataclasses.dataclass(frozen=True)
class ComfortBounds:
    """nuPlan's six bounds of a comfortable drive, open intervals, and NAVSIM's four of extended comfort, closed.

    Args:
        min_longitudinal: m/s2.
        max_longitudinal: m/s2.
        lateral: m/s2.
        yaw_acceleration: rad/s2.
        yaw_rate: rad/s.
        longitudinal_jerk: m/s3.
        jerk: m/s3, of the magnitude of the acceleration.
        change_acceleration: m/s2, root mean square difference between two plans.
        change_jerk: m/s3, likewise.
        change_yaw_rate: rad/s, likewise.
        change_yaw_acceleration: rad/s2, likewise.

    """

    min_longitudinal: float = -4.05
    max_longitudinal: float = 2.40
    lateral: float = 4.89
    yaw_acceleration: float = 1.93
    yaw_rate: float = 0.95
    longitudinal_jerk: float = 4.13
    jerk: float = 8.37
    change_acceleration: float = 0.7
    change_jerk: float = 0.5
    change_yaw_rate: float = 0.1
    change_yaw_acceleration: float = 0.1


@dataclasses.dataclass(frozen=True)
class ScoreParameters:
    """Thresholds of the sub-scores; the defaults are those of NAVSIM 2.2 and of nuPlan's closed-loop metrics.

    Args:
        stopped_speed: m/s at or below which the ego or a track stands when they collide.
        ttc_stopped_speed: m/s below which no time to collision is asked for (nuPlan: at or below).
        ahead_degrees: a track is ahead within this angle of the heading, seen from the rear axle.
        behind_degrees: a track is behind beyond this angle.
        ttc_window: seconds that NAVSIM looks ahead (not reached: 0.9 s is the last look).
        ttc_stride: seconds between two looks.
        least_ttc: seconds of time to collision that nuPlan wants more than.
        direction_window: seconds over which metres in the wrong direction are added up; both ends count, so that 1 s
            holds eleven steps of 0.1 s.
        direction_compliance: metres below which the direction is kept.
        direction_violation: metres from which on it is not.
        progress_threshold: metres; where no proposal gains more, all progress counts as full (NAVSIM).
        lane_deviation: metres from the route's centre line beyond which a lane is not kept.
        lane_seconds: seconds in a row that lose it.
        drivable_tolerance: metres that nuPlan lets a corner out of the drivable area; NAVSIM lets none.
        making_progress: share of the expert's progress that counts as making progress (nuPlan).
        least_progress: metres, the least that the ego's and the expert's progress count as; less than minus this is 0.
        overspeed: m/s above the limit all the time that make the speed compliance 0 (nuPlan).
        objects_allowed: collisions with objects at which the score is not 0 yet (nuPlan).
        wrong_way_degrees: angle to the lane beyond which it counts as an oncoming one, for scenes without route lanes.
        skip_first_contacts: NAVSIM passes over tracks that overlap the ego in the visited state.
        lateral_acceleration: take speed times yaw rate as the lateral acceleration. NAVSIM and nuPlan do not: their
            bicycle has none, so that the bound on it never bites and the jerk is that of the longitudinal part.
        comfort: bounds of comfort.

    """

    stopped_speed: float = 0.05
    ttc_stopped_speed: float = 0.005
    ahead_degrees: float = 30.0
    behind_degrees: float = 150.0
    ttc_window: float = 1.0
    ttc_stride: float = 0.3
    least_ttc: float = 0.95
    direction_window: float = 1.0
    direction_compliance: float = 2.0
    direction_violation: float = 6.0
    progress_threshold: float = 5.0
    lane_deviation: float = 0.5
    lane_seconds: float = 2.0
    drivable_tolerance: float = 0.3
    making_progress: float = 0.2
    least_progress: float = 0.1
    overspeed: float = 2.23
    objects_allowed: int = 1
    wrong_way_degrees: float = 120.0
    skip_first_contacts: bool = True
    lateral_acceleration: bool = False
    comfort: ComfortBounds = dataclasses.field(default_factory=ComfortBounds)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0.0):
                raise CraftError(f"ScoreParameters.{field.name} is {value}: give it 0 or more in the recipe.")
        if not self.ttc_stride > 0.0 or not self.overspeed > 0.0 or not self.least_progress > 0.0:
            raise CraftError("ScoreParameters: ttc_stride, overspeed and least_progress must be above 0.")
