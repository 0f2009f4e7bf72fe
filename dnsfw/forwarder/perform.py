"""Performs what exchanges want: asks, waits, sends, records.

May touch everything that it is given: upstreams, grants, sink, timers, the ways back to clients. Always true: every exchange that begins
ends with one response and one record, at its deadline at the latest; each wait is bounded in time and in number; no task and no timer of
the loop is made for a query, and where cache and grants answer at once the answer leaves within the call that brought the query.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, cast

from dnsfw.audit.record import QueryRecord, Sink
from dnsfw.clock import Clock, Instant
from dnsfw.forwarder import events
from dnsfw.forwarder.account import Sender
from dnsfw.forwarder.admission import InFlight, Rate
from dnsfw.forwarder.answer import Malformed, parse_response
from dnsfw.forwarder.cache import Cache
from dnsfw.forwarder.events import Received
from dnsfw.forwarder.exchange import Exchange, reject, unread
from dnsfw.forwarder.inquiry import Outcome, Reply, UpstreamQuery, Waiter
from dnsfw.forwarder.listener_udp import ClientAddress, Way
from dnsfw.forwarder.respond import make_upstream_query
from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.forwarder.tallies import Tallies
from dnsfw.forwarder.timers import TICK_SECONDS, Timer, Timers
from dnsfw.forwarder.wire import Query, Rejected
from dnsfw.policy.grants import GrantOutcome, Grants
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Snapshot, Subject
from dnsfw.ring import Link, Ring

MAX_IN_FLIGHT: Final = 16_384  # queries of all pods; about 4 kB each
MAX_WAITING: Final = 1024  # of them, those from addresses that may become pods
GRANT_SECONDS: Final = 1.0  # what `Grants.request` may take, kept free behind the upstreams' share
TIMER_SECONDS: Final = 2 * TICK_SECONDS  # what a coarse timer may be late

SnapshotOf = Callable[[], Snapshot | None]
InterfaceOf = Callable[[str], str | None]
UnreadyOf = Callable[[], Reason | None]


class Asking(Protocol):
    """Whoever asks upstream: `forwarder.upstreams.Upstreams`."""

    def ask(self, query: UpstreamQuery, deadline: Instant, then: Waiter) -> None: ...


class Call(Link):
    """An exchange in the hands of the service. is_taken: it is under way."""

    __slots__ = ("_exchange", "address", "deadline", "is_taken", "owner", "source", "wait", "way")

    def __init__(self, exchange: Exchange, source: str, way: Way, address: ClientAddress) -> None:
        self._exchange: Exchange | None = exchange
        self.deadline = exchange.deadline
        self.source = source
        self.way = way
        self.address = address
        self.owner = source
        self.wait: Timer | None = None
        self.is_taken = False

    @property
    def exchange(self) -> Exchange:
        if self._exchange is None:
            raise AssertionError("has none, and does not make it")
        return self._exchange


class Performer:
    """All exchanges that are under way."""

    def __init__(
        self,
        settings: ForwarderSettings,
        *,
        snapshot: SnapshotOf,
        grants: Grants,
        sink: Sink,
        clock: Clock,
        timers: Timers,
        upstreams: Asking,
        interface_of: InterfaceOf,
        unready: UnreadyOf,
    ) -> None:
        self._settings = settings
        self._snapshot = snapshot
        self._grants = grants
        self._sink = sink
        self._clock = clock
        self._timers = timers
        self.upstreams = upstreams
        self._interface_of = interface_of
        self._unready = unready
        self.cache = Cache(settings)
        self._calls = Ring()
        self._waiting: dict[Call, None] = {}
        self._parsed: tuple[Reply, Received | Malformed] | None = None
        self.in_flight = InFlight(settings.in_flight_per_pod, MAX_IN_FLIGHT)
        self._queries = Rate(settings.queries_per_second, 1.0)
        self._names = Rate(settings.names_per_minute, 60.0)
        self.tallies = Tallies()
        self._is_looking = False  # whether `_end_late` is to come
        self.stopping = False
        self.when_idle: Callable[[], None] | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, call: Call) -> None:
        """It is under way, until `end` or `leave`. All have the same time, so that the first that came is the first that is late."""
        call.is_taken = True
        self._calls.append(call)
        self._look_later()
        self.in_flight.enter(call.owner)

    def begin(self, query: Query, sender: Sender, way: Way, address: ClientAddress) -> None:
        now = self._clock.now()
        call = Call(Exchange(query, sender, self._settings, now), sender.source, way, address)
        identity = self.identity(call.source)
        if isinstance(identity, Subject):
            call.owner = identity.pod.uid
        refusal = self._refusal(call, now)
        if refusal is not None:
            self.run(call, events.Aborted(refusal, identity))
            return
        self.run(call, events.Identified(identity))
        if not call.exchange.is_done:
            self.take(call)

    def _look_later(self) -> None:
        """One look for all, however often the last call ends and another one comes."""
        if not self._is_looking:
            self._is_looking = True
            self._timers.add(self._clock.now(), self._end_late)

    def _end_late(self) -> None:
        """Comes every tick while anything is under way: cheaper than a timer for each, which hardly ever comes."""
        self._is_looking = False
        late = self._clock.now() + TIMER_SECONDS
        while (first := self._first) is not None and first.deadline <= late:
            self.run(first, events.DeadlinePassed())
        if len(self.in_flight):
            self._look_later()

    @property
    def _first(self) -> Call | None:
        first = self._calls.after
        return None if first is self._calls else cast("Call", first)

    def _refusal(self, call: Call, now: Instant) -> Reason | None:
        if self.stopping:
            return Reason.STOPPING
        if not self._queries.takes(call.owner, call, now):
            return Reason.QUERY_RATE
        return self.in_flight.refusal(call.owner)

    def refuse_unread(self, sender: Sender, reason: Reason) -> None:
        for effect in unread(sender, self.identity(sender.source), reason):
            self._keep(effect.record)

    def reject(self, rejected: Rejected, sender: Sender, way: Way, address: ClientAddress) -> None:
        for effect in reject(rejected, sender, self.identity(sender.source)):
            match effect:
                case events.Respond(data):
                    way.send(data, address)
                case events.Record(record):
                    self._keep(record)

    def snapshot_changed(self) -> None:
        """Whoever waits to become a pod may have become one."""
        for call in list(self._waiting):
            identity = self.identity(call.source)
            if identity is not Reason.UNKNOWN_POD:
                self.run(call, events.Identified(identity))

    def abort_all(self, reason: Reason) -> None:
        while (first := self._first) is not None:
            self.run(first, events.Aborted(reason, self.identity(first.source)))

    def run(self, call: Call, event: events.Event | None) -> None:
        """Event in, effects out, until the exchange waits for somebody else or is over."""
        exchange = call.exchange
        while event is not None:
            effects = exchange.handle(event, self._clock.now())
            event = None
            for effect in effects:
                event = self._perform(call, effect) or event
        if exchange.is_done:
            self.end(call)

    def _perform(self, call: Call, effect: events.Effect) -> events.Event | None:
        """What the effect yields at once; else its event comes later."""
        match effect:
            case events.Ask(query):
                return self._ask(call, query)
            case events.EnsureGrants():
                return self._ensure(call, effect)
            case events.Respond(data):
                call.way.send(data, call.address)
            case events.Record(record):
                self._keep(record)
            case events.WaitForPod(until):
                return self._wait(call, until)
        return None

    def _keep(self, record: QueryRecord) -> None:
        self.tallies.of(record.decision, record.reason).count += 1
        self._sink(record)

    def end(self, call: Call) -> None:
        self._waiting.pop(call, None)
        if call.wait is not None:
            call.wait.cancel()
            call.wait = None  # it holds the call: a cycle for the collector otherwise
        if call.is_taken:
            self.leave(call)

    def leave(self, call: Call) -> None:
        """It was under way, and is over."""
        call.is_taken = False
        call.leave()
        self.in_flight.leave(call.owner)
        if self.when_idle is not None and not len(self.in_flight):
            self.when_idle()

    # Who asks

    def identity(self, source: str) -> events.Identity:
        if (unready := self._unready()) is not None:
            return unready
        identity = events.identify(self._snapshot(), source, is_pod_interface=False)
        if identity is Reason.UNKNOWN_SOURCE and self._interface_of(source) is not None:
            return Reason.UNKNOWN_POD
        return identity

    def _wait(self, call: Call, until: Instant) -> events.Event | None:
        if len(self._waiting) >= MAX_WAITING:
            return events.Aborted(Reason.QUEUE_FULL, Reason.UNKNOWN_POD)
        self._waiting[call] = None
        call.wait = self._timers.add(until - TIMER_SECONDS, partial(self._wait_over, call))
        return None

    def _wait_over(self, call: Call) -> None:
        self.run(call, events.Identified(self.identity(call.source)))

    # What is asked

    def _ask(self, call: Call, query: Query) -> events.Event | None:
        now = self._clock.now()
        if not self._names.takes((call.owner, call.exchange.rule), hash(query.name), now):
            return events.Aborted(Reason.NAME_RATE, self.identity(call.source))
        if (hit := self.cache.get(query.shared_key, now)) is not None:
            received, age = hit
            return events.Replied(received, self.identity(call.source), age, is_cached=True)
        deadline = max(call.exchange.deadline - GRANT_SECONDS - TIMER_SECONDS, now)
        asked = UpstreamQuery(make_upstream_query(query), query.key, query.shared_key, call.source)
        self.upstreams.ask(asked, deadline, partial(self.on_outcome, call))
        return None

    def on_outcome(self, call: Call, outcome: Outcome) -> None:
        if not isinstance(outcome, Reply):
            self.run(call, events.UpstreamFailed(outcome.reason))
            return
        query = call.exchange.query
        received = self.parse(query.key, query.shared_key, outcome, self._clock.now())
        if isinstance(received, Malformed):
            self.run(call, events.UpstreamFailed(Reason.MALFORMED_ANSWER))
        else:
            self.run(call, events.Replied(received, self.identity(call.source)))

    def parse(self, key: bytes, shared_key: bytes, reply: Reply, now: Instant) -> Received | Malformed:
        """Once for all who share it: upstreams tells them one after the other."""
        if self._parsed is not None and self._parsed[0] is reply:
            return self._parsed[1]
        answer = parse_response(reply.data, key)
        if isinstance(answer, Malformed):
            self._parsed = (reply, answer)
            return answer
        received = Received(reply.data, answer, now)
        self.cache.put(shared_key, received)
        self._parsed = (reply, received)
        return received

    # Grants

    def _ensure(self, call: Call, wanted: events.EnsureGrants) -> events.Event | None:
        """Told at once, the news is this call's; told later, it comes by itself."""
        told: list[GrantOutcome] = []
        is_later = False

        def then(outcome: GrantOutcome) -> None:
            if is_later:
                self.run(call, events.GrantsSettled(outcome, self.identity(call.source)))
            else:
                told.append(outcome)

        self._grants.request(wanted.subject, wanted.name, wanted.addresses, wanted.ttl, then)
        is_later = True
        return events.GrantsSettled(told[0], self.identity(call.source)) if told else None
