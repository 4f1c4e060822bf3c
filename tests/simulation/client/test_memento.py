import collections
import dataclasses
import functools
import itertools
import random

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.simulation.memento import Memento


class Slots:
    __slots__ = ("number",)


@dataclasses.dataclass(frozen=True)
class Frozen:
    values: list


class Shared:
    pass


class Thing:
    def __init__(self):
        self.number = 1
        self.items = [1, [2, 3]]
        self.table = {"a": {"b": 1}}
        self.names = {"x", "y"}
        self.recent = collections.deque([1, 2], maxlen=3)
        self.array = np.arange(4.0)
        self.rng = np.random.default_rng(3)
        self.dice = random.Random(4)
        self.slots = Slots()
        self.slots.number = 5
        self.me = self

    def spoil(self):
        self.number = 2
        self.items[1].append(4)
        self.items.append(self.items)
        self.table["a"]["b"] = 2
        self.table["c"] = 3
        self.names.clear()
        self.recent.extend([3, 4])
        self.array[:] = -1.0
        self.rng.random(5)
        self.dice.random()
        self.slots.number = 6
        self.fresh = "new"
        del self.me


def state(thing):
    return (
        *(thing.number, str(thing.items), str(thing.table), sorted(thing.names), list(thing.recent)),
        *(thing.array.tolist(), thing.rng.bit_generator.state, thing.dice.getstate(), thing.slots.number),
        *(thing.me is thing, hasattr(thing, "fresh")),
    )


def test_everything_goes_back_into_the_same_objects_as_often_as_wanted():
    thing = Thing()
    before, inner, array = state(thing), thing.items[1], thing.array
    memento = Memento(thing)
    for _ in range(3):
        thing.spoil()
        assert state(thing) != before if hasattr(thing, "me") else True
        memento.restore()
        assert state(thing) == before
        assert thing.items[1] is inner
        assert thing.array is array


def test_closures_bound_methods_and_partials_are_followed():
    counter, thing = [0], Thing()
    total = 0

    def count():
        nonlocal total
        total += 1
        counter[0] += 1
        return total

    class Holder:
        pass

    holder = Holder()
    holder.calls = (count, thing.spoil, functools.partial(thing.items.append, 9), functools.partial(max, thing.array))
    before = state(thing)
    memento = Memento(holder)
    count()
    holder.calls[1]()
    memento.restore()
    assert counter == [0]
    assert count() == 1
    assert state(thing) == before


def test_frozen_and_shared_things_are_left_alone_and_wanted_ones_collected():
    thing, shared, frozen = Thing(), Shared(), Frozen([1])
    thing.items = [shared, frozen, shared]
    memento = Memento(thing, shared=(Shared,), collect=(Slots,))
    shared.extra = 1
    frozen.values.append(2)
    thing.slots.number = 7
    memento.restore()
    assert (shared.extra, frozen.values, thing.slots.number) == (1, [1, 2], 7)
    assert memento.found == [thing.slots]


def test_what_cannot_be_put_back_is_refused():
    def numbers():
        yield 1
        yield 2

    thing = Thing()
    thing.run = numbers()
    Memento(thing)  # not begun: nothing to put back
    next(thing.run)
    with pytest.raises(CraftError, match="generator '.*numbers' is half run"):
        Memento(thing)
    thing.run = itertools.cycle([1])
    with pytest.raises(CraftError, match="itertools.cycle cannot be put back"):
        Memento(thing)
