"""The life of one query, from question to response.

Pure: does no I/O and reads no clock; the service feeds it events and performs its effects.
Always true: no address that needs a grant is answered before the grant is acknowledged; a refused name is never asked upstream; an
exchange ends with exactly one response and one record, and what it hears later changes nothing.
"""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, Final

from dnsfw.clock import Instant
from dnsfw.forwarder import respond, wire
from dnsfw.forwarder.account import FAILED, REFUSED, UDP, Ending, Sender, decision_of, failure_of, reason_of, record_of, rule_of
from dnsfw.forwarder.aliases import MAX_TTL
from dnsfw.forwarder.answer import NO_TTL
from dnsfw.forwarder.edns import Ede, InfoCode
from dnsfw.forwarder.events import (
    Aborted,
    Ask,
    DeadlinePassed,
    Effect,
    EnsureGrants,
    Event,
    GrantsSettled,
    Identified,
    Identity,
    Record,
    Replied,
    Respond,
    UpstreamFailed,
    WaitForPod,
)
from dnsfw.forwarder.release import Release, release_of
from dnsfw.forwarder.settings import ForwarderSettings, Refusal
from dnsfw.forwarder.wildcards import refusal_below_wildcard
from dnsfw.forwarder.wire import Query, Rejected
from dnsfw.names import Name
from dnsfw.policy.grants import Granted, GrantOutcome, NotGranted
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import NameVerdict, Subject

MAX_DECISIONS: Final = 4  # rules that change this often while one query is answered: SERVFAIL

# The same bytes for all refusals: a pod learns that a name is not for it, never why (A27).
BLOCKED: Final = Ede(InfoCode.BLOCKED)
_TC: Final = wire.TC >> 8  # as it stands in the header's third octet
LEAST_RECORD: Final = wire.MIN_RECORD_SIZE + 4  # of an address
REFUSAL_RCODES: Final = {Refusal.NXDOMAIN: wire.NXDOMAIN, Refusal.REFUSED: wire.REFUSED}


@dataclass(frozen=True, slots=True)
class _New:
    too_late: ClassVar[Reason] = Reason.NOT_READY


@dataclass(frozen=True, slots=True)
class _WaitingForPod:
    too_late: ClassVar[Reason] = Reason.UNKNOWN_POD


@dataclass(frozen=True, slots=True)
class _Asking:
    too_late: ClassVar[Reason] = Reason.UPSTREAM_TIMEOUT
    since: Instant


@dataclass(frozen=True, slots=True)
class _Granting:
    too_late: ClassVar[Reason] = Reason.KERNEL_TIMEOUT
    since: Instant
    release: Release


@dataclass(frozen=True, slots=True)
class _Done:
    too_late: ClassVar[Reason] = Reason.NOT_READY


_Stage = _New | _WaitingForPod | _Asking | _Granting | _Done


