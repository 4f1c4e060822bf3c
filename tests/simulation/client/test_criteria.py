import numpy as np
import pytest

from craft_lightning.conventions import EVENTS
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.simulation.criteria import Criteria, CriteriaParameters
from craft_lightning.simulation.criteria_collision import Contact
from craft_lightning.simulation.criteria_lights import route_lines
from craft_lightning.simulation.view import LIGHT_GREEN, LIGHT_RED

COLUMN = {name: column for column, name in enumerate(EVENTS)}
TICK = 0.05


@pytest.fixture
def drive(road_grid, straight_route, road_network, make_view):
    def drive(poses, parameters=None, contacts=None, signals=None, tick=TICK):
        """Drive (x, y, yaw, speed) poses and return the criteria and the flags [ticks, events]."""
        lines = route_lines(road_network, straight_route)
        criteria = Criteria(road_grid, straight_route, lines, [], parameters)
        flags = []
        for index, pose in enumerate(poses):
            view = make_view(pose, time=100.0 + tick * index, signals=signals or {})
            flags.append(criteria.tick(view, (contacts or {}).get(index, []), clear=True))
            if criteria.status:
                break
        return criteria, np.array(flags)

    return drive


def straight(begin, end, speed=10.0, y=-1.75):
    return [(x, y, 0.0, speed) for x in np.arange(begin, end, max(speed, 1e-9) * TICK)]


def record_of(criteria):
    return RouteRecord.from_dict({"route_id": "1", **criteria.record()})


def test_a_clean_drive_is_perfect(drive):
    criteria, flags = drive(straight(0.0, 205.0), signals={"s1": LIGHT_GREEN})
    assert criteria.status == "Completed"
    assert not flags.any()
    record = record_of(criteria)
    assert record.status == "Perfect"
    assert record.success
    assert record.driving_score == 100.0
    assert record.duration_s == pytest.approx(19.9, abs=0.1)
    assert record.length_m == 200.0


def test_red_light_costs_its_factor(drive):
    criteria, flags = drive(straight(0.0, 205.0), signals={"s1": LIGHT_RED})
    record = record_of(criteria)
    assert record.status == "Completed"
    assert record.red_light == 1
    assert record.driving_score == pytest.approx(70.0)
    assert flags[:, COLUMN["red_light"]].sum() == 1
    (incident,) = criteria.incidents
    assert (incident.kind, incident.actor) == ("red_light", "s1")
    assert incident.x == pytest.approx(58.0, abs=0.5)
    assert incident.time == pytest.approx(5.75, abs=0.1)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("vehicle.audi.a2", "collisions_vehicle"),
        ("walker.pedestrian.0001", "collisions_pedestrian"),
        ("static.prop.box", "collisions_layout"),
    ],
)
def test_the_first_collision_ends_the_episode(drive, kind, field):
    criteria, flags = drive(straight(0.0, 205.0), contacts={50: [Contact(50, 9, kind, 1.0)]})
    record = record_of(criteria)
    assert record.status == "Failed - Agent collided"
    assert len(flags) == 51
    assert getattr(record, field) == 1
    assert record.route_completion == pytest.approx(12.0)
    assert flags[:, COLUMN["collision"]].sum() == 1


def test_going_on_after_a_collision(drive):
    parameters = CriteriaParameters(end_on_collision=False)
    contacts = {index: [Contact(index, 9, "vehicle.audi.a2", 1.0)] for index in range(50, 60)}
    criteria, flags = drive(straight(0.0, 205.0), parameters, contacts)
    assert record_of(criteria).status == "Completed"
    assert record_of(criteria).collisions_vehicle == 1
    assert flags[:, COLUMN["collision"]].sum() == 1


def test_a_car_hit_while_standing_is_not_to_blame(drive):
    parked = [(10.0, -1.75, 0.0, 0.0)] * 20 + [(10.5, -1.75, 0.0, 2.0)]
    criteria, _ = drive(parked, contacts={20: [Contact(20, 9, "vehicle.audi.a2", 1.0)]})
    assert not criteria.counts


def test_the_collision_that_stops_the_ego_counts(drive):
    """The sensor reports the contact in the tick in which the ego already stands: the speed before decides."""
    poses = [*straight(0.0, 20.0), (20.0, -1.75, 0.0, 0.0)]
    last = len(poses) - 1
    criteria, _ = drive(poses, contacts={last: [Contact(last, 9, "vehicle.audi.a2", 1.0)]})
    assert criteria.counts == {"collisions_vehicle": 1}


def test_deviation_ends_the_route(drive):
    poses = [(10.0, 0.5 * index, 1.57, 10.0) for index in range(100)]
    criteria, flags = drive(poses)
    assert criteria.status == "Failed - Agent deviated from the route"
    assert record_of(criteria).route_deviation == 1
    assert flags[-1, COLUMN["offroute"]]
    assert flags[-1, COLUMN["offroad"]]
    kinds = [incident.kind for incident in criteria.incidents]
    assert kinds.count("offroad") == 1  # noted where it begins, not every tick
    assert kinds[-1] == "route_deviation"


def test_outside_share_is_of_the_driven_distance(drive):
    """A quarter of the way on the oncoming lane, facing traffic."""
    poses = straight(0.0, 150.0) + straight(150.0, 199.9, y=1.75)
    criteria, flags = drive(poses)
    assert flags[:, COLUMN["opposite_lane"]].sum() == pytest.approx(100, abs=2)
    assert criteria.outside_percent == pytest.approx(25.0, abs=1.5)
    assert not record_of(criteria).success
