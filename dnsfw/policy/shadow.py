"""Is all that a rule says already decided by the cluster rules before it?

Pure. Always true: only what holds for any pods is called shadowed; where it depends on labels that pods happen to have, nothing is said.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from itertools import takewhile

from dnsfw.names import Pattern
from dnsfw.policy.model import Action, IPNetwork, Rule, RuleRef, Selector
from dnsfw.policy.ports import PortSet
from dnsfw.policy.prepare import Prepared, prepare
from dnsfw.policy.select import Labels, namespace_labels, selects

_EVERYTHING = Selector()


def shadowers(rule: Rule, before: Sequence[Rule], labels: Mapping[str, Labels]) -> tuple[RuleRef, ...]:
    """The cluster rules that decide all that this one says; none if something is left to it (or it says nothing)."""
    if not rule.is_cluster:
        # What a Pass leaves to the namespaced rules is no longer taken by the cluster rules behind it.
        before = tuple(takewhile(lambda each: each.action is not Action.PASS, before))
    prepared, *deciding = prepare((rule, *(each for each in before if _decides_for(each, rule, labels))), {})
    found: dict[RuleRef, None] = {}
    for what, ports in _sayings(prepared):
        left = ports
        for each in deciding:
            if taken := [other for target, other in _sayings(each) if _covers(target, what) and left & other]:
                found[each.rule.ref] = None
                for other in taken:
                    left -= other
        if left:
            return ()
    return tuple(found)


def _sayings(prepared: Prepared) -> Iterator[tuple[Pattern | IPNetwork, PortSet]]:
    for peer, ports in prepared.peers:
        for what in (*peer.patterns, *peer.networks):
            yield what, ports


def _covers(wide: Pattern | IPNetwork, narrow: Pattern | IPNetwork) -> bool:
    if isinstance(wide, Pattern):
        return isinstance(narrow, Pattern) and wide.covers(narrow)
    return not isinstance(narrow, Pattern) and is_within(narrow, wide)


def is_within(narrow: IPNetwork, wide: IPNetwork) -> bool:
    if isinstance(narrow, IPv4Network) and isinstance(wide, IPv4Network):
        return narrow.subnet_of(wide)
    return isinstance(narrow, IPv6Network) and isinstance(wide, IPv6Network) and narrow.subnet_of(wide)


def _decides_for(earlier: Rule, rule: Rule, labels: Mapping[str, Labels]) -> bool:
    """Does the earlier rule select all pods that this one selects?"""
    return (
        earlier.selector in (_EVERYTHING, rule.selector)
        and _takes_accounts(earlier, rule)
        and _takes_namespaces(earlier.namespace_selector or _EVERYTHING, rule, labels)
    )


def _takes_accounts(earlier: Rule, rule: Rule) -> bool:
    if not earlier.service_accounts:
        return True
    return bool(rule.service_accounts) and set(rule.service_accounts) <= set(earlier.service_accounts)


def _takes_namespaces(earlier: Selector, rule: Rule, labels: Mapping[str, Labels]) -> bool:
    if rule.is_cluster:
        return earlier in (_EVERYTHING, rule.namespace_selector)
    return selects(earlier, namespace_labels(labels, rule.ref.namespace))
