"""Messages that we send: upstream's answer made the client's, our own answers, and questions to an upstream.

Pure. Always true: bytes of an answer are relayed as they came, but for the id, the TTLs, the OPT of the hop and addresses taken out; a
response is never longer than its client takes; no two refusals differ in anything but what the client itself sent.
"""

from collections.abc import Container
from struct import Struct

from dnsfw.forwarder import wire
from dnsfw.forwarder.answer import MAX_TTL, Answer
from dnsfw.forwarder.edns import Ede, InfoCode, opt_record
from dnsfw.forwarder.rewrite import without_records
from dnsfw.forwarder.wire import Query, Rejected

NEGATIVE_TTL = 5
"""Seconds that a resolver inside a pod may keep a refusal: a changed rule is felt soon, a search list does not ask again at once."""

HIGHEST_LIMIT = 65535  # a TCP message's

_TTL = Struct(">I")
_COUNTS = Struct(">HHHH")
# The root's SOA without names: an NXDOMAIN or NODATA without one must not be kept at all (RFC 2308 §5).
_SOA_RECORD = (
    b"\x00" + wire.RECORD.pack(wire.SOA, wire.IN, NEGATIVE_TTL, 22) + b"\x00\x00" + Struct(">5I").pack(1, 3600, 600, 86400, NEGATIVE_TTL)
)
_ANY_TTL = 3600
_HINFO_RECORD = b"\xc0\x0c" + wire.RECORD.pack(wire.HINFO, wire.IN, _ANY_TTL, 9) + b"\x07RFC8482\x00"


def make_upstream_query(query: Query) -> bytes:
    """The question as we ask it, with id 0: nothing of the client's message but question, RD, AD, CD and DO."""
    header = wire.HEADER.pack(0, query.flags & wire.ASKED_FLAGS, 1, 0, 0, 1)
    return header + query.key + opt_record(is_do=query.edns is not None and query.edns.is_do)


def make_response(
    query: Query, message: bytes, answer: Answer, *, limit: int, age: int = 0, ttl_cap: int = MAX_TTL, removed: Container[bytes] = ()
) -> bytes:
    """Upstream's `message`, which `answer` describes, as the answer to `query`.

    limit: the most octets; beyond it the client gets TC and asks over TCP. age: seconds to take off the TTLs. ttl_cap: the most that the
    answer section's may be. removed: addresses to take out, of any section.
    """
    if answer.question_end == wire.HEADER_SIZE:
        return make_error(query, answer.rcode)
    out = bytearray(message[: answer.end])
    patch_ttls(out, answer, age, ttl_cap)
    out = _without_opt(out, answer, removed)
    flags = out[2] << 8 | out[3] & ~wire.MBZ
    out[0:4] = query.id.to_bytes(2, "big") + flags.to_bytes(2, "big")
    out[wire.HEADER_SIZE : answer.question_end] = query.question
    if query.edns is not None:
        additional = (out[10] << 8 | out[11]) + 1
        out[10:12] = additional.to_bytes(2, "big")
        out += opt_record(is_do=query.edns.is_do)
    return bytes(out) if len(out) <= limit else _truncated(query, flags)


def patch_ttls(out: bytearray, answer: Answer, age: int, cap: int) -> None:
    if age == 0 and answer.max_ttl <= cap:
        return
    for place, offset in enumerate(answer.ttl_offsets):
        ttl = _TTL.unpack_from(out, offset)[0]
        ttl = max(ttl - age, 0) if ttl <= MAX_TTL else 0
        _TTL.pack_into(out, offset, min(ttl, cap) if place < answer.answer_count else ttl)


def _without_opt(out: bytearray, answer: Answer, removed: Container[bytes]) -> bytearray:
    """Upstream's OPT is its hop's. Nearly always it is last, and there is nothing else to take out: then it is cut off."""
    starts = [located.start for located in answer.located if located.packed in removed]
    start, end = answer.opt
    if starts or (end and end != answer.end):
        return bytearray(without_records(bytes(out), answer.question_end, {start, *starts}))
    if end:
        del out[start:]
        out[10:12] = ((out[10] << 8 | out[11]) - 1).to_bytes(2, "big")
    return out


def _truncated(query: Query, flags: int) -> bytes:
    return _own(query, flags | wire.TC)


def make_error(query: Query, rcode: int, ede: Ede | None = None) -> bytes:
    """An answer of our own: an error, NXDOMAIN, or NODATA (rcode 0). `ede` reaches clients that speak EDNS."""
    flags = wire.QR | wire.RA | query.flags & (wire.RD | wire.CD) | rcode & wire.RCODE
    authority = _SOA_RECORD if rcode in (wire.NOERROR, wire.NXDOMAIN) else b""
    return _own(query, flags, authority=authority, extended_rcode=rcode >> 4, ede=ede)


def make_any(query: Query) -> bytes:
    """What ANY gets (RFC 8482 §4.2): one HINFO, so that nobody is amplified and nothing is granted."""
    return _own(query, wire.QR | wire.RA | query.flags & (wire.RD | wire.CD), answer=_HINFO_RECORD)


def _own(
    query: Query, flags: int, *, answer: bytes = b"", authority: bytes = b"", extended_rcode: int = 0, ede: Ede | None = None
) -> bytes:
    opt = b"" if query.edns is None else opt_record(is_do=query.edns.is_do, extended_rcode=extended_rcode, ede=ede)
    counts = (1, 1 if answer else 0, 1 if authority else 0, 1 if opt else 0)
    return wire.HEADER.pack(query.id, flags, *counts) + query.question + answer + authority + opt


def make_rejection(rejected: Rejected, rcode: int) -> bytes:
    """The answer to what could not be judged: with the question where it could be read, else a header alone."""
    if rejected.query is not None:
        return make_error(rejected.query, rcode, Ede(InfoCode.NOT_SUPPORTED))
    flags = wire.QR | wire.RA | rejected.flags & (wire.OPCODE | wire.RD | wire.CD) | rcode & wire.RCODE
    return wire.HEADER.pack(rejected.id, flags, 0, 0, 0, 0)
