"""The DNS server that pods see: listeners, exchanges, upstreams, from start to stop.

May touch sockets and timers through its parts. Always true: what arrives is answered, or dropped and counted; after `stop` nothing of it
is left in the loop.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from dnsfw.audit.record import Sink
from dnsfw.clock import Clock, Instant
from dnsfw.forwarder import wire
from dnsfw.forwarder.account import TCP, UDP, Sender
from dnsfw.forwarder.cache import CacheStats
from dnsfw.forwarder.doors import Door, open_door
from dnsfw.forwarder.line import Line
from dnsfw.forwarder.listener_tcp import TcpListener
from dnsfw.forwarder.listener_udp import ClientAddress, Handler, UdpListener, Way
from dnsfw.forwarder.perform import InterfaceOf, Performer, SnapshotOf, UnreadyOf
from dnsfw.forwarder.settings import Endpoint, ForwarderSettings
from dnsfw.forwarder.timers import Timers
from dnsfw.forwarder.upstreams import Upstreams, UpstreamSettings, UpstreamStats
from dnsfw.policy.grants import Grants
from dnsfw.policy.reasons import Reason

STOP_SECONDS: Final = 2.0


class Fast:
    """A shorter way for what comes over UDP; it gives what the exchange gives, byte for byte (the agent brings `dnsfw.hot`)."""

    def answer(self, data: bytes, source: str, way: Way, address: ClientAddress) -> bool:
        """Whether it has answered and recorded the query; False: it is as if it had not been asked."""
        raise NotImplementedError

    def learn(self, data: bytes, query: wire.Query, source: str) -> None:
        """This query goes the long way now."""
        raise NotImplementedError


FastOf = Callable[[Performer], Fast]


class ForwarderStats(NamedTuple):
    """Counts since the start, but for in_flight, waiting (for their pod) and tcp_connections. Workers send it, as `CacheStats`.

    queries: all but what was dropped. by_decision, by_reason: of those that are over, in the words of the audit. dropped: what got no
    answer, by why.
    """

    queries: int
    by_decision: Mapping[str, int]
    by_reason: Mapping[str, int]
    dropped: Mapping[str, int]
    in_flight: int
    waiting: int
    tcp_connections: int
    cache: CacheStats
    upstreams: UpstreamStats


class Forwarder(Handler):
    """Made inside the running loop.

    interface_of: on which of the pods' interfaces an unknown source is, if on any; only asked for these. unready: why no query may be
    served now, if so.
    """

    def __init__(
        self,
        settings: ForwarderSettings,
        *,
        snapshot: SnapshotOf,
        grants: Grants,
        sink: Sink,
        clock: Clock,
        interface_of: InterfaceOf,
        unready: UnreadyOf,
        fast: FastOf | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._queries = 0
        self._dropped: Counter[str] = Counter()
        self._udp: list[UdpListener] = []
        self._tcp: list[TcpListener] = []
        self.endpoints: tuple[Endpoint, ...] = ()
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._timers = Timers(loop, clock)
        self._line = Line(loop, clock, lambda: len(self._performer.in_flight))
        self._line.at_end.append(grants.flush)
        upstreams = UpstreamSettings(addresses=settings.upstreams, try_seconds=settings.upstream_seconds)
        self._upstreams = Upstreams(upstreams, loop, clock, self._timers, self._line)
        self._performer = Performer(
            settings,
            snapshot=snapshot,
            grants=grants,
            sink=sink,
            clock=clock,
            timers=self._timers,
            upstreams=self._upstreams,
            interface_of=interface_of,
            unready=unready,
        )
        self._fast = None if fast is None else fast(self._performer)

    async def start(self, doors: Iterable[Door] | None = None) -> None:
        """Listens everywhere, or nowhere: ListenError names the address. Without doors it opens its own; in any case they are its now."""
        try:
            for door in map(open_door, self._settings.listen) if doors is None else doors:
                await self._listen(door)
        except BaseException:
            self._close()
            raise

    async def stop(self, deadline: Instant) -> None:
        """What is under way is finished, and what is not by `deadline` gets SERVFAIL; so does what comes in meanwhile."""
        self._performer.stopping = True
        for tcp in self._tcp:
            tcp.stop_accepting()
        if len(self._performer.in_flight):
            await self._settled(max(deadline - self._clock.now(), 0.0))
        self._performer.abort_all(Reason.STOPPING)
        # One turn for the sockets to take what was just written.
        await asyncio.sleep(0)
        self._close()

    def snapshot_changed(self) -> None:
        self._performer.snapshot_changed()

    def handle(self, data: bytes, source: str, transport: str, way: Way, address: ClientAddress) -> bool:
        fast = self._fast if transport == UDP else None
        if fast is not None and fast.answer(data, source, way, address):
            self._queries += 1
            return True
        query = wire.parse_query(data)
        if isinstance(query, wire.Rejected):
            return self._reject(query, source, transport, way, address)
        self._queries += 1
        if fast is not None:
            fast.learn(data, query, source)
        self._performer.begin(query, Sender(source=source, transport=transport, at=self._clock.wall()), way, address)
        return True

    def crowd_out(self, source: str) -> None:
        self._performer.refuse_unread(Sender(source=source, transport=UDP, at=self._clock.wall()), Reason.CROWDED_OUT)

    def stats(self) -> ForwarderStats:
        performer = self._performer
        return ForwarderStats(
            queries=self._queries,
            by_decision=performer.tallies.by_decision(),
            by_reason=performer.tallies.by_reason(),
            dropped=dict(self._dropped + self._dropped_by_listeners()),
            in_flight=len(performer.in_flight),
            waiting=performer.waiting,
            tcp_connections=sum(tcp.connections for tcp in self._tcp),
            cache=performer.cache.stats(),
            upstreams=self._upstreams.stats(),
        )

    async def _listen(self, door: Door) -> None:
        self._udp.append(UdpListener(self, door.udp, self._loop, self._line))
        refused = self._on_connection_refused
        tcp = TcpListener(self, self._settings, loop=self._loop, clock=self._clock, timers=self._timers, on_refused=refused)
        self._tcp.append(tcp)
        await tcp.listen(door.tcp)
        self.endpoints += (door.endpoint,)

    async def _settled(self, seconds: float) -> None:
        idle = asyncio.Event()
        self._performer.when_idle = idle.set
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(idle.wait(), min(seconds, STOP_SECONDS))

    def _close(self) -> None:
        for udp in self._udp:
            udp.close()
        for tcp in self._tcp:
            tcp.close()
        self._upstreams.close()
        self._timers.close()

    def _on_connection_refused(self, source: str) -> None:
        self._performer.refuse_unread(Sender(source=source, transport=TCP, at=self._clock.wall()), Reason.TOO_MANY_CONNECTIONS)

    def _reject(self, rejected: wire.Rejected, source: str, transport: str, way: Way, address: ClientAddress) -> bool:
        if rejected.rcode is None:
            self._dropped[rejected.detail] += 1
            return False
        self._queries += 1
        self._performer.reject(rejected, Sender(source=source, transport=transport, at=self._clock.wall()), way, address)
        return True

    def _dropped_by_listeners(self) -> Counter[str]:
        dropped: Counter[str] = Counter()
        for udp in self._udp:
            dropped.update({"source port 0": udp.counts.port_zero, "answer not sent": udp.counts.unsent})
            dropped.update({"too many in line": udp.counts.crowded_out, "socket not readable": udp.counts.unreadable})
        for tcp in self._tcp:
            counts = tcp.counts
            dropped.update({"tcp: too many connections": counts.over_limit, "tcp: no message": counts.no_message})
            dropped.update({"tcp: too slow": counts.timed_out, "tcp: does not read": counts.not_reading})
        return dropped
