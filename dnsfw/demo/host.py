"""A place to try from: what a program in a pod, on the node or out there would do, and what became of it.

Touches nothing itself: the probe process in the namespace does. Every method waits for its end; `begin` gives a future instead, for
things that happen at the same time.
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from dnsfw.demo import packets, topology
from dnsfw.demo.line import Line
from dnsfw.demo.results import Answer, Cycles, Outcome, Stream
from dnsfw.demo.wires import Json

_SLACK_S = 10.0
_tokens = itertools.count(1)


class Host:
    def __init__(self, place: str, line: Line) -> None:
        self.place = place
        self._line = line

    def begin(self, command: str, **arguments: Json) -> "Future[Any]":
        """A command of dnsfw.demo.probe, not waited for."""
        return self._line.ask(command, **arguments)

    def resolve(
        self,
        name: str,
        qtype: str = "A",
        *,
        server: str = topology.LISTEN4,
        port: int = 53,
        is_tcp: bool = False,
        timeout: float = 5.0,
        has_edns: bool = True,
    ) -> Answer:
        return Answer(
            **self._ask(
                timeout, "resolve", name=name, qtype=qtype, server=server, port=port, is_tcp=is_tcp, timeout=timeout, has_edns=has_edns
            )
        )

    def exchange(
        self, query: bytes, *, server: str = topology.LISTEN4, port: int = 53, is_tcp: bool = False, timeout: float = 5.0
    ) -> bytes:
        """Any bytes to the resolver; b"" where nothing came back."""
        return bytes.fromhex(self._ask(timeout, "exchange", query=query.hex(), server=server, port=port, is_tcp=is_tcp, timeout=timeout))

    def connect(self, address: str, port: int = 443, protocol: str = "tcp", *, timeout: float = 1.0, payload: str = "") -> Outcome:
        """TCP: the handshake (and, with a payload, its echo). UDP: an echo.

        The kernel sends one peer six ICMP errors at once and then one a second (net.ipv4.icmp_ratelimit): a refusal by ICMP turns into
        a timeout when many are asked for. An RST is never held back.
        """
        return Outcome(**self._ask(timeout, "connect", address=address, port=port, protocol=protocol, timeout=timeout, payload=payload))

    def fetch(self, name: str, port: int = 443, qtype: str = "A", *, protocol: str = "tcp", timeout: float = 1.0) -> Outcome:
        """What a program does: resolve, then connect to the first address."""
        answer = self.resolve(name, qtype)
        if not answer.addresses:
            return Outcome(what="no address", ms=answer.ms, detail=answer.rcode)
        return self.connect(answer.address, port, protocol, timeout=timeout)

    def ping(self, address: str, *, timeout: float = 1.0) -> Outcome:
        source = "::" if ":" in address else "0.0.0.0"  # noqa: S104  only the family matters: the kernel fills in the source
        return Outcome(**self._ask(timeout, "ping", source=source, address=address, timeout=timeout))

    def begin_cycle(
        self,
        names: Sequence[str],
        port: int = 443,
        *,
        qtype: str = "A",
        server: str = topology.LISTEN4,
        timeout: float = 5.0,
        pause: float = 0.0,
    ) -> "Future[Cycles]":
        """For each name: resolve it, connect at once. Runs in the pod; several pods do it at the same time."""
        asked = self.begin("cycle", names=list(names), server=server, port=port, qtype=qtype, timeout=timeout, pause=pause)
        return _typed(asked, Cycles)

    def cycle(self, names: Sequence[str], port: int = 443, **options: Json) -> Cycles:
        return self.begin_cycle(names, port, **options).result()

    def begin_watch(
        self, address: str, port: int = 443, protocol: str = "tcp", *, interval: float, count: int, timeout: float = 0.3
    ) -> "Future[list[list[Any]]]":
        """Try every `interval` seconds: [[when, what became of it], ...]."""
        return self.begin("watch", address=address, port=port, protocol=protocol, interval=interval, count=count, timeout=timeout)

    def open_stream(
        self, address: str, port: int = 443, protocol: str = "tcp", *, push_ms: int = 10, pull_ms: int = 10, timeout: float = 1.0
    ) -> "OpenedStream":
        """A connection that stays: the pod sends every `push_ms`, the far end every `pull_ms`; 0 = not at all."""
        token = f"{self.place}-{next(_tokens)}"
        outcome = Outcome(
            **self._ask(
                timeout,
                "open_stream",
                token=token,
                address=address,
                port=port,
                protocol=protocol,
                push_ms=push_ms,
                pull_ms=pull_ms,
                timeout=timeout,
            )
        )
        return OpenedStream(self, token, outcome)

    def listen(self, port: int, protocol: str = "tcp") -> None:
        """Echo on this port."""
        self._ask(1.0, "listen", protocol=protocol, port=port)

    def send_packet(self, packet: bytes, count: int = 1) -> str:
        """A whole IP packet as it is (see dnsfw.demo.packets); the errno's name where the kernel would not send it."""
        return str(self._ask(60.0, "send_packet", packet=packet.hex(), count=count))

    def send_udp(self, source: str, destination: str, dport: int, payload: bytes, *, sport: int = 40000) -> str:
        return self.send_packet(packets.udp(source, destination, sport, dport, payload))

    def send_syn(self, source: str, destination: str, dport: int, *, sport: int = 40000) -> str:
        return self.send_packet(packets.tcp(source, destination, sport, dport))

    def hello(self) -> None:
        """Wait until the probe answers."""
        self._ask(10.0, "hello")

    def _ask(self, wait: float, command: str, /, **arguments: Json) -> Json:
        return self._line.ask(command, **arguments).result(wait + _SLACK_S)


class OpenedStream:
    """A long connection; `token` is what the internet knows it by (`lab.internet.arrivals(stream.token)`)."""

    def __init__(self, host: Host, token: str, outcome: Outcome) -> None:
        self._host = host
        self.token = token
        self.outcome = outcome

    def report(self) -> Stream:
        return Stream(**self._host.begin("stream", token=self.token).result(_SLACK_S))

    def close(self) -> Stream:
        return Stream(**self._host.begin("close_stream", token=self.token).result(_SLACK_S))


def _typed(asked: "Future[Any]", kind: type[Cycles]) -> "Future[Cycles]":
    typed: Future[Cycles] = Future()

    def pass_on(done: "Future[Any]") -> None:
        error = done.exception()
        if error is not None:
            typed.set_exception(error)
        else:
            typed.set_result(kind(**done.result()))

    asked.add_done_callback(pass_on)
    return typed
