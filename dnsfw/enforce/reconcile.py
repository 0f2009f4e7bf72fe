"""A new snapshot comes into force: what it needs is made, then everything is switched in one transaction, then survivors move house, then
the old is cleared away.

Always true: from the switch on, nothing new is allowed by the old rules (where more than AT_ONCE elements are to go, from the last of them
on); when `apply` returns, nothing at all is. One snapshot at a time.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

import structlog

from dnsfw.enforce.batches import BATCH, batches
from dnsfw.enforce.cuts import Pair, gives_back
from dnsfw.enforce.elements import row_changes
from dnsfw.enforce.numbers import Holder
from dnsfw.enforce.places import accept, everywhere, move
from dnsfw.enforce.rejudge import Judgement, PodChange, compare, judge_row, judge_rows
from dnsfw.enforce.state import CUT_PAIRS, State
from dnsfw.enforce.structure import Structure
from dnsfw.enforce.survivors import settle
from dnsfw.enforce.targets import basis_at, interval_members, is_selected, static_holders
from dnsfw.policy.ledger import NO_ROW
from dnsfw.policy.model import RuleRef
from dnsfw.policy.snapshot import Permit, Snapshot, Stance, Subject
from nft.changes import Change, Discard, Put
from nft.errors import NftError
from nft.objects import Set

log = structlog.get_logger(__name__)
CUT_SETS = frozenset({"cut4", "cut6"})
AT_ONCE = 4000
"""Changes in the transaction that switches: about 10 ms of the loop, and less than an unprivileged socket's buffer holds."""


@dataclass(slots=True)
class Switch:
    """What one transaction does, and what must follow it.

    leaving: numbers that stay live until their survivors have another one. subjects: whose connections to look at, by source address.
    """

    changes: list[Change] = field(default_factory=list)
    leaving: set[int] = field(default_factory=set)
    subjects: dict[bytes, Subject] = field(default_factory=dict)


