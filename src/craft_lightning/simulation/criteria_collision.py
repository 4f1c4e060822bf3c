"""Collisions of the ego: CARLA's sensor, matched to frames, and the rules that decide which contacts count."""

import dataclasses
import math
import queue
import time
from typing import TYPE_CHECKING, Any, Self

import carla

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.simulation.criteria_parameters import CriteriaParameters as Defaults
from craft_lightning.simulation.view import agent_kind

if TYPE_CHECKING:
    from craft_lightning.simulation.session import Session

_SAME_ACTOR_SECONDS = 5.0
_SAME_PLACE_METRES = 5.0
_KERB = "sidewalk"  # part of the names of what an Unreal server reports wherever a wheel touches a kerb


@dataclasses.dataclass(frozen=True)
class Contact:
    """One message of the collision sensor.

    Attributes:
        frame: tick of the contact.
        other_id: id of the other actor.
        other_type: its blueprint id; "static..." for the town itself.
        impulse: N s.

    """

    frame: int
    other_id: int
    other_type: str
    impulse: float


class CollisionSensor:
    """The ego's ``sensor.other.collision`` with a queue.

    Args:
        actor: the sensor, just spawned on the ego; whoever spawned it destroys it.

    Attributes:
        actor: the sensor.
        since: contacts of earlier frames are dropped.

    """

    def __init__(self, actor: Any) -> None:
        self.since = 0
        self._early: list[Contact] = []  # of ticks that nobody has asked about yet
        self._queue: queue.SimpleQueue[Contact] = queue.SimpleQueue()
        self.actor = actor
        actor.listen(self._listen)

    @classmethod
    def attach(cls, session: "Session", ego: Any) -> Self:
        """Spawn the sensor on the ego; the session destroys it."""
        return cls(session.spawn(session.blueprint("sensor.other.collision"), carla.Transform(), attach_to=ego))

    def _listen(self, event: Any) -> None:
        """Runs in a thread of the client: only copy what is needed."""
        impulse = event.normal_impulse
        other = event.other_actor
        self._queue.put(
            Contact(
                int(event.frame),
                int(other.id) if other is not None else 0,
                str(other.type_id) if other is not None else "static.unknown",
                math.sqrt(impulse.x**2 + impulse.y**2 + impulse.z**2),
            )
        )

    def take(self, frame: int, wait: float = 0.0) -> list[Contact]:
        """Return the contacts up to ``frame`` that have not been taken.

        Sensor messages travel beside the tick and may come in a little late: where a contact is to be expected, give
        ``wait`` so that it is credited to its own tick.

        Args:
            frame: the tick; those of later ones are kept.
            wait: seconds to wait for a contact of this very tick.

        """
        if wait <= 0.0 and self._queue.empty() and not self._early:  # nearly always
            return []
        arrived = self._early
        deadline = time.monotonic() + wait
        while True:
            try:
                remaining = deadline - time.monotonic()
                here = any(contact.frame >= frame for contact in arrived)
                arrived.append(
                    self._queue.get_nowait() if here or remaining <= 0 else self._queue.get(timeout=remaining)
                )
            except queue.Empty:
                break
        self._early = [contact for contact in arrived if contact.frame > frame]
        return [contact for contact in arrived if self.since <= contact.frame <= frame]


@dataclasses.dataclass(frozen=True)
class Collision:
    """A contact that counts; ``category`` is vehicle, pedestrian or layout (everything that is no road user)."""

    category: str
    contact: Contact


class CollisionCriterion:
    """Decides which contacts count (leaderboard rules).

    Ignored are contacts while the ego is slower than ``min_speed``, with an actor hit within the last 5 s, or with the
    same kind of thing within 5 m of the last collision.

    Args:
        min_speed: m/s.

    """

    def __init__(self, min_speed: float = Defaults.min_collision_speed) -> None:
        self.min_speed = min_speed
        self._last_time: dict[int, float] = {}
        self._last: tuple[str, float, float] | None = None

    def update(self, contacts: list[Contact], x: float, y: float, speed: float, now: float) -> list[Collision]:
        """Return the collisions among the contacts of a tick.

        Args:
            contacts: what the sensor reported.
            x: world place of the ego, metres; ``y`` likewise.
            y: metres.
            speed: speed of the ego at the tick before (the contact itself may have stopped it), m/s.
            now: seconds.

        """
        counted: list[Collision] = []
        for contact in contacts:
            category = collision_category(contact.other_type)
            recent = now - self._last_time.get(contact.other_id, -math.inf) <= _SAME_ACTOR_SECONDS
            self._last_time[contact.other_id] = now
            place = self._last
            same_place = (
                place is not None
                and place[0] == category
                and math.hypot(x - place[1], y - place[2]) <= _SAME_PLACE_METRES
            )
            if abs(speed) < self.min_speed or recent or same_place:
                continue
            self._last = (category, x, y)
            counted.append(Collision(category, contact))
        return counted


class LeaderboardCollisions:
    """Decides which contacts count, exactly as scenario_runner's CollisionTest (branch leaderboard-2.0).

    Ignored are contacts of an ego slower than ``min_speed``, with the actor of the last collision within ``memory``
    seconds of it, and with anything until the ego is ``radius`` metres away from the last collision. What is part of
    the town (number 0; the embedded server has none) is not remembered as an actor. A kerb is no collision, though it
    hides others within ``radius`` as one does.

    Args:
        min_speed: m/s.
        memory: seconds.
        radius: metres.

    """

    def __init__(
        self,
        min_speed: float = Defaults.min_collision_speed,
        memory: float = Defaults.collision_memory,
        radius: float = Defaults.collision_distance,
    ) -> None:
        self.min_speed, self.memory, self.radius = min_speed, memory, radius
        self._actor: tuple[int, float] | None = None
        self._place: tuple[float, float] | None = None

    def update(self, contacts: list[Contact], x: float, y: float, speed: float, now: float) -> list[Collision]:
        """Return the collisions among the contacts of a tick; arguments as in ``CollisionCriterion``."""
        if self._actor is not None and now - self._actor[1] > self.memory:
            self._actor = None
        if self._place is not None and math.hypot(x - self._place[0], y - self._place[1]) > self.radius:
            self._place = None
        counted: list[Collision] = []
        for contact in contacts:
            same = self._actor is not None and self._actor[0] == contact.other_id
            if same or self._place is not None or abs(speed) < self.min_speed:
                continue
            actor = contact.other_id or (self._actor[0] if self._actor is not None else 0)
            self._actor, self._place = (actor, now) if actor else None, (x, y)
            if _KERB not in contact.other_type:
                counted.append(Collision(collision_category(contact.other_type), contact))
        return counted


def collision_category(type_id: str) -> str:
    """Return vehicle, pedestrian or layout for the blueprint id of what was hit."""
    kind = agent_kind(type_id, {})
    if kind in (AGENT_VEHICLE, AGENT_CYCLIST):
        return "vehicle"
    return "pedestrian" if kind == AGENT_WALKER else "layout"
