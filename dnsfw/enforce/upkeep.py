"""Slow work beside the queries: forgetting what has ended, freeing numbers, and comparing the kernel with the ledger.

Everything here goes in slices, so that the loop gets its turn; what is written meanwhile is newer and wins.
"""

import asyncio
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

import structlog

from dnsfw.clock import Instant
from dnsfw.enforce.batches import batches
from dnsfw.enforce.compare import compare_grants, mended
from dnsfw.enforce.elements import ENDED_S
from dnsfw.enforce.found import grant_sets
from dnsfw.enforce.layout import RULE_SETS
from dnsfw.enforce.places import accept, everywhere, move
from dnsfw.enforce.state import State
from dnsfw.enforce.targets import mark_key, number_of_key
from dnsfw.policy.ledger import Row
from dnsfw.policy.model import PodUid
from nft.changes import Change, Discard, Put
from nft.conntrack import ConntrackError
from nft.objects import Element, Set

log = structlog.get_logger(__name__)
SLICE = 500
"""Rows or elements of small sets between two turns of the loop."""

Pairs = set[tuple[bytes, bytes]]


async def sweep(state: State, waited: frozenset[int]) -> frozenset[int]:
    """Forget ended claims that no connection rests on, and free the numbers in `waited` that none bears.

    Returns the numbers to pass next time: they have left by now, so the next dump will have begun after that.
    """
    # A connection may begin in the last moment of its lease, and behind the dump.
    ended_before = state.clock.now() - ENDED_S
    try:
        pairs, numbers = await asyncio.to_thread(_read_connections, state)
    except ConntrackError as error:
        log.warning("conntrack cannot be read; ended grants are kept in memory", reason=str(error))
        return waited
    if state.trouble:  # the kernel may still have what has left our books
        return frozenset()
    state.numbers.reclaim(waited, numbers)
    for uid in tuple(state.ledger.pods()):
        await _forget_ended(state, uid, pairs, ended_before)
    await _forget_cuts(state)
    if state.journal.is_mostly_history(len(state.numbers)):
        state.journal.rewrite(state.numbers.live())
    return state.numbers.left


async def _forget_cuts(state: State) -> None:
    """Those that have ended in the kernel: there, each knock makes them last longer."""
    due = state.cut.due(state.clock.now())
    if not due:
        return
    stands: dict[tuple[bytes, bytes], Instant] = {}
    for of in (state.layout.v4.cut, state.layout.v6.cut):
        now = state.clock.now()
        for key, ends_ms in [(each.key, each.expires_ms or 0) for each in await state.kernel.fetch_elements(of)]:
            stands[key[: len(key) // 2], key[len(key) // 2 :]] = now + ends_ms / 1000
    for pair in {*due} & {*state.cut.due(state.clock.now())}:  # what was cut once more meanwhile is newer
        if pair in stands:
            state.cut.put_off(pair, stands[pair])
        else:
            state.cut.discard(pair)


def _read_connections(state: State) -> tuple[Pairs, set[int]]:
    """(pod, peer) of every connection that bears a number, and the numbers."""
    mask, shift = state.settings.ct_mask, state.settings.shift
    pairs: Pairs = set()
    numbers: set[int] = set()
    for flow in state.connections.iter_flows():
        if number := (flow.mark & mask) >> shift:
            pairs.add((flow.source, flow.remote))
            numbers.add(number)
    return pairs, numbers


async def _forget_ended(state: State, uid: PodUid, pairs: Pairs, ended_before: Instant) -> None:
    for index, address in enumerate(tuple(state.ledger.addresses_of(uid)), start=1):
        subject = None if state.snapshot is None else state.snapshot.subjects.get(uid)
        if subject is not None and not any((source.packed, address) in pairs for source in subject.pod.addresses):
            forget_row(state, uid, address, ended_before)
        if index % SLICE == 0:
            await asyncio.sleep(0)


def forget_row(state: State, uid: PodUid, address: bytes, ended_before: Instant) -> None:
    """Let go the claims of one row that have ended by then; no element rests on them, for the longest claim names its rule."""
    row = state.ledger.row(uid, address)
    rest = unended(row, ended_before)
    if len(rest) < len(row):
        state.ledger.accept({(uid, address): rest})


def unended(row: Row, now: Instant) -> Row:
    return tuple(claim for claim in row if claim.until > now)


async def compare(state: State, standing: Iterable[Set]) -> int:
    """Make the elements what they should be; returns how many were not (0: all is well)."""
    sets = tuple(standing)
    wrong = await compare_small(state, sets) + await compare_grants(state, tuple(grant_sets(state.layout, sets)))
    if wrong:
        log.warning("elements in the kernel were not what they should be; mended", count=wrong)
    return wrong


async def compare_small(state: State, standing: Iterable[Set]) -> int:
    """The same for the sets that say who is who and which numbers live."""
    if state.snapshot is None:
        return 0
    small = {*state.layout.small_sets()} - {state.layout.live}
    seen: dict[Set, set[bytes]] = {}
    wrong = await _compare_live(state) + await _recompute(state)
    for of in [of for of in standing if of in small or of.name.startswith(RULE_SETS)]:
        seen[of] = set()
        for part in batches(await _elements_of(state, of), SLICE):
            seen[of].update(element.key for element in part)
            wrong += mended(state, [change for element in part for change in _mend_small(state, element)])
            await asyncio.sleep(0)
    for keys in batches(tuple(state.placed), SLICE):
        wrong += mended(state, [change for key in keys for change in _missing_small(state, key, seen)])
        await asyncio.sleep(0)
    return wrong


async def _elements_of(state: State, of: Set) -> list[Element]:
    """To list a long set takes the kernel longer than the loop may wait."""
    if len(state.placed) + len(state.live) <= SLICE:
        return state.kernel.read_elements(of)
    return await state.kernel.fetch_elements(of)


async def _compare_live(state: State) -> int:
    layout, numbers = state.layout, state.numbers
    wrong, seen = 0, set[bytes]()
    for part in batches(await _elements_of(state, layout.live), SLICE):
        seen.update(element.key for element in part)
        spare = [each.key for each in part if (number := number_of_key(layout, each.key)) is None or numbers.meaning(number) is None]
        wrong += mended(state, [Discard(layout.live, key) for key in spare])
        await asyncio.sleep(0)
    for some in batches(tuple(numbers.live_numbers()), SLICE):
        keys = [mark_key(layout, number) for number in some if numbers.meaning(number) is not None]
        wrong += mended(state, [Put(layout.live, key) for key in keys if key not in seen])
        await asyncio.sleep(0)
    return wrong


async def _recompute(state: State) -> int:
    """Hold what is noted as placed against what the snapshot says."""
    wrong = 0
    if state.snapshot is None:
        return wrong
    for addresses in batches(tuple(everywhere(state, state.snapshot)), SLICE):
        moved = move(state, state.snapshot, addresses)
        wrong += mended(state, moved.changes)
        accept(state, moved)
        await asyncio.sleep(0)
    return wrong


def _mend_small(state: State, element: Element) -> list[Change]:
    of, key = element.set, element.key
    place = state.placed.get(key, {})
    if of not in place:
        return [Discard(of, key)]
    return [] if place[of] == element.data else [Put(of, key, place[of])]


def _missing_small(state: State, key: bytes, seen: Mapping[Set, AbstractSet[bytes]]) -> list[Change]:
    return [Put(of, key, data) for of, data in state.placed.get(key, {}).items() if of in seen and key not in seen[of]]
