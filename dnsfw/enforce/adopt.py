"""Taking over the table that an earlier process left: never a flush, and nothing kept that the rules of today do not allow.

Chains are replaced within one transaction, so each packet is judged by the old table or the new one. A number that still means what the
journal says stays
live, with its elements; of the others, connections that today's CIDRs allow are re-marked before the number goes.
"""

import asyncio
from collections.abc import Iterator
from ipaddress import ip_address

import structlog

from dnsfw.enforce.batches import batches
from dnsfw.enforce.chains import base_chains
from dnsfw.enforce.found import Found, grant_sets, sort_elements, sort_numbers
from dnsfw.enforce.layout import RULE_SETS
from dnsfw.enforce.reconcile import Reconciler
from dnsfw.enforce.state import State
from dnsfw.enforce.structure import Standing, Structure
from dnsfw.enforce.targets import interval_members, number_of_key
from dnsfw.policy.snapshot import Snapshot
from nft import objects as nft
from nft.changes import Discard

log = structlog.get_logger(__name__)


def fits(state: State, standing: nft.Structure) -> bool:
    """Whether the sets and hooks that stand are ours; a table of another version is replaced as a whole."""
    sets = {of.name: of for of in state.layout.sets()}
    hooks = {chain.name: chain.hook for chain in base_chains(state.layout)}
    return all(_is_same(of, sets[name]) for name, of in standing.sets.items() if name in sets) and all(
        chain.hook == hooks.get(name) for name, chain in standing.chains.items()
    )


def _is_same(found: nft.Set, mine: nft.Set) -> bool:
    return (found.key, found.data, found.flags) == (mine.key, mine.data, mine.flags)


async def adopt(state: State, structure: Structure, reconciler: Reconciler, standing: nft.Structure, snapshot: Snapshot) -> None:
    """Make what stands ours, and what is not allowed any more go."""
    found = _read(state, standing, snapshot)
    _enter(state, found)
    structure.standing = _as_ours(state, standing, snapshot)
    await structure.prepare(None, snapshot)
    reconciler.place(snapshot)
    for batch in batches(Discard(element.set, element.key) for element in found.stray):
        state.commit(batch)
        await asyncio.sleep(0)
    await reconciler.settle_all(snapshot, set(found.spent))
    await structure.retire(snapshot)
    log.info("took over the table that stood", rows=len(state.ledger), numbers=len(found.kept), spent=len(found.spent))


def _enter(state: State, found: Found) -> None:
    """Spent numbers are nobody's, but stay live until their survivors have moved.

    A number of unknown meaning is not given to anyone: a stray element that is not gone yet, or a connection that is just beginning,
    would come to life with it.
    """
    for number, meaning in found.spent.items():
        state.numbers.adopt(number, meaning)
        state.numbers.release(meaning.holder)
    for number, meaning in found.kept.items():
        state.numbers.adopt(number, meaning)
    state.numbers.avoid(found.met)
    state.journal.rewrite(state.numbers.live())
    state.ledger.accept(found.rows)


def _as_ours(state: State, standing: nft.Structure, snapshot: Snapshot) -> Standing:
    """What we have found instead of made; chains of unknown content (None) are written anew."""
    ours = {of.name: of for of in state.layout.sets()}
    sets = {ours.get(name, of) for name, of in standing.sets.items()}
    members: dict[nft.Set, tuple[str, ...]] = {of: ("unknown",) for of in interval_members(state.layout, snapshot.settings) if of in sets}
    return Standing(sets=sets, chains=dict.fromkeys(standing.chains.values()), members=members)


def _read(state: State, standing: nft.Structure, snapshot: Snapshot) -> Found:
    """The elements that stand; fills `placed`, `closed` and `cut` on the way."""
    layout, now = state.layout, state.clock.now()
    for of in _small_sets(state, standing):
        for element in state.kernel.read_elements(of):
            state.placed.setdefault(element.key, {})[of] = element.data
    marks = state.kernel.read_elements(layout.live) if layout.live.name in standing.sets else []
    state.live = {number for element in marks if (number := number_of_key(layout, element.key)) is not None}
    found = sort_numbers(state.live, state.journal.read(), snapshot)
    # What is no number's mark opens nothing, but has no place there either.
    found.stray += [element for element in marks if number_of_key(layout, element.key) is None]
    for of in grant_sets(layout, standing.sets.values()):
        sort_elements(found, layout, snapshot, state.kernel.read_elements(of), now)
    _read_closed(state, snapshot)
    for of in (layout.v4.cut, layout.v6.cut):
        for element in state.kernel.read_elements(of) if of.name in standing.sets else ():
            size = len(element.key) // 2
            state.cut.add((element.key[:size], element.key[size:]), now + (element.expires_ms or 0) / 1000)
    return found


def _read_closed(state: State, snapshot: Snapshot) -> None:
    """Addresses that were judged and now are nobody's stay closed."""
    mine = {address for subject in snapshot.subjects.values() for address in subject.pod.addresses}
    for key, place in state.placed.items():
        if state.layout.sets_of_address(key).selected in place and (address := ip_address(key)) not in mine:
            state.close_address(address)


def _small_sets(state: State, standing: nft.Structure) -> Iterator[nft.Set]:
    """The sets of ours that stand and say who is who."""
    ours = {of.name: of for of in state.layout.small_sets() if of != state.layout.live}
    return (ours.get(name, of) for name, of in standing.sets.items() if name in ours or name.startswith(RULE_SETS))
