"""What the API asks of the rest of the program: plain callables, so that it imports none of it.

Always true: all of them are called in the loop's thread and return at once.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dnsfw.api.views import GrantView, StatusView
from dnsfw.names import Name, NameError_, Pattern, parse_name

# Whatever a client of the network can choose must not become a label (cases.md A25): these have few values, or as many as there are pods.
LABELS = frozenset({"decision", "family", "kind", "namespace", "pod", "quantile", "reason", "state", "transport", "upstream", "worker"})
_METRIC = re.compile(r"dnsfw_[a-z0-9]+_[a-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantsFilter:
    """None takes everything; `limit` None is all of them, after `offset`."""

    namespace: str | None = None
    pod: str | None = None
    pattern: Pattern | None = None
    limit: int | None = None
    offset: int = 0

    def takes(self, grant: GrantView) -> bool:
        if self.namespace is not None and grant.namespace != self.namespace:
            return False
        if self.pod is not None and grant.pod != self.pod:
            return False
        return self.pattern is None or any(self.pattern.matches(name) for name in map(_name, grant.names) if name is not None)


def _name(text: str) -> Name | None:
    try:
        return parse_name(text)
    except NameError_:
        return None


@dataclass(frozen=True, slots=True)
class Sample:
    """One series: its labels, in the order of names, and its value."""

    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricView:
    """name: `dnsfw_<package>_<noun>_<unit>`, ending in `_total` where it counts up. All samples have the same label names."""

    name: str
    help: str
    is_counter: bool
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        if not _METRIC.fullmatch(self.name) or self.name.endswith("_total") != self.is_counter:
            raise ValueError(f"metric {self.name}: dnsfw_<package>_<noun>_<unit>, with _total for counters only")
        for sample in self.samples:
            if strange := {label for label, _ in sample.labels} - LABELS:
                raise ValueError(f"metric {self.name}: labels {sorted(strange)} are not among those of bounded cardinality")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSources:
    """Field by field:

    status: one look, cheap.
    grants: may use the filter or leave it to the API, which applies it in any case, page included. The iterable is consumed in slices
        between which the loop runs, so it must bear changes: walk over a copied list of keys, and skip what is gone.
    metrics: one look.
    audit_path: the database that /v1/audit reads; None: there is none.
    now: wall time, for durations in filters.
    """

    status: Callable[[], StatusView]
    grants: Callable[[GrantsFilter], Iterable[GrantView]]
    metrics: Callable[[], Iterable[MetricView]]
    audit_path: Path | None
    now: Callable[[], float]
