"""Packets that no honest pod sends, byte by byte, and whether they leave the node.

Pure but for `leaving`. A packet is made from a source and a destination; several bytes strings are fragments of one.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise

from system_kit import Site

from dnsfw.demo import packets
from dnsfw.demo.host import Host
from dnsfw.demo.lab import Pod
from dnsfw.demo.results import Packet

Make = Callable[[str, str], list[bytes]]

NO_NEXT, HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, TO_DESTINATION, MOBILITY = 59, 0, 43, 44, 51, 60, 135
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
SCTP = 132
_PAYLOAD = b"what must not get out"


def tcp(flags: int, dport: int = 443, sport: int = 40001) -> Make:
    return lambda source, to: [packets.tcp(source, to, sport, dport, flags=flags)]


def udp(dport: int, sport: int = 40002, payload: bytes = _PAYLOAD) -> Make:
    return lambda source, to: [packets.udp(source, to, sport, dport, payload)]


def raw(protocol: int, payload: bytes = _PAYLOAD) -> Make:
    return lambda source, to: [packets.packet(source, to, protocol, payload)]


def sctp(dport: int) -> Make:
    """An INIT chunk; the checksum is not looked at on the way."""
    return raw(SCTP, struct.pack(">HHIIBBHIIHHI", 40003, dport, 0, 0, 1, 0, 20, 1, 65536, 1, 1, 1))


def icmp(kind: int, code: int = 0, rest: bytes = bytes(4), quoted: bytes = _PAYLOAD) -> Make:
    """ICMP or ICMPv6, as the addresses are."""
    body = struct.pack(">BBH", kind, code, 0) + rest + quoted

    def make(source: str, to: str) -> list[bytes]:
        if ip_address(source).version == 4:
            return [packets.packet(source, to, packets.ICMP, packets._with_sum(body, packets.checksum(body), 2))]
        return [packets.packet(source, to, packets.ICMP6, packets._summed(source, to, packets.ICMP6, body, 2))]

    return make


def encapsulated(protocol: int, front: bytes = b"") -> Make:
    """A whole allowed-looking packet of the other family within one of `protocol` (4, 41; 47 behind a GRE header)."""

    def make(source: str, to: str) -> list[bytes]:
        return [packets.packet(source, to, protocol, front + packets.udp("192.0.2.1", "192.0.2.2", 1, 443, _PAYLOAD))]

    return make


def options4(options: bytes, inner: Make) -> Make:
    """IPv4 options, padded to four bytes."""

    def make(source: str, to: str) -> list[bytes]:
        (whole,) = inner(source, to)
        padded = options + bytes(-len(options) % 4)
        front = bytes((0x45 + len(padded) // 4,)) + whole[1:2] + (len(whole) + len(padded)).to_bytes(2) + whole[4:20]
        return [front + padded + whole[20:]]

    return make


def headers6(*kinds: int, inner: Make) -> Make:
    """Extension headers, each eight bytes long and harmless in itself, before what `inner` makes."""

    def make(source: str, to: str) -> list[bytes]:
        (whole,) = inner(source, to)
        following, body = whole[6], whole[40:]
        for kind in reversed(kinds):
            following, body = kind, _header(kind, following) + body
        return [packets.packet(source, to, following, body)]

    return make


def _header(kind: int, following: int) -> bytes:
    match kind:
        case 0 | 60:
            return bytes((following, 0, 1, 4, 0, 0, 0, 0))  # PadN
        case 44:
            return bytes((following, 0, 0, 0, 0, 0, 0, 9))  # an atomic fragment, RFC 6946
        case 51:
            return bytes((following, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1))  # lengths in units of 4, minus 2
        case _:
            return bytes((following, 0, 4, 0, 0, 0, 0, 0))  # a routing header without segments left


def routing6(kind: int, via: str, inner: Make) -> Make:
    """A routing header with one segment left."""

    def make(source: str, to: str) -> list[bytes]:
        (whole,) = inner(source, to)
        return [packets.packet(source, to, ROUTING, bytes((whole[6], 2, kind, 1, 0, 0, 0, 0)) + ip_address(via).packed + whole[40:])]

    return make


def fragments(inner: Make, *cuts: int) -> Make:
    """`inner` in fragments; `cuts` are offsets in its payload, multiples of 8."""

    def make(source: str, to: str) -> list[bytes]:
        (whole,) = inner(source, to)
        body = whole[20:] if whole[0] >> 4 == 4 else whole[40:]
        edges = [0, *cuts, len(body)]
        return [_fragment(whole, body[begin:end], begin, is_last=end == len(body)) for begin, end in pairwise(edges)]

    return make


def _fragment(whole: bytes, body: bytes, offset: int, *, is_last: bool) -> bytes:
    if whole[0] >> 4 == 4:
        placed = (offset // 8 | (0 if is_last else 0x2000)).to_bytes(2)
        return whole[:2] + (20 + len(body)).to_bytes(2) + b"\x12\x34" + placed + whole[8:20] + body
    header = bytes((whole[6], 0)) + (offset | (0 if is_last else 1)).to_bytes(2) + b"\x00\x00\x12\x34"
    return whole[:4] + (8 + len(body)).to_bytes(2) + bytes((FRAGMENT,)) + whole[7:40] + header + body


# ---- whether they leave


@dataclass(slots=True)
class Leaving:
    """What the internet has seen meanwhile of anything but the marker."""

    packets: list[Packet] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.packets)

    def to(self, *addresses: str) -> list[Packet]:
        return [packet for packet in self.packets if packet.destination in addresses]

    def __str__(self) -> str:
        return "\n".join(map(str, self.packets)) or "nothing"


MARKER_PORT = 5000


@contextmanager
def leaving(site: Site, marker: Host, to: str) -> Iterator[Leaving]:
    """What leaves for the internet while the body runs. At its end `marker` gets an echo from there: what was sent before has arrived."""
    found = Leaving()
    with site.lab.internet.capture() as seen:
        yield found
        assert marker.connect(to, MARKER_PORT, "udp", timeout=5.0).is_connected
    found.packets = [
        packet for packet in seen if not (packet.destination == to and packet.dport == MARKER_PORT) and not _is_link_local(packet)
    ]


def _is_link_local(packet: Packet) -> bool:
    """The node's own neighbour discovery."""
    return any(ip_address(each).is_link_local or ip_address(each).is_multicast for each in (packet.source, packet.destination)) or (
        packet.source.startswith("fd00:18::") and packet.protocol == packets.ICMP6
    )


def send_all(pod: Pod, made: list[bytes]) -> None:
    for each in made:
        assert pod.send_packet(each) == ""
