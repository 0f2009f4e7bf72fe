"""Sets of ports over all protocols, and how such a set lies in the kernel's maps.

Pure and immutable. Always true: a `PortSet` is in normal form (equal sets are equal values), the algebra is exact, and the pieces of a
set never overlap and add up to exactly that set.

Every (protocol, port) is one point on a line: each protocol with ports has a stretch of its own, ICMP and "all other protocols" are one
point each. The gaps between the stretches keep ranges of different protocols from ever touching.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import ClassVar, NamedTuple

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132  # IANA protocol numbers
MAX_PORT = 65535
DNS_OVER_TLS = 853  # closed unless a rule names it (design §1)

_STRIDE = 1 << 17
_STRETCHES = (TCP, UDP, SCTP)  # protocols with ports, in the order of the line
_ICMP_POINT = 3 * _STRIDE
_OTHER_POINT = 4 * _STRIDE
_PROTOCOL_NAMES = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP, "ICMP": ICMP}
_WORDS = {protocol: word.lower() for word, protocol in _PROTOCOL_NAMES.items()}

Range = tuple[int, int]  # both ends belong to it


class Kind(Enum):
    PORT = "port"
    RANGE = "range"
    PROTOCOL = "protocol"
    OTHER = "other"
    ANY = "any"

    __hash__ = object.__hash__  # members are singletons; Enum's own goes through Python, and pieces are keys of what every grant does


class Piece(NamedTuple):
    """One element's worth of a set.

    PORT, RANGE: ports low to high of a protocol; 853 is in none but its own PORT.
    PROTOCOL: all ports of tcp or udp but 853, all of sctp, or ICMP (protocol 1, which stands for ICMPv6's 58 too).
    OTHER: every protocol besides these. ANY: `PortSet.ANY`. Where a field says nothing it is 0.
    """

    kind: Kind
    protocol: int = 0
    low: int = 0
    high: int = 0


class PortEntry(NamedTuple):
    """One entry of a rule's `ports`, checked by whoever reads the document; protocol: TCP, UDP, SCTP or ICMP."""

    protocol: str = "TCP"
    port: int | None = None
    end_port: int | None = None


@dataclass(frozen=True, slots=True)
class PortSet:
    """A set of (protocol, port); `ranges` are sorted stretches of the line that neither overlap nor touch."""

    ranges: tuple[Range, ...] = ()

    NONE: ClassVar["PortSet"]
    ANY: ClassVar["PortSet"]  # no `ports` in a rule: everything but tcp/853 and udp/853
    EVERY: ClassVar["PortSet"]  # everything, 853 too

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __or__(self, other: "PortSet") -> "PortSet":
        if self is other or not other.ranges:
            return self
        return PortSet(_merged(self.ranges + other.ranges)) if self.ranges else other

    def __sub__(self, other: "PortSet") -> "PortSet":
        if self is other or not self.ranges:
            return PortSet.NONE
        return PortSet(tuple(_without(self.ranges, other.ranges))) if other.ranges else self

    def __and__(self, other: "PortSet") -> "PortSet":
        return self - (self - other)

    def includes(self, other: "PortSet") -> bool:
        return not other - self

    def contains(self, protocol: int, port: int | None) -> bool:
        """Is the port in it? Without a port (ICMP, protocols that have none, fragments): is all of the protocol, 853 aside?"""
        if port is None or protocol not in _STRETCHES:
            return self.includes(_whole(protocol))
        point = _STRETCHES.index(protocol) * _STRIDE + port
        index = bisect_right(self.ranges, (point, _OTHER_POINT)) - 1
        return index >= 0 and self.ranges[index][1] >= point

    def closing_gaps(self) -> "PortSet":
        """With 853 where both its neighbours are in.

        What a Deny takes away must not leave a hole for a rule that names 853, so there "all ports" and a range around 853 mean 853 too.
        """
        around = (PortSet(((dot - 1, dot - 1), (dot + 1, dot + 1))) for dot in _DOTS)
        holes = (PortSet(((dot, dot),)) for dot, neighbours in zip(_DOTS, around, strict=True) if self.includes(neighbours))
        return union((self, *holes))

    def pieces(self, cuts: "Cuts") -> tuple[Piece, ...]:
        """How it lies in the kernel's maps: the fewest pieces that `cuts` allow."""
        if self.includes(PortSet.ANY):
            return (_ANY_PIECE, *elementary(self - PortSet.ANY, cuts))
        folded = [protocol for protocol in (*_STRETCHES, ICMP) if self.includes(_WHOLE[protocol])]
        rest = self - union(_WHOLE[protocol] for protocol in folded)
        return (*(_protocol_piece(protocol) for protocol in folded), *elementary(rest, cuts))

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """(protocol, low, high) for each range of ports; ICMP and other protocols are left out."""
        for low, high in self.ranges:
            if low < _ICMP_POINT:
                yield _STRETCHES[low // _STRIDE], low % _STRIDE, high % _STRIDE

    def __str__(self) -> str:
        if not self.ranges:
            return "none"
        if self.includes(PortSet.ANY):
            return " ".join(("any", *_words(self - PortSet.ANY)))
        return " ".join(_words(self))


def union(sets: Iterable[PortSet]) -> PortSet:
    total = PortSet.NONE
    for each in sets:
        total |= each
    return total


def _merged(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _without(ranges: tuple[Range, ...], taken: tuple[Range, ...]) -> Iterator[Range]:
    first = 0
    for low, high in ranges:
        rest = low
        while first < len(taken) and taken[first][1] < low:
            first += 1
        for taken_low, taken_high in taken[first:]:
            if taken_low > high:
                break
            if rest < taken_low:
                yield rest, taken_low - 1
            rest = taken_high + 1
        if rest <= high:
            yield rest, high


_DOTS = tuple(_STRETCHES.index(protocol) * _STRIDE + DNS_OVER_TLS for protocol in (TCP, UDP))
_DOT_SET = PortSet(tuple((dot, dot) for dot in _DOTS))
PortSet.NONE = PortSet()
_STRETCH = {protocol: PortSet(((row * _STRIDE, row * _STRIDE + MAX_PORT),)) for row, protocol in enumerate(_STRETCHES)}
_ICMP_SET = PortSet(((_ICMP_POINT, _ICMP_POINT),))
_OTHER_SET = PortSet(((_OTHER_POINT, _OTHER_POINT),))
PortSet.EVERY = union((*_STRETCH.values(), _ICMP_SET, _OTHER_SET))
PortSet.ANY = PortSet.EVERY - _DOT_SET
_WHOLE = {**{protocol: stretch - _DOT_SET for protocol, stretch in _STRETCH.items()}, ICMP: _ICMP_SET, ICMPV6: _ICMP_SET}


def _whole(protocol: int) -> PortSet:
    return _WHOLE.get(protocol, _OTHER_SET)


_ANY_PIECE = Piece(Kind.ANY, 0, 0, MAX_PORT)


def _protocol_piece(protocol: int) -> Piece:
    return Piece(Kind.PROTOCOL, protocol, 0, 0 if protocol == ICMP else MAX_PORT)


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where ranges may have to be cut: points of the line at which some rule's range begins, or has just ended.

    `shared` are those of rules that take away from many others, kept once however many these are.
    """

    points: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()

    @staticmethod
    def of(sets: Iterable[PortSet], shared: tuple[int, ...] = ()) -> "Cuts":
        return Cuts(tuple(sorted({point for each in sets for low, high in each.ranges for point in (low, high + 1)})), shared)

    def within(self, low: int, high: int) -> Iterator[int]:
        """The points that cut a range in two."""
        for points in (self.points, self.shared):
            yield from points[bisect_right(points, low) : bisect_right(points, high)]


_ALWAYS_CUT = Cuts.of((_DOT_SET,))


def elementary(ports: PortSet, cuts: Cuts) -> Iterator[Piece]:
    """The set cut at every cut within it; ICMP and other protocols are one piece each."""
    for low, high in ports.ranges:
        if low >= _ICMP_POINT:
            yield _protocol_piece(ICMP) if low == _ICMP_POINT else Piece(Kind.OTHER)
            continue
        protocol, start = _STRETCHES[low // _STRIDE], low - low % _STRIDE
        ends = sorted({low, *cuts.within(low, high), *_ALWAYS_CUT.within(low, high), high + 1})
        for first, after in pairwise(ends):
            kind = Kind.PORT if after - first == 1 else Kind.RANGE
            yield Piece(kind, protocol, first - start, after - 1 - start)


def partial_protocols(ports: PortSet) -> frozenset[int]:
    """The protocols of which it holds some, but not all ports (853 aside)."""
    return frozenset(protocol for protocol in _STRETCHES if ports & _WHOLE[protocol] and not ports.includes(_WHOLE[protocol]))


def restricted(ports: PortSet, protocols: Iterable[int]) -> PortSet:
    """What of it belongs to these protocols (tcp, udp, sctp)."""
    return ports & union(_STRETCH[protocol] for protocol in protocols)


def _words(ports: PortSet) -> Iterator[str]:
    """A whole protocol is its name alone, although 853 needs naming; that is how rules are written, too."""
    for protocol, stretch in _STRETCH.items():
        mine = ports & stretch
        if mine.includes(_WHOLE[protocol]):
            yield _WORDS[protocol]
            mine -= _WHOLE[protocol]
        yield from (f"{_WORDS[protocol]}/{low}" if low == high else f"{_WORDS[protocol]}/{low}-{high}" for _, low, high in mine.spans())
    if ports.includes(_ICMP_SET):
        yield "icmp"
    if ports.includes(_OTHER_SET):
        yield "other"


def ports_of(entries: Sequence[PortEntry]) -> PortSet:
    """What a rule's `ports` mean; none at all is every port of every protocol. 853 belongs to it only where an entry is exactly 853."""
    return union(_ports_of_entry(entry) for entry in entries) if entries else PortSet.ANY


def _ports_of_entry(entry: PortEntry) -> PortSet:
    protocol = _PROTOCOL_NAMES[entry.protocol]
    if entry.port is None or protocol == ICMP:
        return _WHOLE[protocol]
    high = entry.port if entry.end_port is None else entry.end_port
    start = _STRETCHES.index(protocol) * _STRIDE
    ports = PortSet(((start + entry.port, start + high),))
    return ports if entry.port == high else ports - _DOT_SET
