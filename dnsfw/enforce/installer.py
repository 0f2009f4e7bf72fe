"""Grants while queries wait: what is asked within one turn of the loop, or up to a `flush` in it, becomes one transaction, and
its ack wakes all who asked.

Where more is asked than TURN_ADDRESSES, pods take turns, and a long answer is granted in parts: one pod's thousand addresses would hold
everyone else up for 20 ms.
Always true: no future says Granted before the kernel has acknowledged every element it stands for; what is installed is what the newest
snapshot allows.
The commit itself is synchronous: it takes 2-9 µs, and a thread would cost more than that to wake up (docs/adr).
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from dnsfw.clock import Instant
from dnsfw.enforce.asked import FOREVER, Ask, Wanted, held, refusal_of, wanted_of
from dnsfw.enforce.elements import element_place, first_claim, row_changes
from dnsfw.enforce.numbers import Holder
from dnsfw.enforce.state import State
from dnsfw.enforce.targets import basis_at, mark_key
from dnsfw.names import Name
from dnsfw.policy.grants import Granted, GrantOutcome, NotGranted, Told
from dnsfw.policy.lease import answer_bound, lease
from dnsfw.policy.ledger import Claim, Row, RowKey, loses_claims, with_claims
from dnsfw.policy.model import PodUid
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Permit, Subject
from dnsfw.policy.turns import Turns
from nft.changes import Add, Change, Discard, Put
from nft.errors import NftError

WAITING_BOUND: Final = 65_536
"""Requests that wait for their turn; more are refused (queue full)."""
TURN_ADDRESSES: Final = 256
PART_ADDRESSES: Final = 64


class Waiting:
    """Compiled, a class of our own costs a third of a named tuple."""

    __slots__ = ("ask", "asked_at", "then")

    def __init__(self, ask: Ask, then: Told, asked_at: Instant) -> None:
        self.ask = ask
        self.then = then
        self.asked_at = asked_at


@dataclass(slots=True)
class Batch:
    """What one transaction will hold, and the rows it leads to (fresh: how many of a pod's are new; crowded: rows that lose claims)."""

    rows: dict[RowKey, Row] = field(default_factory=dict)
    fresh: dict[PodUid, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    uncut: list[tuple[bytes, bytes]] = field(default_factory=list)
    crowded: list[RowKey] = field(default_factory=list)


class Installer:
    """Keeps the promise of `policy.grants.Grants`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._ledger, self._numbers, self._now = state.ledger, state.numbers, state.clock.now
        self._most_of_pod, self._most = state.settings.grants_per_pod, state.settings.grants_per_node
        self._deadline_s = state.settings.commit_deadline_s
        self._next: list[Waiting] = []
        self._next_size = 0
        self._waiting: Turns[Waiting] = Turns(WAITING_BOUND, 2 * WAITING_BOUND)
        self._is_due = False

    def request(self, subject: Subject, name: Name, addresses: Sequence[bytes], ttl: int, then: Told) -> None:
        if self._must_wait(subject, name, addresses, ttl, then):
            self._expect()

    def request_now(self, subject: Subject, name: Name, addresses: Sequence[bytes], ttl: int, then: Told) -> None:
        if self._must_wait(subject, name, addresses, ttl, then):
            self.flush()

    def _must_wait(self, subject: Subject, name: Name, addresses: Sequence[bytes], ttl: int, then: Told) -> bool:
        """Whether it needs a transaction; else `then` has been told."""
        ask = Ask(subject, name, tuple(addresses), ttl)
        settled: GrantOutcome | None = self._refusal(subject)
        is_whole = len(ask.addresses) <= PART_ADDRESSES
        if settled is None and is_whole and self._is_known(ask):
            settled = self._held(ask)
        if settled is None and not is_whole:
            settled = self._over_quota(subject.uid, set(ask.addresses), Batch())
        if settled is not None:
            then(settled)
            return False
        if is_whole:
            self._line_up(ask, then)
            return True
        parts = list(parts_of(ask))
        gathered = gather(len(parts), then)
        for part in parts:
            self._line_up(part, gathered)
        return True

    def _line_up(self, ask: Ask, then: Told) -> None:
        """The first of a turn need no queue; once more is asked than a turn takes, everybody queues."""
        waiting = Waiting(ask, then, self._now())
        if not self._waiting and self._next_size < TURN_ADDRESSES:
            self._next.append(waiting)
            self._next_size += len(ask.addresses)
        elif not self._waiting.put(ask.subject.uid, waiting):
            then(NotGranted(Reason.QUEUE_FULL, f"{WAITING_BOUND} grants wait for the kernel"))

    def _refusal(self, subject: Subject) -> NotGranted | None:
        state, snapshot = self._state, self._state.snapshot
        # As nearly always; `refusal_of` would say so too, at three times the price.
        if snapshot is not None and not (state.trouble or snapshot.conflicts) and snapshot.subjects.get(subject.uid) is subject:
            return None
        return refusal_of(state, subject)

    def _is_known(self, ask: Ask) -> bool:
        """Whether it may be held: nearly every new answer has an address of which nothing is known, which takes no judgement to see."""
        return not ask.addresses or self._ledger.knows(ask.subject.uid, ask.addresses[0])

    def _held(self, ask: Ask) -> Granted | None:
        return held(self._ledger, ask, wanted_of(ask, self._now()), partial(self._deferred, ask.subject))

    def _held_part(self, ask: Ask, wanted: Sequence[Wanted], batch: Batch) -> Granted | None:
        """A part of many addresses is looked up when its turn comes: all at once they would hold everybody up, 4 ms for a thousand."""
        if len(ask.addresses) == 1 or ask.subject.uid in batch.fresh:
            return None  # what this transaction writes to the pod's rows is not in the ledger yet
        return held(self._ledger, ask, wanted, partial(self._deferred, ask.subject))

    def _expect(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._on_due)

    def _on_due(self) -> None:
        self._is_due = False
        self.flush()

    def flush(self) -> None:
        """What waits, or as much of it as one transaction takes."""
        if not self._next and not self._waiting:
            return
        waiting, size = self._next, self._next_size
        self._next, self._next_size = [], 0
        while self._waiting and size < TURN_ADDRESSES:
            one = self._waiting.take()
            waiting.append(one)
            size += len(one.ask.addresses)
        if self._waiting:
            self._expect()
        outcomes = self._install([one.ask for one in waiting])
        late = self._now() - self._deadline_s
        for place, one in enumerate(waiting):
            outcome = outcomes[place]
            if one.asked_at < late and isinstance(outcome, Granted):
                outcome = NotGranted(Reason.KERNEL_TIMEOUT, "the kernel took longer than the bound")
            try:
                one.then(outcome)
            except Exception as error:
                loop = asyncio.get_running_loop()
                loop.call_exception_handler({"message": "an outcome of grants was not taken", "exception": error})

    def _install(self, asks: list[Ask]) -> list[GrantOutcome]:
        batch, now = Batch(), self._now()
        outcomes = [self._plan(ask, batch, now) for ask in asks]
        try:
            self._carry_out(batch)
        except NftError as error:
            return self._one_by_one(asks) if len(asks) > 1 else [self._again(asks[0], error)]
        return outcomes

    def _one_by_one(self, asks: list[Ask]) -> list[GrantOutcome]:
        """One of them spoiled the transaction: the others must not suffer."""
        return [outcome for ask in asks for outcome in self._install([ask])]

    def _again(self, ask: Ask, first: NftError) -> GrantOutcome:
        """Once more, whatever stands in the kernel; then it is the kernel's last word."""
        batch = Batch()
        outcome = self._plan(ask, batch, self._now())
        batch.changes = [Put(*change) if isinstance(change, Add) else change for change in batch.changes]
        try:
            self._carry_out(batch)
        except NftError as error:
            return NotGranted(Reason.KERNEL_FAILED, f"{first}; again: {error}")
        return outcome

    def _carry_out(self, batch: Batch) -> None:
        try:
            self._state.commit(batch.changes)
        except NftError:
            for number in batch.taken:
                self._numbers.leave(number)
            raise
        self._ledger.accept(batch.rows)
        if self._state.written is not None:
            self._state.written |= batch.rows.keys()
        self._state.live.update(batch.taken)
        for pair in batch.uncut:
            self._state.cut.discard(pair)
        for key in batch.crowded:
            self._state.followers.forget(key)

    def _plan(self, ask: Ask, batch: Batch, now: Instant) -> GrantOutcome:
        """Add to `batch` what this answer needs; judged anew, for the rules may have changed since it was asked."""
        refusal = self._refusal(ask.subject)
        if refusal is not None:
            return refusal
        if (granted := self._plan_first(ask, batch, now)) is not None:
            return granted
        uid = ask.subject.uid
        wanted = list(wanted_of(ask, now))
        if (standing := self._held_part(ask, wanted, batch)) is not None:
            return standing
        over = self._over_quota(uid, {one.address for one in wanted}, batch)
        if over is not None:
            return over
        if not all(self._has_number(ask.subject, one.permit, batch) for one in wanted):
            return NotGranted(Reason.NO_NUMBER, "every decision number is in use")
        claims_on: dict[bytes, list[Claim]] = {}
        for one in wanted:
            claims_on.setdefault(one.address, []).append(Claim(one.permit, ask.name, one.until))
        for address, claims in claims_on.items():
            self._write(ask.subject, address, claims, batch, now)
        count = sum(len(one.permit.pieces) for one in wanted)
        return Granted(min((one.until for one in wanted), default=FOREVER), min((one.ttl for one in wanted), default=ask.ttl), count)

    def _plan_first(self, ask: Ask, batch: Batch, now: Instant) -> Granted | None:
        """`_plan` for what nearly every ask is: one address, nothing there, one permit, room, a number. 9 µs for 22; None: not so."""
        subject, state = ask.subject, self._state
        if len(ask.addresses) != 1 or state.deferred or state.cut or len(ask.addresses[0]) not in subject.sizes:
            return None
        address, uid = ask.addresses[0], subject.uid
        key = (uid, address)
        known, fresh = self._ledger.addresses_of(uid), batch.fresh.get(uid, 0)
        if address in known or key in batch.rows or not self._has_room(len(known) + fresh, len(batch.rows)):
            return None
        if len(permits := subject.policy.judge(ask.name, address)) != 1:
            return None
        (permit,) = permits
        if (number := self._numbers.of_rule(uid, permit.rule)) is None:
            return None
        ttl = answer_bound(ask.ttl, permit.limits)
        claim = Claim(permit, ask.name, now + lease(ttl, permit.limits))
        batch.changes += first_claim(state.layout, subject.sources, address, claim, number, now)
        batch.rows[key] = (claim,)
        batch.fresh[uid] = fresh + 1
        return Granted(claim.until, ttl, len(permit.pieces))

    def _has_room(self, of_pod: int, of_batch: int) -> bool:
        """For one more address, of a pod with so many, beside so many of the batch."""
        return of_pod < self._most_of_pod and len(self._ledger) + of_batch < self._most

    def _write(self, subject: Subject, address: bytes, claims: list[Claim], batch: Batch, now: Instant) -> None:
        state, uid, key = self._state, subject.uid, (subject.uid, address)
        before = batch.rows.get(key) or self._ledger.row(uid, address)
        batch.fresh[uid] = batch.fresh.get(uid, 0) + (not before)
        after = with_claims(before, claims)
        if loses_claims(before, claims, after):
            batch.crowded.append(key)
        if state.deferred:
            for claim in claims:
                batch.changes += self._deferred(subject, address, claim)
        batch.changes += row_changes(state.layout, subject.sources, address, before, after, state.numbers_of(uid), now)
        batch.rows[key] = after
        for source in subject.sources if state.cut else ():
            if (pair := (source, address)) in state.cut:
                batch.changes.append(Discard(state.layout.sets_of_address(address).cut, source + address))
                batch.uncut.append(pair)

    def _deferred(self, subject: Subject, address: bytes, claim: Claim) -> list[Change]:
        """What a change of rules has not written yet of this permission."""
        layout, deferred = self._state.layout, self._state.deferred
        if not deferred:
            return []
        sources = [source for source in subject.sources if len(source) == len(address)]
        places = [element_place(layout, source, address, piece) for source in sources for piece in claim.permit.pieces]
        return [deferred[place] for place in places if place in deferred]

    def _has_number(self, subject: Subject, permit: Permit, batch: Batch) -> bool:
        state, uid = self._state, subject.uid
        if self._numbers.of_rule(uid, permit.rule) is not None:
            return True
        number = self._numbers.take(Holder(uid, permit.rule), basis_at(subject, permit.basis))
        if number is None:
            return False
        batch.taken.append(number)
        batch.changes.append(Put(state.layout.live, mark_key(state.layout, number)))
        return True

    def _over_quota(self, uid: PodUid, addresses: set[bytes], batch: Batch) -> NotGranted | None:
        """Whether these addresses would be too many; those that the pod has already cost nothing."""
        known = self._ledger.addresses_of(uid)
        new = sum(address not in known and (uid, address) not in batch.rows for address in addresses)
        if not new:
            return None
        if len(known) + batch.fresh.get(uid, 0) + new > self._most_of_pod:
            return NotGranted(Reason.POD_QUOTA, f"{self._most_of_pod} addresses")
        if len(self._ledger) + sum(batch.fresh.values()) + new > self._most:
            return NotGranted(Reason.NODE_QUOTA, f"{self._most} addresses")
        return None


def parts_of(ask: Ask) -> Iterator[Ask]:
    for start in range(0, len(ask.addresses), PART_ADDRESSES):
        yield Ask(ask.subject, ask.name, ask.addresses[start : start + PART_ADDRESSES], ask.ttl)


def gather(count: int, then: Told) -> Told:
    """Told `count` outcomes, it tells one: Granted when each is, until the first of them ends; else the first reason why not."""
    outcomes: list[GrantOutcome] = []

    def told(outcome: GrantOutcome) -> None:
        outcomes.append(outcome)
        if len(outcomes) == count:
            then(_together(outcomes))

    return told


def _together(outcomes: Sequence[GrantOutcome]) -> GrantOutcome:
    granted = [outcome for outcome in outcomes if isinstance(outcome, Granted)]
    if len(granted) < len(outcomes):
        return next(outcome for outcome in outcomes if isinstance(outcome, NotGranted))
    return Granted(min(each.until for each in granted), min(each.ttl for each in granted), sum(each.grants for each in granted))
