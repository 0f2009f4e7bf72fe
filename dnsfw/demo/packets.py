"""Whole IP packets with whatever source one likes, as raw sockets send them.

Pure. Only what the probes need: UDP, a TCP SYN, an ICMP echo, over IPv4 and IPv6.
"""

import struct
from ipaddress import ip_address
from itertools import count

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
_identification = count(1)


def udp(source: str, destination: str, sport: int, dport: int, payload: bytes) -> bytes:
    header = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0)
    return packet(source, destination, UDP, _summed(source, destination, UDP, header + payload, 6))


def tcp(source: str, destination: str, sport: int, dport: int, *, flags: int = 0x02) -> bytes:
    """flags: SYN 2, ACK 16, FIN 1, RST 4."""
    header = struct.pack(">HHIIBBHHH", sport, dport, 1000, 0, 5 << 4, flags, 64240, 0, 0)
    return packet(source, destination, TCP, _summed(source, destination, TCP, header, 16))


def echo(source: str, destination: str, identifier: int) -> bytes:
    if ip_address(source).version == 6:
        return packet(source, destination, ICMP6, _summed(source, destination, ICMP6, struct.pack(">BBHHH", 128, 0, 0, identifier, 1), 2))
    body = struct.pack(">BBHHH", 8, 0, 0, identifier, 1)
    return packet(source, destination, ICMP, _with_sum(body, checksum(body), 2))


def packet(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """The payload behind an IP header; the kernel fills in the IPv4 checksum."""
    own, peer = ip_address(source), ip_address(destination)
    if own.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + own.packed + peer.packed + payload
    number = next(_identification) & 0xFFFF
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), number, 0, 64, protocol, 0) + own.packed + peer.packed + payload


def checksum(data: bytes) -> int:
    """The internet checksum, RFC 1071."""
    padded = data + b"\x00" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _summed(source: str, destination: str, protocol: int, segment: bytes, at: int) -> bytes:
    """With the checksum over the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1; the sum is the same for both)."""
    pseudo = ip_address(source).packed + ip_address(destination).packed + struct.pack(">IHBB", len(segment), 0, 0, protocol)
    return _with_sum(segment, checksum(pseudo + segment) or 0xFFFF, at)


def _with_sum(data: bytes, value: int, at: int) -> bytes:
    return data[:at] + value.to_bytes(2) + data[at + 2 :]
