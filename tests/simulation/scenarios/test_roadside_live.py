"""Every scenario type of the roadside family played once on the real embedded server, in one client process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from craft_lightning.roads.sites import manoeuvres, roadside
from craft_lightning.simulation.launcher import EmbeddedServer

pytestmark = pytest.mark.slow

PLAY = Path(__file__).parent / "play_roadside.py"
TOWN = "craftside"
KINDS = sorted([*roadside.FINDERS, *manoeuvres.FINDERS])
# A blind driver may be lucky with a crosser that has just passed, and noise is corrected by looking at the road alone.
LUCKY = {"ControlLoss", "DynamicObjectCrossing", "PedestrianCrossing", "SequentialLaneChange"}
LUCKY |= {"VehicleTurningRoute", "VehicleTurningRoutePedestrian"}


@pytest.fixture(scope="module")
def answers():
    wanted = {kind: ["expert"] if kind in LUCKY else ["expert", "blind"] for kind in KINDS}
    with EmbeddedServer(TOWN) as server:
        done = subprocess.run(
            [sys.executable, str(PLAY), str(server.port), TOWN, json.dumps(wanted)],
            capture_output=True,
            text=True,
            timeout=500,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_plays_and_ends_and_leaves_nothing(answers, kind):
    for answer in answers[kind].values():
        assert answer["triggered"]
        assert answer["actors"] >= 1
        assert answer["left_after_clear"] == 0
    expert = answers[kind]["expert"]
    assert expert["finished"]
    assert expert["left_while_driving"] == 0
    assert expert["plain"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_attentive_pass_every_type(answers, kind):
    expert = answers[kind]["expert"]
    wrong = [one for one in expert["incidents"] if one.startswith("collisions") or one == "vehicle_blocked"]
    assert (wrong, expert["verdicts"]) == ([], [])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - LUCKY))
def test_the_blind_fail(answers, kind):
    blind = answers[kind]["blind"]
    assert blind["verdicts"] or any(one.startswith("collisions") for one in blind["incidents"])
