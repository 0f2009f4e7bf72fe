"""One upstream: the two ways to it, its health, its counts.

May touch sockets through `UdpPool` and `TcpLane`. Always true: what happens on either way reaches the events, with the server it happened
to.
"""

import asyncio
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

from dnsfw.clock import Clock
from dnsfw.forwarder.health import Health
from dnsfw.forwarder.inquiry import Inquiry
from dnsfw.forwarder.settings import Endpoint
from dnsfw.forwarder.timers import Timers
from dnsfw.forwarder.upstream_tcp import TcpLane
from dnsfw.forwarder.upstream_udp import PoolLimits, UdpPool


class State(Enum):
    UP = "up"
    DOWN = "down"


class ServerStats(NamedTuple):
    """One upstream, as status shows it. mismatches: datagrams that were no answer to anything asked there.

    A named tuple for the same reason as CacheStats.
    """

    address: str
    state: State
    answers: int
    timeouts: int
    refusals: int
    mismatches: int
    late: int
    udp_opened: int
    tcp_opened: int


class ServerEvents(Protocol):
    """What an upstream's sockets have to say."""

    def on_reply(self, server: "Server", inquiry: Inquiry, data: bytes) -> None: ...

    def on_refused(self, server: "Server", inquiry: Inquiry) -> None: ...

    def on_exposed(self, server: "Server", inquiry: Inquiry) -> None: ...

    def on_unsent(self, server: "Server", inquiry: Inquiry, number: int) -> None: ...

    def on_tcp_failed(self, server: "Server", inquiry: Inquiry) -> None: ...


class Server:
    """`index` is its place in the operator's order."""

    def __init__(
        self,
        *,
        index: int,
        endpoint: Endpoint,
        health: Health,
        limits: PoolLimits,
        events: ServerEvents,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        timers: Timers,
    ) -> None:
        self.index = index
        self.label = str(endpoint)
        self.health = health
        self.answers = self.timeouts = self.refusals = 0
        reply = partial(events.on_reply, self)
        refused, exposed, failed = (partial(call, self) for call in (events.on_refused, events.on_exposed, events.on_tcp_failed))
        unsent = partial(events.on_unsent, self)
        self.udp = UdpPool(endpoint, loop, limits, on_reply=reply, on_refused=refused, on_exposed=exposed, on_unsent=unsent)
        self.tcp = TcpLane(endpoint, loop, clock, timers, on_reply=reply, on_failed=failed)

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()

    def stats(self) -> ServerStats:
        return ServerStats(
            address=self.label,
            state=State.DOWN if self.health.is_down else State.UP,
            answers=self.answers,
            timeouts=self.timeouts,
            refusals=self.refusals,
            mismatches=self.udp.counts.mismatches + self.tcp.counts.mismatches,
            late=self.udp.counts.late + self.tcp.counts.late,
            udp_opened=self.udp.counts.opened,
            tcp_opened=self.tcp.counts.opened,
        )
