"""Keeps the kernel as it should be, whatever others do to it: takes over at start, rebuilds what was flushed.

While the main table is away or incomplete the guard holds selected pods closed, and `trouble` keeps answers back.
"""

import asyncio
from collections.abc import Iterator

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from dnsfw.enforce.adopt import adopt, fits
from dnsfw.enforce.batches import batches
from dnsfw.enforce.elements import row_changes
from dnsfw.enforce.places import everywhere, move
from dnsfw.enforce.reconcile import Reconciler
from dnsfw.enforce.state import State
from dnsfw.enforce.structure import Structure
from dnsfw.enforce.targets import interval_members
from dnsfw.policy.ledger import NO_ROW
from dnsfw.policy.snapshot import Snapshot
from nft.changes import Change, Put
from nft.conntrack import ConntrackError
from nft.errors import NftError
from nft.objects import Structure as Found
from nft.transaction import Transaction

log = structlog.get_logger(__name__)
ATTEMPTS = 5
"""At a rebuild; each meets whatever the one before has left."""


class Keeper:
    """Start and repair; every change of the whole goes through the reconciler's lock."""

    def __init__(self, state: State, structure: Structure, reconciler: Reconciler) -> None:
        self._state = state
        self._structure = structure
        self._reconciler = reconciler
        self.rebuilds = 0

    async def start(self, snapshot: Snapshot) -> None:
        """Take over what stands, or build it; NftError if neither can be done."""
        async with self._reconciler.lock:
            await self._avoid_marks()
            self._hold_closed(snapshot)
            standing = await self._state.kernel.read_structure(self._state.layout.table)
            if standing is not None and fits(self._state, standing):
                await adopt(self._state, self._structure, self._reconciler, standing, snapshot)
            else:
                await self._begin_anew(snapshot, standing)
            self._state.snapshot = snapshot
            self._state.say_trouble("")

    async def repair(self, why: str) -> None:
        """Make the whole table anew from our own state; grants and live connections are kept."""
        async with self._reconciler.lock:
            snapshot = self._state.snapshot
            if snapshot is None:
                return
            self._state.say_trouble(why)
            log.warning("the table is being rebuilt", reason=why)
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(NftError),
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_exponential(0.01, max=0.2),
                reraise=True,
            )
            async for attempt in retrying:
                with attempt:
                    is_there = self._state.kernel.fingerprint(self._state.layout.table) is not None
                    await self._build(snapshot, replace=is_there)
            self.rebuilds += 1
            self._state.say_trouble("")

    async def _begin_anew(self, snapshot: Snapshot, standing: Found | None) -> None:
        """A table of another version has given numbers until it was gone."""
        self._state.journal.rewrite(())
        if standing is not None:
            await self._state.kernel.apply(Transaction().delete(self._state.layout.table))
            await self._avoid_marks()
        await self._build(snapshot, replace=False)

    async def _avoid_marks(self) -> None:
        """Numbers that connections bear from an earlier life are not given out."""
        state = self._state
        try:
            marks = await asyncio.to_thread(state.connections.marks_in_use, state.settings.ct_mask)
        except ConntrackError as error:
            log.error("conntrack cannot be read; numbers of an earlier run may be met again", reason=str(error))
            return
        state.numbers.avoid({mark >> state.settings.shift for mark in marks})

    def _hold_closed(self, snapshot: Snapshot) -> None:
        """The guard first: from here on selected pods are closed wherever the main table has not judged."""
        state = self._state
        places = move(state, snapshot, everywhere(state, snapshot)).places
        internal = interval_members(state.layout, snapshot.settings)
        state.commit([*state.guard.members(internal), *state.guard.changes(state.layout, places)])
        state.guard.accept(state.layout, places, internal)

    async def _build(self, snapshot: Snapshot, *, replace: bool) -> None:
        """Everything but the hooks, then the elements, then the hooks: a packet never meets half a table."""
        state = self._state
        await self._structure.build(snapshot, replace=replace)
        state.placed, state.live = {}, set()
        state.deferred.clear()
        self._reconciler.place(snapshot)
        for batch in batches(self._all_grants(snapshot)):
            state.commit(batch)
            await asyncio.sleep(0)
        state.journal.rewrite(state.numbers.live())
        await self._reconciler.settle_all(snapshot, set())
        await self._structure.retire(snapshot)

    def _all_grants(self, snapshot: Snapshot) -> Iterator[Change]:
        state, now = self._state, self._state.clock.now()
        for uid, subject in snapshot.subjects.items():
            number_of = state.numbers_of(uid)
            for address, row in tuple(state.ledger.rows_of(uid)):
                yield from row_changes(state.layout, subject.sources, address, NO_ROW, row, number_of, now)
        for (source, peer), until in state.cut.items():
            if until > now:
                yield Put(state.layout.sets_of_address(source).cut, source + peer, None, max(1, int((until - now) * 1000)))
