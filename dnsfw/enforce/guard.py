"""The second table: it belongs to our netlink socket, so `nft flush ruleset` by others leaves it, and it vanishes with the process.

While the main table is gone it drops what selected pods send and are sent: their packets lack the mark that the main table sets on what
it has judged.
Each process has a guard of its own name, so two agents during an upgrade stand side by side: a packet needs the main table's mark for both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from dnsfw.enforce.chains import MANGLE
from dnsfw.enforce.layout import Layout
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.enforce.targets import Place
from nft.changes import Change, Discard, Put
from nft.objects import Set
from nft.owned import OwnedTable, guard_program


def guard_name(settings: EnforceSettings, token: str) -> str:
    """`token` tells processes apart; their ids do not, where each has a process namespace of its own."""
    return f"{settings.table}-guard-{token}"


@dataclass(slots=True)
class Guard:
    """What the guard's sets hold (selected: of both families); None as `table`: this kernel has no owned tables, and `status` says so."""

    table: OwnedTable | None
    selected: set[bytes] = field(default_factory=set)
    networks: dict[str, frozenset[str]] = field(default_factory=dict)

    @staticmethod
    def of(settings: EnforceSettings, token: str) -> "Guard":
        return Guard(guard_program(guard_name(settings, token), MANGLE + 1, settings.packet_mark))

    def members(self, internal: Mapping[Set, tuple[str, ...]]) -> list[Change]:
        """What makes the networks that pass those of the main table."""
        if self.table is None:
            return []
        changes: list[Change] = []
        for mine, texts in self._mine(self.table, internal):
            held = self.networks.get(mine.name, frozenset())
            changes += [Discard(mine, *_ends(each)) for each in held - texts]
            changes += [Put(mine, first, None, None, last) for first, last in map(_ends, texts - held)]
        return changes

    def changes(self, layout: Layout, places: Mapping[bytes, Place]) -> list[Change]:
        """What makes the guard's selected pods those of the main table, at these addresses."""
        if self.table is None:
            return []
        changes: list[Change] = []
        for key, place in places.items():
            of = layout.sets_of_address(key).selected
            if (of in place) != (key in self.selected):
                changes.append((Put if of in place else Discard)(self.table.set_named(of.name), key))
        return changes

    def accept(self, layout: Layout, places: Mapping[bytes, Place], internal: Mapping[Set, tuple[str, ...]]) -> None:
        """The kernel has acknowledged both."""
        if self.table is None:
            return
        for key, place in places.items():
            (self.selected.add if layout.sets_of_address(key).selected in place else self.selected.discard)(key)
        self.networks |= {mine.name: texts for mine, texts in self._mine(self.table, internal)}

    @staticmethod
    def _mine(table: OwnedTable, internal: Mapping[Set, tuple[str, ...]]) -> Iterator[tuple[Set, frozenset[str]]]:
        """Its own sets of networks; protected addresses are none of its business."""
        names = {mine.name: mine for mine in table.sets}
        return ((names[of.name], frozenset(texts)) for of, texts in internal.items() if of.name in names)


def _ends(network: str) -> tuple[bytes, bytes]:
    whole = ip_network(network)
    return whole.network_address.packed, whole.broadcast_address.packed
