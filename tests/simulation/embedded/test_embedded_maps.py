"""Loading towns while the server runs."""

import pytest

STREET = """<?xml version="1.0" standalone="yes"?>
<OpenDRIVE>
  <header revMajor="1" revMinor="4" name="street" version="1" date="2026-01-01T00:00:00"
    north="0" south="0" east="0" west="0"/>
  <road name="" length="300.0" id="1" junction="-1">
    <link/>
    <type s="0.0" type="town"><speed max="50" unit="km/h"/></type>
    <planView><geometry s="0.0" x="10.0" y="20.0" hdg="0.0" length="300.0"><line/></geometry></planView>
    <elevationProfile/>
    <lateralProfile/>
    <lanes>
      <laneOffset s="0.0" a="0.0" b="0.0" c="0.0" d="0.0"/>
      <laneSection s="0.0">
        <left><lane id="1" type="driving" level="false"><link/>
          <width sOffset="0.0" a="3.5" b="0" c="0" d="0"/></lane></left>
        <center><lane id="0" type="none" level="false"/></center>
        <right><lane id="-1" type="driving" level="false"><link/>
          <width sOffset="0.0" a="3.5" b="0" c="0" d="0"/></lane></right>
      </laneSection>
    </lanes>
  </road>
</OpenDRIVE>
"""


def test_load_world_begins_a_new_episode(run):
    got = run(
        """
        ego = car(straight(60.0))
        controller = traffic(seed=1, vehicles=5)
        ticks(20)
        first, frame = world.id, world.get_snapshot().frame
        world = client.load_world("craftville")
        town = world.get_map()
        world.tick()
        snapshot = world.get_snapshot()
        answer(first=first, second=world.id, left=len(world.get_actors().filter("vehicle.*")),
               lights=len(world.get_actors().filter("traffic.traffic_light*")),
               elapsed=snapshot.timestamp.elapsed_seconds,
               grows=snapshot.frame > frame, mode=world.get_settings().synchronous_mode,
               fits=world.try_spawn_actor(library.find("vehicle.audi.tt"), straight(60.0)) is not None)
        """
    )
    assert got["second"] == got["first"] + 1
    assert got["left"] == 0
    assert got["lights"] == 45
    assert got["elapsed"] < 0.2
    assert got["grows"]
    assert got["mode"] is True
    assert got["fits"]


def test_unknown_town_is_refused_and_the_world_goes_on(run):
    got = run(
        """
        try:
            client.load_world("Atlantis")
            text = ""
        except RuntimeError as error:
            text = str(error)
        ticks(3)
        answer(text=text, name=world.get_map().name)
        """
    )
    assert "Atlantis" in got["text"]
    assert got["name"] == "craftville"


@pytest.mark.timeout(120)
def test_a_map_that_the_client_sends(tools):
    serve, ask = tools
    with serve() as process:
        got = ask(
            process.port,
            f"""
            street = {STREET!r}
            world = client.generate_opendrive_world(street)
            town = world.get_map()
            points = town.get_spawn_points()
            ego = car(points[0])
            world.tick()
            controller = traffic(seed=1, vehicles=3)
            ticks(10)
            lane = town.get_waypoint(ego.get_location())
            try:
                client.generate_opendrive_world("<OpenDRIVE><header/>")
                text = ""
            except RuntimeError as error:
                text = str(error)
            answer(points=len(points), road=lane.road_id, text=text, name=town.name,
                   cars=len(world.get_actors().filter("vehicle.*")))
            """,
        )
    assert got["points"] > 5
    assert got["road"] == 1
    assert "XML" in got["text"] or "OpenDRIVE" in got["text"]
    assert got["name"] == "OpenDriveMap"
    assert got["cars"] >= 2
