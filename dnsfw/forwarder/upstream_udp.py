"""The UDP way to one upstream: many connected sockets on random ports, random ids on each.

May touch sockets and the loop's readers, nothing else. Always true: an answer counts only if it came from the upstream's own address and
port (the kernel's check: the sockets are connected), to the port, with the id and for the question that were asked; a socket that has
seen `max_strangers` datagrams that were none is closed at once, so nobody gets more guesses at one port (RFC 5452 §9).

Plain sockets with a reader of the loop, not datagram endpoints: 4.2 against 5.6 µs a round trip, and a new one is open without awaiting.
Questions that follow each other within a millisecond leave from one port, RUN of them at most, so that their answers are read together;
those of one turn leave together, too (`bursts`).
That makes none easier to forge: whoever forges names one question, and has to know its port and its id.
"""

import asyncio
import errno
import os
import socket
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dnsfw.clock import Instant
from dnsfw.forwarder import wire
from dnsfw.forwarder.bursts import Bursts, send_one
from dnsfw.forwarder.datagrams import Incoming
from dnsfw.forwarder.inquiry import Inquiry
from dnsfw.forwarder.settings import Endpoint

# We advertise 1232; whoever sends more than this is cut and found out to be malformed.
RECEIVE_BYTES: Final = 4096
RUN: Final = 16
RUN_S: Final = 0.001
MAX_TABLE: Final = 32768
LOCAL_ERRNOS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EAGAIN}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """sockets: open at a time; a power of two. max_uses, max_age_seconds: then a new random port takes the place."""

    sockets: int = 64
    max_uses: int = 200
    max_age_seconds: float = 30.0
    max_strangers: int = 3


@dataclass(slots=True)
class UdpCounts:
    """mismatches: datagrams that were no answer of ours. late: answers to what was already answered or given up."""

    mismatches: int = 0
    late: int = 0
    opened: int = 0


class RandomWords:
    """32 random bits at a time from the kernel's generator, fetched by the page: 0.1 µs each."""

    def __init__(self) -> None:
        self._words: list[int] = []

    def draw(self) -> int:
        if not self._words:
            self._words = list(array("I", os.urandom(4096)))
        return self._words.pop()


class UdpSocket:
    """One port. `table` knows every id that was sent from it: the inquiry that waits, or None once it is answered or given up."""

    __slots__ = ("_close", "is_retired", "live", "opened_at", "socket", "strangers", "table", "unsent", "uses")

    def __init__(self, connected: socket.socket, opened_at: Instant, close: "Callable[[UdpSocket], None]") -> None:
        self.socket = connected
        self.opened_at = opened_at
        self.table: dict[int, Inquiry | None] = {}
        self.unsent: list[bytes] = []
        self.live = self.uses = self.strangers = 0
        self.is_retired = False
        self._close = close

    def release(self, message_id: int) -> None:
        if self.table.get(message_id) is not None:
            self.free(message_id)

    def free(self, message_id: int) -> None:
        """`release` of an id that an inquiry waits for."""
        self.table[message_id] = None
        self.live -= 1
        if self.is_retired and not self.live:
            self._close(self)

    def waiting(self) -> list[Inquiry]:
        return [inquiry for inquiry in self.table.values() if inquiry is not None]


