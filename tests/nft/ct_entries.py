"""Entries of the connection-tracking table for tests: as ctnetlink payloads, as creations, as flows."""

import socket
import struct
from ipaddress import ip_address

from nft import codec, ctcodec
from nft.codec import attribute, be32, nested


def packed(address: str) -> bytes:
    return ip_address(address).packed


def tuple_of(kind: int, source: str, destination: str, protocol: bytes) -> bytes:
    first = 3 if ":" in source else 1
    return nested(kind, nested(1, attribute(first, packed(source)), attribute(first + 1, packed(destination))), nested(2, protocol))


def ports(protocol: int, source: int, destination: int) -> bytes:
    return attribute(1, bytes([protocol])) + attribute(2, struct.pack(">H", source)) + attribute(3, struct.pack(">H", destination))


def entry(source: str = "192.0.2.2", port: int = 40_000, mark: int = 0, *, protocol: int = 17, remote: str | None = None) -> bytes:
    """What the kernel tells of a connection to port 53 of 192.0.2.66, or of 2001:db8::66, after its nfgenmsg."""
    target = "2001:db8::66" if ":" in source else "192.0.2.66"
    original = tuple_of(1, source, target, ports(protocol, port, 53))
    reply = tuple_of(2, remote or target, source, ports(protocol, 53, port))
    return original + reply + be32(3, 0x8) + be32(7, 600) + be32(8, mark)


def payload(body: bytes, family: int = socket.AF_INET) -> bytes:
    return bytes((family, 0, 0, 0)) + body


def create(link: socket.socket, *bodies: bytes) -> None:
    """Make the entries in the kernel."""
    for at in range(0, len(bodies), 100):
        batch = b"".join(_creation(body) for body in bodies[at : at + 100])
        link.send(batch + ctcodec.end_of_batch(1))
        found = list(codec.messages(link.recv(65536)))
        assert [codec.refusal(answer).errno for answer in found] == [0], "the kernel took all entries"


def _creation(body: bytes) -> bytes:
    family = socket.AF_INET6 if len(body) > 150 else socket.AF_INET
    return ctcodec._message(ctcodec.NEW, codec.REQUEST | codec.CREATE | codec.EXCL, 0, family, body)
