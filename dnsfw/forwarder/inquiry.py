"""One question on its way to the upstreams, for however many exchanges wait for it.

Plain state, touched by the loop's thread only: `upstreams` moves it on, the sockets of `upstream_udp` and `upstream_tcp` only carry it.
Always true: its waiters are told exactly once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from dnsfw.clock import Instant
from dnsfw.forwarder.timers import Timer
from dnsfw.policy.reasons import Reason


class UpstreamQuery(NamedTuple):
    """`message` as upstream gets it, but for its id, which is 0; `key` is its question; `shared_key`: who asks the same shares the answer.

    source: whose turn its answer takes. exact: the question in the letters' case that an answer must have, if it must.
    """

    message: bytes
    key: bytes
    shared_key: bytes
    source: str = ""
    exact: bytes | None = None


class Reply(NamedTuple):
    """An answer to the very question, from the upstream that was asked. `took` is in seconds, of the joined question's whole way.

    Has TC only if the upstream could not be had over TCP.
    """

    data: bytes
    server: str
    took: float


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer to be had in time."""

    reason: Reason
    detail: str
    took: float = 0.0


Outcome = Reply | Failure
Waiter = Callable[[Outcome], None]


class Carrier(Protocol):
    """A socket that an inquiry went out on."""

    def release(self, message_id: int) -> None:
        """The inquiry is over: what still comes for this id is late."""
        ...


class Inquiry:
    """`order` holds the upstreams as indices, `turn` counts the tries."""

    __slots__ = (
        *("asked_at", "carriers", "deadline", "exact", "fallback", "is_done", "is_over_tcp", "key", "message", "order"),
        *("resends", "shared_key", "source", "timer", "tried_at", "turn", "waiters"),
    )

    def __init__(self, query: UpstreamQuery, order: tuple[int, ...], asked_at: Instant, deadline: Instant, waiter: Waiter) -> None:
        self.message, self.key, self.shared_key, self.source, self.exact = query
        self.order = order
        self.asked_at = asked_at
        self.deadline = deadline
        self.waiters = [waiter]
        self.turn = 0
        self.tried_at = asked_at
        self.resends = 0
        self.is_over_tcp = False
        self.is_done = False
        self.fallback: Reply | None = None
        self.timer: Timer | None = None
        self.carriers: list[tuple[Carrier, int]] = []

    @property
    def server(self) -> int:
        """Index of the upstream being asked now."""
        return self.order[self.turn % len(self.order)]

    def finish(self, outcome: Outcome) -> None:
        self.is_done = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None  # it holds us: a cycle for the collector otherwise
        for carrier, message_id in self.carriers:
            carrier.release(message_id)
        self.carriers.clear()
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter(outcome)
