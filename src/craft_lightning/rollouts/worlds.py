"""The DataModule base: towns, a pool of worlds, and evaluation routes driven by the live policy."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import CRASHED
from craft_lightning.metrics.results import Protocol
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.rig import require_places, require_rig
from craft_lightning.rigs import read_rig
from craft_lightning.roads.grid import RoadGrid
from craft_lightning.roads.routes import RouteConfig, leak_guard
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.towns import Town, load_town
from craft_lightning.rollouts.collect import Traffic
from craft_lightning.rollouts.evaluate import Keeper, drive_routes
from craft_lightning.rollouts.keeping import ResultFolder, default_folder, describe_policy
from craft_lightning.rollouts.pool import WorldPool
from craft_lightning.rollouts.progress import DrivingProgress
from craft_lightning.rollouts.rules import judging, named_rules
from craft_lightning.rollouts.suites import Atlas, Suite, load_suite, load_suites, own_suite
from craft_lightning.rollouts.worker import WorldOptions
from craft_lightning.simulation.episode_options import episode_options
from craft_lightning.structures import Observation


class WorldsDataModule(LightningDataModule):
    """Worlds of one or several towns and the routes on which a policy is judged.

    Args:
        town: built-in town, or path of an OpenDRIVE file; where the two suites below are empty, the only town.
        train_routes: suite name or route file for training; empty = the town's own suite, generated where it ships
            none.
        eval_routes: the same for evaluation; generated training and evaluation routes never overlap.
        suite: evaluation suite over any number of towns: a built-in one's name (embedded-220) or a route file.
        training_suite: the same for training.
        maps: folder with the OpenDRIVE files (TOWN.xodr) of towns that are not built in.
        leave_out_missing_towns: leave routes of towns that are neither built in nor in ``maps`` out (they are listed)
            instead of refusing the suite.
        protocol: who judges evaluation routes: bench2drive, bench2drive-star, leaderboard-1.0, leaderboard-2.0 or
            leaderboard-2.1. Empty = bench2drive-star for ``suite``; for a single town the limits under which the
            shipped recipe was measured: those of bench2drive-star, but outside is off the drivable area or against the
            traffic, and minimum speed, time-outs of scenarios and ticks are not judged.
        generated_routes: number of training routes where they are generated.
        results: folder into which ``lightning test`` writes after every route, and from which the same command goes on
            when it was interrupted; empty = a folder below ``results/`` named after suite, protocol, policy and seed
            where ``suite`` is given, else none.
        driver: who drives in validate, test and predict: the "policy", or the privileged "expert".
        motion: write the ego's motion of every route (``metric_info.json``, for driving smoothness), too.
        eval_limit: number of evaluation routes used (0 = all; 40 where they are generated).
        worlds: worlds stepped side by side.
        vehicles: vehicles of the background traffic in each world.
        walkers: SUMO pedestrians in each world.
        end_on_collision: end an episode at the first collision; where evaluation has a protocol, in training alone.
        host: host of a running CARLA server; empty starts one embedded server a world.
        port: RPC port of the running server.
        seed: base seed of rollouts, traffic and scenarios.
        allow_training_on_evaluation_routes: do not refuse overlapping suites; stamped into results.
        step_timeout: seconds after which a world that does not answer counts as frozen.
        start_timeout: seconds a world may take to start.
        max_replacements: faults after which a run stops.
        episode: options of all episodes by name: tick_seconds (0.05), ticks_per_decision (0 = those of half a second),
            ego, settle_ticks, offroute_distance, stop_zone, go_zone, and where no protocol judges blocked_seconds,
            timeout_base and timeout_share; see ``simulation.episode_options.EpisodeOptions``.
        progress: draw progress bars.
        traffic: who drives the background vehicles: sumo, or traffic_manager (CARLA's own, for evaluation that is
            faithful to CARLA; not deterministic).
        rig: sensors that the ego carries: a layout's name (front_camera, bench2drive@256x144, ...) or a list of names
            and sensors by their fields; empty = what the policy asks for. A policy that looks through other ones is
            refused.

    """

    def __init__(
        self,
        town: str = "craftville",
        train_routes: str = "",
        eval_routes: str = "",
        suite: str = "",
        training_suite: str = "",
        maps: str = "",
        leave_out_missing_towns: bool = False,
        protocol: str = "",
        results: str = "",
        driver: Literal["policy", "expert"] = "policy",
        motion: bool = True,
        generated_routes: int = 60,
        eval_limit: int = 0,
        worlds: int = 4,
        vehicles: int = 20,
        walkers: int = 10,
        end_on_collision: bool = True,
        host: str = "",
        port: int = 2000,
        seed: int = 0,
        allow_training_on_evaluation_routes: bool = False,
        step_timeout: float = 20.0,
        start_timeout: float = 180.0,
        max_replacements: int = 50,
        episode: dict[str, Any] | None = None,
        progress: bool = True,
        traffic: str = "sumo",
        rig: str | list[str | dict[str, Any]] = "",
    ) -> None:
        super().__init__()
        if worlds < 1:
            raise CraftError(f"data.worlds is {worlds}; give at least 1")
        for name, seconds in (("step_timeout", step_timeout), ("start_timeout", start_timeout)):
            if not seconds > 0.0:
                raise CraftError(f"data.{name} is {seconds}; give a positive number of seconds")
        counts = {"vehicles": vehicles, "walkers": walkers, "eval_limit": eval_limit, "seed": seed}
        for name, count in {**counts, "max_replacements": max_replacements}.items():
            if count < 0:
                raise CraftError(f"data.{name} is {count}; give 0 or more")
        if generated_routes < 1:
            raise CraftError(f"data.generated_routes is {generated_routes}; give 1 or more")
        if host and worlds != 1:
            raise CraftError(
                f"data.worlds is {worlds} but data.host='{host}' is one server; set data.worlds=1 "
                "(or leave data.host empty for embedded worlds)"
            )
        for field, value, other, given in (
            ("suite", suite, "eval_routes", eval_routes),
            ("training_suite", training_suite, "train_routes", train_routes),
        ):
            if value and given:
                raise CraftError(f"data.{field}={value} and data.{other}={given} name the same routes; leave one out")
        self.town, self.worlds, self.seed = town, worlds, seed
        self.suites = (train_routes, eval_routes)
        self.suite, self.training_suite = suite, training_suite
        self.leave_out_missing_towns = leave_out_missing_towns
        self.atlas = Atlas(maps)
        self._clock = episode_options(episode or {})
        self.rules = named_rules(protocol, dict(episode or {}), suite)
        self.generated_routes, self.eval_limit = generated_routes, eval_limit
        self.traffic = Traffic(vehicles, walkers, end_on_collision, traffic)
        self.allow_training_on_evaluation_routes = allow_training_on_evaluation_routes
        self.show_progress = progress
        self.rig = read_rig(rig, "data.rig")
        require_places(self.rig, "data.rig")
        self.options = WorldOptions(town, host, port, episode=dict(episode or {}), rig=self.rig)
        self.timeouts = {"step_timeout": step_timeout, "start_timeout": start_timeout}
        self.max_replacements = max_replacements
        self.train_suite: list[RouteConfig] = []
        self.eval_suite: list[RouteConfig] = []
        self.left_out: dict[str, int] = {}
        self.results, self.motion, self.driver = results, motion, driver
        self.result_file: Path | None = None
        self.grids: list[RoadGrid] = []
        self.leaked = False
        self._names = ("", "")
        self._pool: WorldPool | None = None

    @property
    def pool(self) -> WorldPool:
        """The started worlds."""
        if self._pool is None:
            self._pool = WorldPool(self.worlds, self.options, max_replacements=self.max_replacements, **self.timeouts)
        self._pool.start()
        return self._pool

    def equip(self, policy: PolicyAdapter | None) -> None:
        """Give the worlds the sensors that a policy looks through, where they have not got them; None needs none.

        Worlds that run without them are ended; they start again when needed.

        Raises:
            CraftError: ``data.rig`` names other ones, or a sensor has no place.

        """
        if policy is None or not policy.rig:
            return
        who = type(policy).__name__
        if self.rig:
            require_rig(policy.rig, self.rig, who)
        elif self.options.rig != policy.rig:
            require_places(policy.rig, who)
            self.close()
            self.options = dataclasses.replace(self.options, rig=policy.rig)

    def setup(self, stage: str | None = None) -> None:
        """Load the towns and the suites, and refuse training routes that evaluation uses.

        Raises:
            CraftError: a broken town or route file, or overlapping suites.

        """
        if self.grids:
            return
        training, judged = self._read_suites()
        self.train_suite, self.eval_suite = training.routes, judged.routes
        self._names = training.name, judged.name
        if self.eval_limit:
            self.eval_suite = self.eval_suite[: self.eval_limit]
        try:
            leak_guard(self.train_suite, self.eval_suite)
        except CraftError:
            if not self.allow_training_on_evaluation_routes:
                raise
            self.leaked = True
        self.grids = [RoadGrid.from_network(town.network) for town in self._towns()]

    def _read_suites(self) -> tuple[Suite, Suite]:
        """Return the training and the evaluation suite."""
        training = judged = None
        if self.training_suite:
            training = load_suite("data.training_suite", self.training_suite, self.atlas, self.leave_out_missing_towns)
            self._say_left_out("data.training_suite", training)
        if self.suite:
            judged = load_suite("data.suite", self.suite, self.atlas, self.leave_out_missing_towns)
            self.left_out = judged.left_out
            self._say_left_out("data.suite", judged)
        if training is None or judged is None:
            town = self._own_town()
            own, held_out = load_suites(town, *self.suites, self.generated_routes, self.eval_limit or 40, self.seed)
            training = training or Suite(own_suite(town.name, self.suites[0], "train"), own)
            judged = judged or Suite(own_suite(town.name, self.suites[1], "eval"), held_out)
        return training, judged

    def _own_town(self) -> Town:
        try:
            return load_town(self.town)
        except CraftError as error:
            raise CraftError(f"data.town: {error}") from error

    def _towns(self) -> list[Town]:
        """Return all towns of the suites, and tell worlds of several in which order scenes index their grids."""
        if not (self.suite or self.training_suite):
            return [self._own_town()]
        own = self._own_town()
        names = sorted({route.town for route in [*self.train_suite, *self.eval_suite]})
        sources = {name: self.town if name == own.name else self.atlas.source(name) or "" for name in names}
        first = sorted({route.town for route in self.eval_suite})[0]
        self.options = dataclasses.replace(
            self.options, town=sources[first], atlas=sources, maps=str(self.atlas.maps or "")
        )
        return [own if name == own.name else self.atlas.load(name) for name in names]

    def _say_left_out(self, field: str, suite: Suite) -> None:
        if suite.left_out:
            towns = ", ".join(f"{town} ({count})" for town, count in suite.left_out.items())
            total = sum(suite.left_out.values()) + len(suite.routes)
            message = (
                f"{field}={suite.name}: {len(suite.routes)} of {total} routes; left out, for want of a map: {towns}"
            )
            print(message, file=sys.stderr)

    def teardown(self, stage: str | None = None) -> None:
        """End all worlds."""
        self.close()

    def close(self) -> None:
        """End all worlds; they start again when needed."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    @property
    def protocol(self) -> Protocol:
        """The conditions under which evaluation routes are driven, as results are stamped."""
        return Protocol(
            town=", ".join(sorted({route.town for route in self.eval_suite})),
            suite=self._names[1],
            num_routes=len(self.eval_suite),
            world="carla" if self.options.host else "embedded",
            tick_seconds=self._clock.tick_seconds,
            ticks_per_decision=self._clock.ticks_per_decision,
            seed=self.seed,
            trained_on_evaluation=self.leaked,
            rules=self.rules.name if self.rules is not None else "",
            traffic=self.traffic.source,
            changed=", ".join(f"{name}={value}" for name, value in self._changed().items()),
        )

    def _changed(self) -> dict[str, Any]:
        """Return what else of the conditions differs from the defaults; a protocol settles collisions itself."""
        changed = self._clock.changed()
        if self.rules is None and not self.traffic.end_on_collision:
            changed["end_on_collision"] = False
        return changed

    def drive(
        self,
        policy: PolicyAdapter | None,
        title: str,
        seed: int | None = None,
        keeper: Keeper | None = None,
        greedy: bool = True,
    ) -> list[dict[str, Any]]:
        """Drive every evaluation route once.

        Args:
            policy: who drives; None = the privileged expert.
            title: what the progress bar says.
            seed: seed of traffic and scenarios; None = the module's.
            keeper: gets every record as soon as it is there, and knows those that need not be driven again.
            greedy: take the most probable candidate, as evaluation does; else sample, as training does.

        Returns:
            One record a route, in route order.

        Raises:
            CraftError: a world refuses its input, or no route at all could be driven.

        """
        self.equip(policy)
        seed = self.seed if seed is None else seed
        done = {} if keeper is None else keeper.done()
        if len(done) == len(self.eval_suite):
            records = [done[index] for index in range(len(done))]  # nothing to drive, no world to start
        else:
            with DrivingProgress(title, len(self.eval_suite), "route", self.show_progress, done=len(done)) as bar:
                records = drive_routes(
                    policy,
                    self.pool,
                    self.eval_suite,
                    self.traffic,
                    seed,
                    lambda record: bar.record(record, True),
                    judging(self.rules),
                    keeper,
                    greedy,
                )
        self._require_driven(records, keeper is not None)
        return records

    def _require_driven(self, records: list[dict[str, Any]], kept: bool) -> None:
        """Refuse records of which not one was driven: 0 would be no score of the policy."""
        if len(records) < 2 or any(record["status"] != CRASHED for record in records):
            return
        fault = "" if self._pool is None else self._pool.statistics.last_fault.strip()
        said = f", at last with: {fault.splitlines()[-1]}" if fault else ""
        remedy = "; they are kept as crashed: take another data.results once that is mended" if kept else ""
        raise CraftError(f"the simulation crashed on all {len(records)} routes{said}{remedy}")

    def val_dataloader(self) -> DataLoader:
        """Return one batch: the records of all evaluation routes, driven by the live policy."""
        return DataLoader(_Evaluation(self), batch_size=None, num_workers=0)

    predict_dataloader = val_dataloader

    def test_dataloader(self) -> DataLoader:
        """Return the same for a test, kept in the result folder route by route."""
        return DataLoader(_Evaluation(self, keep=True), batch_size=None, num_workers=0)

    def evaluate(self, policy: PolicyAdapter | None, title: str) -> list[dict[str, Any]]:
        """Drive every evaluation route once, kept in the result folder where there is one.

        Args:
            policy: who drives greedily; None = the privileged expert.
            title: what the progress bar says.

        Returns:
            One record a route, in route order.

        Raises:
            CraftError: the folder holds the results of another run.

        """
        if not (self.results or self.suite):
            return self.drive(policy, title)
        driver = describe_policy(policy)
        folder = Path(self.results).expanduser()
        if not self.results:
            folder = default_folder(self.protocol, driver, self.eval_limit)
        settings = {**driver, "vehicles": self.traffic.vehicles, "walkers": self.traffic.walkers}
        towns = {town.name: town for town in self._towns()}
        planners = {name: RoutePlanner(towns[name].network) for name in {route.town for route in self.eval_suite}}
        with contextlib.closing(
            ResultFolder(folder, self.protocol, self.eval_suite, planners, settings, self.motion)
        ) as keeper:
            self.result_file = keeper.path
            found = len(keeper.done())
            if found:
                print(f"{folder}: {found} of {len(self.eval_suite)} routes are there already", file=sys.stderr)
            return self.drive(policy, title, keeper=keeper)

    def _live_policy(self) -> PolicyAdapter:
        trainer = self.trainer
        if trainer is None:
            raise CraftError("the DataModule has no trainer; use it through Trainer.fit, validate, test or predict")
        policy: PolicyAdapter = trainer.lightning_module.adapter  # type: ignore[assignment]
        policy.require_observed(tuple(Observation.__annotations__))
        self.equip(policy)
        return policy

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the interpreter may be half gone; worlds also end with their parent
            self.close()


class _Evaluation(IterableDataset):
    """Drives the evaluation suite when iterated; one element, the list of records."""

    def __init__(self, module: WorldsDataModule, keep: bool = False) -> None:
        self.module, self.keep = module, keep

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        drive = self.module.evaluate if self.keep else self.module.drive
        yield drive(self.module._live_policy() if self.module.driver == "policy" else None, "evaluate")
