"""The internet of the laboratory: one process that is every DNS server and every host there is.

Touches only the network namespace that it runs in; the laboratory tells it over its standard input what names answer, and asks what
reached it. Since all addresses are local here, one socket on the wildcard address is port 443 of everybody.
"""

import asyncio
import functools
import json
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import uvloop

from dnsfw.clock import SystemClock
from dnsfw.demo.capture import Capture
from dnsfw.demo.line import perform
from dnsfw.demo.results import Query
from dnsfw.demo.wires import Json
from dnsfw.demo.zone import WHOLE, Reply, Zone, read_question, response, size_limit

TCP_PORTS = (22, 25, 80, 443, 853, 4443, 8080)
UDP_PORTS = (80, 443, 853, 4443, 5000)
REMEMBERED_QUERIES = 20_000

_IP_PKTINFO, _IPV6_FREEBIND = 8, 78  # linux/in.h, in6.h; Python 3.11 has no names for them
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_BATCH = 64

Send = Callable[[bytes], None]
now = SystemClock().now


class Names:
    """The DNS servers, whatever address they are asked at."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.zone = Zone()
        self.queries: deque[Query] = deque(maxlen=REMEMBERED_QUERIES)
        self.counts: Counter[str] = Counter()
        self._loop = loop

    def handle(self, query: bytes, source: str, asked: str, transport: str, send: Send) -> None:
        try:
            name, qtype, end = read_question(query)
        except IndexError:
            return
        self.queries.append(Query(at=now(), source=source, asked=asked, name=name, qtype=qtype, transport=transport))
        self.counts[name] += 1
        reply, records = self.zone.answer(name, qtype)
        if reply.is_silent:
            return
        message = response(query, end, name, reply, records, limit=WHOLE if transport == "tcp" else size_limit(query, end))
        if reply.delay:
            self._loop.call_later(reply.delay, send, message)
        else:
            send(message)


class Hosts:
    """Everything that is not DNS: echoes what it gets, remembers when it came, and pushes where it was asked to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.arrivals: dict[str, list[float]] = {}
        self._pushes: dict[str, asyncio.TimerHandle] = {}
        self._loop = loop

    def greet(self, payload: bytes, send: Send) -> str | None:
        """`STREAM token milliseconds`: the token; payloads are pushed at that interval from now on, none at 0."""
        if not payload.startswith(b"STREAM "):
            return None
        _, token, interval = payload.split(b"\n", 1)[0].decode().split()
        is_new = token not in self.arrivals
        self.arrivals.setdefault(token, []).append(now())
        if is_new and int(interval):
            self._push(token, int(interval) / 1000, 0, send)
        return token

    def stop(self, token: str) -> None:
        if push := self._pushes.pop(token, None):
            push.cancel()

    def _push(self, token: str, interval: float, number: int, send: Send) -> None:
        with suppress(OSError):  # an ICMP error is the firewall's answer; the next push may fare better
            send(b"%015d\n" % number)
        self._pushes[token] = self._loop.call_later(interval, self._push, token, interval, number + 1, send)


class TcpHost(asyncio.Protocol):
    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._token: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._token is not None:
            self._hosts.arrivals[self._token].append(now())
            return
        self._token = self._hosts.greet(data, self._transport.write)
        if self._token is None:
            self._transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._token is not None:
            self._hosts.stop(self._token)


class TcpNames(asyncio.Protocol):
    def __init__(self, names: Names) -> None:
        self._names = names
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._source = str(transport.get_extra_info("peername")[0])
        self._asked = str(transport.get_extra_info("sockname")[0])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2 and len(self._buffer) >= 2 + (size := int.from_bytes(self._buffer[:2])):
            query, self._buffer = self._buffer[2 : 2 + size], self._buffer[2 + size :]
            self._names.handle(query, self._source, self._asked, "tcp", self._send)

    def _send(self, message: bytes) -> None:
        self._transport.write(len(message).to_bytes(2) + message)