class Reconciler:
    """The one who changes what is in force."""

    def __init__(self, state: State, structure: Structure) -> None:
        self._state = state
        self._structure = structure
        self.lock = asyncio.Lock()

    async def apply(self, snapshot: Snapshot) -> None:
        """Bring `snapshot` into force. NftError: the old one stays, or (after the switch) `trouble` says that a rebuild is due."""
        async with self.lock:
            await self._structure.prepare(self._state.snapshot, snapshot)
            await self._state.followers.follow(snapshot)
            judgement = await self._judge(snapshot)
            switch = Switch()
            try:
                self._switch(snapshot, judgement, switch)
                await self._finish()
            except NftError:
                for number in switch.leaving:
                    self._state.numbers.leave(number)
                raise
            await self._settle(switch.subjects, switch.leaving, snapshot)
            await self._structure.retire(snapshot)

    async def _judge(self, snapshot: Snapshot) -> Judgement:
        """Judge in slices; rows written meanwhile are judged once more by `_switch`, which does not pause."""
        state = self._state
        judgement = compare(state.snapshot, snapshot)
        state.written = set()
        for _ in judge_rows(judgement, state.ledger):
            await asyncio.sleep(0)
        changes = {change.after.pod.uid: change for change in judgement.changed}
        for uid, address in state.written:
            if (change := changes.get(uid)) is not None:
                judge_row(judgement, state.ledger, change, address)
        state.written = None
        return judgement

    def _switch(self, snapshot: Snapshot, judgement: Judgement, switch: Switch) -> None:
        for subject in judgement.gone:
            self._remove(subject, switch)
        for change in judgement.changed:
            self._change(change, judgement, switch)
        touched = self._touched(snapshot, judgement)
        for subject in touched:
            self._give_numbers(subject)
            for address in subject.pod.addresses:
                self._state.closed.pop(address, None)
        self._state.stale.update(address for subject in (*judgement.gone, *touched) for address in subject.pod.addresses)
        self._give_back(judgement, switch)
        for subject in judgement.fresh:
            switch.subjects |= {address.packed: subject for address in subject.pod.addresses}
        switch.changes.sort(key=lambda change: not isinstance(change, Discard))
        now, later = switch.changes[:AT_ONCE], switch.changes[AT_ONCE:]
        self._state.deferred = {(change.set, change.key): change for change in later}
        self._commit(now, snapshot)
        self._state.snapshot = snapshot
        self._state.followers.in_force(snapshot)

    def _touched(self, snapshot: Snapshot, judgement: Judgement) -> list[Subject]:
        """The pods that may stand otherwise in the small sets than before; whoever lacked a number tries again."""
        state, before = self._state, self._state.snapshot
        disputed = snapshot.conflicts ^ (before.conflicts if before is not None else frozenset())
        state.starved &= snapshot.subjects.keys()
        uids = {
            *(change.after.pod.uid for change in judgement.changed),
            *(subject.pod.uid for subject in (*judgement.gone, *judgement.new)),
            *state.starved,
            *(uid for uid, subject in snapshot.subjects.items() if disputed and not disputed.isdisjoint(subject.pod.addresses)),
        }
        return [snapshot.subjects[uid] for uid in uids if uid in snapshot.subjects]

    def _give_back(self, judgement: Judgement, switch: Switch) -> None:
        """A revoked peer comes back where its network is allowed again, or where nothing is refused by default any more.

        Of a pod that is new on an old address nothing is known but that it is not the one that was cut off: if no rule selects it, nothing
        of it is judged.
        """
        before = {change.after.pod.uid: change.before.policy for change in judgement.changed}
        new = [subject for subject in judgement.new if not is_selected(subject)]
        pairs = {
            pair
            for subject in (*(change.after for change in judgement.changed), *new)
            for address in subject.pod.addresses
            for pair in self._state.cut.of(address.packed)
            if gives_back(before.get(subject.pod.uid), subject.policy, pair[1])
        }
        if pairs:
            changes = uncut_changes(self._state, pairs)
            undone = {change.key for change in changes}
            switch.changes = [each for each in switch.changes if not (each.set.name in CUT_SETS and each.key in undone)] + changes

    async def _finish(self) -> None:
        """What was too much for one transaction. Elements of numbers that have left open nothing, survivors' old ones are still right."""
        deferred = self._state.deferred
        while deferred:
            self._state.commit([deferred.pop(key) for key in list(islice(deferred, BATCH))])
            await asyncio.sleep(0)

    def _remove(self, subject: Subject, switch: Switch) -> None:
        """A pod that is gone, or has moved: its elements and numbers go, its address stays closed until another pod has it."""
        state, uid = self._state, subject.pod.uid
        for address, row in state.ledger.rows_of(uid):
            switch.changes += row_changes(state.layout, subject.sources, address, row, NO_ROW, _no_number, state.clock.now())
            self._cut(subject, address, switch)
        state.ledger.remove_pod(uid)
        for holder in state.numbers.holders_of(uid):
            self._leave(holder)
        if is_selected(subject):
            for each in subject.pod.addresses:
                state.close_address(each)

    def _change(self, change: PodChange, judgement: Judgement, switch: Switch) -> None:
        subject, uid = change.after, change.after.pod.uid
        renumbered = self._renumber(change, judgement, switch)
        # Without a new number for anything, what has been judged as before is as before.
        for address in list(self._state.ledger.addresses_of(uid) if renumbered else judgement.rows.get(uid, ())):
            self._rewrite(change, address, judgement, renumbered, switch)
        if renumbered or change.before.policy.stance is not subject.policy.stance:
            switch.subjects |= {address.packed: subject for address in subject.pod.addresses}

    def _renumber(self, change: PodChange, judgement: Judgement, switch: Switch) -> set[RuleRef]:
        """Rules whose number has changed: what they stood for is not all allowed any more, so survivors need another one."""
        numbers, uid, lost = self._state.numbers, change.after.pod.uid, judgement.lost.get(change.after.pod.uid, set())
        bases, statics = dict(change.bases), static_holders(change.after)
        renumbered: set[RuleRef] = set()
        for holder in numbers.holders_of(uid):
            basis = basis_at(change.after, bases[holder.rule]) if holder.rule in bases else statics.get(holder)
            is_lost = holder.rule in lost or change.before.policy.stance is not change.after.policy.stance
            if is_lost or basis is None or numbers.is_out_of_sight(holder, basis):
                renumbered.add(holder.rule)
                self._release(holder, change.after, switch)
            else:
                numbers.rebase(holder, basis)
        return renumbered

    def _release(self, holder: Holder, after: Subject, switch: Switch) -> None:
        """The number goes when the survivors have moved to what is taken for them, or at once if nobody is to be kept."""
        if after.policy.stance is Stance.UNTOUCHED:
            self._leave(holder)
        else:
            switch.leaving.add(self._state.numbers.release(holder))

    def _rewrite(self, change: PodChange, address: bytes, judgement: Judgement, renumbered: set[RuleRef], switch: Switch) -> None:
        state, subject, uid = self._state, change.after, change.after.pod.uid
        before = state.ledger.row(uid, address)
        after = judgement.rows.get(uid, {}).get(address, before)
        if after is before and not any(claim.permit.rule in renumbered for claim in before):
            return
        after = tuple([claim for claim in after if self._has_number(subject, claim.permit, change.bases)])
        sources, number_of = subject.sources, state.numbers_of(uid)
        switch.changes += row_changes(state.layout, sources, address, before, after, number_of, state.clock.now(), renumbered)
        state.ledger.accept({(uid, address): after})
        if not after and subject.policy.stance is Stance.ENFORCE and not subject.policy.judge_address(address):
            self._cut(subject, address, switch)

    def _give_numbers(self, subject: Subject) -> None:
        self._state.starved.discard(subject.pod.uid)
        for holder, basis in static_holders(subject).items():
            if self._state.numbers.of(holder) is None and self._state.numbers.take(holder, basis) is None:
                self._state.starved.add(subject.pod.uid)
                log.error("no decision number is free; a rule's CIDRs stay closed", pod=str(subject.pod), rule=str(holder.rule))

    def _has_number(self, subject: Subject, permit: Permit, bases: Mapping[RuleRef, str]) -> bool:
        """A number for the permit's rule, taken if need be, on what the rule says now; none is free: it is closed (design §2)."""
        numbers, holder = self._state.numbers, Holder(subject.pod.uid, permit.rule)
        return numbers.of(holder) is not None or numbers.take(holder, basis_at(subject, bases.get(permit.rule, permit.basis))) is not None

    def _leave(self, holder: Holder) -> None:
        number = self._state.numbers.of(holder)
        if number is not None:
            self._state.numbers.leave(number)

    def _cut(self, subject: Subject, peer: bytes, switch: Switch) -> None:
        switch.changes += cut_changes(self._state, [(each.packed, peer) for each in subject.pod.addresses if len(each.packed) == len(peer)])

    def _commit(self, changes: list[Change], snapshot: Snapshot) -> None:
        """One transaction with everything; a refusal leaves the kernel behind our state, so all is closed until it has been rebuilt."""
        state = self._state
        moved = move(state, snapshot, state.stale)
        internal = interval_members(state.layout, snapshot.settings)
        guarded = [*state.guard.members(internal), *state.guard.changes(state.layout, moved.places)]
        try:
            state.commit([*changes, *moved.changes, *guarded])
        except NftError as error:
            state.distrust(f"a change of rules could not be brought into the kernel: {error}")
            state.snapshot = snapshot
            raise
        accept(state, moved)
        state.guard.accept(state.layout, moved.places, internal)
        state.stale.clear()

    def place(self, snapshot: Snapshot) -> None:
        """Bring the small sets in line, whatever stands in them (`placed`)."""
        for subject in snapshot.subjects.values():
            self._give_numbers(subject)
        self._state.stale |= everywhere(self._state, snapshot)
        self._commit([], snapshot)

    async def settle_all(self, snapshot: Snapshot, leaving: set[int]) -> None:
        """Judge the connections of every selected pod that bear a leaving number, or none: those from before us."""
        selected = [subject for subject in snapshot.subjects.values() if is_selected(subject)]
        subjects = {address.packed: subject for subject in selected for address in subject.pod.addresses}
        await self._settle(subjects, leaving, snapshot)

    async def _settle(self, subjects: dict[bytes, Subject], leaving: set[int], snapshot: Snapshot) -> None:
        """Survivors get the numbers of what still allows them; then the old numbers go, and with them everybody else."""
        if not subjects and not leaving:
            return
        contested = {address.packed for address in snapshot.conflicts}
        sources = {source: None if source in contested else subject for source, subject in subjects.items()}
        fate = await settle(self._state, sources, leaving)
        for number in leaving:
            self._state.numbers.leave(number)
        self._commit([], snapshot)
        for batch in batches(cut_changes(self._state, fate.cut)):
            self._state.commit(batch)
            await asyncio.sleep(0)


def cut_changes(state: State, pairs: Iterable[Pair]) -> list[Change]:
    """Keep a revoked peer from coming back as ingress, until it is granted again or has been silent for long (design §2)."""
    until = state.clock.now() + state.settings.cut_s
    changes: list[Change] = []
    for pair in pairs:
        state.cut.add(pair, until)
        changes.append(Put(_cut_set(state, pair), b"".join(pair), None, state.settings.cut_s * 1000))
    return changes + uncut_changes(state, state.cut.beyond(CUT_PAIRS))


def uncut_changes(state: State, pairs: Iterable[Pair]) -> list[Change]:
    changes: list[Change] = []
    for pair in pairs:
        state.cut.discard(pair)
        changes.append(Discard(_cut_set(state, pair), b"".join(pair)))
    return changes


def _cut_set(state: State, pair: Pair) -> Set:
    return state.layout.sets_of_address(pair[0]).cut


def _no_number(_: RuleRef) -> None:
    return None
