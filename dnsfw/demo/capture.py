"""Packets as they come in on one interface, for proving that something did not get through.

Touches a packet socket of the namespace it runs in, only between `start` and `stop`. No filter and no promises about speed: packets
that a busy capture could not keep up with make `stop` raise, so that silence is never mistaken for absence.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator

from dnsfw.clock import SystemClock
from dnsfw.demo.results import Packet

_ALL_PROTOCOLS = 3  # ETH_P_ALL
_PACKET_STATISTICS = 6
_OUTGOING = 4
_WITH_PORTS = (6, 17, 132)
_IPV6_EXTENSIONS = (0, 43, 60)


class Capture:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._clock = SystemClock()
        self._socket: socket.socket | None = None
        self._packets: list[Packet] = []

    def start(self, interface: str) -> None:
        self._packets = []
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ALL_PROTOCOLS))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self._socket.bind((interface, _ALL_PROTOCOLS))
        self._loop.add_reader(self._socket, self._on_readable)

    def stop(self) -> Iterator[Packet]:
        if self._socket is None:
            return iter(())
        self._on_readable()
        self._loop.remove_reader(self._socket)
        _, lost = struct.unpack("II", self._socket.getsockopt(263, _PACKET_STATISTICS, 8))  # SOL_PACKET
        self._socket.close()
        self._socket = None
        if lost:
            raise OSError(f"the capture lost {lost} packets")
        return iter(self._packets)

    def _on_readable(self) -> None:
        while self._socket is not None:
            try:
                data, (_, _, direction, _, _) = self._socket.recvfrom(65535)
            except BlockingIOError:
                return
            if direction != _OUTGOING and (packet := parse(data, self._clock.now())):
                self._packets.append(packet)


def parse(data: bytes, at: float) -> Packet | None:
    """An IP packet's addresses, protocol and ports (0 where it has none, and in later fragments)."""
    match data[0] >> 4 if data else 0:
        case 4 if len(data) >= 20:
            protocol, offset = data[9], (data[0] & 15) * 4
            source, destination = data[12:16], data[16:20]
            is_first = not int.from_bytes(data[6:8]) & 0x1FFF
        case 6 if len(data) >= 40:
            protocol, offset, is_first = _past_extensions(data)
            source, destination = data[8:24], data[24:40]
        case _:
            return None
    has_ports = is_first and protocol in _WITH_PORTS and len(data) >= offset + 4
    sport, dport = struct.unpack_from(">HH", data, offset) if has_ports else (0, 0)
    family = socket.AF_INET if len(source) == 4 else socket.AF_INET6
    return Packet(
        at=at,
        source=socket.inet_ntop(family, source),
        destination=socket.inet_ntop(family, destination),
        protocol=protocol,
        sport=sport,
        dport=dport,
        size=len(data),
    )


def _past_extensions(data: bytes) -> tuple[int, int, bool]:
    protocol, offset, is_first = data[6], 40, True
    while len(data) >= offset + 8:
        if protocol in _IPV6_EXTENSIONS:
            protocol, offset = data[offset], offset + 8 + data[offset + 1] * 8
        elif protocol == 44:  # fragment header, RFC 8200 §4.5
            is_first = not int.from_bytes(data[offset + 2 : offset + 4]) >> 3
            protocol, offset = data[offset], offset + 8
        else:
            break
    return protocol, offset, is_first
