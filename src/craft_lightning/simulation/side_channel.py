"""A second connection to an embedded server, for what CARLA's client has no word for: branches of the world."""

import socket
import time
from typing import Any

import msgpack

from craft_lightning.errors import CraftError, WorldError

_REQUEST = 0
_NOT_YET = -1
_METADATA = [False]  # what clients of CARLA 0.9.16 send with every request
_PATIENCE = 0.0005  # seconds between two tries while the server still has bytes to send


class SideChannel:
    """Speaks MessagePack-RPC with the server's RPC port, one request at a time.

    Args:
        host: host of the server.
        port: its RPC port.
        timeout: seconds to wait for one answer.

    Raises:
        WorldError: nobody listens there any more.

    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.host, self.port, self.timeout = host, port, timeout
        self._number = 0
        self._unpacker = msgpack.Unpacker()
        try:
            self._socket = socket.create_connection((host, port), timeout)
        except OSError as error:
            raise self._lost(error) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: str) -> int:
        """Enter, leave or renew a branch.

        Args:
            method: craft.branch, craft.leave or craft.again.

        Returns:
            The number of the frame that holds now.

        Raises:
            CraftError: the server knows no branches (an Unreal one), or refuses.
            WorldError: it answered with nonsense, not in time, or is gone.

        """
        while True:
            depth, frame = self._call(method)
            if depth != _NOT_YET:
                return int(frame)
            time.sleep(_PATIENCE)

    def _call(self, method: str) -> Any:
        self._number += 1
        try:
            self._socket.sendall(msgpack.packb([_REQUEST, self._number, method, [_METADATA]]))
            while (answer := next(self._unpacker, None)) is None:
                received = self._socket.recv(65536)
                if not received:
                    raise ConnectionResetError("connection closed")
                self._unpacker.feed(received)
        except OSError as error:
            raise self._lost(error) from error
        _, _, unknown, result = answer
        if unknown is not None:
            raise CraftError(
                f"the CARLA server at {self.host}:{self.port} does not know '{method}'; branching needs the embedded "
                "server: leave the host empty"
            )
        done, content = result[0]
        if not done:
            raise CraftError(f"the server at {self.host}:{self.port} refused '{method}': {content[0]}")
        return content

    def _lost(self, error: OSError) -> WorldError:
        return WorldError(
            f"the server at {self.host}:{self.port} failed in a branch ({error}); the episode can be collected again "
            "with a new server"
        )

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
