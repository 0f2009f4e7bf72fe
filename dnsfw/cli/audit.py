"""`dnsfw audit`: what was asked, by whom, and what became of it, from the database itself; dnsfw need not be running."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import typer

from dnsfw.audit.filters import AuditFilter, parse_decision, parse_moment, parse_name_filter
from dnsfw.audit.query import Entry, follow, read_records
from dnsfw.audit.record import DECISIONS
from dnsfw.audit.shown import shown
from dnsfw.cli.audit_lines import AuditLines
from dnsfw.cli.ending import Listing, quiet_end
from dnsfw.cli.output import Format, FormatOption
from dnsfw.clock import SystemClock
from dnsfw.errors import DnsfwError
from dnsfw.settings.places import audit_to_read

_PAGE = 200


class AuditUsageError(DnsfwError):
    """Flags of `audit` that cannot be, or cannot be together."""

    exit_code = 2


def audit(
    *,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", metavar="NAME", help="Only pods of this namespace.")] = None,
    pod: Annotated[str | None, typer.Option("--pod", metavar="NAME", help="Only pods of this name.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Only this name, or *.SUFFIX for all below it.")] = None,
    decision: Annotated[str | None, typer.Option("--decision", metavar="|".join(DECISIONS), help="Only with this outcome.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="10m, 2h, 1d ago, or 2027-01-31T12:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="As --since.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="COUNT", min=0, help="The newest ones; 0 is all of them.")] = 1000,
    is_following: Annotated[bool, typer.Option("--follow", "-f", metavar="", help="Go on with what comes, until ^C.")] = False,
    output: FormatOption = Format.TABLE,
    audit_db: Annotated[
        Path | None, typer.Option("--audit-db", metavar="PATH", envvar="DNSFW_AUDIT_DB", help="As for `dnsfw run`.")
    ] = None,
) -> None:
    """Show what was asked, by whom, and what became of it; oldest first.

    A gap says how many records are missing, and between when. Works while dnsfw runs and when it does not. JSON is one array, with -f one
    object a line.
    """
    if is_following and until is not None:
        raise AuditUsageError("--until: with -f there is no end")
    now = SystemClock().wall()
    try:
        wanted = AuditFilter(
            namespace=namespace,
            pod=pod,
            pattern=None if name is None else parse_name_filter(name),
            decision=None if decision is None else parse_decision(decision),
            since=None if since is None else parse_moment(since, now),
            until=None if until is None else parse_moment(until, now),
            limit=limit or None,
        )
    except DnsfwError as error:
        raise AuditUsageError(str(error)) from error
    with quiet_end():
        _print(audit_db or audit_to_read(), wanted, output, is_following=is_following)


def _print(path: Path, wanted: AuditFilter, form: Format, *, is_following: bool) -> None:
    entries = follow(path, wanted) if is_following else read_records(path, wanted)
    match form:
        case Format.TABLE if is_following:
            # The columns fit what was; the first line must not wait for what is yet to come.
            _print_lines(entries, list(read_records(path, replace(wanted, limit=_PAGE))))
        case Format.TABLE:
            page = list(islice(entries, _PAGE))
            _print_lines(chain(page, entries), page)
            if not page:
                sys.stderr.write("no records\n")
        case Format.YAML:
            _print_yaml(entries)
        case Format.JSON if is_following:
            for entry in entries:
                sys.stdout.write(f"{_json(entry)}\n")
                sys.stdout.flush()
        case Format.JSON:
            _print_array(entries)


def _print_lines(entries: Iterable[Entry], page: Sequence[Entry]) -> None:
    console = Listing()
    lines = AuditLines(console.width if sys.stdout.isatty() else None)
    for line in chain(lines.fit(page), lines.lines(entries)):
        console.print(line, soft_wrap=True)


def _print_array(entries: Iterable[Entry]) -> None:
    separator = "["
    for entry in entries:
        sys.stdout.write(f"{separator}\n  {_json(entry)}")
        separator = ","
    sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


def _print_yaml(entries: Iterable[Entry]) -> None:
    import yaml  # noqa: PLC0415 - 20 ms that tables and JSON need not wait for

    is_empty = True
    for entry in entries:
        is_empty = False
        yaml.safe_dump([shown(entry)], sys.stdout, sort_keys=False)
        sys.stdout.flush()
    if is_empty:
        sys.stdout.write("[]\n")


def _json(entry: Entry) -> str:
    # ASCII only: what a terminal might take for a command (C1 controls, DEL) must not pass through JSON either.
    return json.dumps(shown(entry)).replace("\x7f", "\\u007f")
