"""Bytes of ctnetlink: what is read, what is refused, and that the quick reader equals the readable one."""

import socket
import struct

import pytest
from ct_entries import entry, packed, payload, ports, tuple_of
from hypothesis import given
from hypothesis import strategies as st

from nft import codec, ctcodec
from nft.codec import CodecError, attribute, be32, nested
from nft.ctcodec import Flow
from nft.ctquick import read_flow_quickly

ID = be32(12, 0xABCD)
ICMP = attribute(1, b"\x01") + attribute(4, struct.pack(">H", 77)) + attribute(5, b"\x08") + attribute(6, b"\x00")
ICMPV6 = attribute(1, b"\x3a") + attribute(7, struct.pack(">H", 78)) + attribute(8, b"\x80") + attribute(9, b"\x01")
GRE_KEYLESS = attribute(1, b"\x2f")
ORIGINAL = tuple_of(1, "192.0.2.2", "192.0.2.66", ports(6, 40_000, 443))


def flow_of(body: bytes, family: int = socket.AF_INET) -> Flow:
    return ctcodec.read_flow(payload(body, family))


def test_translated_connection_shows_where_it_really_goes() -> None:
    """Of a connection to a service, the destination is the service's and the remote is the server's."""
    reply = tuple_of(2, "192.0.2.99", "192.0.2.2", ports(6, 8443, 40_000))

    flow = flow_of(ORIGINAL + reply + be32(8, 0x50007) + ID)

    assert flow[:6] == (socket.AF_INET, 6, packed("192.0.2.2"), packed("192.0.2.66"), 40_000, 443)
    assert (flow.remote, flow.remote_port, flow.mark) == (packed("192.0.2.99"), 8443, 0x50007)


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "expected"),
    [
        pytest.param("192.0.2.2", "192.0.2.66", ICMP, (1, 77, 0x0800), id="icmp"),
        pytest.param("2001:db8::2", "2001:db8::66", ICMPV6, (58, 78, 0x8001), id="icmpv6"),
        pytest.param("192.0.2.2", "192.0.2.66", GRE_KEYLESS, (47, 0, 0), id="without-ports"),
        pytest.param("2001:db8::2", "2001:db8::66", ports(132, 1, 2), (132, 1, 2), id="sctp"),
    ],
)
def test_what_stands_in_place_of_ports(source: str, destination: str, protocol: bytes, expected: tuple[int, int, int]) -> None:
    """ICMP has an id, and a type and code, where others have ports; some protocols have nothing."""
    flow = flow_of(tuple_of(1, source, destination, protocol) + tuple_of(2, destination, source, protocol))

    assert (flow.protocol, flow.source_port, flow.destination_port) == expected


def test_identity_is_tuple_zone_and_id() -> None:
    """An entry is named again by its original tuple, its zone and its id, and by nothing that changes."""
    zone = attribute(18, b"\x00\x05")
    reply = tuple_of(2, "192.0.2.66", "192.0.2.2", ports(6, 443, 40_000))

    flows = {flow_of(ORIGINAL + reply + zone + be32(8, mark) + be32(7, mark + 9) + ID).identity for mark in (0, 1)}

    assert flows == {ORIGINAL + zone + ID}


def test_entry_without_mark_has_mark_zero() -> None:
    """A kernel leaves the mark out where it is 0."""
    body = ORIGINAL + tuple_of(2, "192.0.2.66", "192.0.2.2", ports(6, 443, 40_000))

    assert (flow_of(body).mark, ctcodec.read_mark(payload(body)), ctcodec.read_mark(payload(body + be32(8, 9)))) == (0, 0, 9)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "a conntrack entry without its two tuples", id="empty"),
        pytest.param(ORIGINAL, "a conntrack entry without its two tuples", id="no-reply"),
        pytest.param(ORIGINAL + nested(2), "a conntrack tuple without two addresses of one family", id="empty-reply"),
        pytest.param(
            ORIGINAL + nested(2, nested(1, attribute(1, b"abcd")), nested(2, ports(6, 1, 2))),
            "a conntrack tuple without two addresses of one family",
            id="one-address",
        ),
        pytest.param(
            ORIGINAL + nested(2, nested(1, attribute(1, b"abcd"), attribute(2, b"abc"))),
            "a conntrack tuple without two addresses of one family",
            id="short-address",
        ),
        pytest.param(
            tuple_of(1, "192.0.2.2", "192.0.2.66", b"") + ORIGINAL,
            "conntrack tuple: attribute 1 has 0 bytes instead of 1",
            id="no-protocol",
        ),
        pytest.param(
            tuple_of(1, "192.0.2.2", "192.0.2.66", attribute(1, b"\x06") + attribute(2, b"\x01")),
            "conntrack tuple: port 2 has 1 bytes instead of 2",
            id="one-byte-port",
        ),
        pytest.param(
            tuple_of(1, "192.0.2.2", "192.0.2.66", attribute(1, b"\x01") + attribute(5, b"\x08")),
            "conntrack tuple: attribute 6 has 0 bytes instead of 1",
            id="icmp-without-code",
        ),
        pytest.param(entry() + attribute(8, b"\x00"), "a number of 1 bytes instead of 4", id="short-mark"),
        pytest.param(entry() + b"\x03\x00\x08\x00", "an attribute of 3 bytes where 4 are left", id="attribute-shorter-than-its-header"),
        pytest.param(entry() + b"\xff\xff\x08\x00", "an attribute of 65535 bytes where 4 are left", id="attribute-longer-than-the-message"),
        pytest.param(
            entry() + b"\x09\x00\x03\x00abcd", "an attribute of 9 bytes where 8 are left", id="attribute-one-byte-longer-than-the-message"
        ),
        pytest.param(entry() + b"\x08\x00", "2 bytes are no attribute", id="tail"),
    ],
)
def test_malformed_entry_is_an_error(body: bytes, said: str) -> None:
    """An entry that cannot be read is never left out in silence: it may be the one that matters."""
    for read in (ctcodec.read_flow, read_flow_quickly):
        with pytest.raises(CodecError) as caught:
            read(payload(body))
        assert str(caught.value) == said


