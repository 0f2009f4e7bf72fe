"""What was measured: series of rounds, and the bars they are held against.

Pure. Always true: a figure is the median of its rounds, with the least and the most beside it; a failed check stands in the results.
"""

from dataclasses import dataclass, field
from statistics import median


@dataclass(slots=True)
class Series:
    """One server (or one way of doing it) in one case. failures: queries without the answer they should have got.

    beside: other figures of the same rounds (CPU a query, latency); problems: checks that did not hold.
    """

    name: str
    unit: str
    values: list[float] = field(default_factory=list)
    failures: int = 0
    beside: dict[str, list[float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.values) if self.values else 0.0

    def note(self, name: str, value: float) -> None:
        self.beside.setdefault(name, []).append(value)

    def median_of(self, name: str) -> float:
        return median(self.beside[name]) if self.beside.get(name) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One line of the table that has to hold."""

    what: str
    value: float
    bar: float
    unit: str = ""
    is_ceiling: bool = False

    @property
    def is_met(self) -> bool:
        return self.value <= self.bar if self.is_ceiling else self.value >= self.bar


@dataclass(slots=True)
class Result:
    """One case."""

    case: str
    title: str
    series: list[Series] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def of(self, name: str) -> Series | None:
        return next((one for one in self.series if one.name == name), None)

    def ratio_bar(self, what: str, ours: str, theirs: str, bar: float) -> None:
        """None of it where the other one did not run."""
        mine, other = self.of(ours), self.of(theirs)
        if mine and other and mine.values and other.values:
            self.bars.append(Bar(what=what, value=mine.median / other.median, bar=bar, unit="×"))


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
