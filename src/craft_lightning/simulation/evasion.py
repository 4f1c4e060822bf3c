"""How the expert leaves its lane: round what stands in it, round slow cyclists, out of an emergency vehicle's way."""

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_VEHICLE
from craft_lightning.roads.cross_section import CrossSections, Strip, oncoming
from craft_lightning.simulation.feeders import Feeders
from craft_lightning.simulation.path_frame import Boxes, boxes_along
from craft_lightning.simulation.prediction import LanePaths, line_state
from craft_lightning.simulation.reference_path import ReferencePath
from craft_lightning.simulation.view import LIGHT_RED, LIGHT_YELLOW, WorldView

if TYPE_CHECKING:
    from craft_lightning.roads.network import RoadNetwork

_KEPT = 0.45  # metres beside what is passed, a cyclist more
_KEPT_CYCLIST = 0.9
_EDGE = 0.1  # metres from the ego's side to the edge of the road
_STOOD = 5.0  # seconds after which a vehicle that stands counts as an obstacle
_QUEUE = 22.0  # metres before a light or a junction in which standing means queueing
_SLOW = 4.5  # m/s below which a cyclist is overtaken
_SIGHT = 60.0  # metres ahead at which an obstacle is dealt with
_CLUSTER = 22.0  # metres between two obstacles that are passed in one go
_WAIT = 11.0  # metres before an obstacle at which the ego waits for its chance: room to swing out
_PASSING = 7.5  # m/s that is driven beside an obstacle
_EXIT = 8.4  # metres in which the ego leaves a parking place: about the tightest line that a car can follow
_ENTRY = 5.0  # seconds that somebody who comes is away when the ego leaves a parking place
_RESERVE = 1.5  # seconds kept to oncoming traffic
_LOOK, _ROOM = 150.0, 60.0  # metres: how far lanes are looked along; how much of one is needed to make way
_TOP = 14.5  # m/s; faster than that is fast on any road, for the expert does not drive as fast
_HURRY = 1.03  # share of the limit above which somebody behind is in a hurry


@dataclasses.dataclass(frozen=True)
class Detour:
    """Where the ego leaves the route for, and until where.

    Attributes:
        low: metres of path where what is passed begins; ``high`` where it ends.
        high: metres.
        left: metres to the left of the route.
        against: whether that is on the oncoming lane.
        forced: it has begun and can no longer be called off.

    """

    low: float
    high: float
    left: float
    against: bool
    forced: bool = False


