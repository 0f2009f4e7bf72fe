"""Takes queries over TCP at one address: many at a time on a connection, answered in any order (RFC 7766).

May touch its sockets through the loop, timers and the clock. Always true: one connection holds at most one message and one read unparsed,
`tcp_pipelined` queries unanswered and `MAX_UNREAD_BYTES` unread; it is closed when it idles, drips, does not read, or sends what is no
message; one source has at most `tcp_connections_per_pod`, and where all are taken, the source with the most gives up its oldest. Sources
take turns, and a turn is `TURN_MESSAGES` of one connection.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from dnsfw.clock import Clock, Instant
from dnsfw.forwarder import wire
from dnsfw.forwarder.doors import BACKLOG
from dnsfw.forwarder.listener_udp import TCP, Handler
from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.forwarder.timers import Timers
from dnsfw.policy.turns import NO_BOUND, Turns

TURN_MESSAGES = 4
TURNS_IN_A_ROW = 4
MAX_UNREAD_BYTES = 256 << 10
SWEEP_SECONDS = 0.25


@dataclass(slots=True)
class TcpListenerCounts:
    """over_limit: connections refused or given up for a limit. no_message: closed for what was none."""

    accepted: int = 0
    over_limit: int = 0
    no_message: int = 0
    timed_out: int = 0
    not_reading: int = 0


class TcpClient(asyncio.Protocol):
    """One connection of a client. `send` is the way back for its queries."""

    def __init__(self, listener: "TcpListener") -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._pending = 0
        self._is_draining = False
        self._has_ended = False
        self._unread_since: Instant | None = None
        self._active_at = listener.clock.now()
        self._message_since = self._active_at
        self.source = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: uvloop's transports are none of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        # A client that resets at once has no name any more.
        self.source = (transport.get_extra_info("peername") or ("",))[0]
        if not self._listener.admit(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        if not self._buffer:
            self._message_since = self._listener.clock.now()
        self._buffer += data
        if not self._is_draining:
            self._drain_soon()

    def eof_received(self) -> bool:
        """Half-closed: what was asked before is still answered."""
        self._has_ended = True
        self._close_if_over()
        return True

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._buffer.clear()
        self._listener.forget(self)

    def pause_writing(self) -> None:
        self._unread_since = self._listener.clock.now()
        self._read_or_not()

    def resume_writing(self) -> None:
        self._unread_since = None
        self._resume()

    def send(self, data: bytes, _address: object) -> None:
        self._pending -= 1
        if self._transport is None:
            return
        self._active_at = self._listener.clock.now()
        self._transport.write(len(data).to_bytes(2, "big") + data)
        if self._unread_since is not None and self._transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self._listener.counts.not_reading += 1
            self.abort()
            return
        self._resume()

    def abort(self) -> None:
        """At once: what is still in the buffer is not looked at, and no answer is written any more."""
        transport, self._transport = self._transport, None
        self._buffer.clear()
        if transport is not None:
            transport.abort()

    def is_overdue(self, now: Instant, settings: ForwarderSettings) -> bool:
        if self._unread_since is not None and now - self._unread_since > settings.tcp_write_seconds:
            return True
        if self._buffer and not self._is_draining and self._can_take_more:
            return now - self._message_since > settings.tcp_message_seconds
        return not self._pending and now - self._active_at > settings.tcp_idle_seconds

    @property
    def _can_take_more(self) -> bool:
        return self._pending < self._listener.settings.tcp_pipelined and self._unread_since is None

    def _drain_soon(self) -> None:
        self._is_draining = True
        self._listener.line_up(self)

    def take_turn(self) -> None:
        """A turn's worth of whole messages; what is left waits for the next."""
        self._is_draining = False
        if self._handle_turn():
            self._drain_soon()
        self._read_or_not()
        self._close_if_over()

    def _handle_turn(self) -> bool:
        """True if there may be more."""
        for _ in range(TURN_MESSAGES):
            if not self._can_take_more or (message := self._take()) is None:
                return False
            self._pending += 1
            if not self._listener.handle(message, self.source, TCP, self, None):
                self._pending -= 1
        return True

    def _take(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 2 or self._transport is None:
            return None
        end = 2 + int.from_bytes(buffer[:2], "big")
        if end < 2 + wire.HEADER_SIZE:
            # Nobody who speaks DNS sends that; to go on would make two bytes the cheapest way to keep us busy.
            self._listener.counts.no_message += 1
            self.abort()
            return None
        if len(buffer) < end:
            return None
        message = bytes(buffer[2:end])
        del buffer[:end]
        self._active_at = self._message_since = self._listener.clock.now()
        return message

    def _resume(self) -> None:
        """After an answer: there is room for what had to wait."""
        if self._is_draining:
            return
        if self._buffer and self._can_take_more:
            self._drain_soon()
        else:
            self._read_or_not()
            self._close_if_over()

    def _read_or_not(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._can_take_more and not self._is_draining:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _close_if_over(self) -> None:
        if self._has_ended and not self._pending and not self._is_draining and self._transport is not None:
            self._transport.close()


class TcpListener:
    """One address, and all connections to it."""

    def __init__(
        self,
        handler: Handler,
        settings: ForwarderSettings,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        timers: Timers,
        on_refused: Callable[[str], None],
    ) -> None:
        self.handle = handler.handle
        self.settings = settings
        self.loop = loop
        self.clock = clock
        self.counts = TcpListenerCounts()
        self._timers = timers
        self._on_refused = on_refused
        self._turns: Turns[TcpClient] = Turns(NO_BOUND, NO_BOUND)  # a connection is in line at most once
        self._server: asyncio.Server | None = None
        self._by_source: dict[str, dict[TcpClient, None]] = {}
        self._open = 0
        self._is_sweeping = False

    @property
    def connections(self) -> int:
        return self._open

    async def listen(self, bound: socket.socket) -> None:
        """Takes the socket over."""
        self._server = await self.loop.create_server(lambda: TcpClient(self), sock=bound, backlog=BACKLOG)

    def stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def close(self) -> None:
        self.stop_accepting()
        for client in self._clients():
            client.abort()

    def admit(self, client: TcpClient) -> bool:
        neighbours = self._by_source.get(client.source, {})
        if len(neighbours) >= self.settings.tcp_connections_per_pod:
            self.counts.over_limit += 1
            self._on_refused(client.source)
            return False
        if self._open >= self.settings.tcp_connections:
            self._make_room()
        self.counts.accepted += 1
        self._open += 1
        self._by_source.setdefault(client.source, {})[client] = None
        self._sweep_later()
        return True

    def forget(self, client: TcpClient) -> None:
        neighbours = self._by_source.get(client.source, {})
        if client not in neighbours:
            return
        self._open -= 1
        del neighbours[client]
        if not neighbours:
            del self._by_source[client.source]

    def line_up(self, client: TcpClient) -> None:
        """The client has something to be handled; it is in line at most once."""
        if not self._turns:
            self.loop.call_soon(self._take_turns)
        self._turns.put(client.source, client)

    def _take_turns(self) -> None:
        for _ in range(min(TURNS_IN_A_ROW, len(self._turns))):
            self._turns.take().take_turn()
        if self._turns:
            self.loop.call_soon(self._take_turns)

    def _make_room(self) -> None:
        """The source with the most connections loses its oldest: nobody can keep others out by being many."""
        crowd = max(self._by_source.values(), key=len)
        oldest = next(iter(crowd))
        self.counts.over_limit += 1
        self._on_refused(oldest.source)
        oldest.abort()
        self.forget(oldest)

    def _clients(self) -> list[TcpClient]:
        return [client for clients in self._by_source.values() for client in clients]

    def _sweep_later(self) -> None:
        if not self._is_sweeping:
            self._is_sweeping = True
            self._timers.add(self.clock.now() + SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._is_sweeping = False
        now = self.clock.now()
        for client in self._clients():
            if client.is_overdue(now, self.settings):
                self.counts.timed_out += 1
                client.abort()
        if self._open:
            self._sweep_later()
