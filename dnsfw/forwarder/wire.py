"""Queries as bytes: what a client asked, and whether a datagram answers a question.

Pure: a walk over the bytes, no message objects. Always true: no count or length of a message is trusted; work and memory are linear in
its size; a name in a question holds no pointers; what is wrong with a query is a value (`Rejected`), never an exception.
"""

import struct
from struct import Struct
from typing import Final, NamedTuple

from dnsfw.forwarder.edns import MIN_PAYLOAD_SIZE, OPT, OUR_PAYLOAD_SIZE, Edns, are_options_whole
from dnsfw.names import Name
from dnsfw.policy.reasons import Reason

HEADER: Final = Struct(">HHHHHH")  # id, flags, and the counts of question, answer, authority and additional
RECORD: Final = Struct(">HHIH")  # type, class, ttl, length of the rdata
HEADER_SIZE: Final = 12
RECORD_SIZE: Final = 10
TTL_SIZE: Final = 4
MANY: Final = 32  # records of one size, from which on looking at all by columns is cheaper than at each
MIN_RECORD_SIZE: Final = 11  # the root, then RECORD
TO_QUESTION: Final = b"\xc0\x0c"  # a pointer to the name behind the header
PLAIN_HEAD: Final = 12  # where the data and the TTL of a record stand whose owner is a pointer
PLAIN_TTL_AT: Final = 6
MAX_NAME: Final = 255  # RFC 1035 §3.1
MAX_LABEL: Final = 63
MAX_ADDITIONAL: Final = 16  # records of a query: an OPT, a TSIG, a SIG(0); 64 kB would hold 5,900, 0.4 µs each
POINTER: Final = 0xC0  # the two bits that tell a pointer from a label, RFC 1035 §4.1.4

QR: Final = 0x8000
OPCODE: Final = 0x7800
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
MBZ: Final = 0x0040
AD: Final = 0x0020
CD: Final = 0x0010
RCODE: Final = 0x000F
ASKED_FLAGS: Final = RD | AD | CD  # what a query asks with and upstream is asked with

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16
UNREAD_RCODES: Final = (FORMERR, SERVFAIL, NOTIMP)  # of responses that may lack the question, since it could not be read

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
HINFO: Final = 13
AAAA: Final = 28
ANY: Final = 255
IN: Final = 1
# 128-255 are queries about queries (RFC 6895 §3.1): AXFR, IXFR, MAILA, MAILB, TSIG, TKEY ...; only ANY has an answer here. 0 is reserved.
META_TYPES: Final = frozenset((0, OPT, *range(128, 256))) - {ANY}

# Bits that make an answer a different one, folded into one byte behind the question.
_KEY_DO: Final = 0x01

PAST_THE_END: Final = (struct.error, IndexError)
"""What a walk past the end of a message raises. Python checks each access anyway; asking first would be asking twice."""


class WireError(Exception):
    """Bytes that are no message; caught at the edge of this package, where it becomes a value."""


class Query(NamedTuple):
    """A question that can be judged.

    flags: the header's 16 bits, raw. key: the question with its name lower-cased, the key of everything. shared_key: `key` and one byte of
    the bits (RD, AD, CD, DO) that make an answer a different one: what cache and joined questions go by. question: as it was sent.
    """

    id: int
    flags: int
    key: bytes
    shared_key: bytes
    name: Name
    qtype: int
    question: bytes
    edns: Edns | None

    @property
    def udp_limit(self) -> int:
        """The largest response over UDP that client, network and we can bear (B14)."""
        if self.edns is None:
            return MIN_PAYLOAD_SIZE
        return max(MIN_PAYLOAD_SIZE, min(self.edns.payload_size, OUR_PAYLOAD_SIZE))


class Rejected(NamedTuple):
    """Bytes that will not be judged. rcode: None drops them unanswered. query: as far as it could be read."""

    rcode: int | None
    reason: Reason
    detail: str
    id: int = 0
    flags: int = 0
    query: Query | None = None


def parse_query(data: bytes) -> Query | Rejected:
    """What a client sent over UDP, or in one TCP message (B1-B15)."""
    if len(data) < HEADER_SIZE:
        return Rejected(None, Reason.MALFORMED_QUERY, "shorter than a header")
    ident, flags, *counts = HEADER.unpack_from(data)
    if flags & QR:
        return Rejected(None, Reason.MALFORMED_QUERY, "a response")
    if flags & OPCODE:
        return Rejected(NOTIMP, Reason.NOT_SUPPORTED, "opcode", ident, flags)
    try:
        query = _read_query(data, ident, flags, counts)
    except WireError as error:
        return Rejected(FORMERR, Reason.MALFORMED_QUERY, str(error), ident, flags)
    except PAST_THE_END:
        return Rejected(FORMERR, Reason.MALFORMED_QUERY, "shorter than it says", ident, flags)
    return _unsupported(query) or query


