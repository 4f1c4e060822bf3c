from types import SimpleNamespace

import numpy as np
import pytest

from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.stop_signs import StopSignCriterion, StopZone, stop_zones

ZONE = StopZone(x=50.0, y=-1.75, heading=0.0, half_length=4.0, half_width=1.75)


def drive(speeds, y=-1.75, yaw=0.0):
    criterion = StopSignCriterion([ZONE])
    return [criterion.update(x, y, yaw, speed) for x, speed in zip(np.arange(40.0, 60.0, 0.5), speeds, strict=True)]


def test_driving_through_is_one_event_on_leaving():
    events = drive([5.0] * 40)
    assert events.index(True) == 29  # x = 54.5, the first place past the zone
    assert sum(events) == 1


@pytest.mark.parametrize(("metres", "phantom"), [(5.95, True), (6.05, False)])
def test_a_zone_at_the_maps_origin_is_a_forgotten_signs(metres, phantom):
    assert StopZone(0.0, metres, 0.0, 3.0, 1.75).holds_origin() is phantom


def test_crossing_traffic_and_the_other_lane_are_not_meant():
    assert sum(drive([5.0] * 40, yaw=1.6)) == 0
    assert sum(drive([5.0] * 40, y=1.75)) == 0


class Lane:
    """A waypoint ``inside`` metres into a junction on a lane that leads along CARLA's +y through (10, 20)."""

    lane_type, lane_width = "Driving", 3.5

    def __init__(self, inside):
        self.inside = inside
        self.is_junction = inside > 0.0
        self.transform = SimpleNamespace(
            location=SimpleNamespace(x=10.0, y=20.0 + inside, z=0.0),
            rotation=SimpleNamespace(yaw=90.0, pitch=0.0, roll=0.0),
        )

    def previous(self, distance):
        return [Lane(self.inside - distance)]


@pytest.mark.parametrize("inside", [0.0, 3.0])
def test_zones_end_where_the_approach_ends(inside):
    landmark = SimpleNamespace(road_id=1, s=5.0, get_lane_validities=lambda: [(-1, -1), (-1, -1)])
    fake = SimpleNamespace(
        get_all_landmarks_of_type=lambda kind: [landmark] if kind == "206" else [],
        get_waypoint_xodr=lambda road, lane, s: Lane(inside) if (road, lane, s) == (1, -1, 5.0) else None,
    )
    (zone,) = stop_zones(fake)
    # The line is at y = 20 in CARLA's frame, -20 in ours; the lane leads to smaller y.
    assert zone.heading == pytest.approx(-np.pi / 2)
    assert (zone.x, zone.y) == pytest.approx((10.0, -17.0))
    assert (zone.half_length, zone.half_width) == (3.0, 1.75)
    assert zone.holds(10.0, -19.9, -np.pi / 2)
    assert not zone.holds(10.0, -20.1, -np.pi / 2)


@pytest.mark.parametrize("name", ["craftway", "craftfield", "craftside"])
def test_every_stop_sign_of_a_built_in_town_has_a_zone_a_lane(name):
    town = load_town(name)
    network = town.network
    zones = stop_zones(town.opendrive.carla_map())
    assert len(zones) == len(network.stop_lane)
    ends = network.lane_start[network.stop_lane + 1] - 1
    for x, y, heading in zip(network.x[ends], network.y[ends], network.heading[ends], strict=True):
        back = x - 2.0 * np.cos(heading), y - 2.0 * np.sin(heading)
        assert sum(zone.holds(*back, heading) for zone in zones) == 1
        assert not any(zone.holds(x + 2.0 * np.cos(heading), y + 2.0 * np.sin(heading), heading) for zone in zones)
