"""Junctions put together from their arms: which lane may go where, and who waits for whom."""

import math
from collections.abc import Sequence

from craft_lightning.roads.towns.plan import CROSSWALK, SIGNAL, STOP, Arm, Junction, Movement, Road

_TURN = math.radians(35.0)
# Ways that turn back more sharply than this do not exist.
_BACK = math.radians(150.0)


def crossing(name: str, arms: Sequence[Arm], crosswalks: bool = False) -> Junction:
    """Return a junction at which every arm leads to every other one.

    Left turns use the innermost lanes, right turns the outermost ones, traffic straight on keeps its lane.

    Args:
        name: name of the junction.
        arms: its arms.
        crosswalks: whether pedestrians cross the arms.

    """
    movements = []
    for source in arms:
        targets = [arm for arm in arms if arm.road is not source.road and arm.lanes(False)]
        if source.lanes(True) and targets:
            movements += _ways(source, targets, CROSSWALK[1] if crosswalks else 0.0)
    controls = {arm.control for arm in arms}
    kind = "traffic_light" if SIGNAL in controls else "priority_stop" if STOP in controls else "priority"
    return Junction(name, tuple(arms), tuple(movements), kind, crosswalks)


def _ways(source: Arm, targets: list[Arm], straight: float) -> list[Movement]:
    lanes = source.lanes(True)
    turns = {id(arm): Movement(source, (lanes[0],), arm, (arm.lanes(False)[0],)).turn for arm in targets}
    targets = [arm for arm in targets if abs(turns[id(arm)]) <= _BACK]
    ways = []
    for target in targets:
        out = target.lanes(False)
        turn = turns[id(target)]
        if abs(turn) <= _TURN or len(targets) == 1:
            count = min(len(lanes), len(out))
            one, other = lanes[:count], out[:count]
        elif turn > 0:
            one, other = lanes[:1], out[:1]
        else:
            one, other = lanes[-1:], out[-1:]
        # The way at the right-hand kerb takes the shoulder along.
        if (
            turn == min(turns[id(arm)] for arm in targets)
            and turn <= _TURN
            and one[-1:] + other[-1:] == lanes[-1:] + out[-1:]
        ):
            edge = _shoulder(source, True), _shoulder(target, False)
            if edge[0] and edge[1]:
                one, other = [*one, *edge[0]], [*other, *edge[1]]
        ways.append(Movement(source, tuple(one), target, tuple(other), straight))
    return ways


def added_lane(name: str, before: Road, after: Road) -> Junction:
    """Return the place where a lane begins on the right of a one-way road; its traffic comes from the lane beside it.

    Args:
        name: name of the junction.
        before: the road with n lanes.
        after: the road with n + 1 lanes.

    """
    source, target = Arm(before, True), Arm(after, False)
    through = tuple(source.lanes(True))
    wide = _with_shoulder(target, False)
    last = _with_shoulder(source, True)[len(through) - 1 :]
    ways = (Movement(source, through, target, through), Movement(source, last, target, wide[len(through) :]))
    return Junction(name, (source, target), ways)


def ending_lane(name: str, before: Road, after: Road) -> Junction:
    """Return the place where the right-most lane of a one-way road ends and its traffic merges to the left."""
    source, target = Arm(before, True), Arm(after, False)
    through = tuple(target.lanes(False))
    wide = _with_shoulder(source, True)
    last = _with_shoulder(target, False)[len(through) - 1 :]
    ways = (Movement(source, through, target, through), Movement(source, wide[len(through) :], target, last))
    return Junction(name, (source, target), ways, kind="zipper")


def leaving_lane(name: str, before: Road, after: Road, ramp: Road) -> Junction:
    """Return the place where the right-most lane of ``before`` becomes a ramp and the others go on."""
    source, target, leaving = Arm(before, True), Arm(after, False), Arm(ramp, False)
    through = tuple(target.lanes(False))
    last = _with_shoulder(source, True)[len(through) :]
    out = _with_shoulder(leaving, False)
    ways = (Movement(source, through, target, through), Movement(source, last, leaving, out))
    return Junction(name, (source, target, leaving), ways)


def joining_lane(name: str, before: Road, ramp: Road, after: Road) -> Junction:
    """Return the place where a ramp becomes the right-most lane of ``after``, beside the lanes of ``before``."""
    source, joining, target = Arm(before, True), Arm(ramp, True), Arm(after, False)
    through = tuple(source.lanes(True))
    last = _with_shoulder(target, False)[len(through) :]
    out = _with_shoulder(joining, True)
    ways = (Movement(source, through, target, through), Movement(joining, out, target, last))
    return Junction(name, (source, joining, target), ways)


def _with_shoulder(arm: Arm, arriving: bool) -> tuple[int, ...]:
    """Return the driving lanes and the shoulder to their right, where there is one."""
    return (*arm.lanes(arriving), *_shoulder(arm, arriving))


def _shoulder(arm: Arm, arriving: bool) -> list[int]:
    beyond = arm.lanes(arriving)[-1] + 1
    strips = arm.strips(arriving)
    return [beyond] if beyond < len(strips) and strips[beyond].type == "shoulder" else []
