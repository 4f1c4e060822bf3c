"""A memory of everything mutable that can be reached from an object, to be put back as often as wanted.

Unlike a deep copy it puts contents back into the very objects that held them: whoever refers to one of them, a closure,
a bound method, a callback of the client's, sees the old state again. What cannot be put back is refused, so that
nothing goes on from a half-restored state unnoticed.
"""

import collections
import dataclasses
import enum
import functools
import inspect
import logging
import pathlib
import queue
import random
import re
import threading
import types
import uuid
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError

_IMMUTABLE: tuple[type, ...] = (
    *(int, float, complex, bool, str, bytes, type(None), type(Ellipsis), range, slice, type),
    *(types.ModuleType, types.BuiltinFunctionType, types.MethodWrapperType, property, np.generic, np.dtype),
    *(enum.Enum, uuid.UUID, pathlib.PurePath, re.Pattern, logging.Logger, weakref.ref),
    # Belong to threads of the client, which nobody can put back.
    *(queue.SimpleQueue, queue.Queue, threading.Thread, type(threading.Lock()), type(threading.RLock())),
)
_CLIENT = ("carla", "libcarla")  # handles of the client: what they stand for lives in the server


class Memento:
    """What an object and everything reachable from it hold now.

    Frozen dataclasses are taken to be immutable all the way down, as the house uses them; so are arrays that are not
    writeable. Handles of the carla client are left alone.

    Args:
        root: where to begin.
        shared: further classes whose objects never change, or whose changes do no harm (caches).
        shared_modules: beginnings of the names of modules all of whose classes are such.
        collect: classes of which every object that is met goes into ``found``.

    Attributes:
        found: those objects.

    Raises:
        CraftError: something holds state that cannot be put back, such as a half-run generator.

    """

    def __init__(
        self,
        root: object,
        shared: tuple[type, ...] = (),
        shared_modules: tuple[str, ...] = (),
        collect: tuple[type, ...] = (),
    ) -> None:
        self._shared, self._shared_modules, self._collect = shared, shared_modules, collect
        self.found: list[Any] = []
        self._seen: dict[int, object] = {}
        self._kinds: dict[type, Callable[[Any], Iterator[Any]] | None] = {}
        self._dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._arrays: list[tuple[np.ndarray, np.ndarray]] = []
        self._others: list[Callable[[], None]] = []
        waiting: list[Any] = [root]
        while waiting:
            thing = waiting.pop()
            kind = type(thing)
            if kind not in self._kinds:
                self._kinds[kind] = self._kind(kind)
            note = self._kinds[kind]
            if note is not None and id(thing) not in self._seen:
                self._seen[id(thing)] = thing
                waiting.extend(note(thing))
        self._kinds.clear()

    def __len__(self) -> int:
        return len(self._dicts) + len(self._lists) + len(self._arrays) + len(self._others)

    def restore(self) -> None:
        """Put everything back."""
        for mapping, held in self._dicts:
            mapping.clear()
            mapping.update(held)
        for sequence, items in self._lists:
            sequence[:] = items
        for array, values in self._arrays:
            array[...] = values
        for put_back in self._others:
            put_back()

    # ---- kinds of objects: each notes what a thing holds and returns what can be reached from it ---------------------

    def _kind(self, kind: type) -> Callable[[Any], Iterator[Any]] | None:
        """Return how things of a type are noted, None for those that never change."""
        if issubclass(kind, self._collect):
            return self._meet
        if issubclass(kind, (*_IMMUTABLE, *self._shared)) or kind.__module__.split(".")[0] in _CLIENT:
            return None
        if kind.__module__.startswith(self._shared_modules):
            return None
        if dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            return None
        for known, note in (
            (list, self._list),
            (dict, self._dict),
            (set, self._set),
            (collections.deque, self._deque),
            ((tuple, frozenset), iter),
            (np.ndarray, self._array),
            (np.random.Generator, self._generator),
            (random.Random, self._random),
            (types.MethodType, lambda method: iter((method.__self__, method.__func__))),
            (types.FunctionType, lambda function: iter(function.__closure__ or ())),
            (types.CellType, self._cell),
            (functools.partial, lambda bound: iter((bound.func, bound.args, bound.keywords))),
            (types.GeneratorType, self._running),
        ):
            if issubclass(kind, known):
                return note
        if kind.__flags__ & (1 << 9):  # a class that was made by a class statement
            return self._instance
        raise CraftError(
            f"an object of type {kind.__module__}.{kind.__qualname__} cannot be put back after a branch; keep its "
            "state in plain attributes, lists, dictionaries or arrays"
        )

    def _meet(self, thing: Any) -> Iterator[Any]:
        self.found.append(thing)
        return iter(())

    def _list(self, thing: list[Any]) -> Iterator[Any]:
        self._lists.append((thing, list(thing)))
        yield from thing
        yield from self._attributes(thing)

    def _dict(self, thing: dict[Any, Any]) -> Iterator[Any]:
        self._dicts.append((thing, dict(thing)))
        yield from thing.keys()
        yield from thing.values()
        yield from self._attributes(thing)

    def _set(self, thing: set[Any]) -> Iterator[Any]:
        held = set(thing)

        def put_back() -> None:
            thing.clear()
            thing.update(held)

        self._others.append(put_back)
        return iter(held)

    def _deque(self, thing: collections.deque[Any]) -> Iterator[Any]:
        held = list(thing)

        def put_back() -> None:
            thing.clear()
            thing.extend(held)

        self._others.append(put_back)
        return iter(held)

    def _array(self, thing: np.ndarray) -> Iterator[Any]:
        if thing.flags.writeable:
            self._arrays.append((thing, thing.copy()))
        return iter(thing.ravel().tolist() if thing.dtype.hasobject else ())

    def _generator(self, thing: np.random.Generator) -> Iterator[Any]:
        state = thing.bit_generator.state
        self._others.append(lambda: setattr(thing.bit_generator, "state", state))
        return iter(())

    def _random(self, thing: random.Random) -> Iterator[Any]:
        state = thing.getstate()
        self._others.append(lambda: thing.setstate(state))
        return iter(())

    def _cell(self, thing: types.CellType) -> Iterator[Any]:
        try:
            held = thing.cell_contents
        except ValueError:  # empty
            return iter(())
        self._others.append(lambda: setattr(thing, "cell_contents", held))
        return iter((held,))

    def _running(self, thing: types.GeneratorType) -> Iterator[Any]:
        if inspect.getgeneratorstate(thing) in (inspect.GEN_SUSPENDED, inspect.GEN_RUNNING):
            raise CraftError(
                f"the generator '{thing.__qualname__}' is half run and cannot be put back after a branch; "
                "keep its state in attributes instead"
            )
        return iter(())

    def _instance(self, thing: Any) -> Iterator[Any]:
        return self._attributes(thing)

    def _attributes(self, thing: Any) -> Iterator[Any]:
        """Note the attributes of an object, those in slots too."""
        held = getattr(thing, "__dict__", None)
        if held is not None:
            self._dicts.append((held, dict(held)))
            yield from held.values()
        for cls in type(thing).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__") and hasattr(thing, name):
                    value = getattr(thing, name)
                    self._others.append(functools.partial(setattr, thing, name, value))
                    yield value
