"""How listings are printed: a table for people, JSON or YAML for programs.

Writes to stdout. Text from others (names, labels) is escaped in tables, so that it cannot move the cursor.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated

import typer

from dnsfw.names import printable

Row = Mapping[str, object]


class Format(Enum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[Format, typer.Option("-o", "--output", help="How to print.")]


def print_rows(rows: Sequence[Row], form: Format, columns: Sequence[str], *, empty: str = "nothing to show") -> None:
    """One row a line with these columns; JSON and YAML get every field of every row."""
    if form is not Format.TABLE:
        print_value([dict(row) for row in rows], form)
    elif rows:
        _print_table(rows, columns)
    else:
        sys.stderr.write(f"{empty}\n")  # stdout stays empty: a script that counts lines counts none


def print_value(value: object, form: Format) -> None:
    """Anything JSON can say."""
    if form is Format.YAML:
        import yaml  # noqa: PLC0415 - 20 ms that tables and JSON need not wait for

        yaml.safe_dump(value, sys.stdout, sort_keys=False, allow_unicode=True)
    else:
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")


def _print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 60 ms, as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " ").upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(row.get(column))) for column in columns))
    # A pipe has no width: nothing may be folded there.
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 10_000).print(table)


def shown(value: object) -> str:
    """A cell's text."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return " ".join(shown(item) for item in value)
    return printable(str(value))
