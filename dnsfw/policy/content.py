"""Hashes of what rules and settings say: equal content, equal hash, in every process and after every restart.

Pure. What a hash leaves out, it may not depend on: who is selected, the order in which a list was written, an object's name and uid.
"""

from collections.abc import Iterable
from hashlib import blake2b

from dnsfw.policy.model import Peer, PolicySettings, Rule

_Plain = str | int | bool | None | tuple["_Plain", ...]


def digest(*parts: _Plain) -> str:
    # repr() of nothing but text, numbers and tuples is the same everywhere, and quotes what would run together.
    return blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def rule_content(rule: Rule) -> str:
    """What the rule says, whoever it says it to. The mode comes in later, since it changes with time."""
    limits = rule.limits
    return digest(
        rule.action.value,
        rule.priority,
        (limits.min_seconds, limits.max_seconds, limits.grace_seconds),
        tuple(sorted(_peer_content(peer) for peer in rule.peers)),
    )


def _peer_content(peer: Peer) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[int, int], ...]]:
    return _texts(peer.patterns), _texts(peer.networks), peer.ports.ranges


def surroundings(settings: PolicySettings) -> str:
    """What every permission rests on.

    Not the node's addresses, which come and go with its interfaces: the kernel closes them whatever was granted. Nor the filter of names,
    which says who gets answers, not who may connect.
    """
    return digest(_texts(settings.cluster_networks), _texts(settings.protected_networks), settings.cluster_domain.hex())


def settings_content(settings: PolicySettings) -> str:
    return digest(surroundings(settings), _texts(settings.node_addresses), settings.is_dns_filtered)


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(sorted(map(str, values)))
