import numpy as np
import pytest

from craft_lightning.audit.forecasts import constant_velocity, idm, recorded, to_frame
from craft_lightning.conventions import AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED, WorldView


@pytest.fixture(scope="module")
def network():
    return load_town("craftville").network


def view_of(bodies, signals=None):
    """A view of (x, y, yaw, speed, kind); the ego is the first one, far away."""
    rows = [(0.0, -9000.0, 0.0, 0.0, AGENT_VEHICLE), *bodies]
    x, y, yaw, speed, kind = (np.array(column, float) for column in zip(*rows, strict=True))
    zero = np.zeros(len(rows))
    return WorldView(
        frame=1, time=0.0, ego=0, ids=np.arange(len(rows)), kind=kind.astype(np.int64), x=x, y=y, z=zero, yaw=yaw,
        speed=speed, vx=speed * np.cos(yaw), vy=speed * np.sin(yaw), acceleration=zero, yaw_rate=zero,
        length=np.full(len(rows), 4.6), width=np.full(len(rows), 1.9), signals=signals or {},
    )  # fmt: skip


def long_lane(network, light=False):
    """A long driving lane outside junctions, one that ends at a light where wanted."""
    good = (network.lane_kind == 1) & ~network.lane_junction & (network.lane_length > 70.0)
    lanes = np.flatnonzero(good)
    return int(np.intersect1d(lanes, network.line_lane)[0] if light else lanes[0])


def on(network, lane, s):
    x, y, _, yaw = network.lane_at(lane, np.array([s]))[0][[0, 1, 2, 3]]
    return float(x), float(y), float(yaw)


def test_straight_on():
    agents = np.zeros((3, 8))
    agents[0, :4] = 1.0, 2.0, np.pi / 2, 5.0
    agents[1, :4] = 0.0, 0.0, 0.0, -1.0
    agents[2, :4] = 3.0, 3.0, 0.0, 4.0
    kind = np.array([AGENT_VEHICLE, AGENT_WALKER, AGENT_STATIC])
    poses = constant_velocity(agents, kind, 10)
    assert poses.shape == (3, 10, 4)
    assert poses[0, -1] == pytest.approx([1.0, 7.0, 0.0, 1.0])
    assert poses[1, 4] == pytest.approx([-0.5, 0.0, 1.0, 0.0])
    assert poses[2, -1] == pytest.approx([3.0, 3.0, 1.0, 0.0])


def test_recorded_poses_turn_into_the_frame_of_the_ego_and_stay_where_an_actor_was_seen_last():
    others = np.zeros((2, 4, 4))
    others[0, :, 0] = [10.0, 11.0, 12.0, 13.0]
    others[1, :, 1] = [0.0, 1.0, np.nan, np.nan]
    others[1, 2:] = np.nan
    poses = recorded(others, np.array([4, 9]), np.array([9, 4]), (10.0, 0.0, np.pi / 2))
    assert poses.shape == (2, 3, 4)
    # Seen from (10, 0) looking north, (0, 1) is one metre ahead and ten to the left.
    assert poses[0] == pytest.approx(np.array([[1.0, 10.0, 0.0, -1.0]] * 3), abs=1e-12)
    assert poses[1, -1] == pytest.approx([0.0, -3.0, 0.0, -1.0], abs=1e-12)
    assert to_frame(np.array([[10.0, 0.0, np.pi / 2]]), (10.0, 0.0, np.pi / 2))[0] == pytest.approx([0, 0, 1, 0])


def test_idm_keeps_to_the_lane_and_stops_behind_who_stands(network):
    lane = long_lane(network)
    behind, ahead = on(network, lane, 10.0), on(network, lane, 45.0)
    view = view_of([(*behind, 8.0, AGENT_VEHICLE), (*ahead, 0.0, AGENT_STATIC)])
    poses = idm(network, view, np.array([1, 2]), 80)
    assert np.ptp(poses[1, :, 0]) == 0.0  # a prop stays
    gap = np.hypot(poses[0, :, 0] - ahead[0], poses[0, :, 1] - ahead[1]) - 4.6
    assert 1.0 < gap[-1] < 5.0
    assert gap.min() > 1.0
    free = idm(network, view_of([(*behind, 8.0, AGENT_VEHICLE)]), np.array([1]), 30)[0]
    travelled = np.hypot(free[-1, 0] - behind[0], free[-1, 1] - behind[1])
    assert travelled > 24.0  # at least as fast as before
    points = network.lane_at(lane, np.linspace(0.0, network.lane_length[lane], 400))[:, :2]
    assert np.hypot(*(free[:, None, :2] - points[None]).transpose(2, 0, 1)).min(1).max() < 0.5


def test_idm_stops_at_red_and_drives_on_at_green(network):
    lane = long_lane(network, light=True)
    start = on(network, lane, network.lane_length[lane] - 35.0)
    lights = [str(signal) for signal in network.line_signal]
    driven = {}
    for state in (LIGHT_RED, LIGHT_GREEN):
        view = view_of([(*start, 8.0, AGENT_VEHICLE)], dict.fromkeys(lights, state))
        driven[state] = np.hypot(*(idm(network, view, np.array([1]), 60)[0, -1, :2] - start[:2]))
    assert driven[LIGHT_RED] < 35.0
    assert driven[LIGHT_GREEN] > 36.0


def test_idm_follows_somebody_slower_and_walkers_walk_on(network):
    lane = long_lane(network)
    behind, ahead = on(network, lane, 5.0), on(network, lane, 25.0)
    walker = (*on(network, lane, 60.0)[:2], 1.0)
    view = view_of([(*behind, 10.0, AGENT_VEHICLE), (*ahead, 3.0, AGENT_VEHICLE), (*walker, 1.5, AGENT_WALKER)])
    slowed = idm(network, view, np.array([1, 2, 3]), 30)
    alone = idm(network, view_of([(*behind, 10.0, AGENT_VEHICLE)]), np.array([1]), 30)
    far = np.hypot(*(slowed[0, -1, :2] - behind[:2])), np.hypot(*(alone[0, -1, :2] - behind[:2]))
    assert far[0] < far[1] - 5.0
    gap = np.hypot(*(slowed[0, :, :2] - slowed[1, :, :2]).T)
    assert gap.min() > 4.6
    assert slowed[2, -1, :2] - walker[:2] == pytest.approx([4.5 * np.cos(1.0), 4.5 * np.sin(1.0)])
