"""Runs an audit: workers side by side, results as they come, tables and a picture at the end."""

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from craft_lightning.audit.report import draw_audit, plain, print_tables, summarise
from craft_lightning.audit.worker import Share, heading, read_lines, read_suite, turns, write_lines
from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import CRASHED
from craft_lightning.metrics.results import EMBEDDED_NOTE, write_json
from craft_lightning.policies.files import find_file
from craft_lightning.tables import table_console

FORMAT = "craft-lightning audit"
_RESTARTS = 2  # of a worker that died, in a row without a finished episode; then the episode is given up
_MOST_GIVEN_UP = 5  # episodes, after which no more are tried
_LOOK = 1.0  # seconds between two looks at the workers


@dataclasses.dataclass(frozen=True)
class AuditOptions:
    """What is audited.

    Args:
        checkpoint: policy checkpoint, by name or path.
        suite: route suite, by name or file.
        output: folder of the results; an audit that was interrupted goes on there.
        states: visited states.
        branches: candidates drawn a state; the executed and the most probable one are branches beside them.
        seed: of routes, traffic, sampling and draws.
        workers: worlds side by side.
        town: built-in town or OpenDRIVE file; empty = the routes' own.
        maps: folder with the OpenDRIVE files of towns that are not built in.
        horizon: seconds of the proxy.
        seconds: seconds of a branch in which the policy takes over.
        vehicles: of the background traffic.
        walkers: of the background traffic.

    """

    checkpoint: str
    suite: str
    output: Path
    states: int = 200
    branches: int = 12
    seed: int = 0
    workers: int = 2
    town: str = ""
    maps: str = ""
    horizon: float = 2.0
    seconds: float = 4.0
    vehicles: int = 20
    walkers: int = 10

    def __post_init__(self) -> None:
        for name in ("states", "branches", "workers"):
            if getattr(self, name) < 1:
                raise CraftError(f"audit: --{name} is {getattr(self, name)}; give at least 1")
        for name in ("horizon", "seconds"):
            steps = getattr(self, name) / 0.5
            if not math.isfinite(steps) or steps < 1 or abs(steps - round(steps)) > 1e-6:
                raise CraftError(f"audit: --{name} is {getattr(self, name)}; give a positive multiple of 0.5 s")
        if min(self.seed, self.vehicles, self.walkers) < 0:
            raise CraftError("audit: --seed, --vehicles and --walkers must be 0 or more")

    def stamp(self) -> dict[str, Any]:
        """Return what results must have in common to stand in one folder."""
        return {**dataclasses.asdict(self), "output": ""}


def audit(options: AuditOptions, console: Console | None = None) -> dict[str, Any]:
    """Audit a policy's proxy, print the tables and write ``audit.json`` and ``audit.png``.

    Raises:
        CraftError: a missing checkpoint or suite, a folder with another audit, or workers that keep dying.

    """
    find_file(options.checkpoint, "checkpoint")
    read_suite(options.suite, options.maps, options.town)
    folder = options.output
    _claim(folder, options)
    console = console or table_console(200)
    begun = time.monotonic()
    _run_workers(options, console)
    states = read_states(folder)
    summary = summarise(states, options.seed)
    document = {
        "format": FORMAT,
        "note": EMBEDDED_NOTE,
        "options": options.stamp(),
        "seconds": round(time.monotonic() - begun, 1),
        "figures": plain(summary),
    }
    write_json(folder / "audit.json", document)
    foot = (
        f"{len(states)} states of {options.suite}, policy {options.checkpoint}, {options.branches} candidates drawn a "
        f"state, proxy {options.horizon:g} s, policy takes over for {options.seconds:g} s; {EMBEDDED_NOTE}"
    )
    draw_audit(folder / "audit.png", states, summary, foot)
    print_tables(summary, console)
    console.print(f"written: {folder / 'audit.json'}, {folder / 'audit.png'}, {folder}/states-*.jsonl")
    return document


