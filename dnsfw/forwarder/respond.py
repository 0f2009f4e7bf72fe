"""Messages that we send: upstream's answer made the client's, our own answers, and questions to an upstream.

Pure. Always true: bytes of an answer are relayed as they came, but for the id, the TTLs, the OPT of the hop and addresses taken out; a
response is never longer than its client takes; no two refusals differ in anything but what the client itself sent.
"""

from collections.abc import Sequence, Set
from struct import Struct
from typing import Final, NamedTuple

from dnsfw.forwarder import wire
from dnsfw.forwarder.aliases import MAX_TTL
from dnsfw.forwarder.answer import MAX_RECORDS, Answer
from dnsfw.forwarder.edns import Ede, InfoCode, opt_record
from dnsfw.forwarder.rewrite import without_records
from dnsfw.forwarder.wire import Query, Rejected

NEGATIVE_TTL: Final = 5
"""Seconds that a resolver inside a pod may keep a refusal: a changed rule is felt soon, a search list does not ask again at once."""

HIGHEST_LIMIT: Final = 65535  # a TCP message's

# The root's SOA without names: an NXDOMAIN or NODATA without one must not be kept at all (RFC 2308 §5).
_SOA_RECORD: Final = (
    b"\x00" + wire.RECORD.pack(wire.SOA, wire.IN, NEGATIVE_TTL, 22) + b"\x00\x00" + Struct(">5I").pack(1, 3600, 600, 86400, NEGATIVE_TTL)
)
_ANY_TTL: Final = 3600
_ADDRESSES: Final = (wire.A.to_bytes(2, "big"), wire.AAAA.to_bytes(2, "big"))
_OWNER_AND_TYPE: Final = 4
_HINFO_RECORD: Final = b"\xc0\x0c" + wire.RECORD.pack(wire.HINFO, wire.IN, _ANY_TTL, 9) + b"\x07RFC8482\x00"


class Aging(NamedTuple):
    """What becomes of TTLs: seconds to take off, and the most that one of the answer section may be."""

    age: int
    cap: int


def make_upstream_query(query: Query) -> bytes:
    """The question as we ask it, with id 0: nothing of the client's message but question, RD, AD, CD and DO."""
    header = wire.HEADER.pack(0, query.flags & wire.ASKED_FLAGS, 1, 0, 0, 1)
    return header + query.key + opt_record(is_do=query.edns is not None and query.edns.is_do)


def make_response(
    query: Query, message: bytes, answer: Answer, *, limit: int, age: int = 0, ttl_cap: int = MAX_TTL, removed: Set[bytes] = frozenset()
) -> bytes:
    """Upstream's `message`, which `answer` describes, as the answer to `query`.

    limit: the most octets; beyond it the client gets TC and asks over TCP. age: seconds to take off the TTLs. ttl_cap: the most that the
    answer section's may be. removed: addresses to take out, of any section.
    """
    if answer.question_end == wire.HEADER_SIZE:
        return make_error(query, answer.rcode)
    aging = Aging(age, ttl_cap)
    taken = [start for start, packed in zip(answer.located_at, answer.located, strict=True) if packed in removed] if removed else []
    opt_start, opt_end = answer.opt
    if taken or (opt_end and opt_end != answer.end):
        rest = _without(message, answer, taken, aging, limit)
        if rest is None:
            return make_truncated(query, message)
        out = bytearray(rest)
    else:
        # Nearly always upstream's OPT, which is its hop's, stands at the end: it is cut off.
        end = opt_start or answer.end
        if end > limit:
            return make_truncated(query, message)
        out = bytearray(message[:end])
        patch_ttls(out, message, answer, aging)
        if opt_end:
            out[10:12] = ((out[10] << 8 | out[11]) - 1).to_bytes(2, "big")
    out[0:4] = query.id.to_bytes(2, "big") + _relayed_flags(message).to_bytes(2, "big")
    out[wire.HEADER_SIZE : answer.question_end] = query.question
    if query.edns is not None:
        additional = (out[10] << 8 | out[11]) + 1
        out[10:12] = additional.to_bytes(2, "big")
        out += opt_record(is_do=query.edns.is_do)
    return bytes(out) if len(out) <= limit else make_truncated(query, message)


def _relayed_flags(message: bytes) -> int:
    return message[2] << 8 | message[3] & ~wire.MBZ


def make_truncated(query: Query, message: bytes) -> bytes:
    """TC and no records, for upstream's `message` where it is longer than its client takes."""
    return _own(query, _relayed_flags(message) | wire.TC)


