"""Enforcement as the agent sees it: brings snapshots into force, keeps grants, keeps the kernel as it should be, says how it stands.

The one owner of the ledger. Everything runs in the loop's thread but for reads of long tables.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from dnsfw.clock import Clock, Instant
from dnsfw.enforce.guard import Guard
from dnsfw.enforce.installer import Installer
from dnsfw.enforce.journal import Journal
from dnsfw.enforce.keeper import Keeper
from dnsfw.enforce.layout import Layout
from dnsfw.enforce.numbers import Holder, Numbers
from dnsfw.enforce.reconcile import Reconciler
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.enforce.state import State
from dnsfw.enforce.structure import Structure
from dnsfw.enforce.upkeep import compare, compare_small, sweep
from dnsfw.policy.ledger import Claim, is_adopted
from dnsfw.policy.model import IPAddress, PodUid
from dnsfw.policy.snapshot import Snapshot, Subject
from nft.conntrack import Connections
from nft.errors import NftError
from nft.kernel import Kernel
from nft.objects import Set

log = structlog.get_logger(__name__)
SWEEP_S = 30.0
COMPARE_S, COMPARE_SHARE = 60.0, 50
"""A comparison a minute, or as seldom as keeps it to a fiftieth of one core: to list a set costs the kernel its size squared."""
SETTLE_S = 0.2
"""A foreign hand seldom stops after one commit: the elements are compared when it has had time to finish."""
RETRY_S = 0.5


class GrantRow(NamedTuple):
    """One claim, for people; `number` is the decision number that its connections bear."""

    subject: Subject
    address: bytes
    claim: Claim
    number: int | None


@dataclass(frozen=True, slots=True)
class EnforceStats:
    """trouble: why nothing is granted, "" when all is well. grants: addresses in the ledger. cut: peers that may not come back as
    ingress.
    """

    trouble: str
    grants: int
    numbers: int
    numbers_available: int
    commits: int
    commit_failures: int
    commit_p50_us: float
    commit_p99_us: float
    rebuilds: int
    mended: int
    closed: int
    cut: int
    has_guard: bool
    journal_problem: str


class Enforcer:
    """Keeps `policy.grants.Grants`; `run` is its slow work, for as long as the process lives."""

    def __init__(self, settings: EnforceSettings, kernel: Kernel, connections: Connections, clock: Clock) -> None:
        journal, layout = Journal(settings.journal, settings.ct_mask), Layout(settings)
        guard = Guard.of(settings, os.urandom(4).hex()) if kernel.features.has_owner else Guard(None)
        numbers = Numbers(settings.highest_number, journal.note)
        self.state = State(settings, layout, kernel, connections, clock, journal, numbers, guard)
        self._structure = Structure(layout, kernel)
        self._reconciler = Reconciler(self.state, self._structure)
        self._keeper = Keeper(self.state, self._structure, self._reconciler)
        installer = Installer(self.state)
        self.request, self.request_now, self.flush = installer.request, installer.request_now, installer.flush
        self._target: Snapshot | None = None
        self._mended = 0
        self._waited: frozenset[int] = frozenset()
        self._compared_at: Instant | None = None
        self._compare_took = 0.0
        self.in_force_since: Instant = 0.0

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot in force."""
        return self.state.snapshot

    @property
    def trouble(self) -> str:
        return self.state.trouble

    async def start(self, snapshot: Snapshot) -> None:
        """Take over the table that stands, or build it; NftError if neither can be done."""
        if self.state.guard.table is not None:
            self.state.kernel.create_owned(self.state.guard.table)
        self._target = snapshot
        self.state.kernel.on_foreign_change(self.state.alarm.set)
        await self._keeper.start(snapshot)
        self.in_force_since = self._compared_at = self.state.clock.now()

    async def apply(self, snapshot: Snapshot) -> None:
        """Bring a new snapshot into force; if the kernel refuses, `run` goes on trying, and what could be wider stays closed meanwhile."""
        self._target = snapshot
        try:
            await self._bring_into_force(snapshot)
        except NftError as error:
            self.state.distrust(f"the new rules are not in the kernel: {error}")
            log.error("the new rules are not in the kernel", reason=str(error))

    async def run(self) -> None:
        """Watch, sweep and compare until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(), name="enforce-watch")
            tasks.create_task(self._sweep(), name="enforce-sweep")
            tasks.create_task(self._compare(), name="enforce-compare")

    async def at_rest(self, seconds: float) -> None:
        """Wait, but not for longer, until no change is half done: a table without its hooks must not be what is left behind."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._reconciler.lock:
                pass

    def close(self) -> None:
        """Let go; the table stays."""
        self.state.journal.close()

    async def _watch(self) -> None:
        """Somebody has changed something, or we have failed to: look, and mend."""
        while True:
            await self.state.alarm.wait()
            self.state.alarm.clear()
            try:
                await self._heal()
            except NftError as error:
                self.state.distrust(f"the table cannot be rebuilt: {error}")
                log.error("the table cannot be rebuilt; trying again", reason=str(error))
                await asyncio.sleep(RETRY_S)

    async def _heal(self) -> None:
        async with self._reconciler.lock:
            is_intact = self._structure.is_intact()
        if self.state.trouble or not is_intact:
            await self.repair(self.state.trouble or "someone else has changed the table")
        if self._target is not None and self._target is not self.state.snapshot:
            await self._bring_into_force(self._target)
        await asyncio.sleep(SETTLE_S)
        while self._reconciler.lock.locked():  # a comparison would give way to new rules, and not come again for a minute
            async with self._reconciler.lock:
                pass
        if self._compared_at is None or self.state.clock.now() - self._compared_at >= COMPARE_SHARE * self._compare_took:
            await self.compare_now()
        else:  # whoever else changes nftables often would have us list large sets without end
            self._mended += await compare_small(self.state, self._structure.standing.sets)

    async def _bring_into_force(self, snapshot: Snapshot) -> None:
        await self._reconciler.apply(snapshot)
        self.in_force_since = self.state.clock.now()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.sweep_now()
            except NftError as error:
                log.warning("ended grants could not be swept", reason=str(error))

    async def _compare(self) -> None:
        while True:
            await asyncio.sleep(max(COMPARE_S, COMPARE_SHARE * self._compare_took))
            try:
                await self.compare_now()
            except NftError as error:
                log.warning("the kernel could not be compared", reason=str(error))
                self.state.alarm.set()

    async def repair(self, why: str) -> None:
        """Build the table anew from the ledger; NftError if the kernel will not have it."""
        await self._keeper.repair(why)

    async def sweep_now(self) -> None:
        """Forget what has ended, and free the numbers that had left before the last sweep."""
        self._waited = await sweep(self.state, self._waited)

    async def compare_now(self) -> int:
        """Compare every element with the ledger and mend; returns how many were wrong.

        Takes no lock, for a long dump must not hold up new rules: each element is judged by what is true when it is looked at.
        """
        if self._reconciler.lock.locked():
            return 0
        begun = self.state.clock.now()
        wrong = await compare(self.state, self._structure.standing.sets)
        self._mended += wrong
        self._compared_at = self.state.clock.now()
        self._compare_took = self._compared_at - begun
        return wrong

    # What people ask

    def grants(self) -> Iterator[GrantRow]:
        """Every claim that has not ended."""
        now, snapshot = self.state.clock.now(), self.state.snapshot
        for uid, subject in () if snapshot is None else tuple(snapshot.subjects.items()):
            for address, row in tuple(self.state.ledger.rows_of(uid)):
                for claim in row:
                    if claim.until > now:
                        yield GrantRow(subject, address, claim, self.state.numbers.of(Holder(uid, claim.permit.rule)))

    def standing_sets(self) -> frozenset[Set]:
        """The sets and maps of the table."""
        return frozenset(self._structure.standing.sets)

    def since_compared(self) -> float | None:
        """Seconds since every element was last held against the ledger."""
        return None if self._compared_at is None else self.state.clock.now() - self._compared_at

    def remaining(self, until: Instant) -> float:
        return max(0.0, until - self.state.clock.now())

    def refusals(self) -> dict[tuple[PodUid, IPAddress], tuple[int, int]]:
        """Per pod and address: packets refused, and packets that Audit mode has let through, since the address began to be judged."""
        if self.state.snapshot is None:
            return {}
        sets = [(layout.refused, layout.would) for layout in (self.state.layout.v4, self.state.layout.v6)]
        try:
            refused = _counted(self.state.kernel, [pair[0] for pair in sets])
            would = _counted(self.state.kernel, [pair[1] for pair in sets])
        except NftError:
            return {}  # the table is away: `trouble` says so, and whoever asks how it stands must hear that
        return {
            (uid, address): (refused.get(address.packed, 0), would.get(address.packed, 0))
            for uid, subject in self.state.snapshot.subjects.items()
            for address in subject.pod.addresses
            if address.packed in refused
        }

    def stats(self) -> EnforceStats:
        state = self.state
        recent = sorted(state.commit_seconds)
        return EnforceStats(
            trouble=state.trouble,
            grants=len(state.ledger),
            numbers=len(state.numbers),
            numbers_available=state.numbers.available,
            commits=state.commits,
            commit_failures=state.commit_failures,
            commit_p50_us=_share(recent, 0.50) * 1e6,
            commit_p99_us=_share(recent, 0.99) * 1e6,
            rebuilds=self._keeper.rebuilds,
            mended=self._mended,
            closed=len(state.closed),
            cut=len(state.cut),
            has_guard=state.guard.table is not None,
            journal_problem=state.journal.problem,
        )


def _counted(kernel: Kernel, sets: Sequence[Set]) -> dict[bytes, int]:
    return {element.key: element.packets for of in sets for element in kernel.read_elements(of)}


def _share(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


__all__ = ["EnforceStats", "Enforcer", "GrantRow", "is_adopted"]
