"""Takes queries over UDP at one address, and sends the answers back from there.

May touch its socket and the loop's reader and writer for it. Always true: what cannot be sent at once and does not fit the buffer is
dropped and counted, never queued without bound; where queries come faster than they are handled, sources take turns, so that a pod's
flood costs itself its queries and no other pod a single one.

A few datagrams are handled where they were read. More, or more than that under way, and all are taken off the socket at once, which takes
1 µs each where handling takes 10 to 20, and stand in line by source. The answers of what is done in a row leave together.
"""

import asyncio
import socket
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from dnsfw.forwarder.datagrams import Incoming, Outgoing
from dnsfw.forwarder.line import FEW, Line, Work

BATCH: Final = 32
TAKEN_AT_ONCE: Final = 512
LARGEST: Final = 4096  # octets, of what is read or sent; no answer is longer (respond.HIGHEST_LIMIT), and a longer query is found to be cut
LARGEST_WAITING: Final = 1500  # no query is that long, and lines must not hold what nobody asked
MOST_UNSENT: Final = 1024
CROWD_S: Final = 1.0  # how often, and of how many sources at once, it is told who was crowded out
MOST_CROWDS: Final = 1024
MOST_SOURCES: Final = 4096  # remembered as texts

UDP: Final = "udp"  # as records say it
TCP: Final = "tcp"

SocketAddress = bytes
"""Who sent a datagram, as the kernel says it: struct sockaddr_in (port from 2, address from 4) or sockaddr_in6 (2, 8, scope from 24)."""
ClientAddress = SocketAddress | None
"""None where the way knows it."""


class Way(Protocol):
    """How an answer goes back; called once for each query whose `handle` has said True."""

    def send(self, data: bytes, address: ClientAddress) -> None: ...


class Handler:
    """Whoever answers queries. A class, not a protocol: ADR 0010."""

    def handle(self, data: bytes, source: str, transport: str, way: Way, address: ClientAddress) -> bool:
        """False: dropped, nothing will be sent."""
        raise NotImplementedError

    def crowd_out(self, source: str) -> None:
        """Datagrams of this source were dropped unread, for too many of its own waited. Told at most once in CROWD_S of each."""
        raise NotImplementedError


@dataclass(slots=True)
class UdpListenerCounts:
    """port_zero: queries that cannot be answered. unsent: answers that the socket did not take. crowded_out: by too many of their own.

    unreadable: how often the kernel gave an error in place of datagrams.
    """

    port_zero: int = 0
    unsent: int = 0
    crowded_out: int = 0
    unreadable: int = 0


class UdpListener(Work):
    """One address. `bound`: its socket, which is its own from now on."""

    def __init__(self, handler: Handler, bound: socket.socket, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        self._handler = handler
        self._socket = bound
        self._descriptor = bound.fileno()
        self._loop = loop
        self._in = Incoming(bound.family, BATCH, LARGEST)
        self._out = Outgoing(bound.family, BATCH, LARGEST)
        self._line = line
        self._sources: dict[Hashable, str] = {}
        self._crowds: set[str] = set()  # told of lately
        self._answers: list[bytes] = []  # not yet sent
        self._askers: list[SocketAddress] = []  # whom each of them is for
        self._is_gathering = self._is_due = self._is_full = self._is_closed = False
        self.counts = UdpListenerCounts()
        line.at_end.append(self._send_answers)
        loop.add_reader(bound, self._on_readable)

    def _on_readable(self) -> None:
        count = self._receive()
        if count <= FEW and self._line.is_short:
            self._take_all(count)
            return
        self._line_up(count)
        for _ in range(TAKEN_AT_ONCE // BATCH):
            if count < BATCH:
                return
            count = self._receive()
            self._line_up(count)

    def _receive(self) -> int:
        try:
            return self._in.receive(self._descriptor)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.counts.unreadable += 1
            return 0

    def _take_all(self, count: int) -> None:
        self._is_gathering = count > 1
        names, hosts = self._in.names(count), self._in.hosts(count)
        for slot in range(count):
            self.do(self._in.datagram(slot), (self._source_of(hosts[slot], names[slot]), names[slot]))
        self._is_gathering = False
        self._send_answers()

    def do(self, data: bytes, sender: tuple[str, SocketAddress], /) -> None:
        """One datagram. Whatever becomes of it, the next one is taken."""
        source, name = sender
        if not name[2] | name[3]:
            self.counts.port_zero += 1
            return
        try:
            self._handler.handle(data, source, UDP, self, name)
        except Exception as error:
            self._loop.call_exception_handler({"message": "a query was not handled", "exception": error})

    def _source_of(self, host: Hashable, name: SocketAddress) -> str:
        if (source := self._sources.get(host)) is None:
            if len(self._sources) >= MOST_SOURCES:
                self._sources.clear()
            source = self._sources[host] = self._in.host_text(name)
        return source

    def _line_up(self, count: int) -> None:
        names, hosts = self._in.names(count), self._in.hosts(count)
        for slot in range(count):
            data, name = self._in.datagram(slot), names[slot]
            source = self._source_of(hosts[slot], name)
            if len(data) > LARGEST_WAITING or not self._line.put_question(source, self, data, (source, name)):
                self._drop_unread(source)

    def _drop_unread(self, source: str) -> None:
        self.counts.crowded_out += 1
        if source in self._crowds or len(self._crowds) >= MOST_CROWDS:
            return
        if not self._crowds:
            self._loop.call_later(CROWD_S, self._crowds.clear)
        self._crowds.add(source)
        self._handler.crowd_out(source)

    # ---- answers

    def send(self, data: bytes, address: ClientAddress) -> None:
        if self._is_closed or address is None or len(data) > LARGEST or len(self._answers) >= MOST_UNSENT:
            self.counts.unsent += 1
            return
        self._answers.append(data)
        self._askers.append(address)
        if self._is_gathering or self._is_full or self._is_due or self._line.is_turn:
            return
        if self._line.is_short:
            self._send_answers()
            return
        self._is_due = True
        self._loop.call_soon(self._send_answers)

    def _send_answers(self) -> None:
        self._is_due = False
        while self._answers and not self._is_full:
            done = self._send_some()
            del self._answers[:done]
            del self._askers[:done]

    def _send_some(self) -> int:
        """How many of the first are dealt with."""
        try:
            return self._out.send(self._descriptor, self._answers[:BATCH], self._askers[:BATCH])
        except InterruptedError:
            return 0
        except BlockingIOError:
            self._is_full = True
            self._loop.add_writer(self._socket, self._on_writable)
            return 0
        except OSError:  # of the first alone
            self.counts.unsent += 1
            return 1

    def _on_writable(self) -> None:
        self._is_full = False
        self._loop.remove_writer(self._socket)
        self._send_answers()

    def close(self) -> None:
        if self._is_closed:
            return
        self._send_answers()
        self._is_closed = True
        self._line.at_end.remove(self._send_answers)
        self.counts.unsent += len(self._answers)
        self._answers.clear()
        self._askers.clear()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()


def give(way: Way, data: bytes, address: ClientAddress) -> None:
    """`way.send`; compiled, a listener's is a call, another's a look-up by name (ADR 0010)."""
    if isinstance(way, UdpListener):
        way.send(data, address)
    else:
        way.send(data, address)