class Evasion:
    """Decides where to drive beside the route; the speed along the line remains the expert's.

    Args:
        network: the town.
        path: the expert's line; its lateral shift is set here.

    Attributes:
        wait_at: metres of path that the ego's front must not pass while there is no chance to go round, else inf.
        reason: in words, "" where the ego keeps to its route.
        squeeze_until: metres of path up to which the ego passes parked cars closely, out of its parking place.

    """

    def __init__(self, network: "RoadNetwork", path: ReferencePath) -> None:
        self.wait_at = math.inf
        self.reason = ""
        self.squeeze_until = -math.inf
        self._sections = CrossSections.of(network)
        self._lanes = LanePaths.of(network)
        self._feeders = Feeders(network)
        self._junction = np.asarray(network.lane_junction, bool)
        self._path = path
        self._stood: dict[int, float] = {}  # actor -> since when it stands
        self._detour: Detour | None = None
        self._aside = 0.0  # metres to the left that are held for somebody who passes
        self._aside_until = -math.inf

    def look(self, view: WorldView, start: float, going: Collection[int] = ()) -> bool:
        """Decide anew.

        Args:
            view: a complete view with an ego.
            start: metres of path of the ego's centre.
            going: ids of those who are known to drive on, however long they stand.

        Returns:
            Whether the line has changed.

        """
        self._remember(view, going)
        self.wait_at, self.reason = math.inf, ""
        boxes = boxes_along(self._path.base, self._path.s, view, start - 60.0, start + 260.0)
        before = self._path.knots
        if self._stay_parked(view, boxes, start):
            return self._path.knots != before
        if not self._go_round(view, boxes, start):
            self._make_way(view, boxes, start)
        return self._path.knots != before

    def _remember(self, view: WorldView, going: Collection[int]) -> None:
        standing = {int(actor) for actor in view.ids[np.hypot(view.vx, view.vy) < 0.3]}.difference(going)
        self._stood = {actor: self._stood.get(actor, view.time) for actor in standing}

    def _stay_parked(self, view: WorldView, boxes: Boxes, start: float) -> bool:
        """Wait beside the road for a gap in the traffic of the lane to enter; return whether the ego waits."""
        x, y, _ = view.ego_pose
        px, py, heading = self._path.base_pose(start)
        left = (y - py) * math.cos(heading) - (x - px) * math.sin(heading)
        if abs(left) < 2.3 or view.ego_speed > 1.5 or self._path.knots:
            return False
        front, half = (0.5 * side for side in view.ego_box)
        for row in range(len(boxes.actor)):
            if boxes.right[row] > half + 0.3 or boxes.left[row] < -half - 0.3 or boxes.facing[row] < 0.3:
                continue
            behind = start - front - float(boxes.high[row])
            coming = max(float(boxes.pace[row]), 0.0)
            if behind < 4.0 + _ENTRY * coming and boxes.low[row] < start + front + 6.0:
                self.wait_at, self.reason = start + front, "wait"
                return True
        # A line that stays where it is: one drawn anew from the ego would move on with it, into the car in front.
        self._path.shift([(start, left), (start + _EXIT, 0.0)])
        self.squeeze_until = start + 2.0 * _EXIT
        return False

    # -- what stands or is slow ------------------------------------------------------------------------------------

    def _go_round(self, view: WorldView, boxes: Boxes, start: float) -> bool:
        """Plan the way round the next obstacle; return whether there is one."""
        front, half = (0.5 * side for side in view.ego_box)
        chosen = self._obstacles(view, boxes, start, half, front)
        if not len(chosen):
            if self._detour is not None:
                self._detour = None
                self._return(start)
            return False
        speed = max(view.ego_speed, 0.0)
        low, high = float(boxes.low[chosen[0]]), float(boxes.high[chosen[0]])
        group = [int(chosen[0])]
        for row in chosen[1:].tolist():
            if boxes.low[row] < high + _CLUSTER:
                group.append(row)
                high = max(high, float(boxes.high[row]))
        pace = float(np.max(boxes.pace[group]))
        kept = _KEPT_CYCLIST if pace > 0.3 else _KEPT
        if pace > 0.3:  # they ride on meanwhile
            seconds = (high + front + 4.0 - start) / max(_PASSING - pace, 2.0)
            high += min(pace * seconds, 50.0)
        leftmost, rightmost = float(np.max(boxes.left[group])), float(np.min(boxes.right[group]))
        detour = self._side(view, start, low, high, leftmost + half + kept, rightmost - half - kept, half)
        if detour is None:
            return True  # no way round; the expert stops behind it
        # No way back once it is at the obstacle, or out of its lane near it: who stops there stands in everybody's way.
        near = start + front > low - 4.0 or (start + front > low - 15.0 and abs(self._path.shift_at(start)) > 0.9)
        forced = self._detour is not None and (self._detour.forced or near)
        if forced or self._free(view, boxes, detour, start, speed, half, front, set(group)):
            self._detour = dataclasses.replace(detour, forced=forced)
            self.reason = "against" if detour.against else "round"
            self._swing(detour, start, speed, front)
        else:
            self._detour = None
            self._return(start)
            self.wait_at = max(low - _WAIT, start + front)
            self.reason = "wait"
        return True

    def _obstacles(self, view: WorldView, boxes: Boxes, start: float, half: float, front: float) -> np.ndarray:
        """Return the rows of ``boxes`` that have to be passed, nearest first."""
        found = []
        held = 0.0 if self._detour is None else 1.0  # what is being passed remains an obstacle
        for row in range(len(boxes.actor)):
            margin = (0.1 if boxes.static[row] else 0.3) + 0.4 * held
            if boxes.right[row] > half + margin or boxes.left[row] < -half - margin:
                continue
            if boxes.high[row] < start - front - 1.0 or boxes.low[row] > start + front + _SIGHT:
                continue
            if boxes.cyclist[row]:
                if boxes.pace[row] > _SLOW or boxes.facing[row] < 0.5:
                    continue
            elif boxes.walker[row]:
                continue
            elif not boxes.static[row]:
                since = self._stood.get(int(boxes.actor[row]), math.inf)
                if view.time - since < _STOOD or self._queueing(view, float(boxes.high[row])):
                    continue
            found.append(row)
        return np.array(sorted(found, key=lambda row: float(boxes.low[row])), np.int64)

    def _queueing(self, view: WorldView, place: float) -> bool:
        """Whether somebody who stands there may be waiting for a light, or to enter a junction."""
        for line, signals in self._path.lines:
            if -3.0 < line - place < 2.0 * _QUEUE and line_state(view, signals) in (LIGHT_RED, LIGHT_YELLOW):
                return True
        x, y, yaw = self._path.base_pose(place + 0.5 * _QUEUE)
        return any(self._junction[one.lane] for one in self._sections.at(x, y, yaw, 2.0) if one.same)

    def _side(
        self, view: WorldView, start: float, low: float, high: float, left: float, right: float, half: float
    ) -> Detour | None:
        """Return the better of passing on the left and on the right, None where the road is too narrow for both."""
        middle = 0.5 * (low + min(high, low + 40.0))
        strips = self._sections.at(*self._path.base_pose(middle))
        own_right, own_left = own_edges(strips)
        options: list[tuple[float, Detour]] = []
        if left <= own_left - half - _EDGE:
            options.append((abs(left), Detour(low, high, snapped(left, strips, own_left, half), False)))
        if right >= own_right + half + _EDGE:
            options.append((abs(right) + 0.2, Detour(low, high, snapped(right, strips, own_right, half), False)))
        facing = against_edge(strips, own_left)
        if left <= facing - half - _EDGE:
            options.append((abs(left) + 10.0, Detour(low, high, left, True)))
        shoulder = min((one.left - 0.5 * one.width for one in strips if not one.driving), default=math.inf)
        if shoulder <= right - half and right < 0.0:
            options.append((abs(right) + 20.0, Detour(low, high, right, False)))
        if self._detour is not None and options:
            # Who has begun on one side stays there.
            kept = [one for one in options if one[1].left * self._detour.left > 0.0]
            options = kept or options
        return min(options, key=lambda one: one[0])[1] if options else None

    def _free(
        self,
        view: WorldView,
        boxes: Boxes,
        detour: Detour,
        start: float,
        speed: float,
        half: float,
        front: float,
        group: set[int],
    ) -> bool:
        """Whether nobody will be where the detour leads."""
        if abs(detour.left) < 0.7 and not detour.against:
            return True
        end = detour.high + front + 8.0
        seconds = passing_time(end - start, speed)
        if detour.against and self._comes(view, end, seconds):
            return False
        for row in range(len(boxes.actor)):
            if row in group or boxes.walker[row] or boxes.static[row]:
                continue
            if boxes.right[row] > detour.left + half + 0.4 or boxes.left[row] < detour.left - half - 0.3:
                continue
            pace, stood = float(boxes.pace[row]), int(boxes.actor[row]) in self._stood
            if boxes.facing[row] < -0.3:
                if boxes.high[row] < start - front:
                    continue
                coming = 3.0 if stood else max(abs(pace), 5.0)
                if boxes.low[row] < end + coming * (seconds + _RESERVE) + 4.0:
                    return False
            elif boxes.low[row] > start + front:
                # Ahead in the lane beside: it must not stand where one wants to pass, and not be much slower.
                if boxes.low[row] < end and pace < 0.5:
                    return False
                if boxes.low[row] - start - front < 3.0 + 1.5 * max(speed - pace, 0.0):
                    return False
            else:
                closing = max(pace - speed, 0.0)
                gap = start - front - float(boxes.high[row])
                if gap < 4.0 + 2.0 * closing and boxes.high[row] > start - 60.0:
                    return False
        return True

    def _comes(self, view: WorldView, end: float, seconds: float) -> bool:
        """Whether somebody on the lanes that lead into the oncoming one will be at ``end`` metres of path too soon."""
        strip = oncoming(self._sections.at(*self._path.base_pose(end)))
        if strip is None:
            return False
        reach = self._feeders.to(strip.lane, strip.s)
        rows = np.flatnonzero((view.kind == AGENT_VEHICLE) | (view.kind == AGENT_CYCLIST))
        rows = rows[rows != view.ego]
        lanes, along, _ = self._lanes.locate(view.x[rows], view.y[rows], view.yaw[rows])
        for row, lane, place in zip(rows.tolist(), lanes.tolist(), along.tolist(), strict=True):
            if lane not in reach:
                continue
            gap = reach[lane] - place - 0.5 * float(view.length[row])
            coming = 3.0 if int(view.ids[row]) in self._stood else max(float(view.speed[row]), 5.0)
            if -5.0 < gap < coming * (seconds + _RESERVE) + 4.0:
                return True
        return False

    def _swing(self, detour: Detour, start: float, speed: float, front: float) -> None:
        """Draw the line of a detour."""
        now = self._path.shift_at(start)
        change = abs(detour.left - now)
        ramp = min(max(2.2 * speed + 2.5 * change, 9.0), 40.0)
        full = max(detour.low - front - 1.0, start + 3.0)
        begin = max(min(full - ramp, full - 3.0), start)
        back = detour.high + front + 1.0
        if full > begin and abs(now - detour.left) > 0.1:
            knots = [(begin, now), (full, detour.left)]
        else:
            knots = [(start - 1.0, detour.left)]
        back = max(back, knots[-1][0] + 1.0)
        self._path.shift([*knots, (back, detour.left), (back + 2.2 * max(speed, 5.0) + 2.5 * abs(detour.left), 0.0)])

    def _return(self, start: float) -> None:
        """Go back to the route from where the line is now."""
        now = self._path.shift_at(start)
        self._path.shift([(start, now), (start + 14.0 + 3.0 * abs(now), 0.0)] if abs(now) > 0.05 else [])

    # -- those who move --------------------------------------------------------------------------------------------

    def _make_way(self, view: WorldView, boxes: Boxes, start: float) -> None:
        """Leave the lane to somebody in a hurry behind, or room to somebody who comes over from ahead."""
        front, half = (0.5 * side for side in view.ego_box)
        wanted = self._for_hurry(boxes, start, half, front, max(view.ego_speed, 0.0))
        if wanted is None:
            wanted = self._for_invader(boxes, start, half, front)
        if wanted is not None:
            self._aside_until = view.time + 1.5
            arrived = abs(wanted) > 1.5 and abs(self._path.shift_at(start) - wanted) < 0.2
            if abs(wanted - self._aside) > 0.1 or arrived:  # arrived: the lane may go on farther than was seen
                self._aside = wanted
                self._hold(start, wanted, max(view.ego_speed, 0.0))
            self.reason = "aside"
        elif self._aside and view.time > self._aside_until:
            self._aside = 0.0
            self._return(start)

    def _hold(self, start: float, left: float, speed: float) -> None:
        now = self._path.shift_at(start)
        ramp = min(max(2.2 * speed + 2.5 * abs(left - now), 10.0), 40.0)
        knots = [(start, now), (start + ramp, left)]
        if abs(left) > 1.5:  # as far as there is a lane
            end = max(self._lane_end(start, left) - 6.0, start + ramp + 2.0)
            back = max(end - 2.2 * max(speed, 5.0) - 8.0, start + ramp + 1.0)
            knots += [(back, left), (max(end, back + 8.0), 0.0)]
        self._path.shift(knots)

    def _lane_end(self, start: float, left: float) -> float:
        """Return the metres of path up to which a driving lane of the own direction lies ``left`` of the route."""
        for s in np.arange(start, start + _LOOK, 5.0).tolist():
            strips = self._sections.at(*self._path.base_pose(s))
            if not any(one.driving and one.same and abs(one.left - left) < 0.8 for one in strips):
                return s
        return start + _LOOK

    def _for_hurry(self, boxes: Boxes, start: float, half: float, front: float, speed: float) -> float | None:
        """Return the metres to the left of a free lane beside, where somebody fast is behind or passing."""
        limit = min(float(np.interp(start, self._path.s, self._path.speed_limit)), _TOP)
        passing = self._aside != 0.0 and abs(self._aside) > 1.5
        hurry = False
        for row in range(len(boxes.actor)):
            if boxes.cyclist[row] or boxes.walker[row] or boxes.facing[row] < 0.7:
                continue
            centre = 0.5 * (boxes.left[row] + boxes.right[row])
            behind = start - front - float(boxes.high[row])
            fast = boxes.pace[row] > max(_HURRY * limit, speed + 2.0)
            close = behind < 12.0 and boxes.pace[row] > max(0.5 * limit, speed - 1.0) and passing
            if abs(centre) < 1.5 and -12.0 - 2.0 * front < behind < 55.0 and (fast or close):
                hurry = True
        if not hurry:
            return None
        if passing:
            return self._aside
        strips = self._sections.at(*self._path.base_pose(start + 15.0))
        beside = [one for one in strips if one.driving and one.same and 2.0 < abs(one.left) < 5.0]
        for strip in sorted(beside, key=lambda one: one.left):  # the right-hand lane first
            there = Detour(start, start + 20.0, strip.left, False)
            if self._lane_end(start, strip.left) < start + _ROOM:
                continue
            if self._lane_free(boxes, there, start, speed, half, front):
                return strip.left
        return None

    def _lane_free(self, boxes: Boxes, detour: Detour, start: float, speed: float, half: float, front: float) -> bool:
        for row in range(len(boxes.actor)):
            if boxes.right[row] > detour.left + half + 0.3 or boxes.left[row] < detour.left - half - 0.3:
                continue
            ahead = float(boxes.low[row]) - start - front
            behind = start - front - float(boxes.high[row])
            pace = float(boxes.pace[row])
            if ahead < 4.0 + 1.5 * max(speed - pace, 0.0) and behind < 4.0 + 2.0 * max(pace - speed, 0.0):
                return False
        return True

    def _for_invader(self, boxes: Boxes, start: float, half: float, front: float) -> float | None:
        """Return the metres (negative: to the right) that leave room for who comes over from the oncoming lane."""
        wanted = 0.0
        for row in range(len(boxes.actor)):
            if boxes.facing[row] > -0.5 or boxes.pace[row] > -2.0:
                continue
            gap = float(boxes.low[row]) - start - front
            side = float(boxes.right[row])
            if -12.0 < gap < 65.0 and -0.6 < side < half + 0.35:
                wanted = min(wanted, side - half - 0.65)
        if wanted >= 0.0:
            return None
        strips = self._sections.at(*self._path.base_pose(start + 10.0))
        edge, _ = own_edges(strips)
        paved = min((one.left - 0.5 * one.width for one in strips if not one.driving and one.left < 0.0), default=edge)
        return max(wanted, min(edge, paved) + half + _EDGE)