class Exchange:
    """Give it Identified first, DeadlinePassed at `deadline`, and whatever its effects ask for; perform the effects in order."""

    __slots__ = (
        "_decisions",
        "_identity",
        "_install_us",
        "_reply",
        "_rule",
        "_sender",
        "_settings",
        "_stage",
        "_upstream_us",
        "deadline",
        "query",
    )

    def __init__(self, query: Query, sender: Sender, settings: ForwarderSettings, now: Instant) -> None:
        self.query = query
        self.deadline = now + settings.answer_seconds
        self._sender = sender
        self._settings = settings
        self._stage: _Stage = _New()
        self._identity: Identity = Reason.NOT_READY
        self._rule = ""
        self._reply: Replied | None = None
        self._decisions = 0
        self._upstream_us = 0
        self._install_us = 0

    @property
    def rule(self) -> str:
        """What the name was allowed by, as far as it is decided."""
        return self._rule

    @property
    def is_done(self) -> bool:
        return isinstance(self._stage, _Done)

    def handle(self, event: Event, now: Instant) -> tuple[Effect, ...]:
        match self._stage, event:
            case _Done(), _:
                return ()
            case _, DeadlinePassed():
                return self._fail(self._stage.too_late)
            case _, Aborted(reason, identity):
                self._identity = identity
                return self._fail(reason)
            case _New(), Identified(Reason.UNKNOWN_POD):
                self._stage = _WaitingForPod()
                return (WaitForPod(min(now + self._settings.pod_wait_seconds, self.deadline)),)
            case ((_New() | _WaitingForPod()), Identified(identity)):
                return self._decide(identity, now)
            case _Asking(since), Replied() as reply:
                return self._replied(reply, since, now)
            case _Asking(since), UpstreamFailed(reason):
                self._upstream_us = _microseconds(since, now)
                return self._fail(reason)
            case _Granting(since, release), GrantsSettled(outcome, identity):
                self._install_us += _microseconds(since, now)
                return self._settled(release, outcome, identity, now)
        return ()  # late: an answer to what is no longer asked

    def _decide(self, identity: Identity, now: Instant) -> tuple[Effect, ...]:
        """Under the newest snapshot, at the beginning and after every wait: what the rules no longer allow is not answered."""
        before, self._identity = self._identity, identity
        if isinstance(identity, Reason):
            return self._fail(identity)
        if isinstance(before, Subject) and before.pod.uid != identity.pod.uid:
            return self._fail(Reason.UNKNOWN_POD)  # who asked is gone, and its address another's: that one has asked for nothing
        verdict = identity.policy.judge_name(self.query.name)
        self._rule = rule_of(verdict)
        if not verdict.is_resolved:
            return self._refuse(verdict)
        match refusal_below_wildcard(self.query, identity.policy, verdict, self._settings):
            case Reason.DOH_CANARY as reason:
                return self._end(respond.make_error(self.query, wire.NXDOMAIN, BLOCKED), REFUSED, reason)
            case Reason() as reason:
                return self._fail(reason)
        if self.query.qtype == wire.ANY:
            return self._end(respond.make_any(self.query), decision_of(verdict), reason_of(verdict))
        if self._reply is None:
            self._stage = _Asking(now)
            return (Ask(self.query),)
        return self._release(release_of(identity, self.query.name, verdict, self._reply, self._settings.addresses_per_answer), now)

    def _replied(self, reply: Replied, since: Instant, now: Instant) -> tuple[Effect, ...]:
        self._upstream_us = 0 if reply.is_cached else _microseconds(since, now)
        if reply.received.answer.rcode > wire.RCODE:
            return self._fail(Reason.UPSTREAM_FAILED)  # it speaks of our EDNS, not of the question
        self._reply = reply
        return self._decide(reply.identity, now)

    def _release(self, release: Release, now: Instant) -> tuple[Effect, ...]:
        self._rule = rule_of(release.verdict)
        if not release.verdict.is_resolved:
            return self._refuse(release.verdict)
        if release.is_emptied:
            return self._answer_emptied(release)
        if not release.grantable or self._is_cut(release):
            # Whoever comes back over TCP for what was cut gets the grants with it.
            return self._answer(release, Granted(until=inf, ttl=MAX_TTL, grants=0))
        if not self._can_be_written(release):
            return self._unwritable(release)
        self._stage = _Granting(now, release)
        return (EnsureGrants(release.subject, release.name, release.grantable, release.ttl),)

    def _settled(self, release: Release, outcome: GrantOutcome, identity: Identity, now: Instant) -> tuple[Effect, ...]:
        if isinstance(outcome, Granted) and _is_judged_anew(identity, release.subject):
            outcome = NotGranted(Reason.RULES_CHANGED)
        if isinstance(outcome, Granted):
            return self._answer(release, outcome)
        if outcome.reason is Reason.RULES_CHANGED and self._decisions < MAX_DECISIONS:
            self._decisions += 1
            return self._decide(identity, now)
        return self._answer(release, outcome) if release.is_audited else self._fail(outcome.reason)

    def _answer(self, release: Release, outcome: GrantOutcome) -> tuple[Effect, ...]:
        cap, count = (outcome.ttl, outcome.grants) if isinstance(outcome, Granted) else (MAX_TTL, 0)
        received = release.reply.received
        try:
            if self._is_cut(release):
                data = respond.make_truncated(self.query, received.data)
            else:
                data = respond.make_response(
                    self.query,
                    received.data,
                    received.answer,
                    limit=self._limit,
                    age=release.reply.age,
                    ttl_cap=cap,
                    removed=release.taken_out,
                )
        except wire.WireError:
            return self._unwritable(release)
        return self._end(
            data,
            *release.words(outcome),
            addresses=release.addresses if not data[2] & _TC else (),
            removed=release.removed,
            chain=received.answer.chain,
            ttl=min(release.ttl, cap),
            grants=count,
        )

    @property
    def _limit(self) -> int:
        return self.query.udp_limit if self._sender.transport == UDP else respond.HIGHEST_LIMIT

    def _is_cut(self, release: Release) -> bool:
        """Whether the addresses alone are longer than the client takes, so that it gets TC: seen before anything is done for them."""
        return len(release.addresses) * LEAST_RECORD > self._limit

    def _can_be_written(self, release: Release) -> bool:
        """Without what is to be taken out: tried before anything is granted for an answer that then does not come. Rare, as that is."""
        received, taken_out = release.reply.received, release.taken_out
        if not taken_out and received.answer.opt[1] in (0, received.answer.end):
            return True
        try:
            respond.make_response(self.query, received.data, received.answer, limit=self._limit, removed=taken_out)
        except wire.WireError:
            return False
        return True

    def _unwritable(self, release: Release) -> tuple[Effect, ...]:
        decision, rcode, ede = failure_of(Reason.MALFORMED_ANSWER)
        data, chain = respond.make_error(self.query, rcode, ede), release.reply.received.answer.chain
        return self._end(data, decision, Reason.MALFORMED_ANSWER, removed=release.removed, chain=chain)

    def _answer_emptied(self, release: Release) -> tuple[Effect, ...]:
        data = respond.make_error(self.query, wire.NOERROR, BLOCKED)
        chain = release.reply.received.answer.chain
        return self._end(data, REFUSED, Reason.PROTECTED_ADDRESS, removed=release.protected, chain=chain)

    def _refuse(self, verdict: NameVerdict) -> tuple[Effect, ...]:
        data = respond.make_error(self.query, REFUSAL_RCODES[self._settings.refusal], BLOCKED)
        return self._end(data, REFUSED, reason_of(verdict))

    def _fail(self, reason: Reason) -> tuple[Effect, ...]:
        decision, rcode, ede = failure_of(reason)
        return self._end(respond.make_error(self.query, rcode, ede), decision, reason)

    def _end(
        self,
        data: bytes,
        decision: str,
        reason: Reason,
        *,
        addresses: tuple[bytes, ...] = (),
        removed: tuple[bytes, ...] = (),
        chain: tuple[Name, ...] = (),
        ttl: int = NO_TTL,
        grants: int = 0,
    ) -> tuple[Effect, ...]:
        self._stage = _Done()
        ending = Ending(
            response=data,
            decision=decision,
            reason=reason,
            rule=self._rule,
            addresses=addresses,
            removed=removed,
            chain=chain,
            ttl=ttl,
            grants=grants,
            upstream_us=self._upstream_us,
            install_us=self._install_us,
        )
        return Respond(data), Record(record_of(self._sender, self._identity, self.query.name, self.query.qtype, ending))


