"""Every scenario of junctions and flows on a site of a built-in town: played by the expert and by a blind driver."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from craft_lightning.simulation.launcher import EmbeddedServer

PLAY = Path(__file__).parent / "play_sites.py"

# Town, and the draw of the site, of every type.
SITES = {
    "CrossingBicycleFlow": ("craftway", 1),
    "EnterActorFlow": ("craftway", 2),
    "HighwayExit": ("craftway", 2),
    "InterurbanActorFlow": ("craftway", 2),
    "InterurbanAdvancedActorFlow": ("craftway", 1),
    "MergerIntoSlowTraffic": ("craftway", 1),
    "MergerIntoSlowTrafficV2": ("craftway", 1),
    "NonSignalizedJunctionLeftTurn": ("craftway", 1),
    "NonSignalizedJunctionLeftTurnEnterFlow": ("craftway", 2),
    "NonSignalizedJunctionRightTurn": ("craftway", 2),
    "OppositeVehicleTakingPriority": ("craftway", 1),
    "VanillaNonSignalizedTurn": ("craftway", 1),
    "VanillaNonSignalizedTurnEncounterStopsign": ("craftway", 1),
    "BlockedIntersection": ("craftside", 1),
    "OppositeVehicleRunningRedLight": ("craftside", 1),
    "SignalizedJunctionLeftTurn": ("craftside", 2),
    "SignalizedJunctionLeftTurnEnterFlow": ("craftside", 1),
    "SignalizedJunctionRightTurn": ("craftside", 1),
    "T_Junction": ("craftside", 1),
    "VanillaSignalizedTurnEncounterGreenLight": ("craftside", 1),
    "VanillaSignalizedTurnEncounterRedLight": ("craftside", 1),
}
NOBODY_IN_THE_WAY = {
    "T_Junction",
    "VanillaNonSignalizedTurn",
    "VanillaNonSignalizedTurnEncounterStopsign",
    "VanillaSignalizedTurnEncounterGreenLight",
    "VanillaSignalizedTurnEncounterRedLight",
}
# Where even a driver who sees nothing goes unharmed: there is nothing to see.
HARMLESS = {"T_Junction", "VanillaNonSignalizedTurn", "VanillaSignalizedTurnEncounterGreenLight"}


@pytest.fixture(scope="module")
def played():
    """(type, driver) -> what happened; one server and one client a town."""
    answers = {}
    for town in ("craftway", "craftside"):
        cases = [
            {
                "type": kind,
                "draw": draw,
                "seed": draw,
                "lights": not kind.startswith(("Vanilla", "T_")),
                "drivers": ["expert", "blind"],
                "short": True,
            }
            for kind, (place, draw) in SITES.items()
            if place == town
        ]
        with EmbeddedServer(town) as server:
            done = subprocess.run(
                [sys.executable, str(PLAY), town, str(server.port), json.dumps(cases)],
                capture_output=True,
                text=True,
                timeout=240,
            )
        assert done.returncode == 0, done.stderr[-2000:]
        for answer in json.loads(done.stdout.splitlines()[-1]):
            answers[answer["type"], answer["driver"]] = answer
    return answers


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(SITES))
def test_the_expert_passes_and_nothing_is_left(played, kind):
    answer = played[kind, "expert"]
    assert answer["triggered"]
    assert answer["finished"]
    assert answer["left_behind"] == 0
    assert not answer["frozen"]
    assert not set(answer["incidents"]) & {"collisions_vehicle", "red_light", "stop_sign", "offroad"}
    if kind not in NOBODY_IN_THE_WAY:
        assert answer["actors"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(set(SITES) - HARMLESS))
def test_who_does_not_look_fails(played, kind):
    answer = played[kind, "blind"]
    assert answer["triggered"]
    assert set(answer["incidents"]) & {"collisions_vehicle", "red_light", "stop_sign"}
