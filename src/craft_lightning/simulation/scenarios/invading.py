"""InvadingTurn: oncoming vehicles cut a bend and come over into the ego's lane."""

import py_trees

from craft_lightning.roads.cross_section import CrossSections, oncoming
from craft_lightning.simulation.scenarios import cast
from craft_lightning.simulation.scenarios.base import Scenario, When
from craft_lightning.simulation.scenarios.movers import EgoPast, Flow, until
from craft_lightning.simulation.scenarios.parameters import number
from craft_lightning.simulation.scenarios.tracks import against, along

_CONE = ("static.prop.constructioncone", "static.prop.trafficcone01")
_HALF_WIDTH = 0.97  # metres, of an ordinary car
_SOURCE = 30.0  # metres behind the bend from which they come


class InvadingTurn(Scenario):
    """Oncoming cars drive with their left wheels in the ego's lane, past cones that narrow theirs; the ego makes room.

    Parameters, as in Bench2Drive's route files: ``distance`` metres from the trigger point to the end of the stretch,
    ``offset`` metres by which they come over. A centred car of ordinary width would still clear those few decimetres:
    0.45 to 0.6 metres, drawn from the seed, come on top, which leaves less than the room beside a centred ego and more
    than enough beside one that keeps to its right.

    They look at nobody. The first is beyond the stretch when the ego is at the trigger point; more come every 30 to 50
    metres until the ego is past, 20 seconds at most.
    """

    life = 45.0

    def prepare(self) -> None:
        """Put the cones out."""
        stage, config, rng = self.stage, self.config, self.stage.rng
        self.distance = number(config, "distance", 100.0)
        self.over = number(config, "offset", 0.25) + float(rng.uniform(0.45, 0.6))
        self.place = min(stage.trigger + self.distance, stage.end - 5.0)
        if stage.network is None:
            return
        sections = CrossSections.of(stage.network)
        for share in (0.35, 0.5, 0.65, 0.8):
            s = stage.trigger + share * self.distance
            strip = oncoming(sections.at(*stage.pose(s))) if s < stage.end else None
            if strip is not None:
                cast.put(stage, _CONE, s, strip.left + 0.45 * strip.width)

    def trigger_condition(self) -> bool:
        """Whether the ego is at the trigger point."""
        return self.stage.ego_s >= self.stage.trigger

    def story(self) -> py_trees.behaviour.Behaviour:
        """Return: the invaders, until the ego is past the stretch."""
        stage = self.stage
        over = When("ego past", stage, EgoPast(stage, self.place))
        strip = None
        if stage.network is not None:
            strip = oncoming(CrossSections.of(stage.network).at(*stage.pose(0.5 * (stage.trigger + self.place))))
        if strip is None:
            return over
        # Their left side is to be ``over`` metres beyond the edge of their own lane.
        aside = 0.5 * strip.width + self.over - _HALF_WIDTH
        way = against(
            stage, 0.5 * (stage.trigger + self.place), 0.5 * self.distance + _SOURCE, 0.5 * self.distance + 20.0, -aside
        )
        if way is None:
            return over
        speed = min(float(way.route.speed_limit[0]), 9.0)
        first = along(way, *stage.pose(stage.ego_s + max(0.7 * self.distance, 35.0))[:2])
        return until("invaders", over, Flow(stage, way, (30.0, 50.0), speed, 20.0, max(first, 1.0), heed=False))


TYPES: dict[str, type[Scenario]] = {"InvadingTurn": InvadingTurn}
