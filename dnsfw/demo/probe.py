"""What runs inside a pod: resolves, connects, streams and forges, as the laboratory asks over standard input.

Touches the network namespace that it runs in. Blocking sockets and a thread a question: what a plain program in a pod would do, and
`connect` follows `recv` with nothing between.
"""

import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from dnsfw.clock import SystemClock
from dnsfw.demo import asking, attempts, packets, reading
from dnsfw.demo.line import Command, serve
from dnsfw.demo.results import Answer, Cycles, Outcome, Stream
from dnsfw.demo.streams import OpenStream

_REMEMBERED_FAILURES = 100
now = SystemClock().now

_streams: dict[str, OpenStream] = {}


def resolve(*, name: str, qtype: str, server: str, port: int, is_tcp: bool, timeout: float, has_edns: bool) -> Answer:
    query = asking.query(name, qtype, has_edns=has_edns)
    started = now()
    try:
        reply = asking.exchange(query, server, port, is_tcp=is_tcp, timeout=timeout)
    except TimeoutError:
        return Answer(rcode="TIMEOUT", ms=_since(started))
    except OSError as error:
        return Answer(rcode=attempts.errno_name(error), ms=_since(started))
    return reading.read(reply, _since(started))


def exchange(*, query: str, server: str, port: int, is_tcp: bool, timeout: float) -> str:
    """Any bytes to a DNS server; "" where nothing came back."""
    try:
        return asking.exchange(bytes.fromhex(query), server, port, is_tcp=is_tcp, timeout=timeout).hex()
    except TimeoutError:
        return ""


def connect(*, address: str, port: int, protocol: str, timeout: float, payload: str = "") -> Outcome:
    attempt = attempts.tcp if protocol == "tcp" else attempts.udp
    return attempt(address, port, timeout, payload.encode())


def cycle(*, names: list[str], server: str, port: int, qtype: str, timeout: float, pause: float) -> Cycles:
    """For each name: resolve it, and connect at once to what was answered."""
    failed: list[list[str]] = []
    unanswered: list[list[str]] = []
    resolve_us: list[int] = []
    connect_us: list[int] = []
    connected = 0
    with asking.open_udp(server, 53, timeout) as resolver:
        for name in names:
            started = now()
            reply = asking.ask(resolver, asking.query(name, qtype, has_edns=False))
            address = asking.first_address(reply) if reply else None
            resolve_us.append(int((now() - started) * 1e6))
            if address is None:
                unanswered.append([name, reply.hex() if reply else "timeout"])
                continue
            outcome = attempts.tcp(address, port, timeout, b"", is_abrupt=True)
            connect_us.append(int(outcome.ms * 1000))
            if outcome.is_connected:
                connected += 1
            else:
                failed.append([name, address, f"{outcome.what} {outcome.detail}"])
            if pause:
                time.sleep(pause)
    return Cycles(
        count=len(names),
        connected=connected,
        failed=failed[:_REMEMBERED_FAILURES],
        unanswered=unanswered[:_REMEMBERED_FAILURES],
        resolve_us=resolve_us,
        connect_us=connect_us,
    )


def watch(*, address: str, port: int, protocol: str, interval: float, count: int, timeout: float) -> list[list[Any]]:
    """An attempt every `interval` seconds: when it began, and what became of it."""
    found: list[list[Any]] = []
    begin = now()
    for number in range(count):
        time.sleep(max(0.0, begin + number * interval - now()))
        started = now()
        found.append([started, connect(address=address, port=port, protocol=protocol, timeout=timeout, payload="watch").what])
    return found


def open_stream(*, token: str, address: str, port: int, protocol: str, push_ms: int, pull_ms: int, timeout: float) -> Outcome:
    stream = OpenStream(token, address, port, protocol, push_ms=push_ms, pull_ms=pull_ms)
    outcome = stream.open(timeout)
    _streams[token] = stream
    return outcome


def stream(*, token: str) -> Stream:
    return _streams[token].report()


def close_stream(*, token: str) -> Stream:
    return _streams.pop(token).close()


def send_packet(*, packet: str, count: int = 1) -> str:
    """A whole IP packet, with the source it says; the errno's name where the kernel would not send it."""
    data = bytes.fromhex(packet)
    is_ipv6 = data[0] >> 4 == 6
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    destination = socket.inet_ntop(family, data[24:40] if is_ipv6 else data[16:20])
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        try:
            for _ in range(count):
                raw.sendto(data, (destination, 0))
        except OSError as error:
            return attempts.errno_name(error)
    return ""


def ping(*, source: str, address: str, timeout: float) -> Outcome:
    return attempts.ping(packets.echo(source, address, threading.get_native_id() & 0xFFFF), address, timeout)


def listen(*, protocol: str, port: int) -> None:
    """Echo on this port of every address of the pod."""
    threading.Thread(target=attempts.echo_tcp if protocol == "tcp" else attempts.echo_udp, args=(port,), daemon=True).start()


def hello() -> None:
    """Nothing: that it answers is the news."""


def _since(started: float) -> float:
    return (now() - started) * 1000


COMMANDS: Mapping[str, Command] = {
    command.__name__: command
    for command in (
        resolve,
        exchange,
        connect,
        cycle,
        watch,
        open_stream,
        stream,
        close_stream,
        send_packet,
        ping,
        listen,
        hello,
    )
}

if __name__ == "__main__":
    serve(socket.socket(fileno=sys.stdin.fileno()), COMMANDS)
