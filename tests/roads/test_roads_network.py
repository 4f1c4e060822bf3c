import dataclasses
import gzip
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from scipy.spatial import cKDTree

from craft_lightning.roads.kinds import DRIVING, SHOULDER
from craft_lightning.roads.matching import LaneMatcher
from craft_lightning.roads.network import RoadNetwork
from craft_lightning.roads.towns import load_town


def test_a_straight_road_is_what_the_file_says(make_network):
    network = make_network(right=2, shoulder=1.0)
    lanes = {int(lane_id): k for k, lane_id in enumerate(network.lane_id)}
    assert set(lanes) == {1, -1, -2, -3}
    centre = {1: 1.75, -1: -1.75, -2: -5.25, -3: -7.5}
    for lane_id, k in lanes.items():
        part = network.lane_slice(k)
        assert network.y[part] == pytest.approx(centre[lane_id], abs=1e-3)
        assert np.cos(network.heading[part]) == pytest.approx(1.0 if lane_id < 0 else -1.0, abs=1e-6)
        assert network.width[part] == pytest.approx(1.0 if lane_id == -3 else 3.5)
        assert network.lane_length[k] == pytest.approx(100.0, abs=0.01)
        assert (np.diff(network.x[part]) * (-lane_id) > 0).all(), "points run in the direction of travel"
    assert network.lane_kind[[lanes[-1], lanes[-3]]].tolist() == [DRIVING, SHOULDER]
    assert network.right_neighbour[lanes[-1]] == lanes[-2]
    assert network.left_neighbour[lanes[-2]] == lanes[-1]
    assert network.left_neighbour[lanes[-1]] == -1, "the opposite lane is no neighbour"
    assert network.right_neighbour[lanes[-2]] == -1, "a shoulder is no neighbour"
    left, right = network.edges()
    assert left[network.lane_slice(lanes[1])][:, 1] == pytest.approx(0.0, abs=1e-3)
    assert right[network.lane_slice(lanes[1])][:, 1] == pytest.approx(3.5, abs=1e-3)


def test_interpolation_along_a_lane(make_network):
    network = make_network(right=1)
    lane = int(np.flatnonzero(network.lane_id == 1)[0])
    assert network.lane_at(lane, 30.25)[:2] == pytest.approx([69.75, 1.75], abs=0.01)
    assert network.lane_at(lane, np.array([-5.0, 500.0]))[:, 0] == pytest.approx([100.0, 0.0], abs=0.01)


def test_points_are_close_and_lanes_join(network):
    same = network.point_lane[1:] == network.point_lane[:-1]
    assert np.diff(network.s)[same].max() <= 1.0
    driving = network.lane_kind == DRIVING
    for lane in np.flatnonzero(driving):
        assert network.successors[lane], "no driving lane of the town is a dead end"
        end = network.lane_start[lane + 1] - 1
        for after in network.successors[lane]:
            start = network.lane_start[after]
            assert np.hypot(network.x[end] - network.x[start], network.y[end] - network.y[start]) < 0.1
            assert np.cos(network.heading[end] - network.heading[start]) > 0.99


def test_lanes_have_the_widths_and_speeds_of_a_town(network):
    lane = network.point_lane
    road = (network.lane_kind[lane] == DRIVING) & ~network.lane_junction[lane]
    assert set(np.round(network.width[road], 2)) == {3.25, 3.5}
    limits = network.lane_speed[(network.lane_kind == DRIVING) & ~network.lane_junction] * 3.6
    assert {30, 40, 50} == set(np.round(limits).astype(int))


def test_headings_agree_with_the_points(network):
    dx, dy = np.diff(network.x), np.diff(network.y)
    step = np.hypot(dx, dy)
    use = (network.point_lane[1:] == network.point_lane[:-1]) & (step > 0.3)
    middle = network.heading[:-1] + 0.5 * np.angle(np.exp(1j * np.diff(network.heading)))
    assert np.abs(np.angle(np.exp(1j * (np.arctan2(dy, dx) - middle))))[use].max() < 0.05


def test_lane_centres_agree_with_carla_map(craftville, network):
    import carla

    carla_map = craftville.opendrive.carla_map()
    rng = np.random.default_rng(0)
    for point in rng.choice(np.flatnonzero(network.lane_kind[network.point_lane] == DRIVING), 300):
        lane = network.point_lane[point]
        x, y = network.x[point], network.y[point]
        waypoint = carla_map.get_waypoint(carla.Location(x=x, y=-y), project_to_road=True)
        place = waypoint.transform.location
        # carla.Map projects onto its own coarse segments of a curve: a decimetre along the lane, nothing across it.
        assert np.hypot(place.x - x, -place.y - y) < 0.2
        if not network.lane_junction[lane]:
            assert waypoint.lane_id == network.lane_id[lane]
            assert str(waypoint.road_id) == network.road_ids[network.lane_road[lane]]
            assert waypoint.lane_width == pytest.approx(network.width[point], abs=0.02)


