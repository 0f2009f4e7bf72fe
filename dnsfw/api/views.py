"""What the API shows, as values; the page and the command line show these and nothing else.

Pure. `to_json` and `from_json` are inverse; a reader that is older or newer than the process ignores fields it does not know and takes the
default of those it misses.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from dnsfw.errors import DnsfwError

T = TypeVar("T")


class ViewError(DnsfwError):
    """A document that is not what the API of this version says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamView:
    """state: "up", "down" or "untried". rtt_us: smoothed, 0 while unknown."""

    address: str
    state: str
    queries: int = 0
    failures: int = 0
    rtt_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsView:
    """How the pods of this node stand: counts, and by name those that are not served as the rules ask."""

    known: int = 0
    selected: int = 0
    untouched: int = 0
    conflicts: tuple[str, ...] = ()
    not_enforceable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchView:
    """A guard: is it on, and why not (or what it covers)."""

    is_on: bool
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardsView:
    """source: the address must belong to the interface. redirect4/redirect6: port 53 of selected pods comes to us (else it is rejected)."""

    source: SwitchView = SwitchView(is_on=False)
    redirect4: SwitchView = SwitchView(is_on=False)
    redirect6: SwitchView = SwitchView(is_on=False)
    guard_table: SwitchView = SwitchView(is_on=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelView:
    """table: its name. features: what this kernel can do. structure_checked_s: seconds since the table was last compared."""

    table: str = ""
    version: str = ""
    features: tuple[str, ...] = ()
    structure_checked_s: float | None = None
    structure_repairs: int = 0
    commits: int = 0
    commit_p50_us: float = 0.0
    commit_p99_us: float = 0.0
    commit_failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedView:
    """One pod's refused connections: packets that were rejected, and in Audit mode those that would have been."""

    namespace: str
    pod: str
    refused_packets: int
    would_refuse_packets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditView:
    path: str = ""
    written: int = 0
    lost: int = 0
    queued: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheView:
    entries: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotView:
    """age_s: seconds in force."""

    serial: int = 0
    age_s: float = 0.0
    rules: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One of several processes that answer queries. pid: 0 while there is none. restarts: processes that have ended here."""

    number: int
    pid: int
    ready: bool
    restarts: int = 0
    queries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """One look at the process. started_at is wall time; not_ready says what is missing; problems are refused documents.

    workers: empty where the process answers itself.
    """

    version: str
    ready: bool
    pid: int
    started_at: float
    uptime_s: float
    not_ready: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    upstreams: tuple[UpstreamView, ...] = ()
    snapshot: SnapshotView = SnapshotView()
    pods: PodsView = PodsView()
    problems: tuple[str, ...] = ()
    guards: GuardsView = GuardsView()
    kernel: KernelView = KernelView()
    grants: int = 0
    numbers_used: int = 0
    numbers_total: int = 0
    refused: tuple[RefusedView, ...] = ()
    audit: AuditView = AuditView()
    cache: CacheView = CacheView()
    workers: tuple[WorkerView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantView:
    """One permission in the kernel. ports as text ("tcp/443"); number: the decision's; is_adopted: from before this process's start."""

    namespace: str
    pod: str
    address: str
    ports: str
    names: tuple[str, ...]
    rule: str
    number: int
    remaining_s: float
    is_adopted: bool = False


def to_json(view: Any) -> Any:  # noqa: ANN401 -- any of the above, or a part of one
    kind = type(view)
    if kind is tuple:
        return [to_json(part) for part in view]
    names = _NAMES.get(kind)
    return view if names is None else {name: to_json(getattr(view, name)) for name in names}


def from_json(kind: type[T], document: object) -> T:
    """A view from parsed JSON; ViewError where a type differs or something that has no default is missing."""
    if not isinstance(document, Mapping):
        raise ViewError(f"{kind.__name__}: an object was expected, found {type(document).__name__}")
    given: dict[str, Any] = {}
    for name, hint, has_default in _shape(kind):  # type: ignore[arg-type]  # every class is hashable; typeshed cannot say so of type[T]
        if name in document:
            given[name] = _part(hint, document[name], f"{kind.__name__}.{name}")
        elif not has_default:
            raise ViewError(f"{kind.__name__}.{name} is missing")
    return kind(**given)


@cache
def _shape(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field.name, hints[field.name], field.default is not MISSING) for field in fields(kind))


def _part(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401 -- a type hint, and JSON of whatever kind
    if isinstance(hint, types.UnionType):
        return None if value is None else _part(next(part for part in typing.get_args(hint) if part is not types.NoneType), value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ViewError(f"{where}: a list was expected, found {type(value).__name__}")
        return tuple(_part(typing.get_args(hint)[0], part, where) for part in value)
    if is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ViewError(f"{where}: {hint.__name__} was expected, found {type(value).__name__}")
    return value


# Looked up once: with dataclasses.fields() at each view, 100,000 grants took twice as long.
_NAMES = {
    kind: tuple(field.name for field in fields(kind)) for kind in tuple(globals().values()) if is_dataclass(kind) and isinstance(kind, type)
}
