"""`dnsfw grants`: what pods may reach at this moment, and why, from the running process."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dnsfw.api.parameters import MOST_GRANTS
from dnsfw.api.views import GrantView, from_json
from dnsfw.cli.asking import ApiOption, TokenOption, ask
from dnsfw.cli.ending import Listing, quiet_end
from dnsfw.cli.output import Format, FormatOption, print_value
from dnsfw.cli.spans import span
from dnsfw.names import printable

_NARROW = 120  # below, each grant takes two lines


def grants(
    *,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", metavar="NAME", help="Only pods of this namespace.")] = None,
    pod: Annotated[str | None, typer.Option("--pod", metavar="NAME", help="Only pods of this name.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Only granted for this name, or *.SUFFIX for all below it.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="COUNT", min=0, max=MOST_GRANTS, help="At most so many; 0 is all of them.")
    ] = 1000,
    output: FormatOption = Format.TABLE,
    api: ApiOption = None,
    api_token_file: TokenOption = None,
) -> None:
    """Show what pods may reach at this moment, for which name and rule, and for how long."""
    wanted = {"namespace": namespace, "pod": pod, "name": name, "limit": limit or MOST_GRANTS}
    document = ask(api, api_token_file, "/v1/grants", wanted)
    with quiet_end():
        if output is Format.TABLE:
            _print_table([from_json(GrantView, item) for item in document["items"]], document["total"])
        else:
            print_value(document["items"], output)


def _print_table(views: Sequence[GrantView], total: int) -> None:
    if not views:
        sys.stderr.write("no grants\n")
        return
    console = Listing()
    console.print(_table(views, is_narrow=console.width < _NARROW))
    if len(views) < total:
        sys.stderr.write(f"{len(views):,} of {total:,} grants; --limit 0 shows all\n")


def _table(views: Sequence[GrantView], *, is_narrow: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in _STACKED if is_narrow else _HEADINGS:
        table.add_column(heading, overflow="fold", justify="right" if heading == "LEFT" else "left", no_wrap=heading == "LEFT")
    for view in views:
        cells = _cells(view)
        table.add_row(*(Text(printable(cell)) for cell in cells) if not is_narrow else map(_stack, _stacked(cells)))
    return table


_HEADINGS = ("POD", "ADDRESS", "PORTS", "FOR", "RULE", "LEFT")
_STACKED = ("POD / FOR", "ADDRESS / PORTS", "RULE", "LEFT")


def _cells(view: GrantView) -> tuple[str, ...]:
    # The kernel keeps no names, so those of before a restart are known again only when the pod asks again.
    names = " ".join(view.names) or ("(from before the restart)" if view.is_adopted else "")
    return (f"{view.namespace}/{view.pod}", view.address, view.ports, names, view.rule, span(view.remaining_s))


def _stacked(cells: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    pod, address, ports, names, rule, left = cells
    return (pod, names), (address, ports), (rule,), (left,)


def _stack(cells: tuple[str, ...]) -> Text:
    return Text("\n").join(Text(printable(cell), "dim" if number else "") for number, cell in enumerate(cells))
