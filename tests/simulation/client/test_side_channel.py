"""The side channel against servers that are none of ours."""

import contextlib
import socket
import threading

import msgpack
import pytest

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.simulation.side_channel import SideChannel


@contextlib.contextmanager
def server(answers):
    """Answer requests in turn: (error, result), or None to hang up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        unpacker = msgpack.Unpacker()
        for answer in answers:
            while (request := next(unpacker, None)) is None:
                unpacker.feed(connection.recv(4096))
            asked.append(request)
            if answer is None:
                break
            connection.sendall(msgpack.packb([1, request[1], *answer]))
        connection.close()

    asked = []
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        thread.join(5.0)
        listener.close()


def test_an_unreal_server_is_refused_in_one_sentence():
    unknown = ("rpclib: server could not find function 'craft.branch' with argument count 1.", None)
    with server([unknown]) as (port, _):
        channel = SideChannel("127.0.0.1", port, 5.0)
        with pytest.raises(CraftError, match="does not know 'craft.branch'; branching needs the embedded server"):
            channel.ask("craft.branch")
        channel.close()


def test_it_asks_again_while_the_server_still_has_to_send():
    with server([(None, [[1, [-1, 7]]]), (None, [[1, [1, 8]]])]) as (port, asked):
        channel = SideChannel("127.0.0.1", port, 5.0)
        assert channel.ask("craft.branch") == 8
        assert [request[2:] for request in asked] == [["craft.branch", [[False]]]] * 2
        assert asked[0][1] != asked[1][1]
        channel.close()


def test_a_dying_server_is_a_world_error_and_a_refusal_keeps_its_words():
    with server([(None, [[0, ["the world is in no branch"]]]), None]) as (port, _):
        channel = SideChannel("127.0.0.1", port, 5.0)
        with pytest.raises(CraftError, match="refused 'craft.leave': the world is in no branch"):
            channel.ask("craft.leave")
        with pytest.raises(WorldError, match="failed in a branch"):
            channel.ask("craft.branch")
        channel.close()
    with pytest.raises(WorldError, match="failed in a branch"):
        SideChannel("127.0.0.1", port, 1.0)
