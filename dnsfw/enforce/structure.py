"""The table's structure as the snapshot needs it: made before it is used, retired after; never in the middle of a query.

One transaction makes what is missing; nothing refers to it yet. Once the elements have been switched, another takes away what is no
longer wanted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

import structlog

from dnsfw.enforce.chains import base_chains, common_chains, rules_of
from dnsfw.enforce.layout import FAMILIES, Layout
from dnsfw.enforce.policy_chain import policy_chains
from dnsfw.enforce.targets import interval_members, rule_sets
from dnsfw.policy.model import PolicySettings
from dnsfw.policy.ports import Piece
from dnsfw.policy.protected import protected_masks
from dnsfw.policy.snapshot import Policy, Snapshot, Stance
from nft.errors import BusyError
from nft.kernel import Kernel
from nft.objects import Chain, Element, Set
from nft.transaction import Transaction

log = structlog.get_logger(__name__)
Body = tuple[str, ...]
Span = tuple[int, int]
"""First and last address."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Sets, chains with their rules, and the networks of the interval sets."""

    sets: frozenset[Set]
    chains: Mapping[Chain, Body]
    members: Mapping[Set, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Made:
    """What one policy alone needs; remembered, since most policies stay when one changes."""

    chains: Mapping[Chain, Body]
    sets: frozenset[Set]


@dataclass(slots=True)
class Standing:
    """What we have made, or found; an unknown body (None) is written anew."""

    sets: set[Set] = field(default_factory=set)
    chains: dict[Chain, Body | None] = field(default_factory=dict)
    members: dict[Set, tuple[str, ...]] = field(default_factory=dict)


def policies_of(snapshot: Snapshot) -> dict[str, Policy]:
    return {subject.policy.key: subject.policy for subject in snapshot.subjects.values() if subject.policy.stance is not Stance.UNTOUCHED}


def covered(spans: Iterable[Span]) -> list[Span]:
    """The same addresses in as few spans as can be, in order: the kernel may have cut and joined them as it likes."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _span(network: str) -> Span:
    whole = ip_network(network)
    return int(whole.network_address), int(whole.broadcast_address)


def _span_of(element: Element) -> Span:
    return int.from_bytes(element.key), int.from_bytes(element.key if element.key_end is None else element.key_end)


def range_sets(layout: Layout, ranges: Iterable[Piece]) -> set[Set]:
    return {layout.range_set(family, piece) for piece in ranges for family in FAMILIES}


class Structure:
    """Owns what stands in the table besides elements."""

    def __init__(self, layout: Layout, kernel: Kernel) -> None:
        self._layout = layout
        self._kernel = kernel
        self._made: dict[str, Made] = {}
        self.standing = Standing()
        self._expected: int | None = None

    def is_intact(self) -> bool:
        """Whether the structure, and the networks that pass or stay closed, are as we left them; cheap, for it asks no libnftables.

        Not while a change of ours is under way.
        """
        is_same = self._expected is not None and self._kernel.fingerprint(self._layout.table) == self._expected
        return is_same and all(
            covered(_span_of(element) for element in self._kernel.read_elements(of)) == covered(map(_span, texts))
            for of, texts in self.standing.members.items()
        )

    def wanted(self, policies: Mapping[str, Policy], settings: PolicySettings) -> Wanted:
        layout = self._layout
        ranges = frozenset(piece for policy in policies.values() for piece in policy.ranges)
        chains = dict(common_chains(layout, ranges, protected_masks(settings)))
        sets = {*layout.sets(), *range_sets(layout, ranges)}
        for policy in policies.values():
            made = self._made_of(policy)
            chains |= made.chains
            sets |= made.sets
        chains |= base_chains(layout)
        return Wanted(frozenset(sets), chains, interval_members(layout, settings))

    async def prepare(self, before: Snapshot | None, after: Snapshot) -> None:
        """Make what `after` needs, and keep what `before` does."""
        policies = ({} if before is None else policies_of(before)) | policies_of(after)
        await self._apply(self.additions(self.wanted(policies, after.settings)))

    async def retire(self, snapshot: Snapshot) -> None:
        """Take away what the snapshot does not need; what an element still refers to waits for the next time."""
        wanted = self.wanted(policies_of(snapshot), snapshot.settings)
        before = Standing(set(self.standing.sets), dict(self.standing.chains), dict(self.standing.members))
        transaction = self.additions(wanted)
        self._removals(wanted, transaction)
        try:
            await self._apply(transaction)
        except BusyError as error:
            self.standing = before
            log.info("chains wait to be retired", reason=str(error))
            return
        self.standing.chains = dict(wanted.chains)
        self.standing.sets = set(wanted.sets)
        policies = policies_of(snapshot)
        self._made = {key: made for key, made in self._made.items() if key in policies}

    async def build(self, snapshot: Snapshot, *, replace: bool) -> None:
        """All but the base chains, from nothing; `replace` deletes what stands in the same transaction."""
        wanted = self.wanted(policies_of(snapshot), snapshot.settings)
        self.standing = Standing()
        inner = Wanted(wanted.sets, {chain: body for chain, body in wanted.chains.items() if chain.hook is None}, wanted.members)
        transaction = Transaction().add(self._layout.table)
        if replace:
            transaction.delete(self._layout.table).add(self._layout.table)
        await self._apply(self.additions(inner, transaction))

    def additions(self, wanted: Wanted, transaction: Transaction | None = None) -> Transaction:
        """What is missing or different; notes it as standing, for a transaction that fails leads to a rebuild."""
        transaction = transaction or Transaction()
        standing = self.standing
        for of in sorted(wanted.sets - standing.sets, key=lambda each: each.name):
            transaction.add(of)
        changed = {chain: body for chain, body in wanted.chains.items() if standing.chains.get(chain) != body}
        for chain in changed:
            if chain in standing.chains:
                transaction.flush(chain)
            else:
                transaction.add(chain)
        for chain, body in changed.items():
            for rule in rules_of(chain, body):
                transaction.add(rule)
        for of, texts in wanted.members.items():
            self._change_members(transaction, of, texts)
        standing.sets |= wanted.sets
        standing.chains |= changed
        return transaction

    def _change_members(self, transaction: Transaction, of: Set, texts: tuple[str, ...]) -> None:
        held = self.standing.members.get(of)
        if held == texts:
            return
        if held is not None:
            transaction.flush(of)
        transaction.add_members(of, texts)
        self.standing.members[of] = texts

    def _removals(self, wanted: Wanted, transaction: Transaction) -> None:
        spare = [chain for chain in self.standing.chains if chain not in wanted.chains]
        for chain in spare:
            transaction.flush(chain)
        for chain in spare:
            transaction.delete(chain)
        for of in sorted(self.standing.sets - wanted.sets, key=lambda each: each.name):
            transaction.delete(of)

    def _made_of(self, policy: Policy) -> Made:
        if policy.key not in self._made:
            self._made[policy.key] = Made(policy_chains(self._layout, policy), rule_sets(self._layout, policy))
        return self._made[policy.key]

    async def _apply(self, transaction: Transaction) -> None:
        if transaction:
            await self._kernel.apply(transaction)
            self._expected = self._kernel.fingerprint(self._layout.table)
