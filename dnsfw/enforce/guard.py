"""The second table: it belongs to our netlink socket, so `nft flush ruleset` by others leaves it, and it vanishes with the process.

While the main table is gone it drops what selected pods send and are sent: their packets lack the mark that the main table sets on what
it has judged.
Each process has a guard of its own name, so two agents during an upgrade stand side by side: a packet needs the main table's mark for both.
"""

from dataclasses import dataclass, field
from ipaddress import ip_network

from dnsfw.enforce.layout import MANGLE, Layout
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.enforce.targets import Contents
from nft.changes import Change, Discard, Put
from nft.objects import Set
from nft.owned import OwnedTable, guard_program


def guard_name(settings: EnforceSettings, token: str) -> str:
    """`token` tells processes apart; their ids do not, where each has a process namespace of its own."""
    return f"{settings.table}-guard-{token}"


@dataclass(slots=True)
class Guard:
    """What the guard's sets hold; None as `table`: this kernel has no owned tables, and `status` says so."""

    table: OwnedTable | None
    placed: dict[Set, set[bytes]] = field(default_factory=dict)
    networks: dict[str, frozenset[str]] = field(default_factory=dict)

    @staticmethod
    def of(settings: EnforceSettings, token: str) -> "Guard":
        return Guard(guard_program(guard_name(settings, token), MANGLE + 1, settings.packet_mark))

    def members(self, internal: dict[Set, tuple[str, ...]]) -> list[Change]:
        """What makes the networks that pass those of the main table."""
        if self.table is None:
            return []
        changes: list[Change] = []
        for of, texts in internal.items():
            if of.name not in {mine.name for mine in self.table.sets}:
                continue
            mine, held = self.table.set_named(of.name), self.networks.get(of.name, frozenset())
            changes += [Discard(mine, *_ends(each)) for each in held - set(texts)]
            changes += [Put(mine, first, None, None, last) for first, last in map(_ends, set(texts) - held)]
            self.networks[of.name] = frozenset(texts)
        return changes

    def changes(self, layout: Layout, contents: Contents) -> list[Change]:
        """What makes the guard's selected pods those of the main table."""
        if self.table is None:
            return []
        changes: list[Change] = []
        for of in (layout.v4.selected, layout.v6.selected):
            mine = self.table.set_named(of.name)
            held, wanted = self.placed.get(mine, set()), contents[of].keys()
            changes += [Put(mine, key) for key in wanted - held]
            changes += [Discard(mine, key) for key in held - wanted]
        return changes

    def accept(self, layout: Layout, contents: Contents) -> None:
        if self.table is not None:
            for of in (layout.v4.selected, layout.v6.selected):
                self.placed[self.table.set_named(of.name)] = set(contents[of])


def _ends(network: str) -> tuple[bytes, bytes]:
    whole = ip_network(network)
    return whole.network_address.packed, whole.broadcast_address.packed
