"""The kernel's connection-tracking table: read it, rewrite marks in it, remove entries; over raw netlink, never a process.

Touches CTNETLINK of the network namespace of whoever calls. Calls block for as long as the table is large, so they belong in worker
threads. Each dump has a socket of its own, so dumps may run beside each other and beside changes; changes come from one thread at a time.
Always true: an entry that stood throughout a dump is in what the dump returns; an entry that has vanished meanwhile is no error;
no request can touch an entry that was not named by a `Flow`.
"""

import errno
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice, takewhile
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeVar

from nft import codec, ctcodec
from nft.codec import Message
from nft.ctcodec import Flow
from nft.ctquick import read_flow_quickly
from nft.errors import NftError

__all__ = ["Connections", "Conntrack", "ConntrackError", "FakeConntrack", "Flow"]

_FULL_MASK = 0xFFFF_FFFF
_NETLINK_NETFILTER = 12
_SOL_NETLINK, _CAP_ACK = 270, 10
_RECEIVE = 1 << 16  # the kernel fills at most 32 KiB a datagram of a dump
_BATCH = 200  # requests in one sendmsg; each that fails takes below 1 KiB of the receive buffer, whose default is 208 KiB
_ATTEMPTS = 5  # at a dump that the kernel calls inconsistent

_Item = TypeVar("_Item")


class ConntrackError(NftError):
    """The kernel refused, did not answer, or answered nonsense; which entries were changed is unknown."""


class Connections(Protocol):
    """What `Conntrack` and `FakeConntrack` both are."""

    def flows(self, *, mark_mask: int = 0, mark: int | None = None, source: bytes | None = None) -> list[Flow]: ...
    def iter_flows(self, *, mark_mask: int = 0, mark: int | None = None, source: bytes | None = None) -> Iterator[Flow]: ...
    def set_mark(self, flows: Iterable[Flow], mark: int, mask: int) -> int: ...
    def set_marks(self, changes: Iterable[tuple[Flow, int]], mask: int) -> int: ...
    def delete(self, flows: Iterable[Flow]) -> int: ...
    def marks_in_use(self, mask: int) -> set[int]: ...
    def close(self) -> None: ...


class _Filter(NamedTuple):
    """Which entries a dump is about. Applied here too: kernels before 5.8 leave the source to us."""

    source: bytes | None
    mark: int | None
    mask: int

    @classmethod
    def of(cls, source: bytes | None, mark: int | None, mark_mask: int) -> Self:
        if source is not None and len(source) not in {4, 16}:
            raise ValueError(f"source: {source!r} is no packed address")
        mask = mark_mask or _FULL_MASK
        return cls(source, None if mark is None else mark & mask, mask)

    def matches(self, flow: Flow) -> bool:
        if self.source is not None and flow.source != self.source:
            return False
        return self.mark is None or flow.mark & self.mask == self.mark


_EVERYTHING = _Filter(None, None, 0)


class Conntrack:
    """The table of this network namespace."""

    def __init__(self, timeout_s: float = 5.0) -> None:
        """`timeout_s`: the longest that the kernel may leave us without a word."""
        self._timeout_s = timeout_s
        self._change = _open(timeout_s)
        self._sequence = 0

    def flows(self, *, mark_mask: int = 0, mark: int | None = None, source: bytes | None = None) -> list[Flow]:
        """All entries whose original source is `source` and whose mark & mark_mask is `mark` (no mask: the whole mark)."""
        found = {flow.identity: flow for flow in self.iter_flows(mark_mask=mark_mask, mark=mark, source=source)}
        return list(found.values())

    def iter_flows(self, *, mark_mask: int = 0, mark: int | None = None, source: bytes | None = None) -> Iterator[Flow]:
        """The same as they come, 32 KiB of them in memory at a time; when the kernel asks us to start again, some come twice."""
        wanted = _Filter.of(source, mark, mark_mask)
        with _translated():
            for entry in self._entries(wanted):
                flow = read_flow_quickly(entry.payload)
                if wanted.matches(flow):
                    yield flow

    def marks_in_use(self, mask: int) -> set[int]:
        """Every mark & mask that some entry of either family bears, but for 0, which is no mark."""
        with _translated():
            return {ctcodec.read_mark(entry.payload) & mask for entry in self._entries(_EVERYTHING)} - {0}

    def set_mark(self, flows: Iterable[Flow], mark: int, mask: int) -> int:
        """Make each entry's mark (old & ~mask) | (mark & mask); returns how many still stood."""
        return self.set_marks(((flow, mark) for flow in flows), mask)

    def set_marks(self, changes: Iterable[tuple[Flow, int]], mask: int) -> int:
        """The same with a mark for each. `changes` is consumed in batches: it may be made of `iter_flows`.

        An entry is named by its addresses and ports: where one has ended and another begun with the very same, that one is marked.
        """
        return self._in_batches(lambda sequence, change: ctcodec.mark_request(sequence, *change, mask), changes)

    def delete(self, flows: Iterable[Flow]) -> int:
        """Remove the entries; returns how many still stood. Beware of nf_conntrack_tcp_loose: the far end's next packet makes a new one."""
        return self._in_batches(ctcodec.delete_request, flows)

    def close(self) -> None:
        self._change.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _entries(self, wanted: _Filter) -> Iterator[Message]:
        for _ in range(_ATTEMPTS):
            is_whole = yield from self._dump_once(wanted)
            if is_whole:
                return
        raise ConntrackError(f"conntrack dump: the table changed under each of {_ATTEMPTS} attempts; try again")

    def _dump_once(self, wanted: _Filter) -> Generator[Message, None, bool]:
        """One dump; returns whether the kernel calls it consistent."""
        request = ctcodec.dump_request(1, wanted.source, wanted.mark, wanted.mask)
        # A sweep's dump may last seconds, and a revocation must not wait for it.
        link = _open(self._timeout_s)
        try:
            return (yield from _until_done(_ask(link, request, 1)))
        finally:
            link.close()

    def _in_batches(self, encode: Callable[[int, _Item], bytes], items: Iterable[_Item]) -> int:
        iterator = iter(items)
        done = 0
        while batch := list(islice(iterator, _BATCH)):
            sequence = self._next_sequence()
            request = b"".join([encode(sequence, item) for item in batch]) + ctcodec.end_of_batch(sequence)
            done += len(batch) - _vanished(_ask(self._change, request, sequence))
        return done

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & _FULL_MASK
        return self._sequence