@pytest.mark.parametrize("read", [ctcodec.read_flow, ctcodec.read_mark, read_flow_quickly])
def test_message_without_its_header_is_an_error(read: object) -> None:
    """Three bytes are no nfgenmsg."""
    with pytest.raises(CodecError, match=r"^a conntrack message without its nfnetlink header$"):
        read(b"\x02\x00\x00")  # type: ignore[operator]


def outcome(read: object, data: bytes) -> object:
    try:
        return read(data)  # type: ignore[operator]
    except CodecError:
        return CodecError


entries = st.sampled_from(
    [
        payload(entry(mark=7) + ID),
        payload(entry() + attribute(18, b"\x00\x01") + ID + be32(11, 1)),
        payload(entry("2001:db8::2", 9, 0xFFFF_FFFF) + ID, socket.AF_INET6),
        payload(ORIGINAL + tuple_of(2, "192.0.2.66", "192.0.2.2", ICMP) + be32(8, 3)),
        payload(entry() + be32(8 | codec.NESTED, 1) + nested(4, be32(1, 1)) + be32(8, 2)),
    ]
)


@given(entries, st.integers(0, 300), st.integers(0, 300), st.binary(max_size=6))
def test_quick_reader_equals_the_readable_one(whole: bytes, start: int, length: int, replacement: bytes) -> None:
    """Whatever bytes come, both read the same or both refuse."""
    mutated = whole[:start] + replacement + whole[start + length % 8 :]
    for data in (whole, whole[:start], mutated):
        assert outcome(read_flow_quickly, data) == outcome(ctcodec.read_flow, data)


@given(entries, st.sampled_from(range(0, 140, 2)), st.integers(0, 0xFFFF))
def test_quick_reader_equals_the_readable_one_whatever_a_length_says(whole: bytes, at: int, value: int) -> None:
    """The same for two bytes that may be a length or a kind."""
    data = whole[:at] + struct.pack("=H", value) + whole[at + 2 :]

    assert outcome(read_flow_quickly, data) == outcome(ctcodec.read_flow, data)


def test_request_without_identity_is_never_sent() -> None:
    """To the kernel, a deletion that names no entry means all of them."""
    flow = flow_of(entry())._replace(identity=b"")

    for request in (lambda: ctcodec.delete_request(1, flow), lambda: ctcodec.mark_request(1, flow, 1, 1)):
        with pytest.raises(ValueError, match="no identity"):
            request()


def test_mark_outside_the_mask_is_not_asked_for() -> None:
    """The kernel makes (old & ~mask) ^ mark of it: a bit outside the mask would toggle."""
    (found,) = codec.messages(ctcodec.mark_request(1, flow_of(entry()), 0x1_0003, 0xFFFF_0000))

    body = codec.body(found)
    assert (codec.read_be32(body[8]), codec.read_be32(body[21])) == (0x1_0000, 0xFFFF_0000)


def test_dump_request_names_source_and_mark() -> None:
    """The kernel is told what it can filter by."""
    (found,) = codec.messages(ctcodec.dump_request(5, packed("192.0.2.2"), 0x10, 0xF0))

    body = codec.body(found)
    address = codec.attributes(codec.attributes(body[1])[1])
    assert (found.type, found.seq, found.payload[0], address) == (ctcodec.GET, 5, socket.AF_INET, {1: packed("192.0.2.2")})
    assert (codec.read_be32(body[8]), codec.read_be32(body[21]), codec.attributes(body[25])) == (0x10, 0xF0, {1: struct.pack("=I", 1)})


def test_dump_request_leaves_ipv6_sources_to_us() -> None:
    """Kernels compare IPv6 addresses the wrong way round: asked for one, they would send all others."""
    (found,) = codec.messages(ctcodec.dump_request(5, packed("2001:db8::2")))

    assert (found.payload[0], codec.body(found)) == (socket.AF_INET6, {})


def test_batch_ends_with_what_is_acknowledged() -> None:
    """Requests are answered only when they fail; the no-op behind them says when all are done."""
    flow = flow_of(entry())
    batch = ctcodec.mark_request(4, flow, 1, 1) + ctcodec.delete_request(4, flow) + ctcodec.end_of_batch(4)

    found = list(codec.messages(batch))

    assert [(one.type, bool(one.flags & codec.ACK)) for one in found] == [(ctcodec.NEW, False), (ctcodec.DELETE, False), (1, True)]
