"""What the small sets should hold: which address is whose, which chain judges it, which numbers are live.

Pure: a function of the snapshot, the numbers and the closed addresses, so the way by which a state was reached does not show.
"""

import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from dnsfw.enforce.layout import V4, V6, Family, Layout, family_of
from dnsfw.enforce.numbers import OPEN_RULE, Holder, Numbers
from dnsfw.enforce.policy_chain import chain_name, rule_token, static_rules
from dnsfw.policy.model import IPAddress, IPNetwork, PolicySettings
from dnsfw.policy.protected import protected_networks
from dnsfw.policy.snapshot import Policy, Snapshot, Stance, Subject
from nft.changes import Change, Discard, Put
from nft.objects import Set, Verdict

Contents = dict[Set, dict[bytes, "int | Verdict | None"]]
"""Set -> key -> data (None in sets without data)."""

REFUSE = Verdict("goto", "refuse")


def mark_of(layout: Layout, number: int) -> int:
    return number << layout.settings.shift


def mark_key(layout: Layout, number: int) -> bytes:
    """A key of type mark lies in the machine's own byte order."""
    return mark_of(layout, number).to_bytes(4, sys.byteorder)


def is_selected(subject: Subject) -> bool:
    return subject.policy.stance is not Stance.UNTOUCHED


def static_holders(subject: Subject) -> dict[Holder, str]:
    """The numbers that a pod has without asking anything, and what each rests on: its rules' toCIDRs, and what is open by default."""
    policy, uid = subject.policy, subject.pod.uid
    holders = {Holder(uid, step.rule): basis_at(subject, step.basis) for step in policy.steps if step.rule in static_rules(policy)}
    if policy.stance in {Stance.OPEN, Stance.AUDIT}:
        holders[Holder(uid, OPEN_RULE)] = basis_at(subject, policy.key)
    return holders


def basis_at(subject: Subject, basis: str) -> str:
    """A number's meaning holds for the pod's addresses too: a pod that comes back with another one starts empty."""
    return f"{basis}@{','.join(sorted(str(address) for address in subject.pod.addresses))}"


def contents(layout: Layout, snapshot: Snapshot, numbers: Numbers, closed: Iterable[IPAddress]) -> Contents:
    """All small sets, whole. A number is live until it has left, even when nobody holds it: its survivors are being re-marked."""
    found: Contents = {layout.live: {mark_key(layout, number): None for number, _ in numbers.live()}}
    for sets in (layout.v4, layout.v6):
        for of in (sets.selected, sets.asks, sets.known, sets.refused, sets.would, sets.pods, sets.open):
            found[of] = {}
    for subject in snapshot.subjects.values():
        _add_subject(found, layout, subject, numbers)
    for address in (*closed, *snapshot.conflicts):
        _close(found, layout, address)
    for address in layout.settings.exempt:
        found[layout.sets_of(family_of(address.packed)).asks].pop(address.packed, None)
    return found


def _add_subject(found: Contents, layout: Layout, subject: Subject, numbers: Numbers) -> None:
    for address in subject.pod.addresses:
        key = address.packed
        family = family_of(key)
        sets = layout.sets_of(family)
        found[sets.known][key] = None
        if not is_selected(subject):
            continue
        for of in (sets.selected, sets.asks, sets.refused):
            found[of][key] = None
        found[sets.pods][key] = Verdict("goto", chain_name(subject.policy))
        if subject.policy.stance is Stance.AUDIT:
            found[sets.would][key] = None
        for holder in static_holders(subject):
            if (number := numbers.of(holder)) is not None:
                found.setdefault(_static_set(layout, family, holder), {})[key] = mark_of(layout, number)


def _static_set(layout: Layout, family: Family, holder: Holder) -> Set:
    if holder.rule == OPEN_RULE:
        return layout.sets_of(family).open
    return layout.rule_set(family, rule_token(holder.rule))


def _close(found: Contents, layout: Layout, address: IPAddress) -> None:
    """An address that nobody has, or that two have: it reaches nothing outside and is told nothing."""
    sets = layout.sets_of(family_of(address.packed))
    for of in (sets.selected, sets.asks, sets.refused):
        found[of][address.packed] = None
    found[sets.known].pop(address.packed, None)
    found[sets.pods][address.packed] = REFUSE


def rule_sets(layout: Layout, policies: Iterable[Policy]) -> set[Set]:
    return {layout.rule_set(family, rule_token(rule)) for policy in policies for rule in static_rules(policy) for family in (V4, V6)}


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


def differences(before: Mapping[Set, Mapping[bytes, int | Verdict | None]], after: Contents) -> list[Change]:
    """The changes that turn one content of the small sets into the other."""
    changes: list[Change] = []
    for of, wanted in after.items():
        held = before.get(of, {})
        changes += [Put(of, key, data) for key, data in wanted.items() if key not in held or held[key] != data]
        changes += [Discard(of, key) for key in held.keys() - wanted.keys()]
    for of in before.keys() - after.keys():
        changes += [Discard(of, key) for key in before[of]]
    return changes
