"""Takes queries over UDP at one address, and sends the answers back from there.

May touch its socket through the loop. Always true: what cannot be sent at once and does not fit the buffer is dropped and counted, never
queued without bound; where queries come faster than they are handled, sources take turns, so that a pod's flood costs itself its queries
and no other pod a single one.

libuv hands on at most BATCH datagrams a turn of the loop. When it does, there may be more behind them: these are taken off the socket at
once, which takes 2 µs each where handling takes 10 to 20, and wait in line by source.
"""

import asyncio
import socket
from dataclasses import dataclass
from typing import Protocol, cast

from dnsfw.policy.turns import Turns

BATCH = 32
"""What libuv reads in a row (uv__udp_recvmsg), and what we handle in a row."""
FEW = 8
"""From so many on, we look whether they came in one turn of the loop: a call of the loop for each would cost 5 % of a cached answer."""

TAKEN_AT_ONCE = 512
WAITING_PER_SOURCE, WAITING = 4096, 16_384  # more than the socket's buffer holds: a burst that fitted there is not cut short here
CROWD_S, MOST_CROWDS = 1.0, 1024  # how often, and of how many sources at once, it is told who was crowded out
LARGEST_WAITING = 1500  # octets; no query is that long, and lines must not hold what nobody asked

UDP, TCP = "udp", "tcp"  # as records say it

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""What the loop says of a datagram's sender: address and port; of IPv6 also flow and scope."""
ClientAddress = SocketAddress | None
"""None where the way knows it."""


class Way(Protocol):
    """How an answer goes back; called once for each query whose `handle` has said True."""

    def send(self, data: bytes, address: ClientAddress) -> None: ...


class Handler(Protocol):
    """Whoever answers queries."""

    def handle(self, data: bytes, source: str, transport: str, way: Way, address: ClientAddress) -> bool:
        """False: dropped, nothing will be sent."""
        ...

    def crowd_out(self, source: str) -> None:
        """Datagrams of this source were dropped unread, for too many of its own waited. Told at most once in CROWD_S of each."""
        ...


@dataclass(slots=True)
class UdpListenerCounts:
    """port_zero: queries that cannot be answered. unsent: answers that the socket did not take. crowded_out: by too many of their own."""

    port_zero: int = 0
    unsent: int = 0
    crowded_out: int = 0


class UdpListener:
    """One address. `address` of a query is what the loop says of its sender. `bound`: the socket under the transport.

    An asyncio.DatagramProtocol in all but descent: what descends from an interpreted class is not compiled (ADR 0010).
    """

    def __init__(self, handler: Handler, bound: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = handler.handle
        self._crowd_out = handler.crowd_out
        self._socket = bound
        self._loop = loop
        self._in_a_row = 0
        self._turns: Turns[tuple[bytes, SocketAddress]] = Turns(WAITING_PER_SOURCE, WAITING)
        self._transport: asyncio.DatagramTransport | None = None
        self._crowds: set[str] = set()  # told of lately
        self._is_full = False
        self.counts = UdpListenerCounts()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None

    def datagram_received(self, data: bytes, addr: SocketAddress) -> None:
        if addr[1] == 0:
            self.counts.port_zero += 1
            return
        if not self._turns:
            self._in_a_row += 1
            if self._in_a_row == FEW:
                self._loop.call_soon(self._count_anew)
            if self._in_a_row < BATCH:
                self._handle(data, addr[0], UDP, self, addr)
                return
        if not self._turns:
            self._loop.call_soon(self._take_turns)
        self._line_up(data, addr)

    def _count_anew(self) -> None:
        """Called before the loop reads again."""
        self._in_a_row = 0

    def _line_up(self, data: bytes, addr: SocketAddress) -> None:
        if len(data) > LARGEST_WAITING or not self._turns.put(addr[0], (data, addr)):
            self._drop_unread(addr[0])

    def _drop_unread(self, source: str) -> None:
        self.counts.crowded_out += 1
        if source in self._crowds or len(self._crowds) >= MOST_CROWDS:
            return
        if not self._crowds:
            self._loop.call_later(CROWD_S, self._crowds.clear)
        self._crowds.add(source)
        self._crowd_out(source)

    def _take_turns(self) -> None:
        self._empty_socket()
        for _ in range(min(BATCH, len(self._turns))):
            data, addr = self._turns.take()
            self._handle(data, addr[0], UDP, self, addr)
        if self._turns:
            self._loop.call_soon(self._take_turns)

    def _empty_socket(self) -> None:
        try:
            for _ in range(TAKEN_AT_ONCE if self._transport is not None else 0):
                data, addr = self._socket.recvfrom(LARGEST_WAITING + 1)
                if addr[1]:
                    self._line_up(data, addr)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.error_received(error)

    def error_received(self, _exc: Exception) -> None:
        self.counts.unsent += 1

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    def send(self, data: bytes, address: ClientAddress) -> None:
        if self._transport is None or self._is_full:
            self.counts.unsent += 1
            return
        self._transport.sendto(data, address)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def listen_udp(bound: socket.socket, handler: Handler, loop: asyncio.AbstractEventLoop) -> UdpListener:
    """Takes the socket over."""
    listener = UdpListener(handler, bound, loop)
    await loop.create_datagram_endpoint(lambda: cast("asyncio.DatagramProtocol", listener), sock=bound)
    return listener
