"""Assembles suites over several towns: one scenario a route, every scenario type equally often, two suites disjoint."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.route import Route
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.sites import Finder, Site

LENGTH = (200.0, 250.0)  # metres of a route
# Two routes of a type lie apart by more than this on average, as long as the towns have room for it ...
_APART = (12.0, 5.0, 1.0)
# ... and a training route begins or ends this far from every evaluation route (the leak guard asks for 5).
_ENDS_APART = 8.0
_TRIES = 400  # draws in one town before a wish is dropped there
_SPACINGS = (30.0, 14.0, 8.0)  # metres between waypoints: the first that leads the same way is taken
_SAME_WAY = 1.0  # metres by which the way through the waypoints may differ from the site's


@dataclasses.dataclass(frozen=True)
class Ground:
    """A town in which routes are laid.

    Args:
        network: its lanes.
        planner: finds the way through waypoints.

    """

    network: RoadNetwork
    planner: RoutePlanner

    @classmethod
    def of(cls, network: RoadNetwork) -> "Ground":
        """Return the ground of a town."""
        return cls(network, RoutePlanner(network))


@dataclasses.dataclass(frozen=True, eq=False)
class _Ends:
    """Where a route begins and ends: [2, 2] world frame, metres."""

    town: str
    places: np.ndarray


@dataclasses.dataclass
class _Laid:
    """A route that was chosen."""

    kind: str
    town: str
    outline: np.ndarray
    site: Site
    waypoints: np.ndarray


class Assembler:
    """Draws sites until every scenario type has its share.

    Args:
        grounds: town -> ground.
        finders: scenario type -> finder of its sites.
        seed: seed of all draws.

    """

    def __init__(self, grounds: Mapping[str, Ground], finders: Mapping[str, Finder], seed: int) -> None:
        self.grounds, self.finders, self.seed = dict(grounds), dict(finders), seed

    def assemble(
        self,
        evaluation: int,
        training: int,
        trained: Sequence[RouteConfig] = (),
        judged: Sequence[RouteConfig] = (),
    ) -> tuple[list[RouteConfig], list[RouteConfig]]:
        """Return an evaluation suite and a training suite that share no way.

        Args:
            evaluation: routes of each type; all of them are needed.
            training: routes of each type, as far as the towns have room.
            trained: further training routes, which evaluation shuns.
            judged: further evaluation routes, which training shuns.

        Raises:
            CraftError: a type has no room for its evaluation routes.

        """
        shunned = [_Ends(route.town, route.waypoints[[0, -1], :2]) for route in trained]
        judging = {kind: self._lay(kind, evaluation, 0, shunned, []) for kind in self.finders}
        short = {kind: len(laid) for kind, laid in judging.items() if len(laid) < evaluation}
        if short:
            kind, count = next(iter(short.items()))
            raise CraftError(
                f"the towns {', '.join(self.grounds)} have room for {count} routes of {kind}, not for {evaluation}; "
                "add a town, or mend its finder"
            )
        taken = [_Ends(laid.town, laid.outline[[0, -1]]) for routes in judging.values() for laid in routes]
        taken += [_Ends(route.town, route.waypoints[[0, -1], :2]) for route in judged]
        learning = {kind: self._lay(kind, training, 1, taken, judging[kind]) for kind in self.finders}
        return _suite(judging, 1000), _suite(learning, 5000)

    def _lay(self, kind: str, count: int, stream: int, taken: "Sequence[_Ends]", same: Sequence[_Laid]) -> list[_Laid]:
        """Lay routes of one type, in each town in turn.

        Args:
            kind: the type.
            count: how many.
            stream: number of the suite, so that suites draw differently.
            taken: where routes that are shunned begin and end.
            same: routes of this type in the other suite.

        """
        rng = np.random.default_rng([self.seed, zlib.crc32(kind.encode()), stream])
        laid: list[_Laid] = []
        for apart in _APART:
            towns = [str(town) for town in rng.permutation(list(self.grounds))]
            while towns and len(laid) < count:
                for town in list(towns):
                    found = self._draw(kind, town, apart, rng, taken, [*same, *laid])
                    if found is None:
                        towns.remove(town)
                    elif len(laid) < count:
                        laid.append(found)
        return laid

    def _draw(
        self,
        kind: str,
        town: str,
        apart: float,
        rng: np.random.Generator,
        taken: "Sequence[_Ends]",
        same: Sequence[_Laid],
    ) -> _Laid | None:
        ground = self.grounds[town]
        others = np.array([laid.outline for laid in same if laid.town == town]).reshape(-1, 16, 2)
        shunned = np.array([ends.places for ends in taken if ends.town == town]).reshape(-1, 2, 2)
        for _ in range(_TRIES):
            site = self.finders[kind](ground.network, rng)
            if site is None or not LENGTH[0] <= site.route.length <= LENGTH[1]:
                continue
            outline = site.route.at(np.linspace(0.0, site.route.length, 16))[:, :2]
            if len(others) and np.linalg.norm(others - outline, axis=2).mean(1).min() < apart:
                continue
            gaps = np.linalg.norm(shunned - outline[[0, -1]], axis=2)
            if len(gaps) and (gaps.max(1) < _ENDS_APART).any():
                continue
            waypoints = _waypoints(site, ground.planner, town)
            if waypoints is not None:
                return _Laid(kind, town, outline, site, waypoints)
        return None


def _waypoints(site: Site, planner: RoutePlanner, town: str) -> np.ndarray | None:
    """Return as few points [N, 3] as lead the same way, None where none of the spacings does."""
    route = site.route
    for spacing in _SPACINGS:
        rows = np.rint(np.linspace(0.0, len(route.s) - 1, max(2, round(route.length / spacing) + 1))).astype(int)
        # Centimetres, as route files keep them: a route read back has the same fingerprint.
        points = np.round(np.column_stack([route.xy[rows], route.z[rows]]), 2)
        try:
            found = planner.plan_route(RouteConfig("draft", town, points))
        except CraftError:
            continue
        if _same_way(route, found):
            return points
    return None


def _same_way(wanted: Route, found: Route) -> bool:
    if abs(wanted.length - found.length) > 2.0 * _SAME_WAY:
        return False
    count = min(len(wanted.s), len(found.s))
    along = np.linspace(0.0, 1.0, count)
    gap = wanted.at(along * wanted.length)[:, :2] - found.at(along * found.length)[:, :2]
    return bool(np.hypot(gap[:, 0], gap[:, 1]).max() < _SAME_WAY)


def _suite(laid: Mapping[str, Sequence[_Laid]], first: int) -> list[RouteConfig]:
    """Return the routes in rounds of all types, so that the front of a suite is a small suite itself."""
    rounds = max(len(routes) for routes in laid.values())
    order = [routes[turn] for turn in range(rounds) for routes in laid.values() if turn < len(routes)]
    return [
        RouteConfig(str(first + number), one.town, one.waypoints, (one.site.scenario,))
        for number, one in enumerate(order)
    ]