def own_edges(strips: Sequence[Strip]) -> tuple[float, float]:
    """Return the right and the left edge of the driving lanes of the own direction, metres to the left of the route."""
    right, left = -1.5, 1.5
    own = [one for one in strips if one.driving and one.same]
    for one in sorted(own, key=lambda strip: abs(strip.left)):
        inner = abs(one.left) - 0.5 * one.width
        if one.left >= 0.0 and inner < left + 0.8:
            left = max(left, one.left + 0.5 * one.width)
        if one.left <= 0.0 and inner < -right + 0.8:
            right = min(right, one.left - 0.5 * one.width)
        if abs(one.left) < 1.0:
            left, right = max(left, one.left + 0.5 * one.width), min(right, one.left - 0.5 * one.width)
    return right, left


def against_edge(strips: Sequence[Strip], own_left: float) -> float:
    """Return the far edge of the first oncoming lane next to the own ones, -inf where there is none."""
    facing = [one for one in strips if one.driving and not one.same and one.left > 0.0]
    facing = [one for one in facing if abs(one.left - 0.5 * one.width - own_left) < 1.0]
    return max((one.left + 0.5 * one.width for one in facing), default=-math.inf)


def snapped(left: float, strips: Sequence[Strip], edge: float, half: float) -> float:
    """Return a place at least as far aside as ``left``: in the middle of a lane where it is mostly in that one."""
    if abs(left) < 0.8:
        return left
    own = [one for one in strips if one.driving and one.same and one.left * left > 0.0 and abs(one.left) > 1.5]
    for one in sorted(own, key=lambda strip: abs(strip.left)):
        if abs(one.left) >= abs(left):
            return one.left
    limit = abs(edge) - half - _EDGE
    return math.copysign(min(abs(left), limit), left)


def passing_time(distance: float, speed: float) -> float:
    """Return the seconds that ``distance`` metres take from ``speed`` m/s with 1.8 m/s2 up to ``_PASSING``."""
    top, rate = _PASSING, 1.8
    speed = min(speed, top)  # swinging out and in takes the surplus away
    gather = (top * top - speed * speed) / (2.0 * rate)
    if gather >= distance:
        return (math.sqrt(speed * speed + 2.0 * rate * distance) - speed) / rate
    return (top - speed) / rate + (distance - gather) / top