def patch_ttls(out: bytearray, message: bytes, answer: Answer, aging: Aging) -> None:
    if not (aging.age or answer.max_ttl > aging.cap):
        return
    if answer.answer_count > wire.MANY and (size := _tail_size(message, answer)):
        _patch_tail(out, answer, answer.opt[0] or answer.end, size, aging)
        return
    offsets, count = answer.ttl_offsets, answer.answer_count
    _patch(out, offsets[:count], aging)
    if len(offsets) > count:
        _patch(out, offsets[count:], Aging(aging.age, MAX_TTL))


def _patch(out: bytearray, offsets: Sequence[int], aging: Aging) -> None:
    """An answer has few different TTLs: those met before are looked up, 0.2 µs each where working them out takes 0.6."""
    if len(offsets) == 1:
        (offset,) = offsets
        out[offset : offset + wire.TTL_SIZE] = _aged(int.from_bytes(out[offset : offset + wire.TTL_SIZE], "big"), aging)
        return
    known: dict[bytes, bytes] = {}
    for offset in offsets:
        before = bytes(out[offset : offset + wire.TTL_SIZE])
        if (after := known.get(before)) is None:
            after = known[before] = _aged(int.from_bytes(before, "big"), aging)
        out[offset : offset + wire.TTL_SIZE] = after


def _patch_tail(out: bytearray, answer: Answer, end: int, size: int, aging: Aging) -> None:
    """Aliases, then many addresses of one name up to `end`. These have one TTL (RFC 2181 §5.2), 0.03 µs each; where they differ, more than
    MAX_RECORDS get the lowest of all.
    """
    begin = answer.located_at[0]
    _patch(out, answer.ttl_offsets[: len(answer.chain)], aging)
    first = begin + wire.PLAIN_TTL_AT
    ttl = wire.common_column(out[begin:end], size, wire.PLAIN_TTL_AT, wire.TTL_SIZE)
    if ttl is None and (end - begin) // size <= MAX_RECORDS:
        _patch(out, range(first, end, size), aging)
        return
    after = _aged(answer.ttl if ttl is None else int.from_bytes(ttl, "big"), aging)
    for place, octet in enumerate(after, first):
        out[place:end:size] = bytes((octet,)) * ((end - begin) // size)


def _aged(ttl: int, aging: Aging) -> bytes:
    return min(max(ttl - aging.age, 0) if ttl <= MAX_TTL else 0, aging.cap).to_bytes(wire.TTL_SIZE, "big")


def _without(message: bytes, answer: Answer, taken: Sequence[int], aging: Aging, limit: int) -> bytes | None:
    """Without upstream's OPT and the records that start at `taken`; None if that is longer than `limit`."""
    if size := _tail_size(message, answer):
        return _spliced(message, answer, taken, size, aging)
    starts = frozenset((*taken, answer.opt[0]))
    out = bytearray(message[: answer.end])
    patch_ttls(out, message, answer, aging)
    return without_records(bytes(out), answer.question_end, starts, limit)


def _tail_size(message: bytes, answer: Answer) -> int:
    """Of each record, if there is nothing but addresses of one family and owner, aliases before and an OPT behind them; else 0."""
    count = len(answer.located)
    if not 0 < count == answer.answer_count - len(answer.chain) == len(answer.ttl_offsets) - len(answer.chain):
        return 0
    begin, size = answer.located_at[0], wire.PLAIN_HEAD + len(answer.located[0])
    end = begin + count * size
    if answer.located_at != tuple(range(begin, end, size)) or (answer.opt[0] or answer.end) != end or answer.opt[1] not in (0, answer.end):
        return 0
    head = wire.common_column(message[begin:end], size, 0, _OWNER_AND_TYPE)
    if head is None or head[2:] not in _ADDRESSES or head[0] < wire.POINTER:
        return 0
    return size if (head[0] & wire.MAX_LABEL) << 8 | head[1] < begin else 0


def _spliced(message: bytes, answer: Answer, taken: Sequence[int], size: int, aging: Aging) -> bytes:
    """What `without_records` gives where `_tail_size` has one: no pointer comes to mean another name. 0.3 µs a record taken, not 4."""
    kept, at = [], wire.HEADER_SIZE
    for start in taken:
        kept.append(message[at:start])
        at = start + size
    kept.append(message[at : answer.opt[0] or answer.end])
    head = wire.HEADER.pack(*wire.HEADER.unpack_from(message)[:3], answer.answer_count - len(taken), 0, 0)
    out = bytearray(head + b"".join(kept))
    _patch_tail(out, answer, len(out), size, aging)
    return bytes(out)


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
