"""The story on a terminal, as a person would like to read it.

Touches the console that it is given. Prints only forwards: the same on a terminal, in a pipe, and in a log.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dnsfw.demo.steps import Chapter, Step

_GOOD, _BAD = "[green]✓[/]", "[bold red]✗[/]"


class Show:
    def __init__(self, console: Console) -> None:
        self._console = console

    def opening(self) -> None:
        self._console.print(
            Panel(
                "A node with three pods and a small internet, in network namespaces of their own. On the node runs the real "
                "[bold]dnsfw run[/]; the packets, the DNS messages and the kernel's table are real. Nothing of your machine is touched.",
                title="dnsfw demo",
                title_align="left",
                border_style="cyan",
            )
        )

    def ready(self, ms: float, rules: Mapping[str, str]) -> None:
        self._console.print(f"[green]ready[/] after {ms:.0f} ms, with the rules {' and '.join(rules)}\n")

    def chapter(self, number: int, chapter: Chapter) -> None:
        self._console.print(f"[bold cyan]{number}. {chapter.title}[/]")
        self._console.print(Padding(Text(chapter.says, style="dim"), (0, 0, 0, 3)))
        self._console.print(Padding(self._steps(chapter.steps), (0, 0, 1, 1)))

    def grants(self, grants: Sequence[Mapping[str, Any]]) -> None:
        table = _table("Grants in the kernel now", ("pod", 0), ("address", 3), ("ports", 0), ("name", 3), ("ends in", 0))
        for grant in sorted(grants, key=lambda grant: (grant["pod"], grant["names"], grant["address"])):
            table.add_row(
                str(grant["pod"]), str(grant["address"]), str(grant["ports"]), "\n".join(grant["names"]), f"{grant['remaining_s']:.0f} s"
            )
        self._console.print(table, "")

    def audit(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """One line for what was asked in the same way and got the same."""
        # "protected-address" and "2001:db8:c0de::11" are not to be torn apart in 80 columns, and a longer name not in 100.
        asked = 3 if self._console.width < 100 else 4
        table = _table(
            "What the audit has kept", ("pod", 0), ("asked for", asked), ("decision", 0), ("why", 3), ("answer", 3), ("times", 0)
        )
        lines = Counter(_audit_line(entry) for entry in entries if entry["kind"] == "query")
        for line, count in lines.items():
            colour = {"allowed": "green", "refused": "red"}.get(line[2], "yellow")
            table.add_row(line[0], line[1], f"[{colour}]{line[2]}[/]", line[3], line[4], str(count))
        lost = [entry for entry in entries if entry["kind"] == "gap"]
        self._console.print(table, f"{sum(lines.values())} queries on record, {'none lost' if not lost else f'{len(lost)} gaps'}\n")

    def verdict(self, steps: Sequence[Step], seconds: float) -> None:
        failed = [step for step in steps if not step.is_as_expected]
        if failed:
            self._console.print(f"[bold red]BROKEN[/]: {len(failed)} of {len(steps)} steps did not go as they should ({seconds:.1f} s)")
            for step in failed:
                self._console.print(Text(f"  {step.tried}: {step.expected} was expected, {step.happened} happened"))
        else:
            self._console.print(f"[bold green]KEPT[/]: all {len(steps)} steps went as they should ({seconds:.1f} s)")

    def _steps(self, steps: Sequence[Step]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=True, show_header=True, header_style="dim")
        table.add_column("", width=1)
        table.add_column("tried", ratio=9, overflow="fold")
        table.add_column("expected", ratio=4)
        table.add_column("happened", ratio=5, overflow="fold")
        table.add_column("ms", justify="right", width=6, no_wrap=True)
        for step in steps:
            colour = "" if step.is_as_expected else "bold red"
            table.add_row(
                _GOOD if step.is_as_expected else _BAD,
                Text(step.tried),
                Text(step.expected),
                Text(step.happened, style=colour),
                f"{step.ms:.1f}" if step.ms else "",
            )
        return table


def _table(title: str, *columns: tuple[str, int]) -> Table:
    """Columns with their share of the width; 0 is what the content needs."""
    table = Table(title=title, title_justify="left", title_style="bold cyan", expand=True, box=None, header_style="dim", pad_edge=False)
    for name, ratio in columns:
        justify: JustifyMethod = "right" if name in {"ends in", "times"} else "left"
        table.add_column(name, ratio=ratio or None, no_wrap=not ratio, overflow="fold", justify=justify)
    return table


def _audit_line(entry: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    asked = f"{entry['name']} {entry['type']}"
    reason = "" if entry["reason"] == entry["decision"] else entry["reason"]
    why = f"{reason} {entry['rule']}".strip()
    answer = " ".join(entry["addresses"]) or str(entry["rcode"])
    return str(entry["pod"] or entry["source"]), asked, str(entry["decision"]), why, answer
