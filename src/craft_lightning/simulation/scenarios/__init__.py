"""Scenarios: short events on a route, built on the CARLA API alone, so that they run on any server."""

from craft_lightning.simulation.scenarios.base import Scenario
from craft_lightning.simulation.scenarios.registry import SCENARIOS, build

__all__ = ["SCENARIOS", "Scenario", "build"]