class UdpPool:
    """All sockets to one upstream.

    `on_reply(inquiry, data)`: its answer. `on_refused(inquiry)`: nobody listens there. `on_exposed(inquiry)`: its port was found by
    strangers, and it must be asked in another way. `on_unsent(inquiry, errno)`: the network, or a limit of the machine, said no to what was
    to leave later.
    """

    def __init__(
        self,
        address: Endpoint,
        loop: asyncio.AbstractEventLoop,
        limits: PoolLimits,
        *,
        on_reply: Callable[[Inquiry, bytes], None],
        on_refused: Callable[[Inquiry], None],
        on_exposed: Callable[[Inquiry], None],
        on_unsent: Callable[[Inquiry, int], None],
    ) -> None:
        self._address = address
        self._loop = loop
        self._limits = limits
        self._on_reply = on_reply
        self._on_refused = on_refused
        self._on_exposed = on_exposed
        self._on_unsent = on_unsent
        self._slots: list[UdpSocket | None] = [None] * limits.sockets
        self._open: set[UdpSocket] = set()
        self._random = RandomWords()
        self._in = Incoming(socket.AF_INET if address.address.version == 4 else socket.AF_INET6, RUN, RECEIVE_BYTES)
        self._slot = self._left = 0  # of the run, and how many more may leave from there
        self._run_ends = 0.0
        self._leaving: list[UdpSocket] = []
        self._bursts = Bursts()
        self.counts = UdpCounts()

    def send(self, inquiry: Inquiry, now: Instant, *, is_later: bool = False) -> None:
        """Raises OSError where the network or a limit of the machine says no; a full send buffer is a lost datagram.

        is_later: it leaves with `leave`.
        """
        word = self._random.draw()
        if not self._left or now > self._run_ends:
            self._slot, self._left, self._run_ends = word & (self._limits.sockets - 1), RUN, now + RUN_S
        self._left -= 1
        carrier = self._slots[self._slot]
        if carrier is None or carrier.uses >= self._limits.max_uses or now - carrier.opened_at > self._limits.max_age_seconds:
            carrier = self._renew(self._slot, now)
        message_id = word >> 16
        while message_id in carrier.table:
            message_id = self._random.draw() >> 16
        carrier.table[message_id] = inquiry
        carrier.uses += 1
        carrier.live += 1
        inquiry.carried(carrier, message_id)
        message = message_id.to_bytes(2, "big") + inquiry.message[2:]
        if is_later:
            if not carrier.unsent:
                self._leaving.append(carrier)
            carrier.unsent.append(message)
            return
        try:
            send_one(carrier.socket, message)
        except BlockingIOError:
            return
        except OSError:
            carrier.release(message_id)
            raise

    def leave(self) -> None:
        """What was to leave later does so now."""
        if not self._leaving:
            return
        carriers, self._leaving = self._leaving, []
        for carrier in carriers:
            messages, carrier.unsent = carrier.unsent, []
            if carrier not in self._open:
                continue  # closed meanwhile: its inquiries have been told
            for message, number in self._bursts.send(carrier.socket, messages):
                self._tell_unsent(carrier, message[0] << 8 | message[1], number)

    def _tell_unsent(self, carrier: UdpSocket, message_id: int, number: int) -> None:
        if (inquiry := carrier.table.get(message_id)) is None:
            return
        carrier.release(message_id)
        try:
            self._on_unsent(inquiry, number)
        except Exception as error:  # the others leave all the same
            self._loop.call_exception_handler({"message": "nobody was told of a question that has not left", "exception": error})

    def close(self) -> None:
        self._leaving.clear()
        for carrier in list(self._open):
            self._close(carrier)
        self._slots = [None] * self._limits.sockets

    def _renew(self, slot: int, now: Instant) -> UdpSocket:
        old = self._slots[slot]
        try:
            new = self._connect(now)
        except OSError as error:
            if error.errno not in LOCAL_ERRNOS:
                raise
            return self._any_open(old, error)
        self._slots[slot] = new
        if old is not None:
            self._retire(old)
        return new

    def _any_open(self, old: UdpSocket | None, error: OSError) -> UdpSocket:
        """Out of descriptors or ports: an old port is worse than a new one and better than none."""
        for carrier in (old, *self._slots):
            if carrier is not None and len(carrier.table) < MAX_TABLE:
                return carrier
        raise error

    def _connect(self, now: Instant) -> UdpSocket:
        host, port = self._address
        family = socket.AF_INET if host.version == 4 else socket.AF_INET6
        new = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            # The kernel draws the port (random since RFC 6056) and keeps clear of ports that the node has reserved for others.
            new.connect((str(host), port))
        except OSError:
            new.close()
            raise
        carrier = UdpSocket(new, now, self._close)
        self._open.add(carrier)
        self._loop.add_reader(new, self._on_readable, carrier)
        self.counts.opened += 1
        return carrier

    def _retire(self, carrier: UdpSocket) -> None:
        carrier.is_retired = True
        if not carrier.live:
            self._close(carrier)

    def _close(self, carrier: UdpSocket) -> None:
        if carrier in self._open:
            self._open.remove(carrier)
            self._loop.remove_reader(carrier.socket)
            carrier.socket.close()

    def _on_readable(self, carrier: UdpSocket) -> None:
        try:
            found = self._read(carrier)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._on_error(carrier)
            return
        for data in found:
            self._on_datagram(carrier, data)

    def _read(self, carrier: UdpSocket) -> list[bytes]:
        if carrier.live == 1:  # it is the only one to come: 1.2 µs for 3.5, interpreted
            return [carrier.socket.recv(RECEIVE_BYTES)]
        return [self._in.datagram(slot) for slot in range(self._in.receive(carrier.socket.fileno()))]

    def _on_datagram(self, carrier: UdpSocket, data: bytes) -> None:
        message_id = data[0] << 8 | data[1] if len(data) >= wire.HEADER_SIZE else -1
        inquiry = carrier.table.get(message_id)
        if inquiry is not None and wire.matches(data, message_id, inquiry.key, inquiry.exact):
            carrier.free(message_id)
            inquiry.let_go(carrier, message_id)
            self._on_reply(inquiry, data)
        elif inquiry is None and message_id in carrier.table:
            self.counts.late += 1
        else:
            self._on_stranger(carrier)

    def _on_error(self, carrier: UdpSocket) -> None:
        """An ICMP error has come back: for which of the questions, the kernel does not say."""
        for message_id, inquiry in list(carrier.table.items()):
            if inquiry is not None:
                carrier.release(message_id)
                self._on_refused(inquiry)

    def _on_stranger(self, carrier: UdpSocket) -> None:
        self.counts.mismatches += 1
        carrier.strangers += 1
        if carrier.strangers < self._limits.max_strangers:
            return
        self._slots = [None if slot is carrier else slot for slot in self._slots]
        waiting = carrier.waiting()
        self._close(carrier)
        carrier.table.clear()
        for inquiry in waiting:
            self._on_exposed(inquiry)
