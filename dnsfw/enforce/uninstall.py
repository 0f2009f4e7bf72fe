"""Takes every trace out of the kernel and the journal off the disk: pods are then as if dnsfw had never been.

Touches the table, the marks of connections, and the journal. The process that kept the table must have ended: its guard went with it.
"""

import asyncio
from dataclasses import dataclass

from dnsfw.enforce.journal import half_written
from dnsfw.enforce.settings import EnforceSettings
from nft.conntrack import Connections
from nft.errors import NotFoundError
from nft.kernel import Kernel
from nft.objects import Table
from nft.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Removed:
    """What was there, and is not any more."""

    table: bool
    connections: int
    journal: bool


async def uninstall(settings: EnforceSettings, kernel: Kernel, connections: Connections) -> Removed:
    """Remove the table first, so that no connection is marked anew; NftError, ConntrackError or OSError say what could not be removed."""
    table = Table(settings.table)
    try:
        await kernel.apply(Transaction().delete(table))
        had_table = True
    except NotFoundError:
        had_table = False
    marked = await asyncio.to_thread(_clear_marks, settings, connections)
    return Removed(had_table, marked, _remove_journal(settings))


def _clear_marks(settings: EnforceSettings, connections: Connections) -> int:
    numbered = [flow for flow in connections.iter_flows() if flow.mark & settings.ct_mask]
    return connections.set_mark(numbered, 0, settings.ct_mask)


def _remove_journal(settings: EnforceSettings) -> bool:
    if settings.journal is None:
        return False
    half_written(settings.journal).unlink(missing_ok=True)
    if not settings.journal.exists():
        return False
    settings.journal.unlink()
    return True
