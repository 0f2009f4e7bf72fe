"""The very bytes of ctnetlink, and which entries the quick reader reads."""

import socket
import struct

import pytest
from ct_entries import entry, payload, ports, tuple_of

from nft import codec, ctcodec, ctquick
from nft.codec import CodecError, attribute, be32, nested


def u16(*values: int) -> bytes:
    return struct.pack(f"={len(values)}H", *values)


def u32(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


ORIGINAL = tuple_of(1, "192.0.2.2", "192.0.2.66", ports(6, 40_000, 443))


def test_conntrack_requests() -> None:
    """A dump of all, of a source and of a mark; a new mark, a deletion, and what ends a batch."""
    source = nested(1, nested(1, attribute(1, b"\xc0\0\x02\x02"))) + nested(25, attribute(1, u32(1)))
    marks = attribute(8, b"\0\x05\0\0") + attribute(21, b"\xff\xff\0\0")
    flow = ctcodec.read_flow(payload(ORIGINAL + ORIGINAL.replace(ORIGINAL[2:4], nested(2)[2:4], 1) + be32(12, 9), socket.AF_INET))

    def head(size: int, kind: int, flags: int, family: int) -> bytes:
        return u32(20 + size) + u16(kind, flags) + u32(3, 0) + bytes([family, 0, 0, 0])

    assert ctcodec.dump_request(3) == head(0, 0x101, 0x301, 0)
    assert ctcodec.dump_request(3, b"\xc0\0\x02\x02") == head(len(source), 0x101, 0x301, 2) + source
    assert ctcodec.dump_request(3, bytes(16)) == head(0, 0x101, 0x301, 10)
    assert ctcodec.dump_request(3, mark=0x50000, mark_mask=0xFFFF0000) == head(16, 0x101, 0x301, 0) + marks
    assert ctcodec.dump_request(3, mark=0) == head(16, 0x101, 0x301, 0) + attribute(8, bytes(4)) + attribute(21, bytes(4))
    assert ctcodec.mark_request(3, flow, 0x50007, 0xFFFF0000) == head(len(flow.identity) + 16, 0x100, 1, 2) + flow.identity + marks
    assert ctcodec.delete_request(3, flow) == head(len(flow.identity), 0x102, 1, 2) + flow.identity
    assert ctcodec.end_of_batch(3) == u32(16) + u16(1, 5) + u32(3, 0)


@pytest.mark.parametrize("read", [ctcodec.read_flow, ctcodec.read_mark, ctquick.read_flow_quickly])
def test_message_of_a_header_alone_is_read_as_far_as_it_goes(read) -> None:
    """Four octets are a whole header: what is missing then is the entry."""
    if read is ctcodec.read_mark:
        assert read(b"\x02\0\0\0") == 0
        return
    with pytest.raises(CodecError, match="without its two tuples"):
        read(b"\x02\0\0\0")


@pytest.mark.parametrize("missing", ["addresses", "protocol", "number"])
def test_tuple_without_a_part_is_an_error_that_says_which(missing: str) -> None:
    """Of a tuple, neither the addresses nor the protocol may be missing."""
    addresses, protocol = nested(1, attribute(1, bytes(4)), attribute(2, bytes(4))), nested(2, attribute(1, b"\x06"))
    parts, said = {
        "addresses": ((protocol,), "without two addresses"),
        "protocol": ((addresses,), "attribute 1 has 0 bytes"),
        "number": ((addresses, nested(2)), "attribute 1 has 0 bytes"),
    }[missing]

    with pytest.raises(CodecError, match=said):
        ctcodec.read_flow(payload(ORIGINAL + nested(2, *parts)))


def reply(source: str, destination: str) -> bytes:
    return tuple_of(2, source, destination, ports(6, 443, 40_000))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(payload(ORIGINAL + reply("192.0.2.66", "192.0.2.2")), id="ipv4-alone"),
        pytest.param(payload(entry(mark=7) + be32(12, 0xABCD)), id="ipv4"),
        pytest.param(payload(entry("2001:db8::2", 9, 0xFFFF_FFFF) + be32(12, 0xABCD), socket.AF_INET6), id="ipv6"),
        pytest.param(payload(entry(mark=7) + be32(18, 5) + be32(3, 8) + be32(12, 0xABCD) + attribute(20, b"abcde")), id="more"),
        pytest.param(
            payload(entry(mark=7) + attribute(20, b"abcde") + attribute(4, b"") + be32(12, 1) + be32(12, 2)), id="empty-and-twice"
        ),
        pytest.param(payload(entry(mark=7) + be32(12, 1) + attribute(4, b"")), id="empty-at-the-end"),
    ],
)
def test_usual_entry_takes_the_quick_way(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Linux writes of TCP and UDP is read without the readable way, and the same."""
    expected = ctcodec.read_flow(data)
    monkeypatch.setattr(ctquick, "read_flow", None)

    assert ctquick.read_flow_quickly(data) == expected


@pytest.mark.parametrize(
    ("shape", "first", "size", "nowhere", "source"),
    [pytest.param(ctquick._V4, 1, 4, "0.0.0.0", "192.0.2.2", id="ipv4"), pytest.param(ctquick._V6, 3, 16, "::", "2001:db8::2", id="ipv6")],  # noqa: S104 -- no socket
)
def test_usual_entry_is_known_by_its_headers(shape: struct.Struct, first: int, size: int, nowhere: str, source: str) -> None:
    """Ten of them, alike in each entry of a family, whatever stands between them."""
    sample = ctquick._sample(first, size)

    assert sample == tuple_of(1, nowhere, nowhere, ports(0, 0, 0)) + tuple_of(2, nowhere, nowhere, ports(0, 0, 0))
    assert ctquick._headers(shape, sample) == ctquick._headers(shape, entry(source)[: shape.size])
    assert len(ctquick._headers(shape, sample)) == 10


@pytest.mark.parametrize(
    "tail", [attribute(18, b"\0\1"), be32(8 | codec.NESTED, 1), be32(12 | codec.NESTED, 1), attribute(8, b"\0"), ORIGINAL]
)
def test_unusual_entry_takes_the_readable_way(tail: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zone of two octets, a mark in another form, a tuple again: not for the quick reader."""
    monkeypatch.setattr(ctquick, "read_flow", lambda data: data)
    data = payload(entry() + tail)

    assert ctquick.read_flow_quickly(data) is data