def _is_judged_anew(identity: Identity, subject: Subject) -> bool:
    """Whether the rules have changed between the kernel's ack and the news of it."""
    return isinstance(identity, Reason) or identity.policy is not subject.policy or identity.pod.addresses != subject.pod.addresses


def reject(rejected: Rejected, sender: Sender, identity: Identity) -> tuple[Effect, ...]:
    """The whole life of a query that cannot be judged; what has no rcode is dropped, and only counted."""
    if rejected.rcode is None:
        return ()
    rcode = wire.REFUSED if identity is Reason.UNKNOWN_SOURCE else rejected.rcode
    decision = REFUSED if rejected.reason is Reason.NOT_SUPPORTED or rcode == wire.REFUSED else FAILED
    response = respond.make_rejection(rejected, rcode)
    ending = Ending(response=response, decision=decision, reason=rejected.reason)
    query = rejected.query
    record = record_of(sender, identity, query and query.name, query.qtype if query else 0, ending)
    return Respond(response), Record(record)


def unread(sender: Sender, identity: Identity, reason: Reason) -> tuple[Record, ...]:
    """A TCP connection that was one too many, or datagrams: nobody has read what they ask, so the record is all there is."""
    ending = Ending(response=b"", decision=REFUSED, reason=reason)
    return (Record(record_of(sender, identity, None, 0, ending)),)


def _microseconds(since: Instant, now: Instant) -> int:
    return int((now - since) * 1e6)
