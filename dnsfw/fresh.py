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
from math import inf
from typing import Final, NamedTuple

from dnsfw.audit.record import Asker, Own, PartsSink, Verdict
from dnsfw.clock import Clock, Instant, WallTime
from dnsfw.enforce.asked import View
from dnsfw.forwarder import respond, wire
from dnsfw.forwarder.account import REFUSED, UDP, Sender, decision_of, listed, reason_of, rule_of
from dnsfw.forwarder.aliases import MAX_TTL
from dnsfw.forwarder.answer import NO_TTL, Answer
from dnsfw.forwarder.cache import age_at
from dnsfw.forwarder.edns import opt_record
from dnsfw.forwarder.events import GrantsSettled, Identified, Received, Replied
from dnsfw.forwarder.exchange import BLOCKED, LEAST_RECORD, REFUSAL_RCODES, Exchange
from dnsfw.forwarder.inquiry import Outcome, Reply, UpstreamQuery
from dnsfw.forwarder.line import FEW
from dnsfw.forwarder.listener_udp import ClientAddress, Way
from dnsfw.forwarder.perform import GRANT_SECONDS, TIMER_SECONDS, Call, Performer, Tallies
from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.forwarder.wildcards import CANARY, has_limits
from dnsfw.names import Name, format_name
from dnsfw.policy.grants import Granted, GrantOutcome, Grants
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import NameVerdict, Subject

MOST_SHAPES: Final = 256
MOST_PARENTS: Final = 2048
MOST_VERDICTS: Final = 4096
"""Remembered of each; more, and all of them are forgotten."""

_CANARY: Final = CANARY
_NOTHING_GRANTED: Final = Granted(inf, MAX_TTL, 0)
_WITHOUT_MBZ: Final = tuple(bytes((octet & ~wire.MBZ,)) for octet in range(256))


class Taken(Enum):
    """What became of a question."""

    NOT = auto()  # as if it had not been asked
    ASKED = auto()
    CACHED = auto()  # answered from the cache; the next one like it can be remembered


class Who(NamedTuple):
    """A pod by its source address, and as its records name it (packed: the same for them)."""

    subject: Subject
    fields: Asker
    packed: bytes


class Shape(NamedTuple):
    """All of a query but its id and its question.

    bits: behind the key, of what is shared. ask, refusal: what stands before and behind the question as upstream is asked, and as a refusal
    has it (without the id). opt: what an answer ends in.
    """

    bits: bytes
    ask: tuple[bytes, bytes]
    refusal: tuple[bytes, bytes]
    opt: bytes
    limit: int


class Words:
    """A verdict, as records say it (missing: where there is no such name), and how often; it is kept so that its id stays its own."""

    __slots__ = ("fields", "missing", "tally", "verdict")

    def __init__(self, verdict: NameVerdict, refusal_rcode: int, tallies: Tallies) -> None:
        self.verdict = verdict
        decision, rcode = (decision_of(verdict), wire.NOERROR) if verdict.is_resolved else (REFUSED, refusal_rcode)
        reason = reason_of(verdict).value
        self.fields: Verdict = (decision, reason, rule_of(verdict), rcode)
        self.missing: Verdict = (decision, reason, rule_of(verdict), wire.NXDOMAIN)
        self.tally = tallies.of(decision, reason)


