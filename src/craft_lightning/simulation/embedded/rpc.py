"""MessagePack-RPC over TCP as CARLA's client speaks it: ``[0, id, method, params]`` -> ``[1, id, nil, reply]``."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgpack

from craft_lightning.errors import CraftError
from craft_lightning.simulation.embedded import wire

logger = logging.getLogger(__name__)

Method = Callable[..., Any]
"""Takes a request's parameters without the leading metadata; returns the finished reply (``wire.value(...)``, ...).

A reply that is a function is called with the request's number and returns the number that it answers and the reply:
what left a branch of the world is answered by a process that never saw the request.
"""

_REQUEST, _REPLY, _NOTICE = 0, 1, 2
# The largest message a client may send: OpenDRIVE files are a few megabytes.
MAX_MESSAGE_BYTES = 256 << 20
# Answers to what CARLA's client tells without waiting, as the flag before the parameters says, wait for the next one
# that is waited for: a write, and waking the client for it, costs more than most methods. So many are kept at most.
MOST_KEPT = 32


class MethodTable:
    """The methods a server answers, by name."""

    def __init__(self, methods: Iterable[tuple[str, Method]]) -> None:
        self._methods = dict(methods)

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    def answer(self, name: str, params: list[Any]) -> Any:
        """Run a method and return its reply; whatever goes wrong becomes an error reply that names the method."""
        method = self._methods.get(name)
        if method is None:
            logger.warning("refused unknown method '%s'", name)
            return wire.error(f"method '{name}' is not served by the embedded server (CARLA protocol {wire.VERSION})")
        if not params or not isinstance(params[0], list) or not all(isinstance(flag, bool) for flag in params[0]):
            return wire.error(
                f"method '{name}' came without the metadata that clients of version {wire.VERSION} send; "
                f"use the client of carla=={wire.VERSION}"
            )
        try:
            return method(*params[1:])
        except CraftError as refusal:
            return wire.error(str(refusal))
        except (TypeError, ValueError, IndexError) as cause:
            if len(params) == 1:
                return self._bug(name, cause)
            logger.warning("method '%s' refused its %d arguments", name, len(params) - 1, exc_info=True)
            return wire.error(
                f"method '{name}' could not read its {len(params) - 1} arguments ({cause}); "
                f"use the client of carla=={wire.VERSION}"
            )
        except Exception as cause:
            return self._bug(name, cause)

    @staticmethod
    def _bug(name: str, cause: Exception) -> Any:
        """Answer for a bug of the server's: the client must not wait for an answer that never comes."""
        logger.error("method '%s' failed", name, exc_info=cause)
        return wire.error(f"method '{name}' failed inside the embedded server: {type(cause).__name__}: {cause}")


class RpcConnection(asyncio.Protocol):
    """One client's connection; requests are answered in the order in which they came.

    Args:
        table: the methods.
        everybody: all open connections; this one is among them while it is open.
        awaited: called when an answer that the client waits for is on its way.

    """

    def __init__(
        self, table: MethodTable, everybody: "set[RpcConnection]", awaited: Callable[[], None] = lambda: None
    ) -> None:
        self._table, self._everybody, self._on_awaited = table, everybody, awaited
        self._packer = msgpack.Packer(use_single_float=False)
        # Old OpenDRIVE texts and attributes may hold bytes that are no UTF-8.
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=MAX_MESSAGE_BYTES, strict_map_key=False, unicode_errors="surrogateescape"
        )
        self._transport: asyncio.Transport | None = None
        self._replies: list[bytes] = []
        self._awaited = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._everybody.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._everybody.discard(self)

    @property
    def unsent(self) -> int:
        """Bytes of replies that still wait to be sent, after an attempt to send those that were kept back."""
        self._flush()
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def data_received(self, data: bytes) -> None:
        """Answer every complete request in ``data``; hang up on what is no MessagePack-RPC."""
        transport = self._transport
        if transport is None:
            return
        try:
            self._unpacker.feed(data)
            # What came together is answered together: a write costs more than most methods.
            for request in self._unpacker:
                self._handle(request)
            if self._awaited:
                self._on_awaited()
            if self._awaited or len(self._replies) > MOST_KEPT:
                self._flush()
        except (msgpack.UnpackException, msgpack.BufferFull, ValueError) as cause:
            logger.warning("hung up on a connection that does not speak MessagePack-RPC: %s", cause)
            transport.abort()

    def _flush(self) -> None:
        if self._replies and self._transport is not None:
            replies, self._replies, self._awaited = self._replies, [], False
            self._transport.write(b"".join(replies))

    def _handle(self, request: Any) -> None:
        if isinstance(request, list) and len(request) == 4 and request[0] == _REQUEST:
            _, number, name, params = request
            answer = self._table.answer(str(name), params)
            if callable(answer):
                number, answer = answer(number)
            self._replies.append(self._packer.pack([_REPLY, number, None, answer]))
            self._awaited |= not params or params[0] != [True]
            return
        if isinstance(request, list) and len(request) == 3 and request[0] == _NOTICE:
            self._table.answer(str(request[1]), request[2])
            return
        raise ValueError("neither a request nor a notification")
