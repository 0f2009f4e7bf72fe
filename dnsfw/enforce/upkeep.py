"""Slow work beside the queries: forgetting what has ended, freeing numbers, and comparing the kernel with the ledger.

Everything here goes in slices, so that the loop gets its turn; what is written meanwhile is newer and wins.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from ipaddress import ip_address

import structlog

from dnsfw.clock import Instant
from dnsfw.enforce.batches import batches
from dnsfw.enforce.elements import ENDED_S, element_place, timeout_ms
from dnsfw.enforce.found import address_size, grant_sets, piece_of
from dnsfw.enforce.layout import RULE_SETS
from dnsfw.enforce.numbers import Holder
from dnsfw.enforce.places import accept, everywhere, move
from dnsfw.enforce.state import State
from dnsfw.enforce.targets import mark_key, mark_of, number_of_key
from dnsfw.policy.ledger import Ledger, Row, RowKey, standings
from dnsfw.policy.model import PodUid
from dnsfw.policy.snapshot import Snapshot, Subject
from nft.changes import Change, Discard, Put
from nft.conntrack import ConntrackError
from nft.objects import Element, Set

log = structlog.get_logger(__name__)
SLICE = 500
"""Elements or rows between two turns of the loop: 15 µs each where they are compared."""
TOLERANCE_S = 2.0
"""Between our clock's end of a permission and the kernel's."""

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
        state.ledger.accept({RowKey(uid, address): rest})


def unended(row: Row, now: Instant) -> Row:
    return tuple(claim for claim in row if claim.until > now)


async def compare(state: State, standing: Iterable[Set]) -> int:
    """Make the elements what they should be; returns how many were not (0: all is well)."""
    sets = tuple(standing)
    wrong = await compare_small(state, sets)
    for of in grant_sets(state.layout, sets):
        begun = state.clock.now()
        elements = await state.kernel.fetch_elements(of)
        wrong += await _compare_grants(state, of, elements, begun)
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
            wrong += _mended(state, [change for element in part for change in _mend_small(state, element)])
            await asyncio.sleep(0)
    for keys in batches(tuple(state.placed), SLICE):
        wrong += _mended(state, [change for key in keys for change in _missing_small(state, key, seen)])
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
        wrong += _mended(state, [Discard(layout.live, key) for key in spare])
        await asyncio.sleep(0)
    for some in batches(tuple(numbers.live_numbers()), SLICE):
        keys = [mark_key(layout, number) for number in some if numbers.meaning(number) is not None]
        wrong += _mended(state, [Put(layout.live, key) for key in keys if key not in seen])
        await asyncio.sleep(0)
    return wrong


async def _recompute(state: State) -> int:
    """Hold what is noted as placed against what the snapshot says."""
    wrong = 0
    if state.snapshot is None:
        return wrong
    for addresses in batches(tuple(everywhere(state, state.snapshot)), SLICE):
        moved = move(state, state.snapshot, addresses)
        wrong += _mended(state, moved.changes)
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


async def _compare_grants(state: State, of: Set, elements: list[Element], begun: Instant) -> int:
    """Each slice is judged and mended within one turn of the loop: what is true when it is looked at must be so when it is written."""
    wrong = 0
    seen: set[bytes] = set()
    for part in batches(elements, SLICE):
        seen.update(element.key for element in part)
        wrong += _mended(state, [change for element in part if (change := _mend(state, of, element, begun)) is not None])
        await asyncio.sleep(0)
    for keys in batches(_row_keys(state.ledger), SLICE):
        wrong += _mended(state, [change for key in keys for change in _missing(state, of, key, seen)])
        await asyncio.sleep(0)
    return wrong


def _mended(state: State, changes: list[Change]) -> int:
    state.commit(changes)
    return len(changes)


def _subject_at(snapshot: Snapshot, source: bytes) -> Subject | None:
    return snapshot.by_source.get(str(ip_address(source)))


def _mend(state: State, of: Set, element: Element, read_at: Instant) -> Change | None:
    """What to do about an element that stands: nothing, if it is as the ledger says or has been written since it was read."""
    size, now = address_size(of), state.clock.now()
    subject = None if state.snapshot is None else _subject_at(state.snapshot, element.key[:size])
    piece = piece_of(state.layout, of, element.key)
    row = () if subject is None else state.ledger.row(subject.pod.uid, element.key[size : 2 * size])
    standing = standings(row).get(piece) if piece is not None else None
    if subject is None or standing is None or standing.until <= now:
        return Discard(of, element.key)
    number = state.numbers.of(Holder(subject.pod.uid, standing.rule))
    if number is None:
        return Discard(of, element.key)
    ends = read_at + (element.expires_ms or 0) / 1000
    is_right = element.data == mark_of(state.layout, number) and element.expires_ms is not None and ends <= standing.until + TOLERANCE_S
    return None if is_right else Put(of, element.key, mark_of(state.layout, number), timeout_ms(standing.until, now))


def _missing(state: State, of: Set, row_key: RowKey, seen: AbstractSet[bytes]) -> Iterator[Change]:
    """Elements that the ledger holds and nobody has seen; put again, which does no harm if they were written meanwhile."""
    subject = None if state.snapshot is None else state.snapshot.subjects.get(row_key.pod)
    if subject is None or len(row_key.address) != address_size(of):
        return
    now, standing = state.clock.now(), standings(state.ledger.row(*row_key))
    for source in subject.pod.addresses:
        for piece, (rule, until) in standing.items() if len(source.packed) == len(row_key.address) else ():
            place, key = element_place(state.layout, source.packed, row_key.address, piece)
            number = state.numbers.of(Holder(subject.pod.uid, rule))
            if place == of and key not in seen and until > now + TOLERANCE_S and number is not None:
                yield Put(of, key, mark_of(state.layout, number), timeout_ms(until, now))


def _row_keys(ledger: Ledger) -> Iterator[RowKey]:
    """Keys, not rows: these change while the loop has its turn."""
    return (RowKey(uid, address) for uid in tuple(ledger.pods()) for address in tuple(ledger.addresses_of(uid)))
