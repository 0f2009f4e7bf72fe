"""A message without some of its records, where cutting them out would move what pointers mean.

Pure; slow and rare: an answer with protected addresses in it, or an OPT that is not last. Always true: every name that may hold a pointer
is written anew (owners compressed, names in data spelled out), so what is kept means what it meant; no more is written than its reader
takes, whatever pointers would unfold to (64 kB to 2 MB).
"""

from collections.abc import Container
from typing import Final

from dnsfw.forwarder import wire
from dnsfw.forwarder.records import Known, Record, expand, read_records

# The data of the types that may be compressed (RFC 1035 §3.3, RFC 3597 §4), as its parts: octets, "n" a name, "s" a string. What is
# left is copied, as the data of all other types is: those must not hold pointers.
_LAYOUTS: Final[dict[int, tuple[int | str, ...]]] = {
    2: ("n",),  # NS
    3: ("n",),  # MD
    4: ("n",),  # MF
    5: ("n",),  # CNAME
    6: ("n", "n"),  # SOA
    7: ("n",),  # MB
    8: ("n",),  # MG
    9: ("n",),  # MR
    12: ("n",),  # PTR
    14: ("n", "n"),  # MINFO
    15: (2, "n"),  # MX
    17: ("n", "n"),  # RP
    18: (2, "n"),  # AFSDB
    21: (2, "n"),  # RT
    24: (18, "n"),  # SIG
    26: (2, "n", "n"),  # PX
    30: ("n",),  # NXT
    33: (6, "n"),  # SRV
    35: (4, "s", "s", "s", "n"),  # NAPTR
}
_HIGHEST_POINTER: Final = 0x3FFF
_LENGTH_SIZE: Final = 2
MAX_REWRITTEN: Final = 320
"""Records of a message that is written anew, 1 to 3 µs each."""
MAX_WITH_NAMES: Final = 128
"""Those of them whose data holds names, 3 to 9 µs each."""
MAX_SPELLED_OUT: Final = 1024
"""Labels in it: ten names of a hundred, or each record's two of four."""


def without_records(message: bytes, question_end: int, starts: Container[int], limit: int) -> bytes | None:
    """`message` without the records that start at `starts`; its other records, and what they mean, in the same order.

    None if that is longer than `limit`. WireError where the data of a record is not what its type says, and for more than we write anew.
    """
    try:
        return _rewritten(message, question_end, starts, limit)
    except wire.PAST_THE_END as error:
        raise wire.WireError("shorter than it says") from error


def _rewritten(message: bytes, question_end: int, starts: Container[int], limit: int) -> bytes | None:
    ident, flags, questions, *counts = wire.HEADER.unpack_from(message)
    if sum(counts) > MAX_REWRITTEN:
        raise wire.WireError("more records than are written anew")
    records = read_records(message, question_end, sum(counts))
    if sum([record[1] in _LAYOUTS for record in records]) > MAX_WITH_NAMES:
        raise wire.WireError("more records with names than are written anew")
    writer = _Writer(message, question_end)
    kept = []
    for count in counts:
        section, records = records[:count], records[count:]
        kept.append(0)
        for record in section:
            if record.start not in starts:
                writer.take(record)
                kept[-1] += 1
                if len(writer.known) > MAX_SPELLED_OUT:
                    raise wire.WireError("more labels than are written anew")
                if len(writer.out) > limit:
                    return None
    return wire.HEADER.pack(ident, flags, questions, *kept) + bytes(writer.out[wire.HEADER_SIZE :])


class _Writer:
    """Writes records one behind the other and remembers where which owner stands."""

    def __init__(self, message: bytes, question_end: int) -> None:
        self.message = message
        self.known: Known = {}
        self.out = bytearray(message[:question_end])
        self.places: dict[bytes, int] = {message[wire.HEADER_SIZE : question_end - 4]: wire.HEADER_SIZE}
        self.pointers: dict[bytes, bytes] = {}  # by an owner's octets: the same ones mean the same name, as a pointer is a place

    def take(self, record: Record) -> None:
        start, rtype, _, _, rdata, end = record
        octets = self.message[start : rdata - wire.RECORD_SIZE]
        owner = self.pointers.get(octets) or self._owner(octets, expand(self.message, start, self.known))
        self.out += owner + self.message[rdata - wire.RECORD_SIZE : rdata - _LENGTH_SIZE]
        data = self._data(record, _LAYOUTS[rtype]) if rtype in _LAYOUTS else self.message[rdata:end]
        self.out += len(data).to_bytes(_LENGTH_SIZE, "big") + data

    def _owner(self, octets: bytes, name: bytes) -> bytes:
        if (place := self.places.get(name)) is not None and len(name) > 1:
            pointer = self.pointers[octets] = (wire.POINTER << 8 | place).to_bytes(2, "big")
            return pointer
        if len(self.out) <= _HIGHEST_POINTER:
            self.places[name] = len(self.out)
        return name

    def _data(self, record: Record, layout: tuple[int | str, ...]) -> bytes:
        parts, offset = [], record.rdata
        for part in layout:
            end = self._part_end(part, offset)
            if end > record.end:
                raise wire.WireError("data shorter than its type's")
            parts.append(expand(self.message, offset, self.known) if part == "n" else self.message[offset:end])
            offset = end
        return b"".join(parts) + self.message[offset : record.end]

    def _part_end(self, part: int | str, offset: int) -> int:
        if isinstance(part, int):
            return offset + part
        return wire.name_end(self.message, offset) if part == "n" else offset + 1 + self.message[offset]