class Flight(Call):
    """A question on its way. `exchange` is made when it is first looked at: from then on it is a call like others."""

    __slots__ = (
        *("_fresh", "age", "at", "begun", "data", "end", "is_cached", "key", "name", "received", "replied_at", "shape", "shared_key"),
        *("who", "words"),
    )

    def __init__(self, fresh: "Fresh", data: bytes, who: Who, shape: Shape, way: Way, address: ClientAddress) -> None:  # noqa: PLR0917 -- names cost 1 µs
        self._fresh = fresh
        self.data = data
        self.who = who
        self.shape = shape
        self.way = way
        self.address = address
        self.source = who.fields[3]
        self.owner = who.fields[2]
        self.wait = None
        self.is_taken = False
        self._exchange = None
        self.received: Received | None = None
        self.age = 0
        self.is_cached = False
        self.begun: Instant
        self.deadline: Instant
        self.replied_at: Instant
        self.at: WallTime
        self.end: int  # of the question
        self.name: Name
        self.key: bytes
        self.shared_key: bytes
        self.words: Words

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
        self, settings: ForwarderSettings, performer: Performer, state: View, grants: Grants, sink: PartsSink, clock: Clock
    ) -> None:
        self._settings = settings
        self._performer = performer
        self._cache = performer.cache
        self._state = state
        self._request, self._request_now = grants.request, grants.request_now
        self._sink = sink
        self._now, self._wall = clock.now, clock.wall
        self._patience = settings.answer_seconds - GRANT_SECONDS - TIMER_SECONDS
        self._is_limited = has_limits(settings)
        self._refusal_rcode = REFUSAL_RCODES[settings.refusal]
        self._shapes: dict[bytes, Shape | None] = {}
        self._parents: dict[bytes, str] = {}
        self._words: dict[int, Words] = {}
        self.taken = 0

    def ask(self, data: bytes, who: Who, way: Way, address: ClientAddress) -> Taken:
        try:
            name_end = wire.plain_name_end(data)
            qtype = data[name_end] << 8 | data[name_end + 1]
        except (wire.WireError, IndexError):
            return Taken.NOT
        end = name_end + 4
        if qtype in wire.META_TYPES or (shape := self._shape(data, end)) is None:
            return Taken.NOT
        name = Name(data[wire.HEADER_SIZE : name_end].lower())
        words = self._words_of(who.subject.policy.judge_name(name))
        verdict = words.verdict
        if not verdict.is_resolved:
            self._refuse(data, end, who, shape, way, address, name, words)
            return Taken.ASKED
        if verdict.would_refuse or qtype == wire.ANY or name == _CANARY or self._is_limited:
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
        if self._is_plain(received.answer, flight):
            self._cache.gives(entry, now)
            performer.take(flight)
            self._grant(flight, received, now)
        elif _is_free(received.answer, flight) and self._pass_on(flight, received, now):
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
        if self._is_plain(received.answer, flight):
            self._grant(flight, received, now)
            return True
        if _is_free(received.answer, flight) and self._pass_on(flight, received, now):
            self._performer.leave(flight)
            return True
        return False

    def _pass_on(self, flight: Flight, received: Received, now: Instant) -> bool:
        """What needs no grant leaves at once; False, and nothing has happened, where that is the exchange's."""
        if (response := _response(flight, received, MAX_TTL)) is None:
            return False
        flight.replied_at = now
        flight.way.send(response, flight.address)
        self._keep(flight, received.answer, _NOTHING_GRANTED, 0)
        return True

    def _grant(self, flight: Flight, received: Received, now: Instant) -> None:
        flight.received, flight.replied_at = received, now
        answer = received.answer
        request = self._request_now if len(self._performer.in_flight) <= FEW else self._request
        request(flight.who.subject, flight.name, answer.addresses, max(answer.ttl - flight.age, 0), flight.on_granted)

    def on_granted(self, flight: Flight, outcome: GrantOutcome) -> None:
        performer, received, response = self._performer, flight.received, None
        if received is not None and flight.is_common and isinstance(outcome, Granted) and self._is_current(flight.who.subject):
            response = _response(flight, received, outcome.ttl)
        if received is None or response is None or not isinstance(outcome, Granted):
            performer.run(flight, GrantsSettled(outcome, performer.identity(flight.source)))
            return
        flight.way.send(response, flight.address)
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
        own: Own = (self._text(name), data[end - 4] << 8 | data[end - 3], "", "", "", NO_TTL, 0, 0, 0)
        way.send(data[:2] + head + data[wire.HEADER_SIZE : end] + tail, address)
        words.tally.count += 1
        self._sink((at, who.packed, words.fields, own))

    def _is_current(self, subject: Subject) -> bool:
        """Whether nothing has changed for the pod since it asked: then it need not be judged anew."""
        snapshot = self._state.snapshot
        return snapshot is not None and snapshot.subjects.get(subject.uid) is subject and not self._state.trouble

    def _is_plain(self, answer: Answer, flight: Flight) -> bool:
        count = len(answer.addresses)
        if answer.rcode or answer.is_truncated or not 0 < count <= self._settings.addresses_per_answer:
            return False
        if not flight.words.verdict.is_granting or count * LEAST_RECORD > flight.shape.limit:
            return False
        return not flight.who.subject.policy.protected_among(answer.located)

    def _shape(self, data: bytes, end: int) -> Shape | None:
        """What stands around the question is nearly always one of a few; None: not for us."""
        around = data[2 : wire.HEADER_SIZE] + data[end - 2 :]
        try:
            return self._shapes[around]
        except KeyError:
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
        shape = self._shapes[around] = _shape_of(data, self._refusal_rcode)
        return shape

    def _words_of(self, verdict: NameVerdict) -> Words:
        if (words := self._words.get(id(verdict))) is None:
            if len(self._words) >= MOST_VERDICTS:
                self._words.clear()
            words = self._words[id(verdict)] = Words(verdict, self._refusal_rcode, self._performer.tallies)
        return words

    def _keep(self, flight: Flight, answer: Answer, granted: Granted, install_us: int) -> None:
        words, data, end = flight.words, flight.data, flight.end
        words.tally.count += 1
        own: Own = (
            self._text(flight.name),
            data[end - 4] << 8 | data[end - 3],
            listed(answer.addresses),
            "",
            " ".join(map(format_name, answer.chain)) if answer.chain else "",
            min(max(answer.ttl - flight.age, 0), granted.ttl) if answer.answer_count else NO_TTL,
            granted.grants,
            0 if flight.is_cached else int((flight.replied_at - flight.begun) * 1e6),
            install_us,
        )
        self._sink((flight.at, flight.who.packed, words.missing if answer.rcode else words.fields, own))

    def _text(self, name: Name) -> str:
        """`format_name`, the text of a plain label's parent being remembered."""
        label_end = 1 + name[0]
        label = name[1:label_end]
        if not label.isalnum():
            return format_name(name)
        parent = name[label_end:]
        if (text := self._parents.get(parent)) is None:
            if len(self._parents) >= MOST_PARENTS:
                self._parents.clear()
            text = self._parents[parent] = "" if parent == b"\x00" else f".{format_name(Name(parent))}"
        return label.decode() + text


