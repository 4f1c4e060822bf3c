"""All built-in towns in one server: loaded in turn, with their signs and their traffic."""

import pytest

from craft_lightning.roads.towns import BUILT_IN


@pytest.fixture(scope="module")
def server(tools):
    """A server that began with another town than the one that all others begin with."""
    serve, _ = tools
    with serve("--town", "craftfield") as process:
        yield process


def test_every_built_in_town_can_be_loaded(run):
    got = run(
        """
        found = {}
        for name in ("craftside", "craftway", "craftville", "craftfield"):
            world = client.load_world(name)
            town = world.get_map()
            found[name] = {kind: len(world.get_actors().filter(kind)) for kind in
                           ("traffic.stop", "traffic.yield", "traffic.traffic_light")}
            found[name]["name"] = town.name
            found[name]["points"] = len(town.get_spawn_points())
        answer(maps=client.get_available_maps(), found=found)
        """
    )
    assert [name.rpartition("/")[2] for name in got["maps"]] == list(BUILT_IN)
    found = got["found"]
    assert all(found[name]["name"] == name and found[name]["points"] > 300 for name in BUILT_IN)
    signs = {name: [found[name][f"traffic.{kind}"] for kind in ("stop", "yield", "traffic_light")] for name in BUILT_IN}
    assert signs == {
        "craftville": [0, 0, 45],
        "craftway": [10, 10, 0],
        "craftfield": [9, 7, 0],
        "craftside": [13, 0, 19],
    }


def test_signs_cover_the_lanes_that_they_hold_back(run):
    got = run(
        """
        places = []
        for sign in world.get_actors().filter("traffic.stop"):
            box = sign.trigger_volume
            middle = sign.get_transform().transform(box.location)
            lane = town.get_waypoint(middle)
            ahead = lane.next(3.0)[0]
            turned = (sign.get_transform().rotation.yaw - lane.transform.rotation.yaw) % 360.0
            beside = sign.get_location().distance(lane.next(1.0)[0].transform.location)
            there = sign.destroy()
            gap = middle.distance(lane.transform.location)
            places.append([gap, lane.is_junction, ahead.is_junction, turned, beside, box.extent.x, there])
        answer(places=places, left=len(world.get_actors().filter("traffic.stop")), kind=type(sign).__name__)
        """
    )
    assert got["kind"] == "TrafficSign"
    assert got["left"] == len(got["places"]) == 9
    for gap, inside, ahead, turned, beside, half, there in got["places"]:
        assert gap < 1.1  # the middle of the volume hangs a metre above the lane
        assert (inside, ahead, there) == (False, True, False), "before the junction, and nobody takes it away"
        assert turned == pytest.approx(90.0, abs=1.0)
        assert 2.5 < beside < 3.5
        assert half == pytest.approx(1.75)


@pytest.mark.parametrize(
    ("name", "slowest", "walkers"), [("craftfield", 8.0, 0), ("craftway", 12.0, 0), ("craftside", 4.5, 12)]
)
def test_traffic_keeps_moving(run, name, slowest, walkers):
    got = run(
        f"""
        world = client.load_world({name!r})
        controller = traffic(vehicles=30, walkers=15, seed=3)
        speeds, standing, longest = [], {{}}, 0.0
        for second in range(90):
            ticks(20)
            snapshot = world.get_snapshot()
            cars = [snapshot.find(actor.id) for actor in world.get_actors().filter("vehicle.*")]
            for car_ in cars:
                pace = car_.get_velocity().length()
                speeds.append(pace)
                standing[car_.id] = standing.get(car_.id, 0) + 1 if pace < 0.3 else 0
                longest = max(longest, standing[car_.id])
        answer(mean=sum(speeds) / len(speeds), cars=len(cars), longest=longest,
               walkers=len(world.get_actors().filter("walker.*")))
        """
    )
    assert got["cars"] >= 28
    assert got["mean"] > slowest
    assert got["longest"] < 80
    assert got["walkers"] >= walkers
