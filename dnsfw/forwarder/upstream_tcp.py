"""The TCP way to one upstream: a few connections, many questions on each, answers in any order (RFC 7766).

May touch sockets through the loop, nothing else. Always true: an answer counts only by id and question; a connection that ends with
questions pending has them asked again on another, at most `MAX_RESENDS` times; a connection that brings no whole message for
`STALL_SECONDS` while one is awaited is given up, so a peer that drips bytes holds nobody; a buffer never holds more than one message and
one read.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from dnsfw.clock import Clock, Instant
from dnsfw.forwarder import wire
from dnsfw.forwarder.inquiry import Inquiry
from dnsfw.forwarder.settings import Endpoint
from dnsfw.forwarder.timers import Timers
from dnsfw.forwarder.upstream_udp import RandomWords

MAX_CONNECTIONS = 8
MAX_PENDING = 100
# The table keeps each id that was sent, answered or not, so it must end long before the ids do.
MAX_USES = 4096
MAX_RESENDS = 2
MAX_STRANGERS = 3
STALL_SECONDS = 1.5
IDLE_SECONDS = 10.0
CHECK_SECONDS = 0.5


@dataclass(slots=True)
class TcpCounts:
    opened: int = 0
    mismatches: int = 0
    late: int = 0
    resent: int = 0


class TcpConnection(asyncio.Protocol):
    """One connection, from before it is open to after it is lost."""

    def __init__(self, lane: "TcpLane", now: Instant) -> None:
        self._lane = lane
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._unsent: list[bytes] = []
        self._strangers = 0
        self.table: dict[int, Inquiry | None] = {}
        self.live = 0
        self.progress_at = now
        self.is_lost = False

    def ask(self, inquiry: Inquiry, message_id: int, now: Instant) -> None:
        if not self.live:
            self.progress_at = now
        self.table[message_id] = inquiry
        self.live += 1
        inquiry.carried(self, message_id)
        message = len(inquiry.message).to_bytes(2, "big") + message_id.to_bytes(2, "big") + inquiry.message[2:]
        if self._transport is None:
            self._unsent.append(message)
        else:
            self._transport.write(message)

    @property
    def is_worn(self) -> bool:
        return len(self.table) >= MAX_USES

    def release(self, message_id: int) -> None:
        if self.table.get(message_id) is not None:
            self.table[message_id] = None
            self.live -= 1

    @property
    def patience(self) -> float:
        """Seconds without a whole message that are borne."""
        if self.live:
            return STALL_SECONDS
        return 0.0 if self.is_worn else IDLE_SECONDS

    def waiting(self) -> list[Inquiry]:
        return [inquiry for inquiry in self.table.values() if inquiry is not None]

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: uvloop's transports are none of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.writelines(self._unsent)
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 2:
            end = start + 2 + int.from_bytes(buffer[start : start + 2], "big")
            if len(buffer) < end:
                break
            self._on_message(bytes(buffer[start + 2 : end]))
            start = end
        del buffer[:start]

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._lane.on_lost(self)

    def _on_message(self, data: bytes) -> None:
        message_id = int.from_bytes(data[:2], "big")
        inquiry = self.table.get(message_id)
        if inquiry is not None and wire.matches(data, message_id, inquiry.key, inquiry.exact):
            self.release(message_id)
            self._lane.on_answer(self, inquiry, data)
        elif inquiry is None and message_id in self.table:
            self._lane.counts.late += 1
        else:
            self._on_stranger()

    def _on_stranger(self) -> None:
        self._lane.counts.mismatches += 1
        self._strangers += 1
        if self._strangers >= MAX_STRANGERS:
            self.abort()


class TcpLane:
    """All connections to one upstream. `on_reply(inquiry, data)`: its answer. `on_failed(inquiry)`: TCP cannot be had for it."""

    def __init__(
        self,
        address: Endpoint,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        timers: Timers,
        *,
        on_reply: Callable[[Inquiry, bytes], None],
        on_failed: Callable[[Inquiry], None],
    ) -> None:
        self._address = address
        self._loop = loop
        self._clock = clock
        self._timers = timers
        self._on_reply = on_reply
        self._on_failed = on_failed
        self._connections: list[TcpConnection] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._random = RandomWords()
        self._is_checking = False
        self._is_closed = False
        self.counts = TcpCounts()

    def send(self, inquiry: Inquiry) -> None:
        """`on_failed` comes later, never from within this call, but where every connection is full."""
        connection = next((each for each in self._connections if each.live < MAX_PENDING and not each.is_worn), None)
        if connection is None and len(self._connections) < MAX_CONNECTIONS and not self._is_closed:
            connection = self._open()
        if connection is None:
            self._on_failed(inquiry)
            return
        message_id = self._random.draw() >> 16
        while message_id in connection.table:
            message_id = self._random.draw() >> 16
        connection.ask(inquiry, message_id, self._clock.now())

    def close(self) -> None:
        self._is_closed = True
        for task in self._connecting:
            task.cancel()
        for connection in self._connections:
            connection.abort()

    def on_answer(self, connection: TcpConnection, inquiry: Inquiry, data: bytes) -> None:
        connection.progress_at = self._clock.now()
        self._on_reply(inquiry, data)

    def on_lost(self, connection: TcpConnection) -> None:
        if connection.is_lost:
            return
        connection.is_lost = True
        self._connections.remove(connection)
        waiting = connection.waiting()
        connection.table.clear()
        for inquiry in waiting:
            self._ask_again(inquiry)

    def _ask_again(self, inquiry: Inquiry) -> None:
        if inquiry.resends >= MAX_RESENDS or self._is_closed:
            self._on_failed(inquiry)
            return
        inquiry.resends += 1
        self.counts.resent += 1
        self.send(inquiry)

    def _open(self) -> TcpConnection:
        connection = TcpConnection(self, self._clock.now())
        self._connections.append(connection)
        task = self._loop.create_task(self._connect(connection), name=f"upstream-tcp-{self._address[0]}")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        if not self._is_checking:
            self._check_later()
        return connection

    async def _connect(self, connection: TcpConnection) -> None:
        host, port = self._address
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await self._loop.create_connection(lambda: connection, str(host), port)
        except OSError:  # TimeoutError is one
            self._on_unreachable(connection)
        else:
            self.counts.opened += 1

    def _on_unreachable(self, connection: TcpConnection) -> None:
        """Nobody there: what waited for this connection would meet the same on the next."""
        if connection.is_lost:
            return
        connection.is_lost = True
        self._connections.remove(connection)
        waiting = connection.waiting()
        connection.table.clear()
        for inquiry in waiting:
            self._on_failed(inquiry)

    def _check_later(self) -> None:
        self._is_checking = True
        self._timers.add(self._clock.now() + CHECK_SECONDS, self._check)

    def _check(self) -> None:
        self._is_checking = False
        now = self._clock.now()
        for connection in list(self._connections):
            if now - connection.progress_at > connection.patience:
                connection.abort()
        if self._connections:
            self._check_later()
