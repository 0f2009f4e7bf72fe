"""Grants while queries wait: what is asked within one turn of the loop becomes one transaction, and its ack wakes all who asked.

Where more is asked than TURN_ADDRESSES, pods take turns, and a long answer is granted in parts: one pod's thousand addresses would hold
everyone else up for 20 ms.
Always true: no future says Granted before the kernel has acknowledged every element it stands for; what is installed is what the newest
snapshot allows.
The commit itself is synchronous: it takes 2-9 µs, and a thread would cost more than that to wake up (docs/adr).
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from dnsfw.clock import Instant
from dnsfw.enforce.asked import FOREVER, Ask, held, refusal_of, wanted_of
from dnsfw.enforce.elements import element_place, row_changes
from dnsfw.enforce.numbers import Holder
from dnsfw.enforce.state import State
from dnsfw.enforce.targets import basis_at, mark_key
from dnsfw.names import Name
from dnsfw.policy.grants import Granted, GrantOutcome, NotGranted
from dnsfw.policy.ledger import Claim, Row, RowKey, loses_claims, with_claims
from dnsfw.policy.model import PodUid
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Permit, Subject
from dnsfw.policy.turns import Turns
from nft.changes import Add, Change, Discard, Put
from nft.errors import NftError

WAITING_BOUND = 65_536
"""Requests that wait for their turn; more are refused (queue full)."""
TURN_ADDRESSES = 256
PART_ADDRESSES = 64


@dataclass(slots=True)
class Batch:
    """What one transaction will hold, and the rows it leads to (fresh: how many of a pod's are new; crowded: rows that lose claims)."""

    rows: dict[RowKey, Row] = field(default_factory=dict)
    fresh: Counter[PodUid] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    uncut: list[tuple[bytes, bytes]] = field(default_factory=list)
    crowded: list[RowKey] = field(default_factory=list)


class Installer:
    """Keeps the promise of `policy.grants.Grants`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: Turns[tuple[Ask, asyncio.Future[GrantOutcome], Instant]] = Turns(WAITING_BOUND, 2 * WAITING_BOUND)

    def ensure(self, subject: Subject, name: Name, addresses: Sequence[bytes], ttl: int) -> GrantOutcome | asyncio.Future[GrantOutcome]:
        ask = Ask(subject, name, tuple(addresses), ttl)
        settled = self._refusal(ask) or self._held(ask)
        if settled is not None:
            return settled
        if len(ask.addresses) <= PART_ADDRESSES:
            return self._line_up(ask)
        over = self._over_quota(subject.pod.uid, set(ask.addresses), Batch())
        return over if over is not None else all_of([self._line_up(part) for part in parts_of(ask)])

    def _line_up(self, ask: Ask) -> GrantOutcome | asyncio.Future[GrantOutcome]:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        future: asyncio.Future[GrantOutcome] = loop.create_future()
        if self._waiting.put(ask.subject.pod.uid, (ask, future, self._state.clock.now())):
            return future
        return NotGranted(Reason.QUEUE_FULL, f"{WAITING_BOUND} grants wait for the kernel")

    def _refusal(self, ask: Ask) -> NotGranted | None:
        return refusal_of(self._state, ask.subject)

    def _held(self, ask: Ask) -> Granted | None:
        return held(self._state.ledger, ask, wanted_of(ask, self._state.clock.now()), partial(self._deferred, ask.subject))

    def _flush(self) -> None:
        waiting, size = [], 0
        while self._waiting and size < TURN_ADDRESSES:
            waiting.append(self._waiting.take())
            size += len(waiting[-1][0].addresses)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        outcomes = self._install([ask for ask, _, _ in waiting])
        late = self._state.clock.now() - self._state.settings.commit_deadline_s
        for (_, future, asked_at), outcome in zip(waiting, outcomes, strict=True):
            if future.done():
                continue
            is_late = asked_at < late and isinstance(outcome, Granted)
            future.set_result(NotGranted(Reason.KERNEL_TIMEOUT, "the kernel took longer than the bound") if is_late else outcome)

    def _install(self, asks: list[Ask]) -> list[GrantOutcome]:
        batch = Batch()
        outcomes = [self._plan(ask, batch) for ask in asks]
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
        outcome = self._plan(ask, batch)
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
                self._state.numbers.leave(number)
            raise
        self._state.ledger.accept(batch.rows)
        if self._state.written is not None:
            self._state.written |= batch.rows.keys()
        live = self._state.placed.setdefault(self._state.layout.live, {})
        live.update((mark_key(self._state.layout, number), None) for number in batch.taken)
        for pair in batch.uncut:
            self._state.cut.pop(pair, None)
        for key in batch.crowded:
            self._state.followers.forget(key)

    def _plan(self, ask: Ask, batch: Batch) -> GrantOutcome:
        """Add to `batch` what this answer needs; judged anew, for the rules may have changed since it was asked."""
        refusal = self._refusal(ask)
        if refusal is not None:
            return refusal
        uid, now = ask.subject.pod.uid, self._state.clock.now()
        wanted = list(wanted_of(ask, now))
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

    def _write(self, subject: Subject, address: bytes, claims: list[Claim], batch: Batch, now: Instant) -> None:
        state, uid, key = self._state, subject.pod.uid, RowKey(subject.pod.uid, address)
        before = batch.rows.get(key) or state.ledger.row(uid, address)
        batch.fresh[uid] += not before
        after = with_claims(before, claims)
        if loses_claims(before, claims, after):
            batch.crowded.append(key)
        for claim in claims:
            batch.changes += self._deferred(subject, address, claim)
        batch.changes += row_changes(state.layout, subject.pod.addresses, address, before, after, state.numbers_of(uid), now)
        batch.rows[key] = after
        for source in subject.pod.addresses:
            if (pair := (source.packed, address)) in state.cut:
                batch.changes.append(Discard(state.layout.sets_of_address(address).cut, source.packed + address))
                batch.uncut.append(pair)

    def _deferred(self, subject: Subject, address: bytes, claim: Claim) -> list[Change]:
        """What a change of rules has not written yet of this permission."""
        layout, deferred = self._state.layout, self._state.deferred
        if not deferred:
            return []
        sources = [source.packed for source in subject.pod.addresses if len(source.packed) == len(address)]
        places = [element_place(layout, source, address, piece) for source in sources for piece in claim.permit.pieces]
        return [deferred[place] for place in places if place in deferred]

    def _has_number(self, subject: Subject, permit: Permit, batch: Batch) -> bool:
        state, holder = self._state, Holder(subject.pod.uid, permit.rule)
        if state.numbers.of(holder) is not None:
            return True
        number = state.numbers.take(holder, basis_at(subject, permit.basis))
        if number is None:
            return False
        batch.taken.append(number)
        batch.changes.append(Put(state.layout.live, mark_key(state.layout, number)))
        return True

    def _over_quota(self, uid: PodUid, addresses: set[bytes], batch: Batch) -> NotGranted | None:
        """Whether these addresses would be too many; those that the pod has already cost nothing."""
        settings, rows = self._state.settings, self._state.ledger.rows_of(uid)
        new = sum(address not in rows and RowKey(uid, address) not in batch.rows for address in addresses)
        if not new:
            return None
        if len(rows) + batch.fresh[uid] + new > settings.grants_per_pod:
            return NotGranted(Reason.POD_QUOTA, f"{settings.grants_per_pod} addresses")
        if len(self._state.ledger) + batch.fresh.total() + new > settings.grants_per_node:
            return NotGranted(Reason.NODE_QUOTA, f"{settings.grants_per_node} addresses")
        return None


def parts_of(ask: Ask) -> Iterator[Ask]:
    for start in range(0, len(ask.addresses), PART_ADDRESSES):
        yield ask._replace(addresses=ask.addresses[start : start + PART_ADDRESSES])


def all_of(parts: Sequence[GrantOutcome | asyncio.Future[GrantOutcome]]) -> asyncio.Future[GrantOutcome]:
    """Granted when every part is, until the first of them ends; else the first reason why not, once all are settled."""
    whole: asyncio.Future[GrantOutcome] = asyncio.get_running_loop().create_future()
    futures = [part for part in parts if isinstance(part, asyncio.Future)]
    left = len(futures)

    def settle(_: object = None) -> None:
        nonlocal left
        left -= 1
        if left <= 0 and not whole.done():
            whole.set_result(_together([part.result() if isinstance(part, asyncio.Future) else part for part in parts]))

    for future in futures:
        future.add_done_callback(settle)
    if not futures:
        settle()
    return whole


def _together(outcomes: Sequence[GrantOutcome]) -> GrantOutcome:
    granted = [outcome for outcome in outcomes if isinstance(outcome, Granted)]
    if len(granted) < len(outcomes):
        return next(outcome for outcome in outcomes if isinstance(outcome, NotGranted))
    return Granted(min(each.until for each in granted), min(each.ttl for each in granted), sum(each.count for each in granted))
