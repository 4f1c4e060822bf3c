"""Something stands in the ego's lane: an accident, a construction site, a broken-down car; with oncoming traffic, too.

The ego has to leave its lane: for the neighbour lane, or in the two-way forms for a gap in the oncoming traffic.
"""

import dataclasses

import py_trees

from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Scenario, When
from craft_lightning.simulation.scenarios.movers import EgoPast, Flow, until
from craft_lightning.simulation.scenarios.parameters import KMH, interval, number, side
from craft_lightning.simulation.scenarios.tracks import against, along, beside, free_lane

_CONE = ("static.prop.constructioncone", "static.prop.trafficcone01")
_SIGN = ("static.prop.trafficwarning",)
_BOARD = ("static.prop.warningconstruction", "static.prop.streetbarrier")
_TRIANGLE = ("static.prop.warningaccident", "static.prop.trafficcone01")


@dataclasses.dataclass(frozen=True)
class Piece:
    """One thing of an obstacle.

    Args:
        what: part of ``cast.draw``, or models of a prop in order of preference.
        along: metres of route behind the obstacle's beginning.
        aside: share of half the lane's width that it stands off the centre, towards ``direction``.
        turn: radians counter-clockwise.

    """

    what: str | tuple[str, ...]
    along: float
    aside: float
    turn: float = 0.0


LAYOUTS: dict[str, tuple[Piece, ...]] = {
    "Accident": (Piece("police", 0.0, 0.35), Piece("car", 8.5, 0.25, 0.35), Piece("car", 14.5, 0.45, -0.2)),
    "ConstructionObstacle": (
        Piece(_BOARD, 0.0, 0.6),
        Piece(_CONE, 2.5, 0.55),
        Piece(_CONE, 4.5, 0.2),
        Piece(_SIGN, 8.0, 0.1),
        *(Piece(_CONE, 10.5 + 2.5 * number, -0.1) for number in range(5)),
        Piece(_CONE, 23.0, 0.5),
    ),
    "ParkedObstacle": (Piece(_TRIANGLE, 0.0, 0.5), Piece("car", 7.0, 0.4)),
}
"""What stands there, by the scenario type without ``TwoWays``."""

_TWO_WAYS = "TwoWays"
_PASSED = 12.0  # metres behind the obstacle at which it is over
_SIGHT = 62.0  # metres from the ego at which the first oncoming vehicle appears at the least


class ObstacleAhead(Scenario):
    """An obstacle blocks more than half of the ego's lane.

    Parameters, as in Bench2Drive's route files: ``distance`` metres from the trigger point to the obstacle,
    ``direction`` side of the lane on which it stands (right), ``speed`` km/h of the traffic in the lane beside (one
    way), ``frequency`` metres between two oncoming vehicles, from and to (two ways).

    It stands from the beginning, and ends when the ego is past it. The traffic beside or against is finite: after 10
    to 16 seconds no more comes, so that whoever waits gets through. Drawn from the seed: models, that time, gaps, how
    far off the centre everything stands.
    """

    life = 90.0
    permits = frozenset({"opposite_lane", "shoulder"})

    def prepare(self) -> None:
        """Put everything in place."""
        stage, config = self.stage, self.config
        self.two_ways = config.type.endswith(_TWO_WAYS)
        kind = config.type.removesuffix(_TWO_WAYS)
        distance = number(config, "distance", 45.0)
        self.side = side(config)
        self.speed = number(config, "speed", 50.0) * KMH
        self.gap = interval(config, "frequency", (40.0, 120.0))
        self.lasting = float(stage.rng.uniform(10.0, 16.0))
        shift = float(stage.rng.uniform(-0.1, 0.1))
        self.place = min(stage.trigger + distance, stage.end - 20.0)
        self.length = 0.0
        for piece in LAYOUTS[kind]:
            place = self.place + piece.along
            left = self.side * 1.75 * (piece.aside + shift)
            if isinstance(piece.what, str):
                actor = cast.stand(stage, piece.what, place, left, piece.turn)
                if actor is not None and (piece.what == "police" or kind == "ParkedObstacle"):
                    cast.flash(actor)
            else:
                actor = cast.put(stage, piece.what, place, left, piece.turn)
            if actor is not None:
                self.length = max(self.length, piece.along + 2.5)

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: traffic beside or against until the ego is past."""
        stage = self.stage
        past = EgoPast(stage, min(self.place + self.length + _PASSED, stage.end - 6.0))
        over = When("ego past", stage, past)
        flow = self._oncoming() if self.two_ways else self._overtaking()
        return over if flow is None else until("traffic until the ego is past", over, flow)

    def _oncoming(self) -> Flow | None:
        stage = self.stage
        way = against(stage, self.place, 150.0, 70.0)
        if way is None:
            return None
        speed = min(float(way.route.speed_limit[0]), 10.0)
        # Metres of track from its beginning to the nearest place where a vehicle may appear.
        reach = along(way, *stage.pose(stage.trigger + _SIGHT)[:2])
        return Flow(stage, way, self.gap, speed, self.lasting, max(reach, 0.0))

    def _overtaking(self) -> Flow | None:
        """Return a few vehicles in the lane beside, on the side away from the obstacle; none where there is no lane."""
        stage = self.stage
        left = free_lane(stage, self.place, -self.side)
        if left is None:
            return None
        begin = stage.trigger - 40.0
        if begin < 5.0:
            return None
        way = beside(stage, (begin, min(self.place + 100.0, stage.end)), (left, left))
        limit = stage.speed_limit(stage.trigger)
        return Flow(stage, way, (35.0, 80.0), min(self.speed, limit), 0.5 * self.lasting, 2.0)


TYPES: dict[str, type[Scenario]] = {
    **dict.fromkeys(LAYOUTS, ObstacleAhead),
    **{f"{kind}{_TWO_WAYS}": ObstacleAhead for kind in LAYOUTS},
}
