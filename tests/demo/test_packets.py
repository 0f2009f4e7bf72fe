"""Forged packets and the reading of captured ones, byte by byte."""

import struct

import pytest

from dnsfw.demo import packets
from dnsfw.demo.capture import parse

FAMILIES = [pytest.param("192.0.2.1", "192.0.2.2", id="ipv4"), pytest.param("2001:db8::1", "2001:db8::2", id="ipv6")]


@pytest.mark.parametrize(("source", "destination"), FAMILIES)
def test_forged_packet_reads_back(source: str, destination: str) -> None:
    """What was built is what a capture says."""
    for built, protocol in (
        (packets.udp(source, destination, 1000, 53, b"abc"), packets.UDP),
        (packets.tcp(source, destination, 1000, 53), packets.TCP),
    ):
        seen = parse(built, at=1.0)

        assert seen is not None
        assert (seen.source, seen.destination, seen.protocol) == (source, destination, protocol)
        assert (seen.sport, seen.dport, seen.size) == (1000, 53, len(built))


def test_checksum_of_the_rfc() -> None:
    """RFC 1071 §3 adds 0001 f203 f4f5 f6f7 up to ddf2."""
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert packets.checksum(b"\x01") == 0xFFFF - 0x0100


@pytest.mark.parametrize(
    "data",
    [b"", b"\x45", b"\x60" + b"\0" * 38, b"\x00" * 60],
    ids=["empty", "short4", "short6", "no-ip"],
)
def test_what_is_no_packet_is_none(data: bytes) -> None:
    """A capture takes only what has a whole header."""
    assert parse(data, at=0.0) is None


def test_later_fragments_have_no_ports() -> None:
    """Bytes at the place of the ports are payload there."""
    whole = packets.udp("192.0.2.1", "192.0.2.2", 1, 2, b"")
    later = whole[:6] + struct.pack(">H", 5) + whole[8:]
    fragment6 = packets.packet("2001:db8::1", "2001:db8::2", 44, struct.pack(">BBHI", 17, 0, 8 << 3, 1) + b"\0\1\0\2\0\0\0\0")

    for data in (later, fragment6):
        seen = parse(data, at=0.0)
        assert seen is not None
        assert (seen.protocol, seen.sport, seen.dport) == (17, 0, 0)


def test_extension_headers_are_passed_over() -> None:
    """A hop-by-hop header does not hide what follows."""
    inner = packets.udp("2001:db8::1", "2001:db8::2", 1, 2, b"")[40:]
    seen = parse(packets.packet("2001:db8::1", "2001:db8::2", 0, b"\x11\0" + b"\1\4\0\0\0\0" + inner), at=0.0)

    assert seen is not None
    assert (seen.protocol, seen.sport, seen.dport) == (17, 1, 2)
