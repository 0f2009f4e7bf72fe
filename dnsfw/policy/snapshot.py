"""All that is in force at one moment: which pod stands behind an address, and what its policy says.

Pure. Always true: a snapshot never changes, and what a policy answers depends on its rules and the settings alone. A policy remembers what
it has judged (bounded: a full memory is emptied, so that a flood of names costs time, not space), which is invisible from outside.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from dnsfw.clock import WallTime
from dnsfw.names import Name, parents
from dnsfw.policy.cluster import cluster_suffixes
from dnsfw.policy.index import Hits, NameIndex, NetworkIndex, joined
from dnsfw.policy.judge import Entry, judged, permits_of, unfiltered_verdict_of, verdict_of
from dnsfw.policy.model import Action, IPAddress, Pod, PodUid, PolicySettings, RuleRef
from dnsfw.policy.ports import Piece
from dnsfw.policy.prepare import Prepared
from dnsfw.policy.protected import Protection, is_protected, protection_of
from dnsfw.policy.reasons import Reason
from dnsfw.policy.verdicts import NameVerdict, Permit, Stance, Step

__all__ = ["NameVerdict", "Permit", "Policy", "Snapshot", "Stance", "Step", "Subject", "is_protected"]

MEMORY: Final = 8192
"""Judgements that a policy remembers, of each kind: about 200 bytes each."""
PARENTS: Final = 2048
"""Of those of names that no rule writes out, one for each parent: few in use, but as many as somebody likes to make up."""

_UNTOUCHED: Final = NameVerdict(is_resolved=True, is_granting=False, reason=Reason.NOT_SELECTED)
_CLUSTER: Final = NameVerdict(is_resolved=True, is_granting=False, reason=Reason.CLUSTER_NAME)


class _Found(NamedTuple):
    """What the rules say about a name; hits: None where addresses do not matter either."""

    verdict: NameVerdict
    permits: tuple[Permit, ...]
    hits: Hits | None


class _Reach(NamedTuple):
    """What the rules' CIDRs say about an address."""

    is_protected: bool
    hits: Hits