def _is_free(answer: Answer, flight: Flight) -> bool:
    """Whether it needs no grant, and nothing is taken out: there is no address in it, or the cluster itself says so of its own name."""
    if answer.rcode not in (wire.NOERROR, wire.NXDOMAIN) or answer.is_truncated:
        return False
    if flight.words.verdict.reason is Reason.CLUSTER_NAME:
        return not answer.chain and len(answer.addresses) * LEAST_RECORD <= flight.shape.limit
    return not answer.located


def _shape_of(data: bytes, refusal_rcode: int) -> Shape | None:
    query = wire.parse_query(data)
    if isinstance(query, wire.Rejected):
        return None
    asked, refused = respond.make_upstream_query(query), respond.make_error(query, refusal_rcode, BLOCKED)
    end = wire.HEADER_SIZE + len(query.key)
    opt = b"" if query.edns is None else opt_record(is_do=query.edns.is_do)
    bits = query.shared_key[len(query.key) :]
    return Shape(bits, (asked[: wire.HEADER_SIZE], asked[end:]), (refused[2 : wire.HEADER_SIZE], refused[end:]), opt, query.udp_limit)


def _response(flight: Flight, received: Received, ttl_cap: int) -> bytes | None:
    """`respond.make_response`; None where upstream's OPT is not last, or the client does not take that much."""
    data, answer, shape, asked = received.data, received.answer, flight.shape, flight.data
    opt_start, opt_end = answer.opt
    if opt_end and opt_end != answer.end:
        return None
    if flight.age or answer.max_ttl > ttl_cap:
        patched = bytearray(data)
        respond.patch_ttls(patched, data, answer, respond.Aging(flight.age, ttl_cap))
        data = bytes(patched)
    more = (1 if shape.opt else 0) - (1 if opt_end else 0)
    if more or data[3] & wire.MBZ:
        head = data[2:3] + _WITHOUT_MBZ[data[3]] + data[4:10] + ((data[10] << 8 | data[11]) + more).to_bytes(2, "big")
    else:
        head = data[2 : wire.HEADER_SIZE]
    records = data[answer.question_end : opt_start or answer.end]
    response = b"".join((asked[:2], head, asked[wire.HEADER_SIZE : flight.end], records, shape.opt))
    return response if len(response) <= shape.limit else None