def _read_query(data: bytes, ident: int, flags: int, counts: list[int]) -> Query:
    questions, answers, authorities, additionals = counts
    if questions != 1:
        raise WireError("not exactly one question")  # RFC 9619
    if answers or authorities:
        raise WireError("records in a query")
    if additionals > MAX_ADDITIONAL:
        raise WireError("more records than a query has")
    name_end = plain_name_end(data)
    end = name_end + 4
    if end > len(data):
        raise WireError("no type or class")
    name = data[HEADER_SIZE:name_end].lower()  # a length is at most 63, below "A": only letters change
    edns = _read_additional(data, end, additionals) if additionals else None
    key = name + data[name_end:end]
    qtype = data[name_end] << 8 | data[name_end + 1]
    return Query(ident, flags, key, key + _bits(flags, edns), Name(name), qtype, data[HEADER_SIZE:end], edns)


def _bits(flags: int, edns: Edns | None) -> bytes:
    bits = (flags & (AD | CD)) | (flags & RD) >> 1
    return bytes((bits | _KEY_DO if edns is not None and edns.is_do else bits,))


def plain_name_end(data: bytes, offset: int = HEADER_SIZE) -> int:
    """Where the name at `offset` ends, which must hold no pointer."""
    last = offset + MAX_NAME - 1
    while (length := data[offset]) != 0:
        offset += length + 1
        if length > MAX_LABEL or offset > last:
            raise WireError("no proper name in the question")
    return offset + 1


def name_end(data: bytes, offset: int) -> int:
    """Where the name at `offset` ends, a pointer being an end (it is not followed)."""
    while (length := data[offset]) != 0:
        if length >= POINTER:
            return offset + 2
        if length > MAX_LABEL:
            raise WireError("no proper name")
        offset += length + 1
    return offset + 1


def _read_additional(data: bytes, offset: int, count: int) -> Edns | None:
    """The OPT. Other records, TSIG and SIG(0) with them, are stepped over and go nowhere (B15)."""
    edns = None
    for _ in range(count):
        owner = data[offset]
        offset = name_end(data, offset)
        rtype, rclass, ttl, length = RECORD.unpack_from(data, offset)
        offset += RECORD_SIZE
        if rtype == OPT:
            if edns is not None or owner != 0:
                raise WireError("a second OPT, or one that is not the root's")
            if not are_options_whole(data, offset, offset + length):
                raise WireError("an option is longer than its OPT")
            edns = Edns(payload_size=rclass, version=ttl >> 16 & 0xFF, is_do=bool(ttl & 0x8000))
        offset += length
        if offset > len(data):
            raise WireError("a record ends behind the message")
    return edns


def _unsupported(query: Query) -> Rejected | None:
    def rejected(rcode: int, detail: str) -> Rejected:
        return Rejected(rcode, Reason.NOT_SUPPORTED, detail, query.id, query.flags, query)

    if query.edns is not None and query.edns.version != 0:
        return rejected(BADVERS, "EDNS version")
    if query.key[-2:] != b"\x00\x01":
        return rejected(REFUSED, "class")
    if query.qtype in META_TYPES:
        return rejected(REFUSED, "type")
    return None


def matches(data: bytes, ident: int, key: bytes, exact: bytes | None = None) -> bool:
    """Whether a datagram from the right place answers the question `key` that was asked with id `ident` (U1-U5).

    exact: the question with the very letters asked with, where their case is a secret too (0x20). A response without question counts
    only if it says that upstream could not read ours (U4).
    """
    if len(data) < HEADER_SIZE or data[0] << 8 | data[1] != ident or (data[2] << 8) & (QR | OPCODE) != QR:
        return False
    questions = data[4] << 8 | data[5]
    if questions == 0:
        return data[6] == data[7] == 0 and data[3] & RCODE in UNREAD_RCODES
    asked = data[HEADER_SIZE : HEADER_SIZE + len(key)]
    return questions == 1 and (asked == key or is_question(data, key)) and (exact is None or exact == asked)


def is_question(data: bytes, key: bytes) -> bool:
    """Whether `key` stands behind the header, in whatever case."""
    name_end = HEADER_SIZE - 4 + len(key)
    # Type and class are compared as they are: lower() would make HTTPS (65) of type 97.
    return data[HEADER_SIZE:name_end].lower() == key[:-4] and data[name_end : name_end + 4] == key[-4:]


def common_column(table: bytes | bytearray, row: int, at: int, width: int) -> bytes | None:
    """The `width` octets that stand `at` in each row of `row` octets; None where they differ. 10 ns a row and octet."""
    first = bytes(table[at : at + width])
    for place, octet in enumerate(first, at):
        column = table[place::row]
        if column.count(octet) != len(column):
            return None
    return first