_CLOSED, _FAR = _Reach(True, ()), _Reach(False, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexes:
    """The peers of a policy's rules. For protected addresses an Allow's network counts only if it lies wholly inside a protected one."""

    names: NameIndex
    networks: NetworkIndex
    protected_networks: NetworkIndex


class Policy:
    """What the rules that select a pod come to; one object for all pods with the same rules, and across snapshots while these stand."""

    __slots__ = (
        "_by_hits",
        "_by_name",
        "_by_parent",
        "_indexes",
        "_is_without_networks",
        "_protection",
        "_reaches",
        "_suffixes",
        "entries",
        "key",
        "ranges",
        "settings",
        "stance",
        "statics",
        "steps",
    )

    def __init__(
        self,
        *,
        key: str,
        stance: Stance,
        entries: Sequence[Entry],
        steps: tuple[Step, ...],
        ranges: frozenset[Piece],
        indexes: Indexes,
        settings: PolicySettings,
    ) -> None:
        self.key = key
        self.stance = stance
        self.entries = entries
        self.steps = steps
        self.statics: Mapping[RuleRef, str] = {step.rule: step.basis for step in steps if step.action is Action.ALLOW}
        """The rules whose toCIDRs mark connections by themselves, without any answer, and what they rest on."""
        self.ranges = ranges
        self.settings = settings
        self._indexes = indexes
        self._is_without_networks = not indexes.networks and not indexes.protected_networks
        self._protection = protection_of(settings)
        self._suffixes = cluster_suffixes(settings)
        self._by_name: dict[Name, _Found] = {}
        self._by_parent: dict[Name, _Found] = {}
        self._by_hits: dict[Hits, _Found] = {}
        self._reaches: dict[bytes, _Reach] = {}

    def judge_name(self, name: Name) -> NameVerdict:
        """What a question for this name gets; the rules' names alone count, whatever the addresses will be."""
        return self._found(name).verdict

    def is_written_out(self, name: Name) -> bool:
        """Whether a rule that can allow has this very name, not only a wildcard above it."""
        return any(self.entries[place].can_allow for place, _ in self._indexes.names.written_out(name))

    def judge(self, name: Name, address: bytes) -> tuple[Permit, ...]:
        """What an answer that gives this packed address for this name permits; nothing, ever, for a protected address."""
        is_protected_, reach = self._reach(address)
        if is_protected_:
            return ()
        found = self._found(name)
        if not reach or found.hits is None:
            return found.permits
        return self._of_hits(joined((found.hits, reach))).permits

    def protected_among(self, addresses: Iterable[bytes]) -> tuple[bytes, ...]:
        """Those packed addresses that are protected, each once."""
        return self._protection.among(addresses)

    def judge_address(self, address: bytes) -> tuple[Permit, ...]:
        """What the rules' CIDRs alone permit, a protected address too if they lie wholly inside a protected range."""
        return self._of_hits(self._reach(address).hits).permits

    def _found(self, name: Name) -> _Found:
        """Names that nothing names are judged alike below one parent: only the first of them is looked for (9 µs)."""
        if (found := self._by_name.get(name)) is not None:
            return found
        if name in self._suffixes or self._indexes.names.written_out(name) or len(name) == 1:  # the root has no parent
            found = self._find(name)
            _remember(self._by_name, name, found, MEMORY)
            return found
        parent = Name(name[1 + name[0] :])
        if (found := self._by_parent.get(parent)) is None:
            found = self._find(name)
            _remember(self._by_parent, parent, found, PARENTS)
        return found

    def _find(self, name: Name) -> _Found:
        if self.stance is Stance.UNTOUCHED:
            return _Found(_UNTOUCHED, (), None)
        tails = tuple(parents(name))
        if not self._suffixes.isdisjoint(tails):
            return _Found(_CLUSTER, (), None)
        return self._of_hits(self._indexes.names.find(tails))

    def _of_hits(self, hits: Hits) -> _Found:
        if (found := self._by_hits.get(hits)) is None:
            judgement = judged(self.entries, hits, self.stance)
            permits = permits_of(judgement)
            verdict = (verdict_of if self.settings.is_dns_filtered else unfiltered_verdict_of)(judgement, bool(permits))
            found = _Found(verdict, permits, hits)
            _remember(self._by_hits, hits, found, MEMORY)
        return found

    def _reach(self, address: bytes) -> _Reach:
        if self._is_without_networks:  # nothing to look for, hence nothing to remember
            return _CLOSED if self._protection.covers(address) else _FAR
        if (reach := self._reaches.get(address)) is None:
            is_protected_ = self._protection.covers(address)
            index = self._indexes.protected_networks if is_protected_ else self._indexes.networks
            reach = _Reach(is_protected_, index.find(address))
            _remember(self._reaches, address, reach, MEMORY)
        return reach


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _remember(memory: dict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    if len(memory) >= most:
        memory.clear()
    memory[key] = value


@dataclass(frozen=True, slots=True)
class Subject:
    """A pod and what it may do. uid: the pod's; sources: its addresses, packed; sizes: the octets of one, 4 or 16 or both."""

    pod: Pod
    policy: Policy
    uid: PodUid = field(init=False, repr=False, compare=False)
    sources: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    sizes: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Needed for each grant; to pack an address takes 0.4 µs.
        object.__setattr__(self, "uid", self.pod.uid)
        object.__setattr__(self, "sources", tuple([address.packed for address in self.pod.addresses]))
        object.__setattr__(self, "sizes", frozenset(map(len, self.sources)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything an exchange needs to know about rules and pods.

    by_source: subjects by their textual address, as sockets give it.
    conflicts: addresses that more than one live pod has; nobody is served there.
    changes_at: when the next Audit rule turns into Enforce; compile again then. warnings: for the operator, one line each.
    """

    serial: int
    subjects: dict[PodUid, Subject]
    by_source: dict[str, Subject]
    conflicts: frozenset[IPAddress]
    changes_at: WallTime | None
    settings: PolicySettings
    warnings: tuple[str, ...] = ()
    prepared: Mapping[RuleRef, Prepared] = field(default_factory=dict, repr=False)
    """What follows from each rule alone, so that the next snapshot need not find it again."""
    audited: frozenset[RuleRef] = field(default=frozenset(), repr=False)
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """The rules in Audit mode, and the labels that it was made by: what is alike in the next one is kept (`policy.kept`)."""

    @property
    def protection(self) -> Protection:
        return protection_of(self.settings)
