"""The order of judgement: what the rules that match say together.

Pure, and the one place where Allow, Deny, Pass and Audit meet. Always true: a port is decided by at most one cluster rule, the first in
order that matches; an enforced Deny denies in every stance; an Audit rule beside an enforced one changes nothing but what is recorded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dnsfw.policy.index import Hits
from dnsfw.policy.layout import Layout
from dnsfw.policy.model import Action, LeaseLimits, RuleRef
from dnsfw.policy.ports import PortSet, union
from dnsfw.policy.reasons import Reason
from dnsfw.policy.verdicts import NameVerdict, Permit, Stance


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A rule's place in the judgement of the pods that it selects, without its peers (these lie in the indexes)."""

    rule: RuleRef
    action: Action
    is_cluster: bool
    is_audit: bool
    limits: LeaseLimits
    basis: str
    layout: Layout

    @property
    def can_allow(self) -> bool:
        return self.action is Action.ALLOW


Share = tuple[Entry, PortSet]
"""The ports that a rule decides."""


class Outcome(NamedTuple):
    """What a number of matching rules come to."""

    allowed: tuple[Share, ...]
    denied: tuple[Share, ...]
    passed: tuple[Share, ...]

    def denied_ports(self) -> PortSet:
        return union(ports for _, ports in self.denied)


def evaluate(shares: Iterable[Share]) -> Outcome:
    """Cluster rules in order, each port decided by the first that matches; then the union of the namespaced ones."""
    allowed: list[Share] = []
    denied: list[Share] = []
    passed: list[Share] = []
    decided = left = PortSet.NONE  # left: to the namespaced rules
    for entry, ports in shares:
        mine = ports - decided - left if entry.is_cluster else ports - decided
        if not mine:
            continue
        if entry.action is Action.PASS:
            passed.append((entry, mine))
            left |= mine
            continue
        (allowed if entry.can_allow else denied).append((entry, mine))
        if entry.is_cluster:
            decided |= mine
    return Outcome(tuple(allowed), tuple(denied), tuple(passed))


class Judgement(NamedTuple):
    """Two outcomes: with the rules that are in force, and as if the Audit rules were in force, too."""

    stance: Stance
    real: Outcome
    supposed: Outcome

    @property
    def is_refused(self) -> bool:
        match self.stance:
            case Stance.ENFORCE:
                return not self.real.allowed
            case Stance.AUDIT:
                return bool(self.real.denied) and not self.real.allowed
            case _:
                # Nothing in the kernel follows the addresses of an open pod, so a Deny of some ports can only be kept by not answering.
                return bool(self.real.denied)

    @property
    def would_be_refused(self) -> bool:
        if self.stance is Stance.OPEN:
            return bool(self.supposed.denied)
        return not self.supposed.allowed

    @property
    def audited(self) -> RuleRef | None:
        if self.is_refused == self.would_be_refused:
            return None
        taken = (*self.supposed.denied, *self.supposed.allowed, *self.supposed.passed)
        return next((entry.rule for entry, _ in taken if entry.is_audit), None)


def judged(entries: Sequence[Entry], hits: Hits, stance: Stance) -> Judgement:
    shares = [(entries[place], ports) for place, ports in hits]
    if not any(entry.is_audit for entry, _ in shares):
        outcome = evaluate(shares)
        return Judgement(stance, outcome, outcome)
    real = evaluate(share for share in shares if is_in_force(share[0], stance))
    return Judgement(stance, real, evaluate(shares))


def is_in_force(entry: Entry, stance: Stance) -> bool:
    """Audit rules are not, but where all that can allow is in Audit mode, what they allow is taken as allowed."""
    return not entry.is_audit or (stance is Stance.AUDIT and entry.can_allow)


def permits_of(judgement: Judgement) -> tuple[Permit, ...]:
    """What is granted. In Audit it is what would be, so that the kernel's count of all else is the count of would-be refusals."""
    match judgement.stance:
        case Stance.ENFORCE:
            shares = judgement.real.allowed
        case Stance.AUDIT:
            denied = judgement.real.denied_ports()
            shares = tuple((entry, ports - denied) for entry, ports in judgement.supposed.allowed)
        case _:
            shares = ()
    return tuple(_permit(entry, ports) for entry, ports in shares if ports)


def _permit(entry: Entry, ports: PortSet) -> Permit:
    return Permit(rule=entry.rule, ports=ports, pieces=entry.layout.pieces(ports), limits=entry.limits, basis=entry.basis)


def verdict_of(judgement: Judgement, is_granting: bool) -> NameVerdict:
    """What a question gets while names are filtered."""
    if judgement.is_refused:
        reason, rule = _refusal(judgement.real)
        return NameVerdict(is_resolved=False, is_granting=False, reason=reason, rule=rule, audited=judgement.audited)
    if not judgement.would_be_refused:
        rule = _first(judgement.real.allowed)
        return NameVerdict(is_resolved=True, is_granting=is_granting, reason=Reason.ALLOWED, rule=rule)
    is_audit = judgement.stance is Stance.AUDIT
    return NameVerdict(
        is_resolved=True,
        is_granting=is_granting,
        reason=Reason.AUDIT_MODE if is_audit else Reason.ALLOWED,
        rule=_first(judgement.supposed.denied if is_audit else judgement.real.allowed),
        would_refuse=True,
        audited=judgement.audited,
    )


def unfiltered_verdict_of(judgement: Judgement, is_granting: bool) -> NameVerdict:
    """What a question gets with `dnsFilter: off`: an answer; only its addresses are gated."""
    if not judgement.is_refused and not judgement.would_be_refused:
        return verdict_of(judgement, is_granting)
    _, rule = _refusal(judgement.real)
    return NameVerdict(is_resolved=True, is_granting=is_granting, reason=Reason.FILTER_OFF, rule=rule, audited=judgement.audited)


def _refusal(outcome: Outcome) -> tuple[Reason, RuleRef | None]:
    rule = _first(outcome.denied)
    return (Reason.NO_RULE if rule is None else Reason.DENIED_BY_RULE), rule


def _first(shares: tuple[Share, ...]) -> RuleRef | None:
    return shares[0][0].rule if shares else None
