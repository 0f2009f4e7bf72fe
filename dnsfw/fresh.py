"""The hot path of a question that is not remembered: judged, asked or found in the cache, granted, answered, recorded.

Dense on purpose, and allowed to know both sides. Covers what nearly every such question is, over UDP, of a pod under default-deny: a name
that its rules refuse; one that they allow, whose answer is NOERROR with addresses, none of them protected, granted under the snapshot that
it was asked under; and answers with nothing to grant, no such name or none of that type (most of what a search list asks), and addresses
of the cluster's own names. Everything else is the exchange's (forwarder/exchange.py): a `Flight` that leaves the common
way becomes the `Call` that it would have been, its exchange told what has happened so far.
Always true: response, record, elements and counts are those that the slow path gives (tests/hot holds one against the other); no answer
before the kernel's acknowledgement, none under rules that have changed meanwhile.
"""

from enum import Enum, auto

from dnsfw.audit.record import Own
from dnsfw.audit.recorder import Recorder
from dnsfw.clock import Clock, Instant
from dnsfw.enforce.asked import View
from dnsfw.forwarder import wire
from dnsfw.forwarder.account import UDP, Sender
from dnsfw.forwarder.aliases import MAX_TTL
from dnsfw.forwarder.answer import NO_TTL, Answer
from dnsfw.forwarder.cache import age_at
from dnsfw.forwarder.events import GrantsSettled, Identified, Received, Replied
from dnsfw.forwarder.exchange import Exchange
from dnsfw.forwarder.inquiry import Outcome, Reply, UpstreamQuery
from dnsfw.forwarder.line import FEW
from dnsfw.forwarder.listener_udp import ClientAddress, Way, give
from dnsfw.forwarder.perform import GRANT_SECONDS, TIMER_SECONDS, Performer
from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.names import Name
from dnsfw.plain import NOTHING_GRANTED, Asked, Plain, Shape, Who, Words, is_free, response_of, verdict_of
from dnsfw.policy.grants import Granted, GrantOutcome, Grants
from dnsfw.policy.snapshot import Subject


class Taken(Enum):
    """What became of a question."""

    NOT = auto()  # as if it had not been asked
    ASKED = auto()
    CACHED = auto()  # answered from the cache; the next one like it can be remembered


class Flight(Asked):
    """A question on its way. `exchange` is made when it is first looked at: from then on it is a call like others."""

    __slots__ = ("_fresh",)

    def __init__(self, fresh: "Fresh", data: bytes, who: Who, shape: Shape, way: Way, address: ClientAddress) -> None:  # noqa: PLR0917 -- names cost 1 µs
        super().__init__(data, who, shape, way, address)
        self._fresh = fresh

    @property
    def exchange(self) -> Exchange:
        if self._exchange is None:
            self._exchange = self._fresh.exchange_of(self)
        return self._exchange

    @property
    def is_common(self) -> bool:
        return self._exchange is None

    def on_outcome(self, outcome: Outcome) -> None:
        self._fresh.on_outcome(self, outcome)

    def on_granted(self, outcome: GrantOutcome) -> None:
        self._fresh.on_granted(self, outcome)


