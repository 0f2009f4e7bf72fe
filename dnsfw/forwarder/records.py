"""The records of a message as spans of its bytes, and its names with the pointers followed.

Pure. Always true: a record never reaches behind the message; a pointer leads only backwards, and each place of a message is
walked once however many pointers lead there (`expand` remembers), so the work is linear in the message's size.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dnsfw.forwarder.wire import HEADER_SIZE, MAX_LABEL, MAX_NAME, POINTER, RECORD, WireError, name_end

_ROOT = b"\x00"


class Record(NamedTuple):
    """Where a record lies: `start` of its owner's name, `rdata` to `end` its data. ttl: raw 32 bits."""

    start: int
    rtype: int
    rclass: int
    ttl: int
    rdata: int
    end: int


def read_records(data: bytes, offset: int, count: int) -> list[Record]:
    """`count` records from `offset` on; the caller has bounded `count` by the message's size."""
    records = []
    size = len(data)
    for _ in range(count):
        start = offset
        # Nearly every owner is a pointer.
        offset = offset + 2 if data[offset] >= POINTER else name_end(data, offset)
        rtype, rclass, ttl, length = RECORD.unpack_from(data, offset)
        rdata = offset + RECORD.size
        offset = rdata + length
        if offset > size:
            raise WireError("a record ends behind the message")
        records.append(Record(start, rtype, rclass, ttl, rdata, offset))
    return records


def expand(data: bytes, offset: int, known: dict[int, bytes]) -> bytes:
    """The name at `offset` without pointers, in the letters that stand there. `known` remembers each place on the way."""
    trail: list[tuple[int, bytes]] = []
    lowest, length = offset, 0
    while (name := known.get(offset)) is None:
        octet = data[offset]
        if octet == 0:
            name = _ROOT
            break
        if octet >= POINTER:
            trail.append((offset, b""))
            offset = (octet & MAX_LABEL) << 8 | data[offset + 1]
            if not HEADER_SIZE <= offset < lowest:  # a name that lies in the header would change with our id and flags
                raise WireError("a pointer that does not lead backwards")
            lowest = offset
            continue
        length += octet + 1
        if octet > MAX_LABEL or length >= MAX_NAME:
            raise WireError("no proper name")
        trail.append((offset, data[offset : offset + octet + 1]))
        offset += octet + 1
    return _joined(trail, name, known)


def _joined(trail: Sequence[tuple[int, bytes]], name: bytes, known: dict[int, bytes]) -> bytes:
    for offset, label in reversed(trail):
        name = label + name
        known[offset] = name
    if len(name) > MAX_NAME:
        raise WireError("a name of more than 255 octets")
    return name
