"""Asks the upstreams a question until one answers or time is up; identical questions in flight share one way.

May touch sockets (through `Server`) and timers. Always true: every `ask` is answered exactly once, at its deadline at the latest; a
question is tried a bounded number of times; only silence and refusals count against an upstream.

The way of a question: the first upstream in order that is not down; after `try_seconds` of silence, or at once after a refusal, the next
one, while late answers of the former still count; SERVFAIL and REFUSED are checked once with the next; TC, or a port that strangers have
found, means TCP.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dnsfw.clock import Clock, Instant
from dnsfw.forwarder import wire
from dnsfw.forwarder.health import Health
from dnsfw.forwarder.inquiry import Failure, Inquiry, Reply, UpstreamQuery, Waiter
from dnsfw.forwarder.line import Line, Work
from dnsfw.forwarder.server import Server, ServerStats
from dnsfw.forwarder.settings import Endpoint
from dnsfw.forwarder.timers import Patience, Timers
from dnsfw.forwarder.upstream_udp import LOCAL_ERRNOS, PoolLimits
from dnsfw.forwarder.vigil import Vigil
from dnsfw.policy.reasons import Reason

TC_BIT: Final = 0x02  # of the header's third byte
# ". NS" without recursion: any server says something to that from memory.
PROBE: Final = UpstreamQuery(bytes.fromhex("0000000000010000000000000000020001"), bytes.fromhex("0000020001"), b"")
PROBE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """addresses: in the order of preference. try_seconds: how long one try waits before the next starts.

    rounds: how often all of them are tried where they refuse, with `round_pause_seconds` (doubling) in between. failures_to_down: that many
    without an answer in between, and it is passed over until a probe finds it back. max_inquiries: questions in flight. join_seconds: how
    young a question in flight must be for another asker to share its way, and its fate.
    """

    addresses: tuple[Endpoint, ...]
    try_seconds: float = 0.8
    rounds: int = 3
    round_pause_seconds: float = 0.25
    failures_to_down: int = 3
    probe_max_seconds: float = 0.7
    max_inquiries: int = 16_384
    join_seconds: float = 1.0
    pool: PoolLimits = field(default_factory=PoolLimits)


class UpstreamStats(NamedTuple):
    """Counts since the start, but for `in_flight`. A named tuple for the same reason as CacheStats."""

    in_flight: int
    asked: int
    joined: int
    failed: int
    servers: tuple[ServerStats, ...]


class Upstreams(Work):
    """All upstreams, and all questions on their way to them."""

    def __init__(self, settings: UpstreamSettings, loop: asyncio.AbstractEventLoop, clock: Clock, timers: Timers, line: Line) -> None:
        self._settings = settings
        self._line = line
        self._now = clock.now
        self._timers = timers
        self._joinable: dict[bytes, Inquiry] = {}
        self._in_flight: set[Inquiry] = set()
        self._asked = self._joined = self._failed = 0
        self._is_closed = self._is_leaving = False
        line.at_end.append(self._leave)
        self._vigil = Vigil(loop, clock, lambda: len(self._in_flight))
        self._servers = tuple(
            Server(
                index=index,
                endpoint=endpoint,
                health=self._health(),
                limits=settings.pool,
                events=self,
                loop=loop,
                clock=clock,
                timers=timers,
            )
            for index, endpoint in enumerate(settings.addresses)
        )
        self._order = tuple(range(len(self._servers)))
        self._tries: Patience[Inquiry] = Patience(settings.try_seconds, timers, clock, self._on_try_over)

    def ask(self, query: UpstreamQuery, deadline: Instant, then: Waiter) -> None:
        """`then` may be called before this returns."""
        now = self._now()
        inquiry = self._joinable.get(query.shared_key)
        if inquiry is not None and now - inquiry.asked_at < self._settings.join_seconds:
            self._joined += 1
            inquiry.join(then)
            return
        if len(self._in_flight) >= self._settings.max_inquiries or self._is_closed:
            then(Failure(Reason.QUEUE_FULL, "too many questions on their way to the upstreams"))
            return
        inquiry = Inquiry(query, self._order, now, deadline, then)
        self._joinable[query.shared_key] = inquiry
        self._in_flight.add(inquiry)
        self._asked += 1
        self._try(inquiry, now)
        if inquiry.is_waiting and self._line.is_short:
            self._vigil.begin(now)

    def stats(self) -> UpstreamStats:
        return UpstreamStats(
            in_flight=len(self._in_flight),
            asked=self._asked,
            joined=self._joined,
            failed=self._failed,
            servers=tuple(server.stats() for server in self._servers),
        )

    def close(self) -> None:
        """What is in flight fails."""
        self._is_closed = True
        for inquiry in list(self._in_flight):
            self._finish(inquiry, Failure(Reason.STOPPING, "stopping"))
        self._tries.close()
        self._vigil.close()
        for server in self._servers:
            server.close()

    # What the sockets say

    def on_reply(self, server: Server, inquiry: Inquiry, data: bytes) -> None:
        now = self._now()
        server.answers += 1
        if server.health.heard(now):
            self._reorder()
        reply = Reply(data, server.label, now - inquiry.asked_at)
        if data[2] & TC_BIT and not inquiry.is_over_tcp:
            inquiry.fallback = reply
            self._over_tcp(inquiry, server, now)
        elif data[3] & wire.RCODE in (wire.SERVFAIL, wire.REFUSED) and inquiry.fallback is None and len(inquiry.order) > 1:
            inquiry.fallback = reply
            self._try_next(inquiry, now)
        elif self._line.is_short:
            self._finish(inquiry, reply)
        else:
            self._line.put_answer(inquiry.source, self, inquiry, reply)

    def on_refused(self, server: Server, inquiry: Inquiry) -> None:
        self._note_refused(server, inquiry.tried_at)
        if self._servers[inquiry.server] is server and not inquiry.is_over_tcp:
            self._try_next(inquiry, self._now(), f"{server.label} refused")

    def on_exposed(self, server: Server, inquiry: Inquiry) -> None:
        if self._servers[inquiry.server] is server and not inquiry.is_over_tcp:
            self._over_tcp(inquiry, server, self._now())

    def on_unsent(self, server: Server, inquiry: Inquiry, number: int) -> None:
        if self._servers[inquiry.server] is server and not inquiry.is_over_tcp:
            self._try_elsewhere(server, inquiry, self._now(), number)

    def on_tcp_failed(self, server: Server, inquiry: Inquiry) -> None:
        if self._servers[inquiry.server] is server and not inquiry.is_done:
            self._try_next(inquiry, self._now(), f"{server.label} cannot be reached over TCP")

    def do(self, inquiry: Inquiry, reply: Reply, /) -> None:
        """An answer whose turn has come."""
        self._finish(inquiry, reply)

    # The way of one question

    def _try(self, inquiry: Inquiry, now: Instant) -> None:
        server = self._servers[inquiry.server]
        inquiry.tried_at = now
        inquiry.is_over_tcp = False
        try:
            server.udp.send(inquiry, now, is_later=self._line.is_turn and not self._is_leaving)
        except OSError as error:
            self._try_elsewhere(server, inquiry, now, error.errno or 0)
        else:
            self._wait(inquiry, now)

    def _leave(self) -> None:
        """Questions of one turn leave together at its end; what they lead to leaves at once."""
        self._is_leaving = True
        try:
            for server in self._servers:
                server.udp.leave()
        finally:
            self._is_leaving = False

    def _try_elsewhere(self, server: Server, inquiry: Inquiry, now: Instant, number: int) -> None:
        if number not in LOCAL_ERRNOS:
            self._note_refused(server, now)
        self._try_next(inquiry, now, f"{server.label}: {os.strerror(number).lower()}")

    def _wait(self, inquiry: Inquiry, now: Instant) -> None:
        """Of a thousand tries one is silent: hardly any needs a timer of its own."""
        if inquiry.timer is not None:
            inquiry.timer.cancel()
            inquiry.timer = None
        if now + self._settings.try_seconds <= inquiry.deadline:
            self._tries.add(inquiry, now)
        else:
            self._wake_at(inquiry, inquiry.deadline, self._on_silence)

    def _on_try_over(self, inquiry: Inquiry, since: Instant) -> None:
        if not inquiry.is_over_tcp and inquiry.tried_at == since:
            self._on_silence(inquiry)

    def _try_next(self, inquiry: Inquiry, now: Instant, detail: str = "") -> None:
        """The next upstream in order; behind the last one a pause, behind the last round the end."""
        if inquiry.is_done:
            return
        inquiry.turn += 1
        rounds, place = divmod(inquiry.turn, len(inquiry.order))
        if place:
            self._try(inquiry, now)
        elif inquiry.fallback is not None or now >= inquiry.deadline:
            self._give_up(inquiry, detail)
        elif now - inquiry.tried_at >= self._settings.try_seconds:
            self._try(inquiry, now)  # silence has been pause enough
        elif rounds >= self._settings.rounds:
            self._give_up(inquiry, detail)
        else:
            self._wake_at(inquiry, now + self._settings.round_pause_seconds * 2 ** (rounds - 1), self._on_pause_over)

    def _over_tcp(self, inquiry: Inquiry, server: Server, now: Instant) -> None:
        inquiry.is_over_tcp = True
        inquiry.tried_at = now
        self._wake_at(inquiry, now + 2 * self._settings.try_seconds, self._on_silence)
        server.tcp.send(inquiry)

    def _on_silence(self, inquiry: Inquiry) -> None:
        now = self._now()
        if not inquiry.is_over_tcp and now - inquiry.tried_at >= self._settings.try_seconds:
            self._note_timeout(self._servers[inquiry.server], inquiry.tried_at)
        if inquiry.fallback is not None or now >= inquiry.deadline:
            self._give_up(inquiry, "", Reason.UPSTREAM_TIMEOUT)
        else:
            self._try_next(inquiry, now)

    def _on_pause_over(self, inquiry: Inquiry) -> None:
        now = self._now()
        if now >= inquiry.deadline:
            self._give_up(inquiry, "")
        else:
            self._try(inquiry, now)

    def _wake_at(self, inquiry: Inquiry, due: Instant, call: Callable[[Inquiry], None]) -> None:
        self._tries.drop(inquiry)  # a pause is no silence
        if inquiry.timer is not None:
            inquiry.timer.cancel()
        inquiry.timer = self._timers.add(min(due, inquiry.deadline), lambda: call(inquiry))

    def _give_up(self, inquiry: Inquiry, detail: str, reason: Reason = Reason.UPSTREAM_FAILED) -> None:
        if inquiry.fallback is not None:
            self._finish(inquiry, inquiry.fallback)
            return
        self._failed += 1
        self._finish(inquiry, Failure(reason, detail or "no upstream has answered", self._now() - inquiry.asked_at))

    def _finish(self, inquiry: Inquiry, outcome: Reply | Failure) -> None:
        if inquiry.is_done:
            return  # while its answer stood in line, its time ran out
        self._tries.drop(inquiry)
        self._in_flight.discard(inquiry)
        if self._joinable.get(inquiry.shared_key) is inquiry:
            del self._joinable[inquiry.shared_key]
        inquiry.finish(outcome)

    # Health

    def _health(self) -> Health:
        return Health(self._settings.failures_to_down, self._settings.probe_max_seconds)

    def _note_refused(self, server: Server, asked_at: Instant) -> None:
        server.refusals += 1
        if server.health.failed(asked_at):
            self._on_down(server)

    def _note_timeout(self, server: Server, asked_at: Instant) -> None:
        server.timeouts += 1
        if server.health.failed(asked_at):
            self._on_down(server)

    def _on_down(self, server: Server) -> None:
        self._reorder()
        self._probe_later(server)

    def _reorder(self) -> None:
        self._order = tuple(sorted(range(len(self._servers)), key=lambda index: self._servers[index].health.is_down))

    def _probe_later(self, server: Server) -> None:
        self._timers.add(self._now() + server.health.next_probe(), lambda: self._probe(server))

    def _probe(self, server: Server) -> None:
        if not server.health.is_down or self._is_closed:
            return
        now = self._now()
        probe = Inquiry(PROBE, (server.index,), now, now + PROBE_SECONDS, lambda _: None)
        self._in_flight.add(probe)
        self._probe_later(server)
        self._try(probe, now)
