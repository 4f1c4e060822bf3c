"""Branches of the world: the server forks, the child is the branch, and the parent sleeps until the branch is left.

A forked process is a copy of everything at once: actors, lights, random numbers, and the whole inside of SUMO, bit for
bit, pedestrians and half-finished lane changes included. The child goes on with the very connections of its parent,
so that clients do not notice; when it is left it ends, and the parent wakes in the state in which it fell asleep.
Branches nest: a branch can be branched again.

What is not put back is what a client must never see twice: numbers of frames and streams go on growing, and actors
that are spawned inside branches have numbers of their own range, so that those of the undisturbed world stay as they
are.
"""

import contextlib
import ctypes
import gc
import os
import signal
import struct
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from craft_lightning.errors import CraftError
from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.rpc import Method
from craft_lightning.simulation.embedded.streams import StreamHub
from craft_lightning.simulation.embedded.world import World

FIRST_BRANCH_ID = 1 << 24  # actors spawned inside branches are numbered from here
SIGNALS = (signal.SIGTERM, signal.SIGINT)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl
# What a branch says when it ends: number of the request that left it, whether another branch is to follow, its last
# frame, and the first free numbers of actors and streams.
_FAREWELL = struct.Struct("<q?qqq")
NOT_YET = -1
"""Answer of a method that found bytes on their way to clients, which a fork would send twice: ask again."""


class Branches:
    """Answers ``craft.branch``, ``craft.again`` and ``craft.leave``.

    Args:
        world: the world.
        hub: its streams.
        unsent: says how many bytes still wait to be sent to clients.
        wake: lets the event loop go on in a process that was forked or slept.

    Attributes:
        depth: how many branches deep this process is; 0 is the world itself.

    """

    def __init__(self, world: World, hub: StreamHub, unsent: Callable[[], int], wake: Callable[[], None]) -> None:
        self.world, self.depth = world, 0
        self._hub, self._unsent, self._wake = hub, unsent, wake
        self._up = -1  # where a branch says that it ends
        self._ended: list[int] = []
        self._next_id = FIRST_BRANCH_ID

    def table(self) -> dict[str, Method]:
        """Return the methods by name; each answers the depth that holds afterwards (or ``NOT_YET``) and the frame."""
        return {
            "craft.branch": self.branch,
            "craft.again": lambda: self.leave(again=True),
            "craft.leave": self.leave,
        }

    def branch(self) -> Any:
        """Enter a branch: the child answers; the parent answers the request that leaves its last branch.

        Raises:
            CraftError: the world runs by itself, so that there is no moment from which to branch.

        """
        if not self.world.state.settings.synchronous:
            raise CraftError("a world can be branched in synchronous mode alone; switch it on first")
        if self._unsent():
            return self._answer(NOT_YET)
        self._reap()
        again, number = True, None
        while again:
            below, up = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(below)
                self._enter(up)
                if number is not None:  # clients have seen the branch before this one
                    self.world.publish()
                return _numbered(number, self._answer(self.depth))
            os.close(up)
            number, again = self._sleep(below)
            self._ended.append(child)
        self.world.publish()
        return _numbered(number, self._answer(self.depth))

    def leave(self, again: bool = False) -> Any:
        """End this branch; the parent answers, or with ``again`` a new branch from the same state.

        Raises:
            CraftError: this is no branch.

        """
        if not self.depth:
            raise CraftError("the world is in no branch; enter one before leaving it")
        if self._unsent():
            return self._answer(NOT_YET)
        return lambda number: self._end(number, again)

    def _answer(self, depth: int) -> Any:
        return wire.value([depth, self.world.state.frame])

    def _end(self, number: int, again: bool) -> NoReturn:
        state = self.world.state
        farewell = _FAREWELL.pack(number, again, state.frame, max(self._next_id, state.next_id), self._hub.next)
        os.write(self._up, farewell)
        # Nothing is torn down: files and SUMO belong to the parent as well.
        os._exit(0)

    def _enter(self, up: int) -> None:
        """Become a branch."""
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        self._wake()
        # What exists is left alone by the garbage collector: touching a page means copying it.
        gc.freeze()
        if self._up >= 0:
            os.close(self._up)
        self._up, self._ended, self.depth = up, [], self.depth + 1
        self.world.state.next_id = max(self.world.state.next_id, self._next_id)

    def _sleep(self, below: int) -> tuple[int, bool]:
        """Wait for the branch's end; returns the request that ended it and whether another branch is to follow."""
        with self._ending_on_signals():
            said = os.read(below, _FAREWELL.size)
        os.close(below)
        if len(said) < _FAREWELL.size:
            # The branch died, and with it what its client waits for: clients learn it from their connections.
            raise SystemExit(1)
        number, again, frame, self._next_id, stream = _FAREWELL.unpack(said)
        state = self.world.state
        state.frame = frame + 1
        if self.depth:
            state.next_id = max(state.next_id, self._next_id)
        self._hub.next = stream
        return number, again

    @contextlib.contextmanager
    def _ending_on_signals(self) -> Iterator[None]:
        """End at once on a signal: the event loop, which minds them else, does not run while its process sleeps."""

        def end(number: int, frame: FrameType | None) -> None:
            raise SystemExit(0)

        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, end)
        yield
        self._wake()

    def _reap(self) -> None:
        self._ended = [child for child in self._ended if os.waitpid(child, os.WNOHANG)[0] == 0]


def _numbered(number: int | None, reply: Any) -> Any:
    """Return a reply to the request ``number``, or to the present one."""
    return reply if number is None else lambda present: (number, reply)
