"""What the small sets should hold: which address is whose, which chain judges it, which numbers are live.

Pure: a function of the snapshot, the numbers and the closed addresses, so the way by which a state was reached does not show.
"""

import sys
from collections.abc import Container, Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from dnsfw.enforce.layout import V4, V6, Family, FamilySets, Layout, family_of
from dnsfw.enforce.numbers import OPEN_RULE, Holder, Numbers
from dnsfw.enforce.policy_chain import chain_name, rule_token
from dnsfw.policy.model import IPAddress, IPNetwork, PolicySettings
from dnsfw.policy.protected import protected_networks
from dnsfw.policy.snapshot import Policy, Snapshot, Stance, Subject
from nft.changes import Change, Discard, Put
from nft.objects import Set, Verdict

Data = int | Verdict | None
Place = dict[Set, Data]
"""What the small sets hold at one address (None in sets without data)."""


def mark_of(layout: Layout, number: int) -> int:
    return number << layout.shift


def mark_key(layout: Layout, number: int) -> bytes:
    """A key of type mark lies in the machine's own byte order."""
    return mark_of(layout, number).to_bytes(4, sys.byteorder)


def number_of_key(layout: Layout, key: bytes) -> int | None:
    """The number whose key in `live` this is; None: no number has it."""
    number = int.from_bytes(key, sys.byteorder) >> layout.shift
    return number if mark_key(layout, number) == key else None


def is_selected(subject: Subject) -> bool:
    return subject.policy.stance is not Stance.UNTOUCHED


def static_holders(subject: Subject) -> dict[Holder, str]:
    """The numbers that a pod has without asking anything, and what each rests on: its rules' toCIDRs, and what is open by default."""
    policy, uid = subject.policy, subject.pod.uid
    holders = {Holder(uid, rule): basis_at(subject, basis) for rule, basis in policy.statics.items()}
    if policy.stance in {Stance.OPEN, Stance.AUDIT}:
        holders[Holder(uid, OPEN_RULE)] = basis_at(subject, policy.key)
    return holders


def basis_at(subject: Subject, basis: str) -> str:
    """A number's meaning holds for the pod's addresses too: a pod that comes back with another one starts empty."""
    return f"{basis}@{','.join(sorted(str(address) for address in subject.pod.addresses))}"


def place_at(layout: Layout, snapshot: Snapshot, numbers: Numbers, closed: Container[IPAddress], address: IPAddress) -> Place:
    """What the small sets should hold at an address; it says nothing of any other, so a change costs what it touches."""
    key = address.packed
    family = family_of(key)
    sets = layout.sets_of(family)
    if address in closed or address in snapshot.conflicts:
        place = _closed(sets)
    elif (subject := snapshot.by_source.get(str(address))) is not None:
        place = _judged(layout, family, subject, numbers)
    else:
        return {}
    if address in layout.settings.exempt:
        place.pop(sets.asks, None)
    return place


def _judged(layout: Layout, family: Family, subject: Subject, numbers: Numbers) -> Place:
    sets, policy = layout.sets_of(family), subject.policy
    place: Place = {sets.known: None}
    if not is_selected(subject):
        return place
    place |= {sets.selected: None, sets.asks: None, sets.refused: None, sets.pods: Verdict("goto", chain_name(policy))}
    if policy.stance is Stance.AUDIT:
        place[sets.would] = None
    for holder in static_holders(subject):
        if (number := numbers.of(holder)) is not None:
            place[_static_set(layout, family, holder)] = mark_of(layout, number)
    return place


def _static_set(layout: Layout, family: Family, holder: Holder) -> Set:
    if holder.rule == OPEN_RULE:
        return layout.sets_of(family).open
    return layout.rule_set(family, rule_token(holder.rule))


def _closed(sets: FamilySets) -> Place:
    """An address that nobody has, or that two have: judged without a policy, it reaches nothing outside and is told nothing."""
    return {sets.selected: None, sets.asks: None, sets.refused: None}


def all_addresses(snapshot: Snapshot, closed: Iterable[IPAddress]) -> set[IPAddress]:
    """Every address at which the small sets hold anything."""
    return {*closed, *(address for subject in snapshot.subjects.values() for address in subject.pod.addresses)}


def rule_sets(layout: Layout, policy: Policy) -> frozenset[Set]:
    tokens = [rule_token(rule) for rule in policy.statics]
    return frozenset(layout.rule_set(family, token) for token in tokens for family in (V4, V6))


def interval_members(layout: Layout, settings: PolicySettings) -> dict[Set, tuple[str, ...]]:
    """The networks that pass (cluster and nodes) and those that no name opens, as text for the structure."""
    passed, protected = _networks(settings)
    return {
        of: tuple(text for text in texts if (":" in text) is (family is V6))
        for family, sets in ((V4, layout.v4), (V6, layout.v6))
        for of, texts in ((sets.internal, passed), (sets.protected, protected))
    }


@lru_cache(maxsize=4)
def _networks(settings: PolicySettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Passed and protected. Remembered: to collapse and print them takes 10 ms, and they change with the node's interfaces only."""
    passed = (*settings.cluster_networks, *map(ip_network, settings.node_addresses))
    return _collapsed(passed), _collapsed(protected_networks(settings))


def _collapsed(networks: Iterable[IPNetwork]) -> tuple[str, ...]:
    networks = tuple(networks)
    v4 = collapse_addresses(network for network in networks if isinstance(network, IPv4Network))
    v6 = collapse_addresses(network for network in networks if isinstance(network, IPv6Network))
    return tuple(sorted(map(str, (*v4, *v6))))


def differences(key: bytes, before: Place, after: Place) -> list[Change]:
    """The changes that turn what the small sets hold at one address into something else."""
    changes: list[Change] = [Put(of, key, data) for of, data in after.items() if of not in before or before[of] != data]
    changes += [Discard(of, key) for of in before.keys() - after.keys()]
    return changes