class UdpPort:
    """A UDP port of every address: answers leave from the address that was spoken to, which takes recvmsg and sendmsg."""

    def __init__(self, family: socket.AddressFamily, port: int, receive: Callable[[bytes, str, str, Send], None]) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._receive = receive
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        if family == socket.AF_INET:
            self._level, self._kind = socket.IPPROTO_IP, _IP_PKTINFO
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            self._level, self._kind = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        self.socket.bind(("", port))

    def on_readable(self) -> None:
        for _ in range(_BATCH):
            try:
                data, control, _, peer = self.socket.recvmsg(65535, 128)
            except OSError:  # drained, or an ICMP error of an earlier answer
                return
            own = self._own_address(control)
            asked = socket.inet_ntop(self.socket.family, own)
            self._receive(data, str(peer[0]), asked, functools.partial(self._send, own, peer))

    def _own_address(self, control: list[tuple[int, int, bytes]]) -> bytes:
        info = next(data for level, kind, data in control if (level, kind) == (self._level, self._kind))
        return info[8:12] if self.socket.family == socket.AF_INET else info[:16]

    def _send(self, own: bytes, peer: Json, data: bytes) -> None:
        info = struct.pack("=I4s4s", 0, own, b"") if len(own) == 4 else own + struct.pack("=I", 0)
        self.socket.sendmsg([data], [(self._level, self._kind, info)], 0, peer)


class Internet:
    """What the laboratory may ask of it; each method is a command."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._names = Names(loop)
        self._hosts = Hosts(loop)
        self._capture = Capture(loop)

    async def open(self) -> None:
        await self._listen_tcp(53, functools.partial(TcpNames, self._names))
        self._listen_udp(53, lambda data, source, asked, send: self._names.handle(data, source, asked, "udp", send))
        for port in TCP_PORTS:
            await self._listen_tcp(port, functools.partial(TcpHost, self._hosts))
        for port in UDP_PORTS:
            self._listen_udp(port, self._echo)

    def listen(self, protocol: str, port: int) -> None:
        if protocol == "udp":
            self._listen_udp(port, self._echo)
        else:
            self._loop.create_task(self._listen_tcp(port, functools.partial(TcpHost, self._hosts)))

    def set(self, name: str, replies: list[dict[str, Any]]) -> None:
        self._names.zone.set(name, [_reply(**reply) for reply in replies])

    def remove(self, name: str) -> None:
        self._names.zone.remove(name)

    def generate(self, suffix: str, network4: str, network6: str, ttl: int) -> None:
        self._names.zone.generate(suffix, network4, network6, ttl)

    def queries(self) -> list[Query]:
        return list(self._names.queries)

    def count(self, name: str) -> int:
        return self._names.counts[name.lower().rstrip(".")]

    def arrivals(self, token: str) -> list[float]:
        return self._hosts.arrivals.get(token, [])

    def stop_push(self, token: str) -> None:
        self._hosts.stop(token)

    def capture(self) -> None:
        self._capture.start("node0")

    def captured(self) -> list[Any]:
        return list(self._capture.stop())

    def _echo(self, data: bytes, _source: str, _asked: str, send: Send) -> None:
        if self._hosts.greet(data, send) is None:
            send(data)

    def _listen_udp(self, port: int, receive: Callable[[bytes, str, str, Send], None]) -> None:
        for family in _FAMILIES:
            opened = UdpPort(family, port, receive)
            self._loop.add_reader(opened.socket, opened.on_readable)

    async def _listen_tcp(self, port: int, protocol: Callable[[], asyncio.Protocol]) -> None:
        for family in _FAMILIES:
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(("", port))
            await self._loop.create_server(protocol, sock=listener, backlog=4096)


def _reply(*, records: list[str], raw: str, **fields: Json) -> Reply:
    return Reply(records=tuple(records), raw=bytes.fromhex(raw), **fields)


async def serve(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    internet = Internet(loop)
    await internet.open()
    names = ("listen", "set", "remove", "generate", "queries", "count", "arrivals", "stop_push", "capture", "captured")
    commands = {name: getattr(internet, name) for name in names} | {"hello": lambda: None}
    reader, writer = await asyncio.open_connection(sock=end, limit=64 << 20)
    while line := await reader.readline():
        number, command, arguments = json.loads(line)
        writer.write(perform(commands, number, command, arguments))


if __name__ == "__main__":
    uvloop.run(serve(socket.socket(fileno=sys.stdin.fileno())))