class Fresh:
    """One for a forwarder. Not for a pod that is contested, not under default-deny, or limited in its rate: whoever calls looks to that.

    taken: questions that it took so far.
    """

    def __init__(  # noqa: PLR0917 -- one of each part
        self, settings: ForwarderSettings, performer: Performer, state: View, grants: Grants, audit: Recorder, clock: Clock
    ) -> None:
        self._settings = settings
        self._performer = performer
        self._cache = performer.cache
        self._state = state
        self._request, self._request_now = grants.request, grants.request_now
        self._audit = audit
        self._now, self._wall = clock.now, clock.wall
        self._patience = settings.answer_seconds - GRANT_SECONDS - TIMER_SECONDS
        self.plain = Plain(settings, performer.tallies)
        self.taken = 0

    def ask(self, data: bytes, who: Who, way: Way, address: ClientAddress) -> Taken:
        try:
            name_end = wire.plain_name_end(data)
            qtype = data[name_end] << 8 | data[name_end + 1]
        except (wire.WireError, IndexError):
            return Taken.NOT
        end = name_end + 4
        plain = self.plain
        if qtype in wire.META_TYPES or (shape := plain.shape(data, end)) is None:
            return Taken.NOT
        name = Name(data[wire.HEADER_SIZE : name_end].lower())
        words = plain.words_of(who.subject.policy.judge_name(name))
        verdict = words.verdict
        if not verdict.is_resolved:
            self._refuse(data, end, who, shape, way, address, name, words)
            return Taken.ASKED
        if not plain.is_ours(verdict, qtype, name):
            return Taken.NOT
        flight = Flight(self, data, who, shape, way, address)
        flight.name, flight.key, flight.end, flight.words = name, name + data[name_end:end], end, words
        flight.at, flight.begun = self._wall(), self._now()
        flight.deadline = flight.begun + self._settings.answer_seconds
        return self._begin(flight)

    def _begin(self, flight: Flight) -> Taken:
        performer, now = self._performer, flight.begun
        key, shared_key = flight.key, flight.key + flight.shape.bits
        flight.shared_key = shared_key
        if (entry := self._cache.find(shared_key, now)) is None:
            performer.take(flight)
            head, tail = flight.shape.ask
            asked = UpstreamQuery(head + key + tail, key, shared_key, flight.source)
            performer.upstreams.ask(asked, now + self._patience, flight.on_outcome)
            return Taken.ASKED
        received = entry.received
        flight.age, flight.is_cached = age_at(now, received.at), True
        if self.plain.is_plain(received.answer, flight):
            self._cache.gives(entry, now)
            performer.take(flight)
            self._grant(flight, received, now)
        elif is_free(received.answer, flight) and self._pass_on(flight, received, now):
            self._cache.gives(entry, now)
        else:
            return Taken.NOT
        return Taken.CACHED

    def on_outcome(self, flight: Flight, outcome: Outcome) -> None:
        performer, subject = self._performer, flight.who.subject
        if flight.is_common and isinstance(outcome, Reply) and self._is_current(subject):
            now = self._now()
            received = performer.parse(flight.key, flight.shared_key, outcome, now)
            if isinstance(received, Received) and self._is_taken_on(flight, received, now):
                return
        performer.on_outcome(flight, outcome)

    def _is_taken_on(self, flight: Flight, received: Received, now: Instant) -> bool:
        if self.plain.is_plain(received.answer, flight):
            self._grant(flight, received, now)
            return True
        if is_free(received.answer, flight) and self._pass_on(flight, received, now):
            self._performer.leave(flight)
            return True
        return False

    def _pass_on(self, flight: Flight, received: Received, now: Instant) -> bool:
        """What needs no grant leaves at once; False, and nothing has happened, where that is the exchange's."""
        if (response := response_of(flight, received, MAX_TTL)) is None:
            return False
        flight.replied_at = now
        give(flight.way, response, flight.address)
        self._keep(flight, received.answer, NOTHING_GRANTED, 0)
        return True

    def _grant(self, flight: Flight, received: Received, now: Instant) -> None:
        flight.received, flight.replied_at = received, now
        answer = received.answer
        request = self._request_now if len(self._performer.in_flight) <= FEW else self._request
        request(flight.who.subject, flight.name, answer.addresses, max(answer.ttl - flight.age, 0), flight.on_granted)

    def on_granted(self, flight: Flight, outcome: GrantOutcome) -> None:
        performer, received, response = self._performer, flight.received, None
        if received is not None and flight.is_common and isinstance(outcome, Granted) and self._is_current(flight.who.subject):
            response = response_of(flight, received, outcome.ttl)
        if received is None or response is None or not isinstance(outcome, Granted):
            performer.run(flight, GrantsSettled(outcome, performer.identity(flight.source)))
            return
        give(flight.way, response, flight.address)
        self._keep(flight, received.answer, outcome, int((self._now() - flight.replied_at) * 1e6))
        performer.leave(flight)

    def exchange_of(self, flight: Flight) -> Exchange:
        """The exchange that this flight would have been, told all that has happened so far."""
        query = wire.parse_query(flight.data)
        if isinstance(query, wire.Rejected):
            raise AssertionError("was read before")
        exchange = Exchange(query, Sender(source=flight.source, transport=UDP, at=flight.at), self._settings, flight.begun)
        exchange.handle(Identified(flight.who.subject), flight.begun)
        if flight.received is not None:
            exchange.handle(Replied(flight.received, flight.who.subject, flight.age, flight.is_cached), flight.replied_at)
        return exchange

    def _refuse(  # noqa: PLR0917 -- names cost 1 µs
        self, data: bytes, end: int, who: Who, shape: Shape, way: Way, address: ClientAddress, name: Name, words: Words
    ) -> None:
        at, (head, tail) = self._wall(), shape.refusal
        own: Own = (self.plain.text(name), data[end - 4] << 8 | data[end - 3], "", "", "", NO_TTL, 0, 0, 0)
        give(way, data[:2] + head + data[wire.HEADER_SIZE : end] + tail, address)
        words.tally.count += 1
        self._audit.sink_parts(at, who.packed, words.fields, own)

    def _is_current(self, subject: Subject) -> bool:
        """Whether nothing has changed for the pod since it asked: then it need not be judged anew.

        A pod is kept as it is from snapshot to snapshot (`policy.kept`), also where another one comes to have its address.
        """
        snapshot = self._state.snapshot
        if snapshot is None or snapshot.conflicts or self._state.trouble:
            return False
        return snapshot.subjects.get(subject.uid) is subject

    def _keep(self, flight: Flight, answer: Answer, granted: Granted, install_us: int) -> None:
        words = flight.words
        words.tally.count += 1
        own = self.plain.own(flight, answer, granted, install_us)
        self._audit.sink_parts(flight.at, flight.who.packed, verdict_of(answer, words), own)
