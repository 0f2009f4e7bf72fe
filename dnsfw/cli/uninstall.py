"""`dnsfw uninstall`: takes every trace out of the kernel; the audit stays unless it is asked for, too."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from dnsfw import locks
from dnsfw.audit.reader import reading
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.enforce.uninstall import Removed
from dnsfw.enforce.uninstall import uninstall as remove
from dnsfw.errors import DnsfwError
from dnsfw.settings.places import state_folder
from dnsfw.settings.table import SETTINGS
from dnsfw.settings.values import Unfit
from nft.conntrack import Conntrack, ConntrackError
from nft.errors import NftError
from nft.netlink import RealKernel


class UninstallError(DnsfwError):
    """Something is still there; the message says what."""


class UninstallUsageError(DnsfwError):
    """A flag of `uninstall` that cannot be."""

    exit_code = 2


def uninstall(
    table: Annotated[str, typer.Option(metavar="NAME", envvar="DNSFW_TABLE", help="The table to remove.")] = "dnsfw",
    mark_mask: Annotated[str, typer.Option(metavar="MASK", envvar="DNSFW_MARK_MASK", help="The bits of the mark.")] = "0xffff0000",
    audit_db: Annotated[
        Path | None, typer.Option(metavar="PATH", envvar="DNSFW_AUDIT_DB", help="Where the audit and the journal lie.")
    ] = None,
    purge_audit: Annotated[bool, typer.Option("--purge-audit", metavar="", help="Delete the audit's records, too.")] = False,
) -> None:
    """Remove every trace from the kernel: the table, the marks of connections, and the journal.

    Stop `dnsfw run` first. The audit is evidence, so it stays unless --purge-audit is given.
    """
    path = audit_db or state_folder() / "audit.db"
    table = _parsed("table", table)
    settings = EnforceSettings(table=table, ct_mask=_parsed("mark-mask", mark_mask), journal=path.parent / f"{table}.journal")
    with locks.hold(table):
        try:
            if purge_audit:
                _check_ours(path)
            removed = asyncio.run(_remove(settings))
            purged = _purged(path) if purge_audit else []
        except (NftError, ConntrackError, OSError) as error:
            raise UninstallError(f"not all could be removed: {error}") from error
        _say(settings, removed, purged, path)


def _parsed(name: str, text: str) -> Any:  # noqa: ANN401 - each setting has a type of its own
    setting = next(each for each in SETTINGS if each.name == name)
    try:
        return setting.parse(text)
    except Unfit as unfit:
        raise UninstallUsageError(f"--{name}: {unfit}") from unfit


async def _remove(settings: EnforceSettings) -> Removed:
    kernel, connections = await RealKernel.open(), Conntrack()
    try:
        return await remove(settings, kernel, connections)
    finally:
        connections.close()
        await kernel.close()


def _check_ours(path: Path) -> None:
    """AuditError for a file of somebody else's: a mistyped --audit-db must not cost it."""
    if path.exists() and path.stat().st_size:
        with reading(path):
            return


def _purged(path: Path) -> list[Path]:
    found = [each for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))) if each.exists()]
    for each in found:
        each.unlink()
    return found


def _say(settings: EnforceSettings, removed: Removed, purged: list[Path], path: Path) -> None:
    typer.echo(f"table inet {settings.table}: {'removed' if removed.table else 'was not there'}")
    typer.echo(f"connections: {removed.connections} had a mark of ours, now none has")
    typer.echo(f"journal: {'removed' if removed.journal else 'was not there'}")
    if purged:
        typer.echo(f"audit: removed {', '.join(map(str, purged))}")
    elif path.exists():
        typer.echo(f"audit: kept in {path} (--purge-audit removes it)")
