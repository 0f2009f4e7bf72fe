"""The names that are asked for, and the address that each has: computed from the name, so that millions cost nothing.

Pure. Always true: two names below `one` or `hot` never share an address; what stands in no zone does not exist.
"""

import random
from collections.abc import Iterable, Iterator
from struct import Struct

DOMAIN = "example.net"
FIRST_ADDRESS = 0x40000000  # 64.0.0.0: in none of the ranges that dnsfw protects
STORE_ADDRESS = 0x62000000  # 98.0.0.0
STORE_ADDRESSES = 10_000
STORE_ANSWERS = 8

_NAME = "x{:08x}.{}." + DOMAIN
_HEADER_SIZE = 12
_RECORD = Struct(">HHHIH4s")
_RECORD6 = Struct(">HHHIH16s")
_SOA = b"\xc0\x0c" + Struct(">HHIH").pack(6, 1, 60, 22) + b"\0\0" + Struct(">5I").pack(1, 3600, 600, 86400, 60)
_TTLS = {b"one": 60, b"hot": 300, b"day": 86400, b"s3": 5}
_PREFIX6 = bytes.fromhex("26000000000000000000")


def names(zone: str, numbers: Iterable[int]) -> Iterator[str]:
    return (_NAME.format(number, zone) for number in numbers)


def packed_address(number: int) -> bytes:
    """The address of name `number` below every zone but s3."""
    return (FIRST_ADDRESS + number).to_bytes(4, "big")


def answer(query: bytes) -> bytes:
    """What the upstream says; the query is one of a load generator's or a forwarder's, hence well-formed."""
    end = query.index(0, _HEADER_SIZE) + 1
    question = query[_HEADER_SIZE : end + 4]
    qtype = query[end] << 8 | query[end + 1]
    records = _records(question, qtype)
    if records is None:
        return query[:2] + b"\x81\x83\0\1\0\0\0\1\0\0" + question + _SOA
    if not records:
        return query[:2] + b"\x81\x80\0\1\0\0\0\1\0\0" + question + _SOA
    return query[:2] + b"\x81\x80\0\1" + len(records).to_bytes(2, "big") + b"\0\0\0\0" + question + b"".join(records)


def _records(question: bytes, qtype: int) -> list[bytes] | None:
    """None: no such name."""
    length = question[9 + 1] if question[0] == 9 else 0
    ttl = _TTLS.get(question[11 : 11 + length].lower())
    if ttl is None or not question[11 + length :].lower().startswith(b"\x07example\x03net\0"):
        return None
    number = int(question[2:10], 16)
    if ttl == 5:
        return [_record(STORE_ADDRESS + place, ttl) for place in random.sample(range(STORE_ADDRESSES), STORE_ANSWERS)] if qtype == 1 else []
    if qtype == 1:
        return [_record(FIRST_ADDRESS + number, ttl)]
    if qtype == 28:
        return [_RECORD6.pack(0xC00C, 28, 1, ttl, 16, _PREFIX6 + number.to_bytes(6, "big"))]
    return []


def _record(address: int, ttl: int) -> bytes:
    return _RECORD.pack(0xC00C, 1, 1, ttl, 4, address.to_bytes(4, "big"))
