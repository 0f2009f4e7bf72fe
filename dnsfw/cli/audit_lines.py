"""Audit records as lines for people.

Pure. Always true: nothing that moves a cursor or changes a colour comes out of a record; no name is cut off; where the terminal is too
narrow for one line a record takes two; where there is no terminal it takes one, with the full date, so that grep and sort work.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from rich.text import Text

from dnsfw.audit.query import Entry
from dnsfw.audit.record import Gap, QueryRecord
from dnsfw.audit.shown import rcode_name, type_name
from dnsfw.clock import WallTime
from dnsfw.names import printable

_COLOURS = {"allowed": "green", "passed": "dim", "refused": "red", "failed": "yellow", "would-refuse": "magenta"}
_HEADINGS = ("TIME", "POD", "NAME", "TYPE", "DECISION", "ANSWER", "TTL", "RULE", "TOOK")
# What a column needs at least, and what it gets at most however long its longest value.
_LEAST = (12, 8, 16, 5, 15, 12, 4, 8, 8)
_MOST = (12, 36, 48, 8, 28, 42, 8, 36, 20)
_INDENT = " " * 14


class _Cells(NamedTuple):
    time: str
    pod: str
    name: str
    qtype: str
    decision: str
    answer: str
    ttl: str
    rule: str
    took: str


@dataclass(slots=True)
class AuditLines:
    """width: of the terminal; None where there is none. The columns are fitted to the first page, and kept."""

    width: int | None
    _widths: tuple[int, ...] = ()
    _is_narrow: bool = False
    _day: str = ""

    def fit(self, page: Sequence[Entry]) -> Iterator[Text]:
        """Choose the layout that suits these; gives the heading, where there is one."""
        rows = [_cells(entry, is_full=self.width is None) for entry in page if isinstance(entry, QueryRecord)]
        columns = zip(*rows, strict=True) if rows else ((),) * len(_LEAST)
        self._widths = tuple(map(_width, columns, _LEAST, _MOST))
        self._is_narrow = self.width is not None and sum(self._widths) + 2 * (len(_LEAST) - 1) > self.width
        if self.width is not None and not self._is_narrow:
            yield Text(_joined(_HEADINGS, self._widths), style="bold")

    def lines(self, entries: Iterable[Entry]) -> Iterator[Text]:
        for entry in entries:
            yield from self._day_line(entry[0])
            if isinstance(entry, Gap):
                yield _gap_line(entry, is_full=self.width is None)
            else:
                yield from self._record(entry)

    def _day_line(self, at: WallTime) -> Iterator[Text]:
        day = _local(at).strftime("%A %Y-%m-%d")
        if self.width is not None and day != self._day:
            self._day = day
            yield Text(day, style="dim italic")

    def _record(self, record: QueryRecord) -> Iterator[Text]:
        cells = _cells(record, is_full=self.width is None)
        colour = _COLOURS.get(record.decision, "")
        if self._is_narrow:
            yield Text.assemble((cells.time, "dim"), "  ", cells.name, " ", cells.qtype)
            yield from _details(cells, colour, self.width or 0)
            return
        line = Text()
        for cell, width, style in zip(cells, self._widths, ("dim", "", "", "", colour, "", "", "", "dim"), strict=True):
            shown = cell or ("-" if self.width is None else "")
            line.append(shown, style).append(" " * (max(width - len(shown), 0) + 2))
        line.rstrip()
        yield line


def _cells(record: QueryRecord, *, is_full: bool) -> _Cells:
    reason = "" if record.reason == record.decision else f" {record.reason}"
    pod = f"{record.namespace}/{record.pod}" if record.pod else record.source
    at = _local(record.at)
    return _Cells(
        time=at.isoformat(timespec="milliseconds") if is_full else at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}",
        pod=printable(pod),
        name=printable(record.name),
        qtype=type_name(record.qtype),
        decision=printable(record.decision + reason),
        answer=printable(_answer(record, is_full=is_full)),
        ttl="" if record.ttl < 0 else str(record.ttl),
        rule=printable(record.rule),
        took=_took(record),
    )


def _answer(record: QueryRecord, *, is_full: bool) -> str:
    """The first address and how many more, or why there is none; `-o json` and pipes have them all."""
    if is_full:
        return record.addresses.replace(" ", ",") or (rcode_name(record.rcode) or "no answer")
    addresses = record.addresses.split()
    if not addresses:
        return rcode_name(record.rcode) or "no answer"
    return addresses[0] if len(addresses) == 1 else f"{addresses[0]} +{len(addresses) - 1}"


def _took(record: QueryRecord) -> str:
    """Milliseconds: upstream, then the kernel."""
    if not record.upstream_us and not record.install_us:
        return ""
    return f"{record.upstream_us / 1000:.1f}+{record.install_us / 1000:.2f} ms"


def _width(column: Sequence[str], least: int, most: int) -> int:
    """Four of five values fit: one very long name must not cost all others their line."""
    lengths = sorted(map(len, column))
    return min(max(least, lengths[len(lengths) * 4 // 5] if lengths else 0), most)


def _details(cells: _Cells, colour: str, width: int) -> Iterator[Text]:
    """The second line of the narrow layout, and a third where a part would be torn apart."""
    line = Text.assemble(_INDENT, (cells.decision, colour))
    for part in (cells.pod, cells.answer, cells.ttl and f"ttl {cells.ttl}", cells.rule and f"rule {cells.rule}", cells.took):
        if part and len(line) + 2 + len(part) > width and len(line) > len(_INDENT):
            yield line
            line = Text(_INDENT[2:])
        line.append(part and f"  {part}")
    yield line


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _gap_line(gap: Gap, *, is_full: bool) -> Text:
    since, until = _local(gap.since), _local(gap.until)
    is_one_day = since.date() == until.date() and not is_full
    shown = [each.strftime("%H:%M:%S") if is_one_day else each.isoformat(sep=" ", timespec="seconds") for each in (since, until)]
    number = "an unknown number of records" if gap.lost is None else f"{gap.lost:,} record{'' if gap.lost == 1 else 's'}"
    return Text(f"gap: {number} lost between {shown[0]} and {shown[1]} ({printable(gap.why)})", style="bold yellow")


def _local(at: WallTime) -> datetime:
    return datetime.fromtimestamp(at).astimezone()
