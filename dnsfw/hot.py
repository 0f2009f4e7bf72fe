"""The hot path: a question that has been asked before, answered from the cache while the pod's grants stand.

Dense on purpose, and allowed to know both sides. It judges nothing itself: a `Shot` is what the exchange (forwarder/exchange.py)
made, or `plain` in its place, of the same bytes under the same policy, the same cached message and the same age; the id, the pod and the
time are put in. What is not remembered is `fresh`'s; where anything is not as it always is, it says False, and the exchange does it all.
Always true: response, record and elements are those that the slow path gives (tests/hot holds one against the other); no shot outlives its
snapshot, and none is taken unless every permission that it needs outlives the answered TTL.

Left out: TCP, unknown sources, contested addresses, limits on a pod's rate, answers without addresses to grant but with an error beyond
the header's rcode, whatever waits for anybody.
"""

from math import inf
from typing import Final, NamedTuple

from dnsfw.audit.frames import pack_part
from dnsfw.audit.record import Verdict, parts_of
from dnsfw.audit.recorder import Recorder
from dnsfw.clock import Clock, Instant
from dnsfw.enforce.asked import Ask, View, wanted_of
from dnsfw.enforce.rejudge import is_contested
from dnsfw.forwarder import events
from dnsfw.forwarder.account import UDP, Sender
from dnsfw.forwarder.cache import Entry, age_at
from dnsfw.forwarder.events import Received
from dnsfw.forwarder.exchange import Exchange
from dnsfw.forwarder.listener_udp import ClientAddress, Way, give
from dnsfw.forwarder.perform import Performer
from dnsfw.forwarder.service import Fast
from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.forwarder.tallies import Tally
from dnsfw.forwarder.wire import Query, Rejected, parse_query
from dnsfw.fresh import Fresh, Taken
from dnsfw.names import Name
from dnsfw.plain import NOTHING_GRANTED, Asked, Who, is_free, response_of, verdict_of
from dnsfw.policy.grants import Granted, Grants
from dnsfw.policy.model import PodUid
from dnsfw.policy.snapshot import Permit, Policy, Snapshot, Stance, Subject

MOST_PLANS = 16_384  # not final, nor is any bound that tests make small: compiled code would not see theirs
"""Questions remembered, about 2 kB each; more than that, and all are forgotten."""
MOST_OCTETS: Final = 300
"""Of a query that is worth remembering: header, name, type and class, and a small OPT."""

_BEFORE: Final = Sender(source="", transport=UDP, at=0.0)


class Need:
    """A permission that must stand for `seconds` from now on."""

    __slots__ = ("address", "permit", "seconds")

    def __init__(self, address: bytes, permit: Permit, seconds: int) -> None:
        self.address = address
        self.permit = permit
        self.seconds = seconds


class Shot:
    """How an exchange ended: `response` without its id; `verdict` and `own` (packed) as in `audit.record.Parts`."""

    __slots__ = ("needs", "own", "response", "tally", "verdict")

    def __init__(self, needs: list[Need], response: bytes, verdict: Verdict, own: bytes, tally: Tally) -> None:
        self.needs = needs
        self.response = response
        self.verdict = verdict
        self.own = own
        self.tally = tally


class Plan:
    """One question under one policy, for one cached message. `shot` is for this `age`; None where the exchange is needed after all.

    need: the first of the last shot's, at any age.
    """

    __slots__ = ("age", "entry", "name", "need", "query", "received_at", "shot")

    def __init__(self, query: Query, entry: Entry) -> None:
        self.query = query
        self.name: Name = query.name
        self.entry = entry
        self.received_at = entry.at
        self.need: Need | None = None
        self.age = -1
        self.shot: Shot | None = None


class Kin(NamedTuple):
    """A pod, with the plans of all pods of its policy. is_enforced: under default-deny."""

    who: Who
    plans: dict[bytes, Plan]
    is_enforced: bool