def _open(timeout_s: float) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        opened.settimeout(timeout_s)
        opened.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)  # refusals come without the request that caused them
        opened.bind((0, 0))
        opened.connect((0, 0))  # takes nothing but from the kernel
    except OSError as error:
        raise ConntrackError(f"conntrack: cannot open a netlink socket: {error}") from error
    return opened


def _ask(link: socket.socket, request: bytes, sequence: int) -> Iterator[Message]:
    """Send, then give the answers to `sequence` for as long as somebody reads on; others are left-overs of a call that failed."""
    with _translated():
        link.send(request)
    while True:
        with _translated():
            found = tuple(codec.messages(link.recv(_RECEIVE)))
        for message in found:
            if message.seq == sequence:
                yield message


def _until_done(answers: Iterator[Message]) -> Generator[Message, None, bool]:
    """The entries of a dump; returns whether they are of one moment."""
    is_whole = True
    for answer in answers:
        is_whole = is_whole and not answer.flags & codec.DUMP_INTR
        if answer.type == ctcodec.NEW:
            yield answer
        elif _is_end(answer):
            break
    return is_whole


def _vanished(answers: Iterator[Message]) -> int:
    """How many requests of a batch named an entry that is gone; only failures and the batch's end are answered."""
    return sum(1 for _ in takewhile(lambda answer: not _is_end(answer), answers))


def _is_end(answer: Message) -> bool:
    """Whether nothing follows; False for an entry and for a vanished one, ConntrackError for any failure."""
    if answer.type not in (codec.ERROR, codec.DONE):
        return False
    # DONE has the errno of the dump, which is what an ERROR begins with, or nothing at all.
    code = -int.from_bytes(answer.payload[:4], sys.byteorder, signed=True)
    if code == errno.ENOENT:
        return False
    if code:
        raise ConntrackError(f"conntrack: the kernel refused: {os.strerror(code)}{_ADVICE.get(code, '')}")
    return True


_ADVICE = {
    errno.EPERM: "; CAP_NET_ADMIN over this network namespace is needed",
    errno.EINVAL: "; does this kernel have nf_conntrack_netlink?",
    errno.EOPNOTSUPP: "; does this kernel have nf_conntrack_netlink?",
}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConntrackError(f"conntrack: netlink: {error}") from error
    except codec.CodecError as error:
        raise ConntrackError(f"conntrack: {error}") from error


class FakeConntrack:
    """A connection-tracking table in memory, with the rules of the real one; `add` and `forget` play the kernel."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Flow] = {}

    def add(self, flow: Flow) -> None:
        """A connection begins; one with the same identity is replaced."""
        self._entries[flow.identity] = flow

    def forget(self, flow: Flow) -> None:
        """A connection ends."""
        self._entries.pop(flow.identity, None)

    def flows(self, *, mark_mask: int = 0, mark: int | None = None, source: bytes | None = None) -> list[Flow]:
        return list(self.iter_flows(mark_mask=mark_mask, mark=mark, source=source))

    def iter_flows(self, *, mark_mask: int = 0, mark: int | None = None, source: bytes | None = None) -> Iterator[Flow]:
        wanted = _Filter.of(source, mark, mark_mask)
        return filter(wanted.matches, tuple(self._entries.values()))

    def marks_in_use(self, mask: int) -> set[int]:
        return {flow.mark & mask for flow in self._entries.values()} - {0}

    def set_mark(self, flows: Iterable[Flow], mark: int, mask: int) -> int:
        return self.set_marks(((flow, mark) for flow in flows), mask)

    def set_marks(self, changes: Iterable[tuple[Flow, int]], mask: int) -> int:
        done = 0
        for flow, mark in changes:
            if (entry := self._entries.get(flow.identity)) is not None:
                self._entries[flow.identity] = entry._replace(mark=entry.mark & ~mask | mark & mask)
                done += 1
        return done

    def delete(self, flows: Iterable[Flow]) -> int:
        return sum(self._entries.pop(flow.identity, None) is not None for flow in flows)

    def close(self) -> None:
        pass
