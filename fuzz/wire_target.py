"""Any bytes as a query and as a response to their own question, through all that the forwarder does with bytes.

Beside "nothing escapes": every message that we write is one that dnspython can read; a relayed answer says what upstream's said; no address
grants that is not in the message, none that was to be taken out stays, and no response is longer than its limit.
"""

import functools
import re
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.message
import dns.rdata
import dns.rdatatype
from harness import Meter, main

if TYPE_CHECKING:
    from dnsfw.forwarder.answer import Answer
    from dnsfw.forwarder.wire import Query

LARGEST = 65535
_LIMITS = (512, 1232, LARGEST)
_INTO_HEADER = re.compile(rb"\xc0[\x00-\x0b]")


def target(data: bytes, meter: Meter) -> None:
    check_query(data, meter)
    check_response(data, meter)


def check_query(data: bytes, meter: Meter) -> None:
    wire, _, respond, *_ = modules()
    found = meter.run("parse_query", wire.parse_query, data)
    if isinstance(found, wire.Rejected):
        if found.rcode is not None:
            assert_ours(respond.make_rejection(found, found.rcode), data)
        return
    assert found.question == data[12 : 12 + len(found.question)]
    assert found.key[:-4] == found.name == found.question[:-4].lower()
    assert len(found.name) <= 255
    assert 512 <= found.udp_limit <= 1232
    for answer in (respond.make_error(found, 3), respond.make_any(found), respond.make_error(found, 2)):
        assert_ours(answer, data)
        assert len(answer) <= 512
    upstream = wire.parse_query(respond.make_upstream_query(found))
    assert isinstance(upstream, wire.Query)
    assert (upstream.key, upstream.shared_key) == (found.key, found.shared_key)


def assert_ours(answer: bytes, data: bytes) -> None:
    """Our own message: readable, the client's id and opcode, a response."""
    message = dns.message.from_wire(answer)
    assert answer[:2] == data[:2]
    assert message.opcode() == data[2] >> 3 & 15
    assert answer[2] & 0x80


def check_response(data: bytes, meter: Meter) -> None:
    wire, answers, *_ = modules()
    key = own_key(data)
    found = meter.run("parse_response", answers.parse_response, data, key)
    if isinstance(found, answers.Malformed):
        return
    assert set(found.addresses) <= set(found.located)
    assert len(set(found.addresses)) == len(found.addresses)
    assert not found.addresses or (found.rcode == 0 and not found.is_truncated)
    assert -1 <= found.ttl <= answers.MAX_TTL
    assert 0 <= found.lifetime <= answers.MAX_TTL
    assert len(found.chain) <= answers.MAX_CHAIN
    assert found.end <= len(data)
    matches = meter.run("matches", wire.matches, data, int.from_bytes(data[:2], "big"), key)
    if data[2] & 0xF8 == 0x80:
        assert matches or found.question_end == 12
    if found.rcode > 15:
        return  # the exchange ends with SERVFAIL: what an extended rcode says, it says about the hop
    query = query_for(key, is_edns=bool(data[0] & 1))
    for limit in _LIMITS:
        check_relayed(data, query, found, limit, meter)
    check_cleaned(data, query, found, meter)


def own_key(data: bytes) -> bytes:
    """The question that stands in the message, as the one that was asked; where there is none, another."""
    wire = modules()[0]
    try:
        end = wire.plain_name_end(data)
    except (wire.WireError, *wire.PAST_THE_END):
        return b"\x03www\x07example\x03net\x00\x00\x01\x00\x01"
    return data[12:end].lower() + data[end : end + 4].ljust(4, b"\x01")


def query_for(key: bytes, *, is_edns: bool) -> "Query":
    wire, _, _, edns, *_ = modules()
    name, qtype = key[:-4], key[-4] << 8 | key[-3]
    said = edns.Edns(1232, 0, True) if is_edns else None
    return wire.Query(0x1234, wire.RD, key, key + b"\0", name, qtype, name.upper() + key[-4:], said)