def read_states(folder: Path) -> list[dict[str, Any]]:
    """Return the audited states of all workers, each with the ``type`` of its scenario."""
    return [
        {**state, "type": episode["type"]}
        for path in sorted(folder.glob("states-*.jsonl"))
        for episode in read_lines(path)
        for state in episode["states"]
    ]


def _claim(folder: Path, options: AuditOptions) -> None:
    """Begin in a folder, or go on with the same audit."""
    stamp = folder / "options.json"
    wanted = json.loads(json.dumps(options.stamp()))
    if stamp.exists():
        found = json.loads(stamp.read_text())
        differing = sorted(name for name in wanted if found.get(name) != wanted[name])
        if differing:
            raise CraftError(
                f"{folder} holds an audit with other options ({', '.join(differing)}); choose another --output or "
                "remove the folder"
            )
        return
    try:
        write_json(stamp, wanted)
    except OSError as error:
        raise CraftError(f"--output {folder} cannot be written: {error.strerror}") from error


def _shares(options: AuditOptions) -> list[Share]:
    """Return what each worker does; the first ones take what does not divide."""
    counts = [len(range(worker, options.states, options.workers)) for worker in range(options.workers)]
    common = {name: value for name, value in options.stamp().items() if name not in ("output", "workers", "states")}
    return [
        Share(
            **common,
            total=options.states,
            states=count,
            worker=worker,
            workers=options.workers,
            output=str(options.output / f"states-{worker}.jsonl"),
        )
        for worker, count in enumerate(counts)
        if count
    ]


def _run_workers(options: AuditOptions, console: Console) -> None:
    """Run all workers to their ends; one that dies goes on where it was, at last without that episode."""
    shares = _shares(options)
    running = {share.worker: _start(share) for share in shares}
    failures = {share.worker: (0, 0) for share in shares}  # restarts, episodes at the last one
    shown, given_up = -1, 0
    try:
        while running:
            time.sleep(_LOOK)
            for share in shares:
                process = running.get(share.worker)
                if process is None or process.poll() is None:
                    continue
                words = _last_words(process)
                del running[share.worker]
                if process.returncode == 0:
                    continue
                if process.returncode == 2:
                    raise CraftError(words)
                episodes = len(read_lines(Path(share.output)))
                restarts, before = failures[share.worker]
                restarts = restarts + 1 if episodes == before else 1
                failures[share.worker] = (restarts, episodes)
                if restarts > _RESTARTS:
                    given_up += 1
                    if given_up > _MOST_GIVEN_UP:
                        raise CraftError(
                            f"audit workers died {restarts} times over each of {given_up} episodes, the last time "
                            f"with: {words}; the states audited so far are in {options.output}"
                        )
                    route = _give_up(share)
                    console.print(
                        f"route {route} is given up: its world failed {restarts} times, the last time with: {words}",
                        markup=False,
                        highlight=False,
                        soft_wrap=True,
                    )
                running[share.worker] = _start(share)
            found = len(read_states(options.output))
            if found != shown:
                shown = found
                console.print(f"{found} of {options.states} states", highlight=False)
    except KeyboardInterrupt:
        raise CraftError(
            f"interrupted; the {len(read_states(options.output))} states audited so far are in {options.output}: the "
            "same command goes on with the others"
        ) from None
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait(20.0)


def _give_up(share: Share) -> str:
    """Note the episode that a worker would drive next as one without states; returns its route."""
    path = Path(share.output)
    episodes = read_lines(path)
    done = {episode["number"] for episode in episodes}
    routes = read_suite(share.suite, share.maps, share.town)
    number, route = next((number, route) for number, route in turns(routes, share) if number not in done)
    write_lines(path, [*episodes, {**heading(number, route), "status": CRASHED, "states": []}])
    return str(route.id)


def _start(share: Share) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "craft_lightning.audit.worker", json.dumps(dataclasses.asdict(share))],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # One thread a worker: they share the cores.
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def _last_words(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    lines = [line.strip() for line in process.stderr.read().splitlines() if line.strip()]
    process.stderr.close()
    return lines[-1] if lines else "it said nothing"