class Hot(Fast):
    """One for a forwarder. `answer` first; where it says False: `learn`, then the slow path. shots: answered from memory so far."""

    def __init__(  # noqa: PLR0917 -- one of each part
        self, settings: ForwarderSettings, performer: Performer, state: View, grants: Grants, audit: Recorder, clock: Clock
    ) -> None:
        self._settings = settings
        self._performer = performer
        self._cache = performer.cache
        self._state = state
        self._audit = audit
        self._now, self._wall = clock.now, clock.wall
        self._tallies = performer.tallies
        self._ledger = state.ledger
        self.fresh = Fresh(settings, performer, state, grants, audit, clock)
        self._snapshot: Snapshot | None = None
        self._kins: dict[str, Kin] = {}
        self._plans: dict[tuple[Policy, frozenset[int]], dict[bytes, Plan]] = {}
        self._count = 0
        self.shots = 0
        # A rate is counted by the slow path: with one in force, every query is its.
        self._is_on = not (settings.queries_per_second or settings.names_per_minute)

    def answer(self, data: bytes, source: str, way: Way, address: ClientAddress) -> bool:
        """Whether the query is answered and on record."""
        state = self._state
        if state.snapshot is not self._snapshot:
            self._forget()
        if not self._is_on or (kin := self._kins.get(source) or self._meet(source)) is None:
            return False
        performer = self._performer
        uid = kin.who.subject.uid
        if state.trouble or state.is_behind() or performer.stopping or performer.in_flight.refusal(uid) is not None:
            return False
        if (plan := kin.plans.get(data[2:])) is not None and self._shoots(plan, kin, uid, data, way, address):
            return True
        return kin.is_enforced and self._asks(data, kin, source, way, address)

    def _shoots(self, plan: Plan, kin: Kin, uid: PodUid, data: bytes, way: Way, address: ClientAddress) -> bool:  # noqa: PLR0917 -- names cost 1 µs
        now = self._now()
        if (age := age_at(now, plan.received_at)) != plan.age:
            if (first := plan.need) is not None and self._ledger.ends(uid, first.address, first.permit, plan.name) < now:
                return False  # the pod's first question for this name, mostly: what it needs is a grant
            self._aim(plan, kin, data, way, address, age, now)
        if (shot := plan.shot) is None:
            return False
        for need in shot.needs:
            if self._ledger.ends(uid, need.address, need.permit, plan.name) < now + need.seconds:
                return False
        if not self._cache.gives(plan.entry, now):
            return False
        at = self._wall()
        self.shots += 1
        give(way, data[:2] + shot.response, address)
        shot.tally.count += 1
        self._audit.sink_parts(at, kin.who.packed, shot.verdict, shot.own)
        return True

    def _asks(self, data: bytes, kin: Kin, source: str, way: Way, address: ClientAddress) -> bool:
        taken = self.fresh.ask(data, kin.who, way, address)
        self.fresh.taken += taken is not Taken.NOT
        if taken is Taken.CACHED and not self._is_learnt(data, kin) and not isinstance(query := parse_query(data), Rejected):
            self.learn(data, query, source)
        return taken is not Taken.NOT

    @staticmethod
    def _is_learnt(data: bytes, kin: Kin) -> bool:
        plan = kin.plans.get(data[2:])
        return plan is not None and plan.entry.is_kept

    def learn(self, data: bytes, query: Query, source: str) -> None:
        """Somebody else answers this; if from the cache, the next one like it is ours."""
        if not self._is_on or len(data) > MOST_OCTETS or (entry := self._cache.peek(query.shared_key)) is None:
            return
        if (kin := self._kins.get(source) or self._meet(source)) is None or self._is_learnt(data, kin):
            return
        if self._count >= MOST_PLANS:
            self._forget()
            return
        self._count += data[2:] not in kin.plans
        kin.plans[data[2:]] = Plan(query, entry)

    def _forget(self) -> None:
        self._snapshot = self._state.snapshot
        self._kins.clear()
        self._plans.clear()
        self._count = 0

    def _meet(self, source: str) -> Kin | None:
        snapshot = self._snapshot
        if snapshot is None or (subject := snapshot.by_source.get(source)) is None or is_contested(subject, snapshot):
            return None
        pod = subject.pod
        plans = self._plans.setdefault((subject.policy, subject.sizes), {})
        fields = (pod.namespace, pod.name, pod.uid, source, UDP)
        who = Who(subject, fields, pack_part(fields))
        kin = self._kins[source] = Kin(who, plans, subject.policy.stance is Stance.ENFORCE)
        return kin

    def _aim(self, plan: Plan, kin: Kin, data: bytes, way: Way, address: ClientAddress, age: int, now: Instant) -> None:  # noqa: PLR0917 -- as above
        """What comes of it where the answer is from the cache and every grant stands."""
        plan.age, plan.shot = age, None
        if not plan.entry.is_kept:
            return
        shot = None
        if kin.is_enforced and (asked := self.fresh.plain.remembered(data, plan.query, kin.who, way, address, age)) is not None:
            shot = self._plain_shot(asked, plan.entry.received, now)
        plan.shot = shot or self._exchanged_shot(plan, kin.who.subject, age, now)
        if plan.shot is not None:
            plan.need = plan.shot.needs[0] if plan.shot.needs else None

    def _plain_shot(self, asked: Asked, received: Received, now: Instant) -> Shot | None:
        plain, answer, granted = self.fresh.plain, received.answer, NOTHING_GRANTED
        needs: list[Need] = []
        if plain.is_plain(answer, asked):
            needs, granted = _standing(Ask(asked.who.subject, asked.name, answer.addresses, max(answer.ttl - asked.age, 0)), now)
        elif not is_free(answer, asked):
            return None
        if (response := response_of(asked, received, granted.ttl)) is None:
            return None
        words = asked.words
        return Shot(needs, response[2:], verdict_of(answer, words), pack_part(plain.own(asked, answer, granted, 0)), words.tally)

    def _exchanged_shot(self, plan: Plan, subject: Subject, age: int, now: Instant) -> Shot | None:
        exchange = Exchange(plan.query, _BEFORE, self._settings, now)
        exchange.handle(events.Identified(subject), now)
        effects = exchange.handle(events.Replied(plan.entry.received, subject, age, is_cached=True), now)
        needs: list[Need] = []
        if effects and isinstance(effects[0], events.EnsureGrants):
            wanted = effects[0]
            needs, granted = _standing(Ask(wanted.subject, wanted.name, wanted.addresses, wanted.ttl), now)
            effects = exchange.handle(events.GrantsSettled(granted, subject), now)
        match effects:
            case (events.Respond(response), events.Record(record)):
                _, _, verdict, own = parts_of(record)
                return Shot(needs, response[2:], verdict, pack_part(own), self._tallies.of(record.decision, record.reason))
        return None


def _standing(wanted: Ask, now: Instant) -> tuple[list[Need], Granted]:
    """What has to stand, and what the ledger's owner says when it does."""
    found = list(wanted_of(wanted, now))
    needs = [Need(one.address, one.permit, one.ttl) for one in found]
    ttl = min((one.ttl for one in found), default=wanted.ttl)
    return needs, Granted(inf, min(ttl, wanted.ttl), sum(len(one.permit.pieces) for one in found))