def check_relayed(data: bytes, query: "Query", answer: "Answer", limit: int, meter: Meter) -> None:
    """With nothing to take out: the same records but for TTLs and OPT, whoever reads it."""
    _, answers, respond, _, wire_error, _ = modules()
    try:
        relayed = meter.run("make_response", respond.make_response, query, data, answer, limit=limit, age=3, ttl_cap=30)
    except wire_error:
        return  # an OPT that is not last, and data that is not its type's: SERVFAIL
    assert len(relayed) <= limit
    assert relayed[:2] == b"\x12\x34"
    if answer.question_end == 12 or relayed[2] & 2:
        return
    again = answers.parse_response(relayed, query.key)
    assert isinstance(again, answers.Answer), again
    assert again.addresses == answer.addresses
    assert again.chain == answer.chain
    assert again.rcode == answer.rcode
    assert again.is_negative == answer.is_negative
    assert again.ttl <= max(answer.ttl, 0) or answer.ttl == -1
    assert not again.addresses or again.ttl <= 30
    theirs = stable_records_of(data, answer)
    assert theirs is None or theirs == records_of(relayed, len(relayed))


def check_cleaned(data: bytes, query: "Query", answer: "Answer", meter: Meter) -> None:
    """Without every second address: the others stay, in their order, and nothing else is lost."""
    _, answers, respond, _, wire_error, _ = modules()
    removed = set(answer.located[::2])
    if not removed or answer.question_end == 12:
        return
    try:
        cleaned = meter.run("rewrite", respond.make_response, query, data, answer, limit=LARGEST, removed=removed)
    except wire_error:
        return
    if cleaned[2] & 2 and not data[2] & 2:
        return  # spelled out, the names no longer fit
    again = answers.parse_response(cleaned, query.key)
    assert isinstance(again, answers.Answer), again
    assert list(again.located) == [packed for packed in answer.located if packed not in removed]
    assert again.addresses == tuple(address for address in answer.addresses if address not in removed)
    assert again.chain == answer.chain
    theirs = stable_records_of(data, answer, removed)
    assert theirs is None or theirs == records_of(cleaned, len(cleaned))


def stable_records_of(data: bytes, answer: "Answer", removed: set[bytes] | frozenset[bytes] = frozenset()) -> list[list[Any]] | None:
    """What upstream's message says; None if a pointer makes names of its header or TTLs, which are ours to change."""
    if _INTO_HEADER.search(data, 12):
        return None
    other = bytearray(data)
    for place in (0, 1, 2, *(offset + byte for offset in answer.ttl_offsets for byte in range(4))):
        other[place] ^= 1
    theirs = records_of(data, answer.end, removed)
    return theirs if theirs == records_of(bytes(other), answer.end, removed) else None


def records_of(data: bytes, end: int, removed: set[bytes] | frozenset[bytes] = frozenset()) -> list[list[Any]] | None:
    """The records of each section as dnspython reads them, in their order, without TTLs; None where it cannot."""
    # A class of an update's (ANY, NONE) makes dnspython read a record another way; UPDATE is not what we relay.
    try:
        message = dns.message.from_wire(data[:end], one_rr_per_rrset=True)
        if message.opcode() != 0 or any(set_.rdtype == dns.rdatatype.TSIG for set_ in message.additional):
            return None
        return [
            [
                (set_.name.canonicalize(), set_.rdtype, set_.rdclass, tuple(meaning_of(item) for item in set_))
                for set_ in section
                if not any(is_removed(item, removed) for item in set_)
            ]
            for section in message.sections[1:]
        ]
    except (dns.exception.DNSException, ValueError, NotImplementedError, AttributeError):
        return None


def meaning_of(item: Any) -> bytes:
    """The data with names spelled out; nothing of types like MF, whose compressed names (RFC 1035 §4.1.4) dnspython does not know of."""
    is_opaque = isinstance(item, dns.rdata.GenericRdata) and int(item.rdtype) in modules()[-1]
    return b"" if is_opaque else item.to_digestable()


def is_removed(item: Any, removed: set[bytes] | frozenset[bytes]) -> bool:
    return item.rdtype in (1, 28) and item.rdclass == 1 and item.to_wire() in removed


@functools.cache
def modules() -> tuple[Any, ...]:
    from dnsfw.forwarder import answer, edns, respond, rewrite, wire  # noqa: PLC0415 - atheris instruments what is imported later

    return wire, answer, respond, edns, wire.WireError, rewrite._LAYOUTS


if __name__ == "__main__":
    main("wire", target, largest=LARGEST)
