"""What every scenario is: a behaviour tree with a trigger, a finite life and a clean-up."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import py_trees
from py_trees.common import Status

from craft_lightning.errors import CraftError
from craft_lightning.simulation.intentions import Intention
from craft_lightning.simulation.scenarios.stage import Spawner, Stage, route_position
from craft_lightning.simulation.view import WorldView

if TYPE_CHECKING:
    import numpy as np

    from craft_lightning.roads.network import RoadNetwork
    from craft_lightning.roads.routes import ScenarioConfig
    from craft_lightning.roads.routing import Route


class Action(py_trees.behaviour.Behaviour):
    """A behaviour that knows its stage and when it began, in simulated seconds.

    Args:
        name: name in the tree.
        stage: shared state.

    """

    def __init__(self, name: str, stage: Stage) -> None:
        super().__init__(name)
        self.stage = stage
        self.began = 0.0

    def initialise(self) -> None:
        """Note the time; py_trees calls it when the behaviour begins."""
        self.began = self.stage.view.time

    @property
    def elapsed(self) -> float:
        """Simulated seconds since the behaviour began."""
        # The server adds up its clock: without rounding, equal episodes would differ by a step here and there.
        return round(self.stage.view.time - self.began, 6)

    @abstractmethod
    def update(self) -> Status:
        """Act for one step of the tree."""


class When(Action):
    """Waits until a condition of the stage holds."""

    def __init__(self, name: str, stage: Stage, condition: Callable[[], bool]) -> None:
        super().__init__(name, stage)
        self._condition = condition

    def update(self) -> Status:
        """Succeed once the condition holds."""
        return Status.SUCCESS if self._condition() else Status.RUNNING


class FiniteLife(Action):
    """Runs out after some simulated seconds."""

    def __init__(self, name: str, stage: Stage, seconds: float) -> None:
        super().__init__(name, stage)
        self.seconds = seconds

    def update(self) -> Status:
        """Succeed once the time is over."""
        return Status.SUCCESS if self.elapsed >= self.seconds else Status.RUNNING


class Scenario(ABC):
    """One scenario on a route: waits for the ego, plays, ends by itself and leaves nothing behind.

    Subclasses give ``prepare`` (what stands there from the beginning), ``trigger_condition`` and ``story``.

    Args:
        config: name, type, trigger point and parameters.
        session: the session that spawns.
        route: the ego's route.
        network: the town, where it is known.
        rng: the scenario's random numbers.

    Attributes:
        root: the py_trees behaviour that is ticked from the trigger on.
        triggered: whether the ego has set it off.
        finished: whether it is over and its actors are gone.
        verdicts: what the ego is to blame for, in order: "scenario_timeout" (given here) or "yield_emergency" (given
            by the scenario whose vehicle was not let past). The episode counts them where its protocol does.

    """

    life = 30.0  # simulated seconds from the trigger to the end at the latest
    # What an ego cannot help doing between trigger and end, for criteria that forgive it ("opposite_lane", "shoulder").
    permits: frozenset[str] = frozenset()
    # Simulated seconds from the trigger after which the ego has failed to get past, as in Bench2Drive's; reached
    # only where life is longer.
    timeout = 240.0

    def __init__(
        self,
        config: "ScenarioConfig",
        session: Spawner,
        route: "Route",
        network: "RoadNetwork | None",
        rng: "np.random.Generator",
    ) -> None:
        self.config = config
        x, y, _, yaw = (float(value) for value in config.trigger_point)
        self.stage = Stage(session, route, network, rng, route_position(route, x, y, yaw))
        self.triggered = False
        self.finished = False
        self.verdicts: list[str] = []
        self._ticks, self._ticks_per_step = 0, session.ticks_per_step
        self._set_off = 0.0
        self.prepare()
        self.root = py_trees.composites.Parallel(
            f"{config.name}: story or end of life",
            py_trees.common.ParallelPolicy.SuccessOnOne(),
            [self.story(), FiniteLife("end of life", self.stage, self.life)],
        )

    def prepare(self) -> None:  # noqa: B027 - many begin with an empty road
        """Spawn what stands there before the ego comes; called once, before any view exists."""

    @abstractmethod
    def trigger_condition(self) -> bool:
        """Whether the ego sets the scenario off now."""

    @abstractmethod
    def story(self) -> py_trees.behaviour.Behaviour:
        """Return what happens after the trigger."""

    @classmethod
    def ego_place(
        cls, config: "ScenarioConfig", route: "Route", network: "RoadNetwork | None"
    ) -> tuple[float, float] | None:
        """Return where the ego begins, metres of route and metres to the left of it; None: at the route's start."""
        del config, route, network
        return None

    def disturb(self, throttle: float, steer: float, brake: float) -> tuple[float, float, float]:
        """Return the ego's control as the scenario lets it through; right-handed steer, positive to the left."""
        return throttle, steer, brake

    @property
    def actor_ids(self) -> set[int]:
        """Ids of the scenario's living actors, for ``ViewReader.watch``."""
        return {int(actor.id) for actor in self.stage.actors}

    def intentions(self) -> dict[int, Intention]:
        """Return where the scenario's vehicles will go, by actor id, for whoever is privileged to know."""
        return {}

    @property
    def due(self) -> bool:
        """Whether the next tick is one at which it looks around and acts."""
        return not self.finished and (self._ticks + 1) % self._ticks_per_step == 0

    def tick(self, view: WorldView) -> None:
        """Play on; call it after every tick of the world with the view of that tick.

        The tree runs every ``TRACKER_SECONDS``, as the ego's tracker does; controls are held in between.

        Args:
            view: light or complete; it must hold the ego, and where ``due`` it should hold ``actor_ids``.

        """
        self._ticks += 1
        if self.finished or self._ticks % self._ticks_per_step:
            return
        self.stage.see(view)
        if not self.triggered:
            # Asked here and not by the tree: ticking that costs several times as much.
            if not self.trigger_condition():
                return
            self.triggered, self._set_off = True, view.time
        self.root.tick_once()
        lasted = round(view.time - self._set_off, 6)
        if self.root.status == Status.RUNNING and lasted >= self.timeout:
            self.verdicts.append("scenario_timeout")
            self.clean_up()
        elif self.root.status in (Status.SUCCESS, Status.FAILURE):
            self.clean_up()

    def clean_up(self) -> None:
        """End the scenario and destroy its actors; the next tick of the world carries it out.

        It is called where the story ends, with the route at the latest, and possibly again: a verdict that can only be
        given at the end is given here, once.
        """
        self.finished = True
        if self.root.status == Status.RUNNING:
            self.root.stop(Status.INVALID)
        self.stage.remove()


def parameter(config: "ScenarioConfig", name: str, default: Any) -> Any:
    """Read one parameter of a scenario, in the type of its default.

    Args:
        config: ``config.parameters`` maps names to texts, numbers, or ``{"value": ...}`` as in Bench2Drive's XML.
        name: of the parameter.
        default: where it is missing.

    Raises:
        CraftError: it is not a number where one is needed.

    """
    value = config.parameters.get(name, default)
    if isinstance(value, dict):
        value = value.get("value", default)
    if value is None or value is default:
        return default
    if isinstance(default, str):
        return str(value)
    try:
        return type(default)(value)
    except (TypeError, ValueError) as error:
        raise CraftError(
            f"scenario '{config.name}' ({config.type}): parameter '{name}' is '{value}', not a number; "
            "correct it in the route file"
        ) from error
