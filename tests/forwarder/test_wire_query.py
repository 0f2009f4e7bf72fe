"""What clients send: B1-B15 of the cases."""

from struct import pack

import dns.exception
import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import ask, header, name, opt, parsed, query, question, rr

from dnsfw.forwarder.respond import make_rejection
from dnsfw.forwarder.wire import (
    BADVERS,
    FORMERR,
    NOTIMP,
    REFUSED,
    Query,
    Rejected,
    parse_query,
)
from dnsfw.names import format_name, parse_name
from dnsfw.policy.reasons import Reason


def rejected(data: bytes) -> Rejected:
    found = parse_query(data)
    assert isinstance(found, Rejected), found
    return found


def test_query_is_read() -> None:
    """A plain query gives id, flags, and the question lower-cased as the key, as sent beside it."""
    found = parsed(query(text="Www.Example.NET".lower()).replace(b"www", b"wWW"))

    assert (found.id, found.flags, found.qtype, found.edns) == (7, 0x0100, 1, None)
    assert found.name == parse_name("www.example.net")
    assert found.key == question("www.example.net")
    assert found.question == b"\x03wWW" + found.key[4:]


def test_type_is_not_lower_cased() -> None:
    """Type 65 (HTTPS) stays 65: it is a number, not the letter A."""
    assert ask(qtype=65).key[-4:] == b"\0\x41\0\1"


@pytest.mark.parametrize("size", range(12))
def test_b1_shorter_than_a_header_is_dropped(size: int) -> None:
    """Fewer than 12 octets get no answer."""
    found = rejected(query()[:size])

    assert (found.rcode, found.reason, found.detail) == (None, Reason.MALFORMED_QUERY, "shorter than a header")


def test_b2_response_is_dropped() -> None:
    """A message with QR gets no answer, whatever its opcode: two servers would answer each other for ever."""
    assert rejected(query(flags=0x8100)) == Rejected(None, Reason.MALFORMED_QUERY, "a response")
    assert rejected(query(flags=0xA900)).rcode is None


@pytest.mark.parametrize("opcode", range(1, 16))
def test_b3_other_opcodes_are_not_implemented(opcode: int) -> None:
    """Whatever is no QUERY gets NOTIMP with its own id, opcode and RD, and nothing else."""
    found = rejected(query(flags=opcode << 11 | 0x0100)[:40])

    assert (found.rcode, found.reason, found.detail) == (NOTIMP, Reason.NOT_SUPPORTED, "opcode")
    assert make_rejection(found, NOTIMP) == header(7, 0x8184 | opcode << 11, qd=0)


