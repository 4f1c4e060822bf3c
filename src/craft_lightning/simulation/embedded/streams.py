"""Streams that push snapshots and sensor data to clients: one TCP connection a stream and subscriber."""

import asyncio
import struct
from collections.abc import Callable

_STREAM_ID = struct.Struct("<I")
# A subscriber that reads so slowly that this many bytes pile up is dropped; sensors would otherwise fill the memory.
MAX_BACKLOG_BYTES = 64 << 20
# Frames kept for a client that asked for a stream and has not connected yet.
MAX_MISSED = 8
# Messages that wait for others to be sent with them are few and small: pictures go at once.
MAX_HELD_BYTES = 32 << 10


class StreamHub:
    """All streams of a server and who listens to them.

    A message is not sent where it is published but with those of the next tick, if that was asked for already: sending
    costs as much as a sixth of a tick, and the client wakes once. ``flush`` sends at once.

    Attributes:
        greet: called with a stream's number when somebody subscribes, returns a message to send at once or None.
        next: number of the next stream.

    """

    def __init__(self) -> None:
        self.greet: Callable[[int], bytes | None] = lambda stream: None
        self._subscribers: dict[int, list[asyncio.Transport]] = {}
        self._waiting: dict[int, list[bytes]] = {}  # streams about to be subscribed to: what they missed
        self._held: dict[asyncio.Transport, list[bytes]] = {}
        self._flushes = False  # whether a flush is on its way
        self.next = 1

    def open(self) -> int:
        """Return the number of a new stream."""
        self.next += 1
        return self.next - 1

    def close(self, stream: int) -> None:
        """End a stream and hang up on its subscribers."""
        self._waiting.pop(stream, None)
        self.flush()
        for transport in self._subscribers.pop(stream, []):
            transport.close()

    def listened(self, stream: int) -> bool:
        """Tell whether anybody subscribed to a stream, or is about to."""
        return bool(self._subscribers.get(stream)) or stream in self._waiting

    def expect(self, stream: int) -> None:
        """Keep what is published for a client that asked where the stream is and is about to connect.

        The client connects in its own time; a tick that overtakes it must not cost it a frame.
        """
        self._waiting.setdefault(stream, [])

    def unsent(self) -> int:
        """Return how many bytes still wait to be sent to subscribers, after an attempt to send those held back."""
        self.flush()
        return sum(transport.get_write_buffer_size() for group in self._subscribers.values() for transport in group)

    def publish(self, stream: int, message: bytes) -> None:
        """Send a message (length included) to all subscribers of a stream."""
        for transport in self._subscribers.get(stream, ()):
            self._held.setdefault(transport, []).append(message)
        if len(message) > MAX_HELD_BYTES:
            self.flush()
        elif self._held and not self._flushes:
            # In two steps: requests that are there already are answered between them.
            loop = asyncio.get_running_loop()
            self._flushes = True
            loop.call_soon(loop.call_soon, self.flush)
        missed = self._waiting.get(stream)
        if missed is not None:
            missed.append(message)
            if len(missed) > MAX_MISSED:
                del self._waiting[stream]  # it never came

    def flush(self) -> None:
        """Send what was held back."""
        self._flushes = False
        held, self._held = self._held, {}
        for transport, messages in held.items():
            if transport.get_write_buffer_size() > MAX_BACKLOG_BYTES:
                transport.abort()
            else:
                transport.write(b"".join(messages))

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection, for ``loop.create_server``."""
        return _Subscriber(self)

    def subscribe(self, stream: int, transport: asyncio.Transport) -> None:
        """Add a subscriber, who gets the greeting first."""
        self._subscribers.setdefault(stream, []).append(transport)
        first = self.greet(stream)
        if first is not None:
            transport.write(first)
        for message in self._waiting.pop(stream, ()):
            transport.write(message)

    def unsubscribe(self, stream: int, transport: asyncio.Transport) -> None:
        """Take a subscriber away; unknown ones are ignored."""
        listeners = self._subscribers.get(stream, [])
        if transport in listeners:
            listeners.remove(transport)


class _Subscriber(asyncio.Protocol):
    """One connection: the first four bytes name the stream, everything after that is for the client."""

    def __init__(self, hub: StreamHub) -> None:
        self._hub = hub
        self._received = b""
        self._stream: int | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._stream is not None or self._transport is None:
            return
        self._received += data
        if len(self._received) >= _STREAM_ID.size:
            self._stream = _STREAM_ID.unpack_from(self._received)[0]
            self._hub.subscribe(self._stream, self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None and self._transport is not None:
            self._hub.unsubscribe(self._stream, self._transport)
