"""Mirrors of clients' vehicles in SUMO, in a process of their own: SUMO is one a process, and its mistakes end it."""

import json
import subprocess
import sys

# A car that swings out of a junction of craftside too wide: x, y [m] of its front in SUMO's frame, its angle [deg].
SWING = [
    *[(-18.13, -40.79, 359.9), (-17.81, -39.67, 3.2), (-17.32, -38.67, 7.4), (-16.71, -37.82, 11.9)],
    *[(-16.04, -37.11, 16.8), (-15.34, -36.53, 22.2), (-14.62, -36.1, 28.2), (-13.91, -35.81, 34.5)],
    *[(-13.28, -35.61, 40.0), (-12.74, -35.48, 44.5), (-12.28, -35.39, 48.2), (-11.85, -35.32, 51.3)],
    *[(-11.45, -35.26, 54.0), (-11.1, -35.21, 56.0)],
]
BACK = [(-18.37, -29.2, 359.2), (-18.37, -28.72, 359.2)]
SCRIPT = """
import json, math, sys, tempfile
from pathlib import Path
import libsumo
from craft_lightning.roads.towns import load_town
from craft_lightning.simulation.embedded.blueprints import BlueprintLibrary
from craft_lightning.simulation.embedded.engine import SumoEngine
from craft_lightning.simulation.embedded.mirror import Mirror
from craft_lightning.simulation.embedded.state import VEHICLE, YAW, Actor, X, Y
from craft_lightning.simulation.embedded.town import TownAssets
from craft_lightning.simulation.embedded.vehicle_types import write_types

town, types = TownAssets(load_town("craftside")), Path(tempfile.mkdtemp()) / "types.add.xml"
write_types(BlueprintLibrary(), types)
engine = SumoEngine(types)
engine.load(town.net, 0.1, 0)
mirror = Mirror(town, next(edge for edge in libsumo.edge.getIDList() if not edge.startswith(":")))
actor = Actor(1, 1, "vehicle.lincoln.mkz_2020", VEHICLE, [], extent=(2.45, 0.93, 0.75))
lanes = []
for x, y, angle in json.loads(sys.argv[1]):
    yaw = math.radians(angle - 90.0)
    actor.motion[X], actor.motion[Y] = x - 2.45 * math.cos(yaw), -y - 2.45 * math.sin(yaw)
    actor.motion[YAW] = math.degrees(yaw)
    mirror.follow([actor], 0.0)
    libsumo.simulationStep()
    name = mirror.names.get(1)
    lanes.append(None if name is None else libsumo.vehicle.getLaneID(name))
print(json.dumps([lanes, sorted(mirror.loose)]))
"""


def test_a_mirror_is_taken_away_before_sumo_takes_it_off_the_road_and_comes_back_when_aligned():
    path = json.dumps(SWING + BACK)
    done = subprocess.run([sys.executable, "-c", SCRIPT, path], capture_output=True, text=True, check=True)
    lanes, loose = json.loads(done.stdout.splitlines()[-1])
    assert "" not in lanes  # off the road, but still in the lists of lanes
    assert all(lanes[:8])
    assert lanes[len(SWING) - 1] is None
    assert lanes[-1] == "C1_C2_3"
    assert loose == []
