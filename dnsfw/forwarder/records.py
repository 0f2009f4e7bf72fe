"""The records of a message as spans of its bytes, and its names with the pointers followed.

Pure. Always true: a record never reaches behind the message; a pointer leads only backwards, and each place of a message is
walked once however many pointers lead there (`expand` remembers), so the work is linear in the message's size.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from dnsfw.forwarder.wire import HEADER_SIZE, MAX_LABEL, MAX_NAME, POINTER, RECORD, RECORD_SIZE, WireError, name_end

_ROOT: Final = b"\x00"
_new: Final = tuple.__new__


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
    records: list[Record] = []
    size, unpack, keep = len(data), RECORD.unpack_from, records.append
    for _ in range(count):
        start = offset
        # Nearly every owner is a pointer.
        offset = offset + 2 if data[offset] >= POINTER else name_end(data, offset)
        rtype, rclass, ttl, length = unpack(data, offset)
        rdata = offset + RECORD_SIZE
        offset = rdata + length
        if offset > size:
            raise WireError("a record ends behind the message")
        keep(_new(Record, (start, rtype, rclass, ttl, rdata, offset)))  # 0.2 µs less than by its own call
    return records


Known = dict[int, tuple[int, bytes]]
"""A place at which a label or a pointer stands -> where the labels around it begin, and the name from there on."""


def expand(data: bytes, offset: int, known: Known) -> bytes:
    """The name at `offset` without pointers, in the letters that stand there. `known` remembers each place on the way."""
    runs: list[tuple[int, int, list[int]]] = []  # labels that stand behind each other: start, end, places
    start, lowest, length = offset, offset, 0
    places: list[int] = []
    while (found := known.get(offset)) is None:
        places.append(offset)
        octet = data[offset]
        if octet == 0:
            found = offset, _ROOT
            break
        if octet >= POINTER:
            runs.append((start, offset, places))
            offset = (octet & MAX_LABEL) << 8 | data[offset + 1]
            if not HEADER_SIZE <= offset < lowest:  # a name that lies in the header would change with our id and flags
                raise WireError("a pointer that does not lead backwards")
            start = lowest = offset
            places = []
            continue
        length += octet + 1
        if octet > MAX_LABEL or length >= MAX_NAME:
            raise WireError("no proper name")
        offset += octet + 1
    runs.append((start, offset, places))
    return _joined(data, runs, found[1][offset - found[0] :], known)


def _joined(data: bytes, runs: Sequence[tuple[int, int, list[int]]], name: bytes, known: Known) -> bytes:
    for start, end, places in reversed(runs):
        name = data[start:end] + name
        known.update(dict.fromkeys(places, (start, name)))
    if len(name) > MAX_NAME:
        raise WireError("a name of more than 255 octets")
    return name
