"""Many datagrams for one call of the kernel: recvmmsg and sendmmsg (Linux 3.0), which Python's `socket` does not have.

Touches the sockets it is given. Always true: the buffers are made once, and what lies in them is copied out before the next call. Beside
a call each, receiving takes 0.6 µs a datagram for 1.5 and sending 1.3 for 2.4 (32 at a time of 60 octets, interpreted, the least of three).
"""

import ctypes
import os
import socket
from collections.abc import Hashable, Sequence
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from struct import Struct
from typing import Final

_SPAN: Final = Struct("@PL")  # struct iovec; a size_t is a long
_HEADER: Final = Struct("@PIPNPNi0P")  # struct msghdr
_DATAGRAM: Final = Struct("@PIPNPNi0PI0P")  # struct mmsghdr: a msghdr, and how many octets came
_INT: Final = 4
_OFTEN: Final = 256  # octets; most of what comes and goes has no more
_APART: Final = 64  # octets between two slots: at multiples of 4096 all would compete for the same lines of the cache

# PyDLL: neither call waits, so that the interpreter's lock need not be let go. No `argtypes`: what we give is an int or a pointer already,
# and to have it looked at took 0.5 µs of 1.1 a call (sendmmsg of nothing, best of five times 200,000).
_libc: Final = ctypes.PyDLL(None, use_errno=True)
_recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg


class _Room:
    """Where the kernel finds `count` datagrams, each of one span, and their addresses (struct sockaddr) of one family."""

    def __init__(self, family: int, count: int) -> None:
        self._count = count
        self._name_size = 16 if family == socket.AF_INET else 28
        self._names = _memory(count * self._name_size)
        self._spans = _memory(count * _SPAN.size)
        self._headers = _memory(count * _DATAGRAM.size)
        names, spans, headers = map(_address, (self._names, self._spans, self._headers))
        for slot in range(count):
            whose, what = names + slot * self._name_size, spans + slot * _SPAN.size
            _DATAGRAM.pack_into(self._headers, slot * _DATAGRAM.size, whose, self._name_size, what, 1, 0, 0, 0, 0)
        self._at = ctypes.c_void_p(headers)

    def _rows(self, slot: str) -> list[Struct]:
        """For each number of slots, what reads or writes all of them in one call."""
        return [Struct(f">{slot * slots}") for slots in range(self._count + 1)]


class Incoming(_Room):
    """Room for `count` of at most `octets` each; longer ones are cut."""

    def __init__(self, family: int, count: int, octets: int) -> None:
        super().__init__(family, count)
        self._stride = octets + _APART
        self._data = _memory(count * self._stride)
        data = _address(self._data)
        for slot in range(count):
            _SPAN.pack_into(self._spans, slot * _SPAN.size, data + slot * self._stride, octets)
        self._received = memoryview(self._headers).cast("I")[_HEADER.size // _INT :: _DATAGRAM.size // _INT]  # octets that came, by slot
        self._sizes: list[int] = []
        self._family = family
        self._name_rows = self._rows(f"{self._name_size}s")
        # Of IPv4 a number, its last octet last: neighbours' hashes differ where a dict looks first.
        self._host_rows = self._rows("4xI8x" if family == socket.AF_INET else "8x16s4x")
        # Kept: to make a slice takes as long as to cut by it.
        self._cuts: list[list[slice | None]] = [[None] * _OFTEN for _ in range(count)]

    def receive(self, descriptor: int) -> int:
        """How many came; OSError where none could be read, BlockingIOError where none is there."""
        count: int = _recvmmsg(descriptor, self._at, self._count, socket.MSG_DONTWAIT, None)
        if count < 0:
            raise _error()
        self._sizes = self._received.tolist()
        return count

    def datagram(self, slot: int) -> bytes:
        return self._data[self._cut(slot, self._sizes[slot])]

    def _cut(self, slot: int, size: int) -> slice:
        if size < _OFTEN and (cut := self._cuts[slot][size]) is not None:
            return cut
        start = slot * self._stride
        cut = slice(start, start + size)
        if size < _OFTEN:
            self._cuts[slot][size] = cut
        return cut

    def names(self, count: int) -> tuple[bytes, ...]:
        """Who sent the first `count`: struct sockaddr_in or sockaddr_in6."""
        return self._name_rows[count].unpack_from(self._names)

    def hosts(self, count: int) -> tuple[Hashable, ...]:
        """Of each the address alone, as a key; as a text: `host_text` of its name."""
        return self._host_rows[count].unpack_from(self._names)

    def host_text(self, name: bytes) -> str:
        return socket.inet_ntop(self._family, name[4:8] if self._family == socket.AF_INET else name[8:24])


class Outgoing(_Room):
    """Room for `count` of at most `octets` each. Most are short: these lie side by side, where one call puts them all."""

    def __init__(self, family: int, count: int, octets: int) -> None:
        super().__init__(family, count)
        self._stride = octets + _APART
        self._long = _memory(count * self._stride)
        self._short = _memory(count * _OFTEN)
        self._long_at, self._short_at = _address(self._long), _address(self._short)
        self._places = memoryview(self._spans).cast("L")  # of each slot two words: where its octets lie, and how many
        self._lengths = [-1] * count  # as they stand there: most datagrams are as long as the last one in their place
        self._name_rows, self._short_rows = self._rows(f"{self._name_size}s"), self._rows(f"{_OFTEN}s")

    def send(self, descriptor: int, datagrams: Sequence[bytes], names: Sequence[bytes]) -> int:
        """How many of the first were taken; OSError where the very first was not. `names`: whom each is for, as `Incoming.names` has it."""
        count = len(datagrams)
        self._name_rows[count].pack_into(self._names, 0, *names)
        self._short_rows[count].pack_into(self._short, 0, *datagrams)
        for slot, datagram in enumerate(datagrams):
            size = len(datagram)
            if size != self._lengths[slot] or size > _OFTEN:
                self._place(slot, datagram, size)
        sent: int = _sendmmsg(descriptor, self._at, count, socket.MSG_DONTWAIT)
        if sent < 0:
            raise _error()
        return sent

    def _place(self, slot: int, datagram: bytes, size: int) -> None:
        at = self._short_at + slot * _OFTEN
        if size > _OFTEN:
            start = slot * self._stride
            self._long[start : start + size] = datagram
            at = self._long_at + start
        self._places[2 * slot] = at
        self._places[2 * slot + 1] = self._lengths[slot] = size


def _memory(size: int) -> mmap:
    """Ours alone: by default a child would share it."""
    return mmap(-1, size, MAP_PRIVATE | MAP_ANONYMOUS)


def _address(memory: mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