def test_lane_centres_agree_with_sumo(craftville, network):
    root = ElementTree.fromstring(gzip.decompress(craftville.sumo_net_path.read_bytes()))
    assert root.find("location").get("netOffset") == "0.00,0.00"
    points = []
    for edge in root.iter("edge"):
        if edge.get("function") in ("crossing", "walkingarea"):
            continue
        for lane in edge.iter("lane"):
            if lane.get("allow") != "pedestrian":
                shape = np.array([[float(v) for v in pair.split(",")] for pair in lane.get("shape").split()])
                along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(shape, axis=0).T))])
                fine = np.linspace(0, along[-1], int(along[-1] / 0.1) + 2)
                points.append(np.stack([np.interp(fine, along, shape[:, k]) for k in (0, 1)], axis=1))
    driving = network.lane_kind[network.point_lane] == DRIVING
    ours = np.stack([network.x[driving], network.y[driving]], axis=1)
    distance, _ = cKDTree(np.concatenate(points)).query(ours)
    assert np.median(distance) < 0.1
    assert distance.max() < 0.6


def test_stop_lines_lie_across_the_ends_of_lanes_before_junctions(craftville, network):
    landmarks = craftville.opendrive.carla_map().get_all_landmarks_of_type("1000001")
    assert {landmark.id for landmark in landmarks} == set(network.line_signal.tolist())
    for landmark in landmarks:
        rows = np.flatnonzero(network.line_signal == landmark.id)
        (low, high) = landmark.get_lane_validities()[0]
        assert sorted(network.lane_id[network.line_lane[rows]]) == list(range(low, high + 1))
    for (x0, y0, x1, y1), lane in zip(network.line_xy, network.line_lane, strict=True):
        end = network.lane_start[lane + 1] - 1
        assert not network.lane_junction[lane]
        assert all(network.lane_junction[after] for after in network.successors[lane])
        assert [(x0 + x1) / 2, (y0 + y1) / 2] == pytest.approx([network.x[end], network.y[end]], abs=1e-6)
        assert np.hypot(x1 - x0, y1 - y0) == pytest.approx(network.width[end])
        # The first end lies to the left of travel.
        heading = network.heading[end]
        assert (x0 - x1) * -np.sin(heading) + (y0 - y1) * np.cos(heading) > 3.0


def test_the_cached_network_is_the_built_one(craftville, network, monkeypatch):
    import craft_lightning.roads.network as module

    def refuse(*_):
        raise AssertionError("the network was built again")

    monkeypatch.setattr(module, "extract_arrays", refuse)
    again = RoadNetwork.from_opendrive(craftville.opendrive)
    for field in dataclasses.fields(RoadNetwork):
        first, second = getattr(network, field.name), getattr(again, field.name)
        assert np.array_equal(first, second), field.name


def test_a_cut_off_cache_file_is_built_again(craftville, network, cache):
    (path,) = (cache / "craft-lightning" / "networks").glob(f"{network.digest}-*.npz")
    path.write_bytes(path.read_bytes()[:1000])
    assert np.array_equal(RoadNetwork.from_opendrive(craftville.opendrive).x, network.x)


def test_matching_a_pose_to_a_lane(make_network):
    network = make_network(right=2)
    matcher = LaneMatcher(network)
    first = matcher.matches(40.3, -1.5, None, 6.0)
    assert [int(network.lane_id[match.lane]) for match in first] == [-1, 1, -2]
    assert first[0].s == pytest.approx(40.3, abs=0.02)
    westward = matcher.matches(40.3, -1.5, np.pi, 6.0)
    assert [int(network.lane_id[match.lane]) for match in westward] == [1]
    assert westward[0].s == pytest.approx(59.7, abs=0.02)
    assert matcher.matches(40.3, 30.0, None, 6.0) == []


def test_lane_types_and_signs_are_named(make_network):
    network = make_network(right=2, shoulder=1.0)
    assert dict(zip(network.lane_id.tolist(), network.lane_type.tolist(), strict=True)) == {
        1: "driving",
        -1: "driving",
        -2: "driving",
        -3: "shoulder",
    }
    assert network.sign_xy.shape == (0, 4)
    assert not len(network.stop_lane)
    assert not len(network.yield_lane)


def test_sign_lines_lie_across_the_ends_of_their_lanes(cache):
    network = load_town("craftfield").network
    assert set(network.stop_lane.tolist()).isdisjoint(network.yield_lane.tolist())
    assert sorted(network.sign_lane.tolist()) == sorted([*network.stop_lane.tolist(), *network.yield_lane.tolist()])
    for row, lane in enumerate(network.sign_lane):
        x, y, heading = (
            float(values[network.lane_start[lane + 1] - 1]) for values in (network.x, network.y, network.heading)
        )
        x0, y0, x1, y1 = network.sign_xy[row]
        assert (0.5 * (x0 + x1), 0.5 * (y0 + y1)) == pytest.approx((x, y), abs=1e-6)
        assert np.hypot(x1 - x0, y1 - y0) == pytest.approx(3.5, abs=0.01)
        assert (x0 - x) * -np.sin(heading) + (y0 - y) * np.cos(heading) > 1.7, "the first end is the left one"
