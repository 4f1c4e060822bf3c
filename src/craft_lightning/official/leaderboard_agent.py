"""The agent that official evaluators load: ``--agent=THIS_FILE --agent-config=POLICY --track=MAP``.

It drives any policy adapter of this package. Where the evaluator is not installed the file can still be imported, to
find its path.
"""

import importlib
import json
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.frames import pose_from_carla

try:
    _official: Any = importlib.import_module("leaderboard.autoagents.autonomous_agent")
    _Base: Any = _official.AutonomousAgent
except ImportError:
    _official, _Base = None, object


_APPENDED = "+RouteScenario_"
REFEREE_VARIABLE = "CRAFT_LEADERBOARD_REFEREE"
"""Names a file to which our own verdict on every route is added, one JSON object a line."""


def get_entry_point() -> str:
    """Return the name of the agent's class, as evaluators ask for it."""
    return "CraftAgent"


def split_configuration(given: str) -> tuple[str, str]:
    """Return the configuration and the name under which Bench2Drive saves the route, "" where there is none.

    Bench2Drive's evaluator appends ``+RouteScenario_...`` of every route to what the user gave, one after the other.
    """
    config, *names = given.split(_APPENDED)
    return config, _APPENDED[1:] + names[-1] if names else ""


def _provider() -> Any:
    """Return scenario_runner's door to the world."""
    return importlib.import_module("srunner.scenariomanager.carla_data_provider").CarlaDataProvider


class Pulse:
    """Tells a thread when the evaluator waits for its next tick, so that a Traffic Manager that hangs is woken.

    Args:
        port: of the evaluator's Traffic Manager.

    """

    traffic_manager: Any = True
    ticking_since: float | None = None

    def __init__(self, port: int) -> None:
        from craft_lightning.simulation.traffic_manager import watch_traffic_manager

        threading.Thread(target=watch_traffic_manager, args=(weakref.ref(self), port), daemon=True).start()


class CraftAgent(_Base):
    """Lets a policy drive the evaluator's route.

    Rasters, lists of objects and the ego's own state come from the simulator's ground truth, so nobody is a competitor
    in any track; the agent says so when it is set up. It declares the map, and the sensors of a policy that has any.
    """

    # Evaluators also destroy an agent whose setup failed.
    driver: Any = None
    eyes: Any = None
    referee: Any = None
    pulse: "Pulse | None" = None
    save_name = ""

    def setup(self, path_to_conf_file: str) -> None:
        """Load the policy.

        Args:
            path_to_conf_file: see ``configured.configured_policy``.

        Raises:
            CraftError: it cannot be loaded, or there is no evaluator around this agent.

        """
        # Not above: whoever only wants this file's path should not wait for torch.
        from craft_lightning.official.configured import configured_policy
        from craft_lightning.official.evaluator_rig import EvaluatorRig
        from craft_lightning.rollouts.drivers import PolicyDriver

        if _official is None:
            raise CraftError("this agent is set up by an official evaluator; run craft-lightning official instead")
        self.track = _official.Track.MAP
        config, self.save_name = split_configuration(path_to_conf_file)
        policy = configured_policy(config)
        self.eyes = EvaluatorRig(policy.rig)
        self.policy = PolicyDriver(policy, worlds=1, seed=0, greedy=True)
        self.motion: dict[str, Any] = {}
        self.pulse = Pulse(_provider().get_traffic_manager_port())
        self.pulse.ticking_since = time.monotonic()  # the evaluator ticks before it asks for a control
        looks = ", ".join(map(str, policy.rig)) or "the simulator's ground truth"
        print(f"craft_lightning: '{config}' drives from {looks} (and is privileged)", flush=True)

    def sensors(self) -> list[dict[str, Any]]:
        """Declare the map and the policy's rig.

        Actors and lights come from the client's snapshot, for which evaluators know no sensor.
        """
        # Read once: it never changes, and a thread of the evaluator's would otherwise copy it again and again.
        carried = [] if self.eyes is None else self.eyes.declared()
        return [{"type": "sensor.opendrive_map", "reading_frequency": 1e-6, "id": "map"}, *carried]

    def set_global_plan(self, global_plan_gps: Any, global_plan_world_coord: Any) -> None:
        """Keep the whole route, of which the evaluator only keeps a point every 50 m."""
        super().set_global_plan(global_plan_gps, global_plan_world_coord)
        poses = [transform for transform, _ in global_plan_world_coord]
        self.plan = np.array([pose_from_carla(pose.location.x, pose.location.y, pose.rotation.yaw) for pose in poses])

    def run_step(self, input_data: dict[str, Any], timestamp: float) -> Any:
        """Return the control for the next tick."""
        if self.pulse is not None:
            self.pulse.ticking_since = None
        if self.driver is None:
            from craft_lightning.official.route_driver import RouteDriver

            provider = _provider()
            ego = provider.get_hero_actor()
            if ego is None:
                raise CraftError("the evaluator's world has no vehicle with role_name=hero; there is nothing to drive")
            self.driver = RouteDriver(self.policy, provider.get_world(), ego, self.plan, self.eyes.see)
            if os.environ.get(REFEREE_VARIABLE):
                from craft_lightning.official.referee import Referee

                self.referee = Referee(self.driver, provider.get_world(), ego)
        if self.eyes.rig:
            self.eyes.take(input_data, _provider().get_hero_actor().get_transform())
        if self.referee is not None:
            self.referee.tick()
        if hasattr(self, "get_metric_info") and os.environ.get("SAVE_PATH"):
            self.motion[str(len(self.motion))] = self.get_metric_info()
        control = self.driver.control()
        if self.pulse is not None:
            self.pulse.ticking_since = time.monotonic()
        return control

    def destroy(self) -> None:
        """Write the ego's motion where Bench2Drive looks for it (SAVE_PATH), and our own verdict."""
        folder = os.environ.get("SAVE_PATH")
        if folder and self.save_name and self.motion:
            target = Path(folder) / self.save_name
            target.mkdir(parents=True, exist_ok=True)
            (target / "metric_info.json").write_text(json.dumps(self.motion), encoding="utf-8")
        if self.referee is not None:
            from craft_lightning.official.referee import append_record

            append_record(Path(os.environ[REFEREE_VARIABLE]), self.referee.close())
        self.driver = self.referee = self.pulse = None
