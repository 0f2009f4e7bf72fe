"""Which rules have something to say about a name or an address, found without looking at the others.

Pure. Always true: hits come in order of judgement, each rule at most once, with the ports of all its matching peers; the cost of a look-up
depends on the number of labels (or of different prefix lengths) and of hits, not on the number of rules.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from dnsfw.names import ROOT, Name, Pattern, parents
from dnsfw.policy.model import IPNetwork
from dnsfw.policy.ports import PortSet

_Key = TypeVar("_Key")
Hits = tuple[tuple[int, PortSet], ...]
"""(place of the rule in the order of judgement, its ports)."""


def joined(groups: Sequence[Hits]) -> Hits:
    """The hits of all groups, in order, ports united by rule."""
    if len(groups) <= 1:
        return groups[0] if groups else ()
    ports: dict[int, PortSet] = {}
    for place, each in chain.from_iterable(groups):
        ports[place] = ports[place] | each if place in ports else each
    return tuple(sorted(ports.items()))


class NameIndex:
    """Patterns by the name they are written with."""

    def __init__(self, rows: Iterable[tuple[Pattern, int, PortSet]]) -> None:
        exact: dict[Name, list[tuple[int, PortSet]]] = {}
        below: dict[Name, list[tuple[int, PortSet]]] = {}
        for pattern, place, ports in rows:
            (below if pattern.is_wildcard else exact).setdefault(pattern.name, []).append((place, ports))
        self._exact = _frozen(exact)
        self._below = _frozen(below)

    def find(self, name: Name) -> Hits:
        groups = [self._exact[name]] if name in self._exact else []
        below = self._below
        # The wildcard of a name does not match the name itself; the root's does.
        groups += [below[parent] for parent in parents(name) if parent in below and (parent != name or parent == ROOT)]
        return joined(groups)


class NetworkIndex:
    """Networks by family and prefix length."""

    def __init__(self, rows: Iterable[tuple[IPNetwork, int, PortSet]]) -> None:
        tables: dict[tuple[int, int], dict[int, list[tuple[int, PortSet]]]] = {}
        for network, place, ports in rows:
            shift = network.max_prefixlen - network.prefixlen
            table = tables.setdefault((network.max_prefixlen // 8, shift), {})
            table.setdefault(int(network.network_address) >> shift, []).append((place, ports))
        self._tables = {
            length: [(shift, _frozen(table)) for (size, shift), table in tables.items() if size == length] for length in (4, 16)
        }

    def find(self, address: bytes) -> Hits:
        tables = self._tables[len(address)]
        value = int.from_bytes(address)
        return joined([table[value >> shift] for shift, table in tables if value >> shift in table])


def _frozen(rows: Mapping[_Key, list[tuple[int, PortSet]]]) -> dict[_Key, Hits]:
    return {key: joined([(hit,) for hit in hits]) for key, hits in rows.items()}
