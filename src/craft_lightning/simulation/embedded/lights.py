"""Traffic lights as actors: SUMO's programs on the server's own clock, so that clients can freeze and override them.

The phases come from the SUMO net; the clock is kept here because SUMO drops a program for good once a state is set by
hand, and because all mutable state of a world should lie in one place. Whatever a light shows is what SUMO's vehicles
obey: every change is handed to SUMO.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.state import YAW, Actor, ActorTable, Z
from craft_lightning.simulation.embedded.town import LightPlace

_LETTER = {wire.RED: "r", wire.YELLOW: "y", wire.GREEN: "G", wire.OFF: "O", wire.UNKNOWN: "O"}
# SUMO's letters; u is red before green, s a stop with permission to turn right on red.
_COLOUR = {
    "r": wire.RED,
    "u": wire.RED,
    "s": wire.RED,
    "y": wire.YELLOW,
    "Y": wire.YELLOW,
    "g": wire.GREEN,
    "G": wire.GREEN,
}
SHORTEST_PHASE = 0.05  # s


@dataclasses.dataclass(frozen=True)
class ProgramPlan:
    """A signal program of SUMO: ``phases`` are (seconds, one letter a link)."""

    name: str
    phases: tuple[tuple[float, str], ...]
    offset: float = 0.0


@dataclasses.dataclass(frozen=True)
class LightLinks:
    """The links a light rules: (program, index) pairs, the straightest movement first; empty when SUMO knows none."""

    links: tuple[tuple[str, int], ...]


@dataclasses.dataclass
class Program:
    """A running program: its ``phase``, the seconds ``remaining`` of it, and durations, which clients may change."""

    durations: list[float]
    states: list[str]
    phase: int = 0
    remaining: float = 0.0

    def rewind(self, into: float) -> None:
        """Stand ``into`` seconds after the beginning of the cycle."""
        into %= max(sum(self.durations), SHORTEST_PHASE)
        self.phase = 0
        while into >= self.durations[self.phase] and self.phase < len(self.durations) - 1:
            into -= self.durations[self.phase]
            self.phase += 1
        self.remaining = max(self.durations[self.phase] - into, SHORTEST_PHASE)


@dataclasses.dataclass
class Light:
    """One light actor: its links, what it shows since when, and the colour a client forced on it, if any."""

    actor: int
    place: LightPlace
    links: tuple[tuple[str, int], ...]
    state: int = wire.OFF
    since: float = 0.0
    forced: int | None = None


class LightBoard:
    """All lights and programs of a town; part of the world's state.

    Args:
        plans: SUMO's programs.
        lights: light actors, in order of id.
        forward: called with (program, letters) whenever SUMO should show something new.

    """

    def __init__(
        self, plans: list[ProgramPlan], lights: list[Light], forward: Callable[[str, str], None] | None = None
    ) -> None:
        self.plans = {plan.name: plan for plan in plans}
        self.lights = {light.actor: light for light in lights}
        self.forward = forward
        self.frozen = False
        self.time = 0.0
        self.programs: dict[str, Program] = {}
        # For the snapshot: the lights' rows in the actor table, and since when each shows what it shows.
        self._number = {light.actor: number for number, light in enumerate(lights)}
        self._since = np.zeros(len(lights))
        self._in_order = lights
        self._volumes = np.array([_volume(light.place) for light in lights]).reshape(-1, 9)
        self._reach = np.hypot(self._volumes[:, 6], self._volumes[:, 7])
        self._rows: np.ndarray | slice = np.zeros(0, np.int64)
        self._version = -1
        self._of_program: dict[str, list[Light]] = {name: [] for name in self.plans}
        for light in lights:
            for name in dict.fromkeys(name for name, _ in light.links):
                self._of_program[name].append(light)
        self._next_change = self._scheduled = 0.0
        self._times: dict[int, tuple[float, float, float]] = {}
        self.changed: list[Light] = []
        self.reset()

    def reset(self, into: dict[str, float] | None = None) -> None:
        """Begin all programs anew, ``into`` seconds after the beginning of their cycle (SUMO's offset if not given)."""
        self._times.clear()
        # The clock begins anew as well, so that what follows does not depend on how long the server has run.
        self.time = 0.0
        for light in self.lights.values():
            light.forced, light.since = None, 0.0
        for name, plan in self.plans.items():
            program = Program([phase[0] for phase in plan.phases], [phase[1] for phase in plan.phases])
            program.rewind(-plan.offset if into is None else into[name])
            self.programs[name] = program
        self._schedule()
        self.refresh()

    def advance(self, delta: float) -> None:
        """Let ``delta`` seconds pass."""
        self.time += delta
        if self.frozen or self.time < self._next_change:
            return
        for name, program in self.programs.items():
            program.remaining -= self.time - self._scheduled
            turned = False
            while program.remaining <= 1e-9:
                program.phase = (program.phase + 1) % len(program.durations)
                program.remaining += program.durations[program.phase]
                turned = True
            if turned:
                for light in self._of_program[name]:
                    light.forced = None
                self._show(name)
        self._schedule()

    def freeze(self, frozen: bool) -> None:
        """Stop all clocks, or let them run on."""
        if frozen == self.frozen:
            return
        self._settle()
        self.frozen = frozen
        self._schedule()
        self.changed = list(self.lights.values())

    def force(self, actor: int, state: int) -> None:
        """Show ``state`` until the program's next phase (for good while frozen)."""
        light = self.lights[actor]
        light.forced = state
        if light.links:
            for name in dict.fromkeys(name for name, _ in light.links):
                self._show(name)
        elif light.state != state:
            light.state, light.since = state, self.time
            self.changed.append(light)

    def set_time(self, actor: int, state: int, seconds: float) -> None:
        """Make the green, the yellow, or the all-red time of a light's program add up to ``seconds``."""
        light = self.lights[actor]
        self._settle()
        self._times.clear()
        for name in dict.fromkeys(name for name, _ in light.links):
            program = self.programs[name]
            rows = self._phases(light, name, state)
            total = sum(program.durations[row] for row in rows)
            for row in rows:
                share = program.durations[row] / total if total > 0.0 else 1.0 / len(rows)
                program.durations[row] = max(seconds * share, SHORTEST_PHASE)
            if program.phase in rows:
                program.remaining = min(program.remaining, program.durations[program.phase])
        self._schedule()
        self.changed = list(self.lights.values())

    def times(self, light: Light) -> tuple[float, float, float]:
        """Return the green, yellow and all-red seconds of a light's cycle."""
        if not light.links:
            return 0.0, 0.0, 0.0
        found = self._times.get(light.actor)
        if found is None:
            name = light.links[0][0]
            durations = self.programs[name].durations
            green, yellow, red = (
                sum(durations[row] for row in self._phases(light, name, state))
                for state in (wire.GREEN, wire.YELLOW, wire.RED)
            )
            found = self._times[light.actor] = green, yellow, red
        return found

    def light_at(self, vehicle: Actor) -> tuple[int, float]:
        """Find the light whose trigger volume a vehicle is in, heading for its stop line.

        Returns:
            The light's id, 0 for none, and how many metres the vehicle can drive before it can be in any other.

        """
        if not self.lights:
            return 0, math.inf
        yaw = math.radians(vehicle.motion[YAW])
        apart = np.array(vehicle.motion[:2]) - self._volumes[:, :2]
        free = float((np.abs(apart).max(1) - self._reach).min()) - vehicle.extent[0]
        if free > 0.0:
            return 0, free
        across, along = self._volumes[:, 2:4], self._volumes[:, 4:6]
        inside = (
            (np.abs((apart * across).sum(1)) < self._volumes[:, 6])
            & (np.abs((apart * along).sum(1)) < self._volumes[:, 7] + vehicle.extent[0])
            & (along @ (math.cos(yaw), math.sin(yaw)) > 0.5)
            & (np.abs(vehicle.motion[Z] - self._volumes[:, 8]) < 5.0)
        )
        found = int(inside.argmax())
        return (self._in_order[found].actor if inside[found] else 0), 0.0

    def group(self, actor: int) -> list[int]:
        """Return the ids of the lights of the same program, in order; a light without program is alone."""
        light = self.lights[actor]
        if not light.links:
            return [actor]
        return [other.actor for other in self._of_program[light.links[0][0]]]

    def reset_group(self, actor: int) -> None:
        """Begin the program of a light anew."""
        light = self.lights[actor]
        self._settle()
        for name in dict.fromkeys(name for name, _ in light.links):
            self.programs[name].rewind(0.0)
            for other in self._of_program[name]:
                other.forced = None
            self._show(name)
        self._schedule()

    def refresh(self) -> None:
        """Tell SUMO and the snapshot about all lights anew."""
        for name in self.programs:
            self._show(name)
        self.changed = list(self.lights.values())

    def write(self, actors: ActorTable) -> None:
        """Bring the rows of the snapshot up to date: elapsed times always, the rest where something changed."""
        if not self.lights:
            return
        if self._version != actors.version:
            rows = np.array([actors.index[actor] for actor in self.lights])
            # The lights of a town come one after the other; a slice is many times faster than a list of rows.
            together = bool((np.diff(rows) == 1).all())
            self._rows = slice(int(rows[0]), int(rows[-1]) + 1) if together else rows
            self._version = actors.version
        for light in self.changed:
            row = actors.rows[actors.index[light.actor]]
            row["sign"] = light.place.signal.encode()[:31]
            row["light_state"] = light.state
            row["frozen"] = self.frozen
            row["times"][:3] = self.times(light)
            self._since[self._number[light.actor]] = light.since
        self.changed = []
        actors.rows["times"][self._rows, 3] = self.time - self._since

    def _show(self, name: str) -> None:
        program = self.programs[name]
        letters = list(program.states[program.phase])
        for light in self._of_program[name]:
            if light.forced is not None:
                for program_name, index in light.links:
                    if program_name == name:
                        letters[index] = _LETTER[light.forced]
        if self.forward is not None:
            self.forward(name, "".join(letters))
        for light in self._of_program[name]:
            main, index = light.links[0]
            if main != name:
                continue
            state = light.forced if light.forced is not None else _COLOUR.get(letters[index], wire.OFF)
            if state != light.state:
                light.state, light.since = state, self.time
            self.changed.append(light)

    def _phases(self, light: Light, name: str, state: int) -> list[int]:
        """Return the phases in which a light shows ``state``; for red those in which the whole program is red."""
        states = self.programs[name].states
        if state == wire.RED:
            return [row for row, letters in enumerate(states) if set(letters) - {"O", "o"} == {"r"}]
        index = next(number for program, number in light.links if program == name)
        return [row for row, letters in enumerate(states) if _COLOUR.get(letters[index]) == state]

    def _settle(self) -> None:
        """Book the time that passed since the last change."""
        if not self.frozen:
            for program in self.programs.values():
                program.remaining -= self.time - self._scheduled
        self._scheduled = self.time

    def _schedule(self) -> None:
        self._scheduled = self.time
        soonest = min((program.remaining for program in self.programs.values()), default=math.inf)
        self._next_change = self.time + soonest - 1e-9


def _volume(place: LightPlace) -> tuple[float, ...]:
    """Return a trigger volume: centre x, y, unit vectors across and along the road, half sizes so, ground height."""
    x, y, z, _, yaw, _ = place.pose
    cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    dx, dy = place.trigger_centre[:2]
    return (
        *(x + cos * dx - sin * dy, y + sin * dx + cos * dy),
        *(cos, sin),
        # The pole's x axis points to the right of the road, so the road runs along (sin, -cos).
        *(sin, -cos),
        *place.trigger_extent[:2],
        z,
    )