TWO = {
    "dupquestion": question() + question(),
    "twoquestionnames": question() + question("other.example.net"),
    "twoquestiontypes": question() + question(qtype=28),
    "twoquestionclasses": question() + question(qclass=3),
}
BROKEN = [
    pytest.param(header(qd=0), "not exactly one question", id="b4-noquestions"),
    *[pytest.param(header(qd=2) + body, "not exactly one question", id=f"b4-{key}") for key, body in TWO.items()],
    pytest.param(header(an=65535) + question(), "records in a query", id="b5-answers"),
    pytest.param(header(ns=65535) + question(), "records in a query", id="b5-authorities"),
    pytest.param(header(ar=65535) + question() + opt(), "more records than a query has", id="b5-additionals"),
    pytest.param(header(ar=5) + question() + opt(), "shorter than it says", id="b5-additionals-by-a-few"),
    pytest.param(header(an=1) + question() + rr(b"\xc0\x0c", 1, b"\1\2\3\4"), "records in a query", id="b6-qtypeasanswer"),
    pytest.param(header(ns=1) + question() + rr(b"\xc0\x0c", 1, b"\1\2\3\4"), "records in a query", id="b6-authority"),
    pytest.param(header() + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", "no proper name in the question", id="b7-label-of-64"),
    pytest.param(header() + b"\x80a\0\0\1\0\1" + b"x" * 200, "no proper name in the question", id="b7-label-type-0x80"),
    pytest.param(
        header() + (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0\0\1\0\1", "no proper name in the question", id="b7-nametoolong"
    ),
    pytest.param(header() + b"\x03www", "shorter than it says", id="b7-no-terminator"),
    pytest.param(header() + b"\x03www\0\0\1\0", "no type or class", id="b7-no-class"),
    pytest.param(header() + b"\xc0\x0c\0\1\0\1" + b"x" * 200, "no proper name in the question", id="b8-pointer-to-itself"),
    pytest.param(header() + b"\x03www\xc0\x00\0\1\0\1" + b"x" * 200, "no proper name in the question", id="b8-pointer-into-header"),
    pytest.param(query(opt(), opt()), "a second OPT, or one that is not the root's", id="b13-two-opts"),
    pytest.param(query(opt(owner=b"\1a\0")), "a second OPT, or one that is not the root's", id="b13-optwrongname"),
    pytest.param(query(opt(options=pack(">HH", 10, 9) + b"12345678")), "an option is longer than its OPT", id="b13-option-too-long"),
    pytest.param(query(opt(options=b"\0\x0a\0")), "an option is longer than its OPT", id="b13-half-an-option"),
    pytest.param(query(rr(b"\0", 41, b"", length=4)), "shorter than it says", id="b13-opt-behind-the-end"),
    pytest.param(query(rr(b"\0", 250, b"", length=1)), "a record ends behind the message", id="b15-record-behind-the-end"),
    pytest.param(query(b"\x40" + rr(b"\0", 250, b"")), "no proper name", id="b15-owner-no-name"),
    pytest.param(query(opt())[:-1], "shorter than it says", id="b13-cut-opt"),
]


@pytest.mark.parametrize(("data", "detail"), BROKEN)
def test_b4_to_b15_broken_queries_get_formerr(data: bytes, detail: str) -> None:
    """What cannot be read gets FORMERR with its id and a header alone; nobody is asked."""
    found = rejected(data)

    assert (found.rcode, found.reason) == (FORMERR, Reason.MALFORMED_QUERY)
    assert found.detail == detail
    assert make_rejection(found, FORMERR) == header(7, 0x8181, qd=0)


def test_b7_longest_names_are_read() -> None:
    """63 octets a label and 255 a name are not too long."""
    longest = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0"

    assert parsed(header() + longest + b"\0\1\0\1").name == longest
    assert len(longest) == 255


@pytest.mark.parametrize("octet", [b"\0", b".", b"\\", b" ", b"\xff", "é".encode()])
def test_b9_any_octet_may_stand_in_a_label(octet: bytes) -> None:
    """A label's octets are compared as they are; the audit gets them escaped and nothing else."""
    label = b"a" + octet + b"b"
    found = parsed(header() + bytes((len(label),)) + label + b"\x07example\x03net\0\0\1\0\1")

    assert found.name == bytes((len(label),)) + label + b"\x07example\x03net\0"
    assert found.name != parse_name("a.b.example.net")
    assert format_name(found.name).isascii() and format_name(found.name).isprintable()


@pytest.mark.parametrize("qclass", [0, 3, 4, 254, 255])
def test_b10_other_classes_are_refused(qclass: int) -> None:
    """Only class IN is served; version.bind in CH is not told."""
    found = rejected(query(text="version.bind", qtype=16, qclass=qclass))

    assert (found.rcode, found.reason, found.detail) == (REFUSED, Reason.NOT_SUPPORTED, "class")
    assert (found.id, found.flags) == (7, 0x0100)
    assert make_rejection(found, REFUSED) == header(7, 0x8185) + question("version.bind", 16, qclass)


@pytest.mark.parametrize("qtype", [0, 41, 128, 249, 250, 251, 252, 253, 254])
def test_b11_meta_types_are_refused(qtype: int) -> None:
    """AXFR, IXFR, MAILA, MAILB, OPT, TSIG, TKEY and the reserved ones are not asked upstream."""
    found = rejected(query(qtype=qtype))

    assert (found.rcode, found.reason, found.detail) == (REFUSED, Reason.NOT_SUPPORTED, "type")
    assert found.query is not None and found.query.qtype == qtype
    assert b"\0\x0f\0\2\0\x15" in make_rejection(rejected(query(opt(), qtype=qtype)), REFUSED)  # EDE 21, Not Supported


@pytest.mark.parametrize("qtype", [1, 127, 255, 256, 65280])
def test_b11_other_types_can_be_judged(qtype: int) -> None:
    """Known and unknown types alike, and ANY, which the exchange answers itself."""
    assert ask(qtype=qtype).qtype == qtype


def test_b12_what_follows_the_message_is_ignored() -> None:
    """Trailing octets change nothing; they are part of no value, so they can go nowhere."""
    assert parse_query(query(opt()) + b"tail") == parse_query(query(opt()))


@pytest.mark.parametrize("version", [1, 100, 255])
def test_b13_other_edns_versions_get_badvers(version: int) -> None:
    """BADVERS says which version we speak: 0."""
    found = rejected(query(opt(ttl=version << 16 | 0x8000)))

    assert (found.rcode, found.detail) == (BADVERS, "EDNS version")
    answered = dns.message.from_wire(make_rejection(found, BADVERS))
    assert (answered.rcode(), answered.edns, answered.payload) == (16, 0, 1232)
    assert answered.ednsflags & dns.flags.DO


def test_b13_unknown_options_and_flags_are_ignored() -> None:
    """A thousand options, unknown ones and MBZ flags leave nothing behind."""
    options = pack(">HH", 65001, 0) * 1000

    assert parsed(query(opt(options=options, ttl=0x7FFF))).edns == (1232, 0, False)


@pytest.mark.parametrize(("payload", "limit"), [(0, 512), (511, 512), (512, 512), (513, 513), (1232, 1232), (1233, 1232), (65535, 1232)])
def test_b14_udp_size_is_between_512_and_1232(payload: int, limit: int) -> None:
    """Too small a size is 512, too large a one 1232."""
    assert ask(edns=True, payload=payload).udp_limit == limit


def test_b14_without_edns_512() -> None:
    """RFC 1035's size for clients that say nothing."""
    assert ask().udp_limit == 512


@pytest.mark.parametrize("rtype", [24, 250])
def test_b15_signatures_are_stepped_over(rtype: int) -> None:
    """TSIG and SIG(0), last or not and of any class, neither disturb nor go anywhere."""
    signature = rr(name("key.example.net"), rtype, b"\1\2\3", rclass=255)

    assert parse_query(query(signature, opt())) == parse_query(query(opt()))
    assert parse_query(query(opt(), signature)) == parse_query(query(opt()))


def test_shared_key_tells_what_changes_an_answer() -> None:
    """RD, AD, CD and DO each make another answer, and so another key; id, letters and payload size do not."""
    kinds = [query(flags=flags) for flags in (0, 0x0100, 0x0120, 0x0110, 0x0020)] + [query(opt(ttl=0x8000))]
    same = [query(), query(ident=8), query(opt(512)), query().replace(b"www", b"WWW")]

    assert len({parsed(data).shared_key for data in kinds}) == len(kinds)
    assert len({parsed(data).shared_key for data in same}) == 1


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    """Any bytes at all are a query or a rejection."""
    assert isinstance(parse_query(data), Query | Rejected)


@given(st.data())
def test_mutated_queries_are_read_as_dnspython_reads_them(data: st.DataObject) -> None:
    """A query that we take is one that dnspython takes, with the same question, id and EDNS."""
    base = data.draw(
        st.sampled_from([query(), query(opt()), query(opt(options=b"\0\x0a\0\2ab")), query(opt(), rr(b"\xc0\x0c", 16, b"\1a"))])
    )
    mutated = bytearray(base)
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(base) - 1))] = data.draw(st.integers(0, 255))
    found = parse_query(bytes(mutated))
    if not isinstance(found, Query):
        return
    try:
        second = dns.message.from_wire(bytes(mutated), ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        # It also reads the data of what we step over (TSIG, options, addresses in the additional section), and refuses pointers forward.
        return
    assert second.id == found.id
    asked = second.question[0]
    assert asked.name.to_wire() == found.question[:-4]
    assert (asked.rdtype, asked.rdclass) == (found.qtype, 1)
    assert (second.edns >= 0) == (found.edns is not None)
    if found.edns is not None:
        assert (second.payload, bool(second.ednsflags & dns.flags.DO)) == (found.edns.payload_size, found.edns.is_do)
