"""Stand-ins for an evaluator's packages, written into a folder, and clients in processes of their own."""

import json
import subprocess
import sys
import textwrap

import pytest

from craft_lightning.simulation.launcher import EmbeddedServer

_AUTONOMOUS_AGENT = """
from enum import Enum


class Track(Enum):
    SENSORS = "SENSORS"
    MAP = "MAP"


class AutonomousAgent:
    def __init__(self, carla_host, carla_port, debug=False):
        self.track = Track.SENSORS
        self.told = []

    def set_global_plan(self, gps, world):
        self.told.append(len(world))

    def __call__(self):
        return self.run_step({}, 0.0)
"""
_PROVIDER = """
class CarlaDataProvider:
    world = None

    @staticmethod
    def get_world():
        return CarlaDataProvider.world

    @staticmethod
    def get_traffic_manager_port():
        return 1

    @staticmethod
    def get_hero_actor():
        for actor in CarlaDataProvider.world.get_actors():
            if actor.attributes.get("role_name") == "hero":
                return actor
        return None
"""


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """A folder with packages ``leaderboard`` and ``srunner`` that hold just what the agent asks for."""
    folder = tmp_path_factory.mktemp("evaluator")
    for name, text in (
        ("leaderboard/autoagents/autonomous_agent.py", _AUTONOMOUS_AGENT),
        ("srunner/scenariomanager/carla_data_provider.py", _PROVIDER),
    ):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        for package in (path.parent, path.parent.parent):
            (package / "__init__.py").touch()
    return folder


@pytest.fixture(scope="module")
def server():
    with EmbeddedServer("craftville") as running:
        yield running


@pytest.fixture
def run_script(stand_ins, server):
    """Run a client against the server; what it prints last is JSON."""

    def run(body, timeout=200):
        head = f"import json, os, sys\nsys.path.insert(0, {str(stand_ins)!r})\nPORT = {server.port}\n"
        # The client may abort while the interpreter tears it down; the answer is out by then.
        script = head + textwrap.dedent(body) + "\nsys.stdout.flush()\nos._exit(0)\n"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
