"""A result folder: written after every route, continued by the same command, never cleared.

``results.json`` is in the CARLA leaderboard's schema; ``metric_info/ROUTE/metric_info.json`` holds the ego's motion;
``run/`` holds what the run was asked for, and how often each route was begun.
"""

import dataclasses
import fcntl
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.metrics.leaderboard import leaderboard_id
from craft_lightning.metrics.motion import Motion, write_motion
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import Protocol, write_json
from craft_lightning.metrics.shards import ShardFile
from craft_lightning.metrics.signs import route_sign_percent
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.roads.routes import RouteConfig
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.rollouts.evaluate import Keeper
from craft_lightning.simulation.recorder import directions

RESULTS, SETTINGS, ATTEMPTS, MOTIONS = "results.json", "run/settings.json", "run/attempts.json", "metric_info"


class ResultFolder(Keeper):
    """Keeps an evaluation in a folder, so that the same command goes on where it was interrupted.

    Args:
        folder: the folder; made where it is not there.
        protocol: conditions of the run.
        routes: the suite.
        planners: town -> planner, for the places of first junctions.
        settings: what else must agree for records to belong together: who drives, how much traffic.
        motion: write ``metric_info.json`` for every route.

    Attributes:
        path: the result file.

    Raises:
        CraftError: the folder holds the results of another run (the sentence names the first difference), another
            process writes it now, or it cannot be written.

    """

    wants_clock = True

    def __init__(
        self,
        folder: str | Path,
        protocol: Protocol,
        routes: Sequence[RouteConfig],
        planners: Mapping[str, RoutePlanner],
        settings: Mapping[str, Any],
        motion: bool = True,
    ) -> None:
        super().__init__()
        self.folder, self.routes, self.planners, self.wants_motion = Path(folder), routes, planners, motion
        self.path = self.folder / RESULTS
        try:
            (self.folder / "run").mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / "run" / "lock", "w")  # noqa: SIM115  (the open file is the lock)
        except OSError as error:
            raise CraftError(
                f"data.results: {self.folder} cannot be written ({error.strerror}); choose another"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise CraftError(
                f"data.results: another process writes {self.folder} now; wait for it or choose another folder"
            ) from error
        try:
            self._agree({"protocol": protocol.to_dict(), "routes": _digest_routes(routes), **settings})
            try:
                self.shard = ShardFile(self.path, protocol)
            except CraftError as error:
                raise CraftError(
                    f"data.results: {error}; or move {self.folder} away, and the same command begins anew"
                ) from error
            self._begun = {int(index): count for index, count in _read(self.folder / ATTEMPTS).items()}
        except BaseException:
            self._lock.close()
            raise

    def _agree(self, settings: dict[str, Any]) -> None:
        """Refuse a folder of another run, else note what this one is."""
        path = self.folder / SETTINGS
        found = _read(path)
        if not found and self.path.exists():
            raise CraftError(
                f"data.results: {self.folder} holds a {RESULTS} but no {SETTINGS} that says what it belongs to; choose "
                "another folder"
            )
        mine, theirs = _flat(json.loads(json.dumps(settings))), _flat(found)
        for field in dataclasses.fields(Protocol):  # a folder may be older than a field of protocols
            if field.default is not dataclasses.MISSING:
                theirs.setdefault(field.name, field.default)
        for name in mine if found else ():
            if mine[name] != theirs.get(name):
                raise CraftError(
                    f"data.results: {self.folder} holds results with {name}={theirs.get(name)!r}, this run has "
                    f"{mine[name]!r}; choose another folder, nothing in this one was touched"
                )
        if not found:
            write_json(path, settings)

    def close(self) -> None:
        """Let others write the folder."""
        self._lock.close()

    def done(self) -> Mapping[int, dict[str, Any]]:
        """Return the records in the folder, by index."""
        return {record.index: record.to_dict() for record in self.shard.records}

    def begins(self, index: int) -> int:
        """Note that a route begins, before it does: a run that is killed on the way then counts as an attempt."""
        before = super().begins(index)
        write_json(self.folder / ATTEMPTS, {str(number): count for number, count in self._begun.items()})
        return before

    def keep(
        self, record: dict[str, Any], motion: np.ndarray | None = None, incidents: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, Any]:
        """Write one record, its motion first, and return it with what was added to it."""
        route = self.routes[int(record["index"])]
        name = route.scenarios[0].name if route.scenarios else ""
        save_name = "_".join(part for part in (leaderboard_id(str(route.id)), route.town, name) if part)
        planner = self.planners[route.town]
        sign = route_sign_percent(planner.plan_route(route), planner.network, route.waypoints)
        whole = {**record, "scenario_name": name, "save_name": save_name, "sign_percent": sign}
        if motion is not None and len(motion):
            forward, right = directions(motion)
            written = Motion(motion[:, 0:3], motion[:, 3:6], forward, right, motion[:, 6:9], motion[:, 9:12])
            write_motion(self.folder / MOTIONS / save_name, written)
        self.shard.add(RouteRecord.from_dict(whole), incidents)
        return whole


def describe_policy(policy: PolicyAdapter | None) -> dict[str, str]:
    """Return who drives: the class, and a digest of all weights and buffers; the expert has none."""
    if policy is None:
        return {"driver": "expert", "weights": ""}
    made = hashlib.sha256()
    for name, tensor in sorted(policy.state_dict().items()):
        made.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        made.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    return {"driver": type(policy).__name__, "weights": made.hexdigest()[:12]}


def default_folder(protocol: Protocol, driver: Mapping[str, str], limit: int = 0) -> Path:
    """Return the folder of a run that names none: one for every suite, protocol, driver and seed.

    Args:
        protocol: conditions of the run.
        driver: who drives, see ``describe_policy``.
        limit: number of routes where not the whole suite is driven, else 0.

    """
    suite = Path(protocol.suite).stem.replace(" ", "-") + (f"-first{limit}" if limit else "")
    parts = (protocol.judged_by, driver["driver"], driver["weights"], f"seed{protocol.seed}")
    return Path("results") / suite / "-".join(part for part in parts if part)


def _digest_routes(routes: Sequence[RouteConfig]) -> str:
    """Return a digest of ways, scenarios and their parameters."""
    made = hashlib.sha256()
    for route in routes:
        scenarios = [(one.type, one.name, list(one.trigger_point), dict(one.parameters)) for one in route.scenarios]
        made.update(json.dumps([route.id, route.fingerprint(), scenarios, dict(route.weather)], default=str).encode())
    return made.hexdigest()[:12]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with their plain names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CraftError(
            f"data.results: {path} cannot be read ({error}); move the folder away or choose another"
        ) from error
    if not isinstance(found, dict):
        raise CraftError(f"data.results: {path} is not what a run writes there; move the folder away or choose another")
    return found
