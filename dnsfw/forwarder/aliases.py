"""The names of a response, and where its aliases lead.

Pure. Always true: each place of a message is read once, and no more of them than `MAX_LABELS`; a chain has an end.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from dnsfw.forwarder import wire
from dnsfw.forwarder.records import Known, Record, expand
from dnsfw.names import Name

MAX_TTL: Final = 0x7FFFFFFF
MAX_CHAIN: Final = 16  # aliases; a longer chain grants nothing, as a loop does (U9)
MAX_ALIASES: Final = 64
"""CNAMEs of an answer; a chain may have 16."""
MAX_LABELS: Final = 200
"""Of the names that are read, each counted once: owners of addresses and aliases, and these one's targets; up to 2 µs each."""


class Names:
    """The names of a message that were read, in small letters. `known` as `expand` keeps it."""

    def __init__(self, data: bytes, question: bytes) -> None:
        self._data = data
        self._owners: dict[bytes, tuple[int, bytes]] = {}  # where they first stand, for a pointer must lead backwards from there
        self.known: Known = {wire.HEADER_SIZE: (wire.HEADER_SIZE, question)}

    def owner(self, record: Record) -> bytes:
        """The same octets mean the same name wherever they stand, since a pointer is a place of the message."""
        start = record[0]
        octets = self._data[start : record[4] - wire.RECORD_SIZE]
        found = self._owners.get(octets)
        if found is None or start < found[0]:
            found = self._owners[octets] = start, self.at(start)
        return found[1]

    def at(self, offset: int) -> bytes:
        name = expand(self._data, offset, self.known).lower()
        if len(self.known) > MAX_LABELS:
            raise wire.WireError("more labels than an answer has")
        return name


Aliases = dict[bytes, tuple[bytes, int] | None]


def aliases_of(data: bytes, answers: Iterable[Record], names: Names) -> Aliases:
    """Owner -> target and TTL; None where an owner has two (they cannot both be meant)."""
    aliases: Aliases = {}
    found = [record for record in answers if record[1] == wire.CNAME and record[2] == wire.IN]
    if len(found) > MAX_ALIASES:
        raise wire.WireError("more aliases than an answer has")
    for record in found:
        if wire.name_end(data, record.rdata) != record.end:
            raise wire.WireError("an alias of the wrong length")
        owner = names.owner(record)
        target = names.at(record.rdata)
        aliases[owner] = None if owner in aliases else (target, effective(record.ttl))
    return aliases


def follow(name: bytes, aliases: Aliases) -> tuple[tuple[Name, ...], bytes | None, int]:
    """The targets from `name` on, whose addresses count (None: nobody's), and the chain's TTL."""
    chain: list[Name] = []
    shortest = MAX_TTL
    while name in aliases:
        alias = aliases[name]
        if alias is None or len(chain) == MAX_CHAIN:
            return tuple(chain), None, shortest
        name, ttl = alias
        chain.append(Name(name))
        shortest = min(shortest, ttl)
    return tuple(chain), name, shortest


def check_steady(data: bytes, known: Known, ttl_offsets: Sequence[int]) -> None:
    """A name that lies in a TTL by a pointer would change as that ages: the pod would read another than was judged."""
    for place in known:
        if place == wire.HEADER_SIZE:
            continue  # the question's first label, if there is a question
        octet = data[place]
        end = place + (2 if octet >= wire.POINTER else 1 + octet)
        at = bisect_right(ttl_offsets, place - wire.TTL_SIZE)
        if at < len(ttl_offsets) and ttl_offsets[at] < end:
            raise wire.WireError("a name that lies in a TTL")


def effective(ttl: int) -> int:
    return ttl if ttl <= MAX_TTL else 0  # RFC 2181 §8
