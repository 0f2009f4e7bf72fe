"""The elements of grants held against the ledger: what is wrong is written anew, what is missing is put back.

The kernel lists a set part by part; each part is judged and mended within one turn of the loop, for what is true when it is looked at must
be so when it is written. What it did not list is asked for by its key: a listing leaves out what is granted meanwhile, and much else when
a growing set is laid out anew (82,000 of 1,000,000, measured). Always true: no list of all elements is held (500 bytes each, what is kept
of one takes 15), and nothing that stands as it should is written again.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from ipaddress import ip_address

from dnsfw.clock import Instant
from dnsfw.enforce.batches import batches
from dnsfw.enforce.elements import element_place, timeout_ms
from dnsfw.enforce.found import address_size, piece_of
from dnsfw.enforce.numbers import Holder
from dnsfw.enforce.state import State
from dnsfw.enforce.targets import mark_of
from dnsfw.policy.ledger import standings
from dnsfw.policy.model import PodUid
from dnsfw.policy.snapshot import Subject
from nft.changes import Change, Discard, Put
from nft.objects import Element, Set

SLICE = 200
"""Elements or rows between two turns of the loop: 10 µs each where they are compared."""
KEYS_A_SLICE = 5_000
TOLERANCE_S = 2.0
"""Between our clock's end of a permission and the kernel's."""

Listed = dict[Set, dict[bytes, bytearray]]
"""The keys that the kernel has listed, by set and pod's address: end to end, without that address."""
Keys = Mapping[Set, AbstractSet[bytes]]


async def compare_grants(state: State, sets: Sequence[Set]) -> int:
    """Make the elements what they should be; returns how many were not."""
    listed: Listed = {of: {} for of in sets}
    wrong = 0
    for of in sets:
        wrong += await _compare_listed(state, of, listed[of])
    for uid in tuple(state.ledger.pods()):
        keys = await _keys_of(state, uid, listed)
        for some in batches(tuple(state.ledger.addresses_of(uid)), SLICE):  # not rows: these change while the loop has its turn
            wrong += mended(state, [change for address in some for change in _missing(state, uid, address, keys)])
            await asyncio.sleep(0)
    return wrong


def mended(state: State, changes: list[Change]) -> int:
    state.commit(changes)
    return len(changes)


async def _compare_listed(state: State, of: Set, listed: dict[bytes, bytearray]) -> int:
    begun, size, wrong = state.clock.now(), address_size(of), 0
    async for part in state.kernel.iter_elements(of):
        for some in batches(part, SLICE):
            for element in some:
                listed.setdefault(element.key[:size], bytearray()).extend(element.key[size:])
            wrong += mended(state, [change for element in some if (change := _mend(state, of, element, begun)) is not None])
            await asyncio.sleep(0)
    return wrong


def _mend(state: State, of: Set, element: Element, read_at: Instant) -> Change | None:
    """What to do about an element that stands: nothing, if it is as the ledger says or has been written since it was read."""
    size, now = address_size(of), state.clock.now()
    subject = _subject_at(state, element.key[:size])
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


async def _keys_of(state: State, uid: PodUid, listed: Listed) -> Keys:
    """What was listed of one pod."""
    subject = _subject_of(state, uid)
    keys: dict[Set, set[bytes]] = {of: set() for of in listed}
    for source in () if subject is None else subject.sources:
        for of in [of for of in listed if source in listed[of]]:
            ends, size = listed[of][source], of.key_length - len(source)
            for starts in batches(range(0, len(ends), size), KEYS_A_SLICE):
                keys[of].update([source + ends[start : start + size] for start in starts])
                await asyncio.sleep(0)
    return keys


def _missing(state: State, uid: PodUid, address: bytes, keys: Keys) -> Iterator[Change]:
    """Elements that the ledger holds and the kernel does not."""
    subject = _subject_of(state, uid)
    if subject is None:
        return
    now, standing = state.clock.now(), standings(state.ledger.row(uid, address))
    for source in subject.sources:
        for piece, (rule, until) in standing.items() if len(source) == len(address) else ():
            of, key = element_place(state.layout, source, address, piece)
            number = state.numbers.of(Holder(uid, rule))
            is_seen = of not in keys or key in keys[of]
            if not is_seen and until > now + TOLERANCE_S and number is not None and not state.kernel.has_element(of, key):
                yield Put(of, key, mark_of(state.layout, number), timeout_ms(until, now))


def _subject_of(state: State, uid: PodUid) -> Subject | None:
    return None if state.snapshot is None else state.snapshot.subjects.get(uid)


def _subject_at(state: State, source: bytes) -> Subject | None:
    return None if state.snapshot is None else state.snapshot.by_source.get(_text(source))


@lru_cache(maxsize=1024)
def _text(source: bytes) -> str:
    return str(ip_address(source))
