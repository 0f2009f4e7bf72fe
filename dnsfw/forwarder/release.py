"""What of an upstream's answer may leave, and on what conditions.

Pure. Always true: protected addresses never count as grantable; a name of the cluster whose alias leads outside is judged as the
first name outside; what is answered beside a grant was granted.
"""

from typing import NamedTuple

from dnsfw.forwarder.account import WOULD_REFUSE, decision_of, reason_of
from dnsfw.forwarder.answer import Answer
from dnsfw.forwarder.events import Replied
from dnsfw.names import Name
from dnsfw.policy.grants import GrantOutcome, NotGranted
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import NameVerdict, Policy, Stance, Subject


class Release(NamedTuple):
    """An answer, judged. name, verdict: as what it is judged. protected: addresses of any section that are to be taken out (while the
    pod is audited: that would be). excess: those beyond `addresses_per_answer`, left out too. addresses: those that may grant and are
    answered. grantable: those that must be granted first. ttl: of these, or of the answer; NO_TTL without records.
    """

    subject: Subject
    reply: Replied
    name: Name
    verdict: NameVerdict
    protected: tuple[bytes, ...]
    excess: tuple[bytes, ...]
    addresses: tuple[bytes, ...]
    grantable: tuple[bytes, ...]
    ttl: int

    @property
    def is_audited(self) -> bool:
        return self.subject.policy.stance is Stance.AUDIT

    @property
    def removed(self) -> tuple[bytes, ...]:
        return self.protected + self.excess if self.excess else self.protected

    @property
    def taken_out(self) -> frozenset[bytes]:
        """A set: 4,000 addresses looked up in as many would hold everyone up for 300 ms."""
        return frozenset() if self.is_audited else frozenset(self.removed)

    @property
    def is_emptied(self) -> bool:
        """Whether all that was asked for is taken out."""
        return not self.addresses and bool(self.reply.received.answer.addresses)

    def words(self, outcome: GrantOutcome) -> tuple[str, Reason]:
        """The decision and its reason, for the record."""
        if isinstance(outcome, NotGranted):
            return WOULD_REFUSE, outcome.reason
        if self.is_audited and self.removed and not self.verdict.would_refuse:
            return WOULD_REFUSE, Reason.PROTECTED_ADDRESS if self.protected else Reason.TOO_MANY_ADDRESSES
        return decision_of(self.verdict), Reason.TOO_MANY_ADDRESSES if self.excess else reason_of(self.verdict)


def release_of(subject: Subject, name: Name, verdict: NameVerdict, reply: Replied, most: int) -> Release:
    """`verdict` is that of the question's `name`; `most`: addresses that one answer may have granted."""
    answer = reply.received.answer
    name, verdict = _judged_as(subject.policy, name, verdict, answer.chain)
    protected = _protected(subject.policy, verdict, answer)
    open_ = _without(answer.addresses, protected)
    excess = open_[most:] if verdict.is_granting else ()
    open_ = open_[:most] if excess else open_
    return Release(
        subject=subject,
        reply=reply,
        name=name,
        verdict=verdict,
        protected=protected,
        excess=excess,
        addresses=answer.addresses if subject.policy.stance is Stance.AUDIT else open_,
        grantable=open_ if verdict.is_granting else (),
        ttl=max(answer.ttl - reply.age, 0) if answer.answer_count else answer.ttl,
    )


def _without(addresses: tuple[bytes, ...], taken: tuple[bytes, ...]) -> tuple[bytes, ...]:
    if not taken:
        return addresses
    out = frozenset(taken)
    return tuple([address for address in addresses if address not in out])


def _judged_as(policy: Policy, name: Name, verdict: NameVerdict, chain: tuple[Name, ...]) -> tuple[Name, NameVerdict]:
    if verdict.reason is Reason.CLUSTER_NAME:
        for alias in chain:
            if (outside := policy.judge_name(alias)).reason is not Reason.CLUSTER_NAME:
                return alias, outside
    return name, verdict


def _protected(policy: Policy, verdict: NameVerdict, answer: Answer) -> tuple[bytes, ...]:
    if not answer.located or verdict.reason is Reason.CLUSTER_NAME or policy.stance not in (Stance.AUDIT, Stance.ENFORCE):
        return ()
    return policy.protected_among(answer.located)
