"""Which rules have something to say about a name or an address, found without looking at the others.

Pure. Always true: hits come in order of judgement, each rule at most once, with the ports of all its matching peers; the cost of a look-up
depends on the number of labels (or of different prefix lengths) and of hits, not on the number of rules.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TypeVar

from dnsfw.names import Name, Pattern
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


class _Table(dict[_Key, Hits]):
    """Hits by key."""

    def __init__(self, rows: Iterable[tuple[_Key, int, PortSet]]) -> None:
        # Most keys have one hit, and 10,000 rules are compiled in the time that one changed rule may take.
        crowded: dict[_Key, list[Hits]] = {}
        for key, place, ports in rows:
            if key in self:
                crowded.setdefault(key, [self[key]]).append(((place, ports),))
            else:
                self[key] = ((place, ports),)
        self.update((key, joined(hits)) for key, hits in crowded.items())


class NameIndex:
    """Patterns by the name they are written with."""

    def __init__(self, rows: Sequence[tuple[Pattern, int, PortSet]]) -> None:
        self._exact = _Table((pattern.name, place, ports) for pattern, place, ports in rows if not pattern.is_wildcard)
        self._below = _Table((pattern.name, place, ports) for pattern, place, ports in rows if pattern.is_wildcard)

    def written_out(self, name: Name) -> Hits:
        """The hits of patterns that are this very name."""
        return self._exact.get(name, ())

    def find(self, tails: Sequence[Name]) -> Hits:
        """The hits of the name whose `parents` these are."""
        groups = [self._exact[tails[0]]] if tails[0] in self._exact else []
        below = self._below
        # The wildcard of a name does not match the name itself; the root's does.
        groups += [below[tail] for tail in tails[1:] or tails if tail in below]
        return joined(groups)


class NetworkIndex:
    """Networks by family and prefix length."""

    def __init__(self, rows: Sequence[tuple[IPNetwork, int, PortSet]]) -> None:
        self._tables: dict[int, list[tuple[int, _Table[int]]]] = {4: [], 16: []}
        for size, length in sorted({(network.max_prefixlen, network.prefixlen) for network, _, _ in rows}):
            those = [row for row in rows if (row[0].max_prefixlen, row[0].prefixlen) == (size, length)]
            shift = size - length
            table = _Table((int(network.network_address) >> shift, place, ports) for network, place, ports in those)
            self._tables[size // 8].append((shift, table))

    def __len__(self) -> int:
        """How many prefix lengths there are."""
        return len(self._tables[4]) + len(self._tables[16])

    def find(self, address: bytes) -> Hits:
        tables = self._tables[len(address)]
        value = int.from_bytes(address)
        return joined([table[value >> shift] for shift, table in tables if value >> shift in table])
