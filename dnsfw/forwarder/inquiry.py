"""One question on its way to the upstreams, for however many exchanges wait for it.

Plain state, touched by the loop's thread only: `upstreams` moves it on, the sockets of `upstream_udp` and `upstream_tcp` only carry it.
Always true: its waiters are told exactly once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dnsfw.clock import Instant
from dnsfw.forwarder.timers import Timer, Waiting
from dnsfw.policy.reasons import Reason


class UpstreamQuery:
    """`message` as upstream gets it, but for its id, which is 0; `key` is its question; `shared_key`: who asks the same shares the answer.

    source: whose turn its answer takes. exact: the question in the letters' case that an answer must have, if it must.
    """

    __slots__ = ("exact", "key", "message", "shared_key", "source")

    def __init__(self, message: bytes, key: bytes, shared_key: bytes, source: str = "", exact: bytes | None = None) -> None:
        self.message = message
        self.key = key
        self.shared_key = shared_key
        self.source = source
        self.exact = exact


class Reply:
    """An answer to the very question, from the upstream that was asked. `took` is in seconds, of the joined question's whole way.

    Has TC only if the upstream could not be had over TCP.
    """

    __slots__ = ("data", "server", "took")

    def __init__(self, data: bytes, server: str, took: float) -> None:
        self.data = data
        self.server = server
        self.took = took


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


class Inquiry(Waiting):
    """`order` holds the upstreams as indices, `turn` counts the tries."""

    __slots__ = (
        *("_carrier", "_joined", "_message_id", "_others", "_waiter"),
        *("asked_at", "deadline", "exact", "fallback", "is_done", "is_over_tcp", "key", "message", "order"),
        *("resends", "shared_key", "source", "timer", "tried_at", "turn"),
    )

    def __init__(self, query: UpstreamQuery, order: tuple[int, ...], asked_at: Instant, deadline: Instant, waiter: Waiter) -> None:
        super().__init__()
        self.message = query.message
        self.key = query.key
        self.shared_key = query.shared_key
        self.source = query.source
        self.exact = query.exact
        self.order = order
        self.asked_at = asked_at
        self.deadline = deadline
        # Nearly all have one waiter and one carrier: no lists for these.
        self._waiter = waiter
        self._joined: list[Waiter] | None = None
        self._carrier: Carrier | None = None
        self._message_id = 0
        self._others: list[tuple[Carrier, int]] | None = None
        self.turn = 0
        self.tried_at = asked_at
        self.resends = 0
        self.is_over_tcp = False
        self.is_done = False
        self.fallback: Reply | None = None
        self.timer: Timer | None = None

    @property
    def server(self) -> int:
        """Index of the upstream being asked now."""
        return self.order[self.turn % len(self.order)]

    def join(self, waiter: Waiter) -> None:
        """One more is told how it ends."""
        if self._joined is None:
            self._joined = []
        self._joined.append(waiter)

    def carried(self, carrier: Carrier, message_id: int) -> None:
        """It goes out on `carrier` with this id."""
        if self._carrier is None:
            self._carrier, self._message_id = carrier, message_id
            return
        if self._others is None:
            self._others = []
        self._others.append((carrier, message_id))

    def let_go(self, carrier: Carrier, message_id: int) -> None:
        """`carrier` needs no release for this id any more."""
        if self._carrier is carrier and self._message_id == message_id:
            self._carrier = None

    def finish(self, outcome: Outcome) -> None:
        if self.is_done:
            return
        self.is_done = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None  # it holds us: a cycle for the collector otherwise
        self._release()
        self._waiter(outcome)
        if self._joined is not None:
            for waiter in self._joined:
                waiter(outcome)

    def _release(self) -> None:
        if self._carrier is not None:
            self._carrier.release(self._message_id)
            self._carrier = None
        if self._others is not None:
            for carrier, message_id in self._others:
                carrier.release(message_id)
            self._others = None
