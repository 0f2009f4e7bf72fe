"""What a judgement says: plain values, shared by everybody who asks a policy.

Those made for each fresh name are named tuples: a frozen dataclass costs 2 µs of the 20 that a fresh name may take.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from dnsfw.policy.model import Action, IPNetwork, LeaseLimits, RuleRef
from dnsfw.policy.ports import Piece, PortSet
from dnsfw.policy.reasons import Reason


class Stance(Enum):
    """How a pod stands towards the outside."""

    UNTOUCHED = "untouched"  # no rule selects it
    OPEN = "open"  # only cluster Deny and Pass do: they take away from what is open
    AUDIT = "audit"  # every rule that can allow is in Audit mode: default-deny is recorded, an enforced cluster Deny still denies
    ENFORCE = "enforce"  # default-deny


class NameVerdict(NamedTuple):
    """What a question for a name gets.

    is_resolved: it may be asked upstream and answered. is_granting: addresses in its answer are to be granted (`Policy.judge`).
    rule: the rule that decided, None where none did. would_refuse: refused, were the Audit rules in force.
    audited: the Audit rule that would make this verdict another one.
    """

    is_resolved: bool
    is_granting: bool
    reason: Reason
    rule: RuleRef | None = None
    would_refuse: bool = False
    audited: RuleRef | None = None


class Permit(NamedTuple):
    """One rule's permission. `pieces` are `ports` as they lie in the kernel; `basis` hashes the content that the permission rests on."""

    rule: RuleRef
    ports: PortSet
    pieces: tuple[Piece, ...]
    limits: LeaseLimits
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule's CIDRs, in the chain; a rule without namespace is a cluster rule, and Pass skips to the first step that has one.

    `networks` are of both families. For a protected address an ALLOW counts only if `is_inside_protected`; DENY and PASS always count.
    """

    action: Action
    networks: tuple[IPNetwork, ...]
    ports: PortSet
    rule: RuleRef
    basis: str
    is_inside_protected: bool
