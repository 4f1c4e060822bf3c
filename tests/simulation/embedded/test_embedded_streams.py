"""Messages on their way to clients: those of two ticks travel together, and nobody waits for one that is held back."""

import asyncio

import msgpack
import pytest

from craft_lightning.simulation.embedded.rpc import MethodTable, RpcConnection
from craft_lightning.simulation.embedded.streams import MAX_BACKLOG_BYTES, MAX_HELD_BYTES, StreamHub

CLIENT = [True]  # the flag of a request whose answer nobody waits for
AWAITED = [False]


class Wire(asyncio.Transport):
    """Stands in for a connection: notes what is written to it, one entry a write."""

    def __init__(self, waiting=0):
        super().__init__()
        self.written, self.waiting, self.ended = [], waiting, ""

    def write(self, data):
        self.written.append(bytes(data))

    def get_write_buffer_size(self):
        return self.waiting

    def close(self):
        self.ended = "closed"

    def abort(self):
        self.ended = "aborted"


@pytest.fixture
def hub():
    hub = StreamHub()
    hub.wire = Wire()
    hub.subscribe(hub.open(), hub.wire)
    return hub


async def passes(rounds):
    for _ in range(rounds):
        await asyncio.sleep(0)


def test_what_is_published_together_is_sent_in_one_write(hub):
    async def run():
        hub.publish(1, b"first")
        await passes(1)  # a request that is there already is answered now
        hub.publish(1, b"second")
        assert hub.wire.written == []
        await passes(3)
        assert hub.wire.written == [b"firstsecond"]
        hub.publish(1, b"third")
        await passes(3)
        assert hub.wire.written == [b"firstsecond", b"third"]

    asyncio.run(run())


def test_pictures_go_at_once_and_take_along_what_was_held(hub):
    async def run():
        hub.publish(1, b"small")
        hub.publish(1, b"p" * (MAX_HELD_BYTES + 1))
        assert [len(data) for data in hub.wire.written] == [5 + MAX_HELD_BYTES + 1]
        await passes(3)
        assert len(hub.wire.written) == 1

    asyncio.run(run())


def test_nothing_is_lost_when_a_stream_ends_or_the_world_forks(hub):
    async def run():
        hub.publish(1, b"last")
        assert hub.unsent() == 0  # asked before a fork: what is held must not be sent by both
        assert hub.wire.written == [b"last"]
        hub.publish(1, b"very last")
        hub.close(1)
        assert hub.wire.written == [b"last", b"very last"]
        assert hub.wire.ended == "closed"

    asyncio.run(run())


def test_a_client_that_does_not_read_is_dropped(hub):
    async def run():
        hub.wire.waiting = MAX_BACKLOG_BYTES + 1
        hub.publish(1, b"too much")
        hub.flush()
        assert hub.wire.ended == "aborted"
        assert hub.wire.written == []

    asyncio.run(run())


@pytest.mark.parametrize(("flag", "sent"), [(AWAITED, [b"snapshot"]), (CLIENT, [])])
def test_a_tick_that_is_waited_for_is_sent_at_once(hub, flag, sent):
    async def run():
        table = MethodTable({"tick": lambda: hub.publish(1, b"snapshot")}.items())
        connection = RpcConnection(table, set(), hub.flush)
        answers = Wire()
        connection.connection_made(answers)
        connection.data_received(msgpack.packb([0, 1, "tick", [flag]]))
        assert hub.wire.written == sent
        assert len(answers.written) == len(sent)
        await passes(3)
        assert hub.wire.written == [b"snapshot"]

    asyncio.run(run())
