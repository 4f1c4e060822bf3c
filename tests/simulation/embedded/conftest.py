"""A server in its own process and clients in theirs: a protocol mistake kills the interpreter of a client."""

import contextlib
import json
import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import json, math, sys, time
import carla
client = carla.Client("127.0.0.1", int(sys.argv[1]))
client.set_timeout(20.0)
world = client.get_world()
town = world.get_map()
settings = world.get_settings()
settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
world.apply_settings(settings)
library = world.get_blueprint_library()

def ticks(count):
    for _ in range(count):
        world.tick()

def spawn(name, pose, **attributes):
    blueprint = library.find(name)
    for key, value in attributes.items():
        blueprint.set_attribute(key, str(value))
    return world.spawn_actor(blueprint, pose)

def car(pose, name="vehicle.lincoln.mkz_2020"):
    return spawn(name, pose)

def traffic(**attributes):
    return spawn("controller.traffic.sumo", carla.Transform(), **attributes)

def straight(length):
    "A place on a lane that goes on straight for so many metres, outside junctions."
    for waypoint in town.generate_waypoints(5.0):
        ahead = waypoint.next(length)
        if (len(ahead) == 1 and not waypoint.is_junction and ahead[0].road_id == waypoint.road_id
                and ahead[0].lane_id == waypoint.lane_id
                and abs(ahead[0].transform.rotation.yaw - waypoint.transform.rotation.yaw) < 0.5):
            pose = waypoint.transform
            pose.location.z += 0.1
            return pose

def along(pose, forward, right=0.0, up=0.0):
    place = pose.location + pose.get_forward_vector() * forward + pose.get_right_vector() * right
    return carla.Transform(carla.Location(place.x, place.y, place.z + up), pose.rotation)

def speed(actor):
    return actor.get_velocity().length()

def answer(**values):
    print("ANSWER " + json.dumps(values), flush=True)

"""

RIG = """
import queue
import numpy as np
kept = []

def sensor(name, parent, pose=None, **attributes):
    blueprint = library.find(name)
    for key, value in attributes.items():
        blueprint.set_attribute(key, str(value))
    made = world.spawn_actor(blueprint, pose or carla.Transform(), attach_to=parent)
    told = queue.Queue()
    made.listen(told.put)
    kept.append(made)
    return made, told

def at(x=0.0, y=0.0, z=0.0, **angles):
    return carla.Transform(carla.Location(x, y, z), carla.Rotation(**angles))

def arrived(told, count):
    "How many messages there are; the client hands them over in its own time, so what is due is waited for."
    end = time.monotonic() + 20.0
    while told.qsize() < count and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    return told.qsize()

def pixels(image):
    return np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4).astype(float)

"""


EPILOGUE = """
world.tick()
kinds = ("vehicle.", "walker.", "sensor.", "controller.", "static.prop")
for kind in ("sensor.", "controller.", "vehicle.", "walker.", "static.prop"):
    for actor in world.get_actors():
        if actor.type_id.startswith(kind):
            actor.destroy()
world.freeze_all_traffic_lights(False) if hasattr(world, "freeze_all_traffic_lights") else None
world.tick()
"""


@contextlib.contextmanager
def serve(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "craft_lightning.simulation.embedded", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError(f"no server: {line}{process.stderr.read()}")
        facts = dict(word.split("=", 1) for word in line.split()[1:])
        process.port = int(facts["port"])
        process.facts = facts
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=20)
        process.stdout.close()
        process.stderr.close()


def ask(port, body, clean=True, timeout=120):
    """Run a client script against a server and return what it passed to ``answer``."""
    # The client of the wheel now and then aborts while the interpreter tears it down; the answer is out by then.
    leave = "\nsys.stdout.flush(), sys.stderr.flush()\n__import__('os')._exit(0)\n"
    script = PREAMBLE + textwrap.dedent(body) + (EPILOGUE if clean else "") + leave
    done = subprocess.run(
        [sys.executable, "-c", script, str(port)], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"client ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert answers, done.stdout + done.stderr
    return json.loads(answers[-1].removeprefix("ANSWER "))


@pytest.fixture(scope="module")
def server():
    with serve() as process:
        yield process


@pytest.fixture
def run(server):
    return lambda body, **options: ask(server.port, body, **options)


@pytest.fixture(scope="module")
def compiled(server):
    """Wait for the machine code of an installation's first camera longer than a client's usual patience."""
    ask(server.port, "client.set_timeout(110.0)\nspawn('sensor.camera.rgb', carla.Transform())\nanswer()")


@pytest.fixture
def rig_at():
    """Run a client script that has ``sensor``, ``at`` and ``pixels`` against the server at a port."""
    return lambda port, body, **options: ask(port, RIG + body, **options)


@pytest.fixture
def rig(server, rig_at):
    """Do so against the module's server."""
    return lambda body, **options: rig_at(server.port, body, **options)


@pytest.fixture(scope="session")
def tools():
    """``serve`` and ``ask`` for tests that need servers of their own."""
    return serve, ask
