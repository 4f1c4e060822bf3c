import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.conventions import AGENT_WALKER
from craft_lightning.simulation.lookout import Lookout, nearby, touching, until_touching
from craft_lightning.simulation.stage import spawn_traffic, wheelbase_of

EGO = (0.0, 0.0, 0.3, 5.0)


def beside(forward, left, turn=0.0):
    """Return a car at a place of the ego frame of EGO."""
    cos, sin = math.cos(EGO[2]), math.sin(EGO[2])
    return (forward * cos - left * sin, forward * sin + left * cos, EGO[2] + turn, 0.0)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (beside(4.9, 0.0), True),  # 0.1 m ahead of the bumper
        (beside(5.1, 0.0), False),
        (beside(0.0, 2.1), True),
        (beside(0.0, -2.3), False),
        (beside(3.4, 0.0, math.pi / 2), True),  # across: half a length and half a width
        (beside(3.7, 0.0, math.pi / 2), False),
        (beside(-4.9, 0.0), True),
    ],
)
def test_touching(make_view, other, expected):
    assert touching(make_view(EGO, other)) is expected


def test_touching_small_and_none(make_view):
    assert not touching(make_view(EGO))
    x, y, *_ = beside(2.6, 0.9)
    assert touching(make_view(EGO, (x, y, 0.0, 0.0, AGENT_WALKER, 0.5, 0.5)))


def test_what_is_parked_underground_touches_nobody(make_view):
    view = make_view(EGO, beside(3.0, 0.0))
    assert touching(view)
    assert not touching(dataclasses.replace(view, z=np.array([0.0, -50.0])))


def test_nearby(make_view):
    assert nearby(make_view(EGO, (20.0, 0.0, 0.0, 0.0), (0.0, -30.0, 0.0, 0.0))) == {2}


def test_nobody_touches_the_ego_before_its_bound(make_view):
    rng = np.random.default_rng(5)
    for _ in range(200):
        x, y, yaw, speed = rng.uniform([-20.0, -20.0, -3.0, 0.0], [20.0, 20.0, 3.0, 15.0]).tolist()
        ((bound, actor),) = until_touching(make_view(EGO, (x, y, yaw, speed)))
        assert actor == 2
        for seconds in np.arange(0.0, min(bound, 0.5), 0.05):
            ahead = EGO[3] * seconds + 4.0 * seconds**2  # both speed up, and the other drifts towards the ego
            ego = (ahead * math.cos(EGO[2]), ahead * math.sin(EGO[2]), *EGO[2:])
            way = speed * seconds + 4.0 * seconds**2
            side = -math.copysign(1.5 * seconds, y)
            other = (x + way * math.cos(yaw), y + way * math.sin(yaw) + side, yaw, speed)
            assert not touching(make_view(ego, other))


def test_light_reads_watch_who_could_touch_and_the_neighbours_where_a_scenario_acts(make_view):
    lookout = Lookout()
    view = make_view(EGO, beside(7.0, 0.0), beside(0.0, 18.0), beside(80.0, 0.0))
    lookout.look(view, played={4})
    idle, acting = SimpleNamespace(due=False), SimpleNamespace(due=True)
    assert lookout.watched(0.05, [idle]) == {4}
    assert lookout.watched(0.45, [idle]) == {2, 4}
    assert lookout.watched(0.05, [idle, acting]) == {2, 3, 4}
    lookout.play({9})
    assert lookout.watched(0.05, [idle]) == {4, 9}


def test_wheelbase_from_wheels_in_centimetres():
    def wheel(x, y):
        return SimpleNamespace(position=SimpleNamespace(x=x, y=y, z=0.0))

    wheels = [wheel(1000.0, 80.0), wheel(1000.0, -80.0), wheel(710.0, 80.0), wheel(710.0, -80.0)]
    ego = SimpleNamespace(get_physics_control=lambda: SimpleNamespace(wheels=wheels))
    assert wheelbase_of(ego, 4.8) == pytest.approx(2.9)
    bare = SimpleNamespace(get_physics_control=lambda: SimpleNamespace(wheels=[]))
    assert wheelbase_of(bare, 4.8) == pytest.approx(2.88)


def test_a_server_without_traffic_is_told_about():
    session = SimpleNamespace(host="h", port=1, has_blueprint=lambda name: False)
    with pytest.warns(UserWarning, match="actors of its scenario alone"):
        assert not spawn_traffic(session, 0, 20, 0)
    assert spawn_traffic(session, 0, 0, 0)  # none wanted, none missed
