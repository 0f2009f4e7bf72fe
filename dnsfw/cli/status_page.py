"""The page that `dnsfw status` shows.

Pure. What needs a person's attention is coloured; text from others is escaped.
"""

from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dnsfw.api.views import StatusView, SwitchView, UpstreamView
from dnsfw.cli.spans import span
from dnsfw.names import printable

_MOST_PODS = 10
_BAD, _ODD, _GOOD = "bold red", "yellow", "green"

Lines = Iterator[Text]


def page(view: StatusView) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for heading, section in _SECTIONS:
        for number, line in enumerate(section(view)):
            grid.add_row("" if number else heading, line)
    return Group(_first_line(view), grid)


def _first_line(view: StatusView) -> Text:
    state = ("ready", _GOOD) if view.ready else ("not ready", _BAD)
    return Text.assemble(f"dnsfw {printable(view.version)}  ", state, f"  pid {view.pid}, up {span(view.uptime_s)}")


def _not_ready(view: StatusView) -> Lines:
    return (_text(reason, _BAD) for reason in view.not_ready)


def _problems(view: StatusView) -> Lines:
    return (_text(problem, _BAD) for problem in view.problems)


def _warnings(view: StatusView) -> Lines:
    return (_text(warning, _ODD) for warning in view.snapshot.warnings)


def _listening(view: StatusView) -> Lines:
    yield _text(" ".join(view.listen) or "nowhere", "" if view.listen else _BAD)


def _workers(view: StatusView) -> Lines:
    for worker in view.workers:
        state = (f"pid {worker.pid}", "") if worker.ready else ("away", _BAD)
        line = Text(f"{worker.number}: ").append(*state).append(f", {worker.queries:,} queries")
        yield line.append(f", restarted {worker.restarts:,} times", _ODD) if worker.restarts else line


def _upstreams(view: StatusView) -> Lines:
    for upstream in view.upstreams:
        yield Text.assemble(f"{printable(upstream.address)}  ", _state(upstream), _upstream_counts(upstream))


def _state(upstream: UpstreamView) -> tuple[str, str]:
    return printable(upstream.state), {"up": _GOOD, "down": _BAD}.get(upstream.state, _ODD)


def _upstream_counts(upstream: UpstreamView) -> str:
    rtt = f", {upstream.rtt_us / 1000:.1f} ms" if upstream.rtt_us else ""
    return f"  {_count(upstream.queries, 'query', 'queries')}, {_count(upstream.failures, 'failure')}{rtt}"


def _rules(view: StatusView) -> Lines:
    if view.snapshot.serial:
        yield Text(f"{_count(view.snapshot.rules, 'rule')}, snapshot {view.snapshot.serial}, in force for {span(view.snapshot.age_s)}")
    else:
        yield Text("none yet", _ODD)


def _pods(view: StatusView) -> Lines:
    pods = view.pods
    yield Text(f"{pods.known:,} known: {pods.selected:,} selected by rules, {pods.untouched:,} untouched")
    if pods.conflicts:
        yield _text(f"served to neither, two pods have it: {' '.join(pods.conflicts)}", _BAD)
    if pods.not_enforceable:
        yield _text(f"not enforceable (host network): {' '.join(pods.not_enforceable)}", _ODD)


def _grants(view: StatusView) -> Lines:
    total = f" of {view.numbers_total:,}" if view.numbers_total else ""
    yield Text(f"{_count(view.grants, 'address', 'addresses')} granted, {view.numbers_used:,}{total} decision numbers in use")


def _kernel(view: StatusView) -> Lines:
    kernel = view.kernel
    yield _text(f"table {kernel.table}, Linux {kernel.version}, {' '.join(kernel.features)}".rstrip(", "))
    times = f", p50 {kernel.commit_p50_us:.0f} µs, p99 {kernel.commit_p99_us:.0f} µs" if kernel.commits else ""
    yield Text(f"{_count(kernel.commits, 'commit')}{times}", "").append(
        f", {kernel.commit_failures:,} failed", _BAD if kernel.commit_failures else ""
    )
    checked = "never" if kernel.structure_checked_s is None else f"{span(kernel.structure_checked_s)} ago"
    yield Text(f"structure compared {checked}, ").append(
        f"rebuilt {_count(kernel.structure_repairs, 'time')}", _ODD if kernel.structure_repairs else ""
    )


def _guards(view: StatusView) -> Lines:
    guards = view.guards
    yield _switch("source address", guards.source)
    yield _switch("port 53 over IPv4", guards.redirect4)
    yield _switch("port 53 over IPv6", guards.redirect6)
    yield _switch("against a flushed table", guards.guard_table)


def _switch(what: str, switch: SwitchView) -> Text:
    line = Text(f"{what}: ").append("on" if switch.is_on else "off", _GOOD if switch.is_on else _ODD)
    return line.append(f" ({printable(switch.why)})" if switch.why else "")


def _refused(view: StatusView) -> Lines:
    most = sorted(view.refused, key=lambda pod: -(pod.refused_packets + pod.would_refuse_packets))
    for pod in most[:_MOST_PODS]:
        would = f", {pod.would_refuse_packets:,} would be" if pod.would_refuse_packets else ""
        yield _text(f"{pod.namespace}/{pod.pod}  {_count(pod.refused_packets, 'packet')}{would}")
    if len(most) > _MOST_PODS:
        yield Text(f"and {_count(len(most) - _MOST_PODS, 'more pod')}; -o json has all")


def _audit(view: StatusView) -> Lines:
    audit = view.audit
    if audit.path:
        yield _text(audit.path)
    yield (
        Text(f"{audit.written:,} written, ")
        .append(f"{audit.lost:,} lost", _BAD if audit.lost else "")
        .append(f", {audit.queued:,} waiting")
    )
    if audit.trouble:
        yield _text(audit.trouble, _BAD)


def _cache(view: StatusView) -> Lines:
    cache = view.cache
    asked = cache.hits + cache.misses
    rate = f", {cache.hits / asked:.0%} of {asked:,} from it" if asked else ""
    yield Text(f"{_count(cache.entries, 'answer')}, {cache.bytes / 1_000_000:.1f} MB{rate}")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


_SECTIONS: tuple[tuple[str, Callable[[StatusView], Lines]], ...] = (
    ("not ready", _not_ready),
    ("problems", _problems),
    ("warnings", _warnings),
    ("listening", _listening),
    ("workers", _workers),
    ("upstreams", _upstreams),
    ("rules", _rules),
    ("pods", _pods),
    ("grants", _grants),
    ("refused", _refused),
    ("guards", _guards),
    ("kernel", _kernel),
    ("cache", _cache),
    ("audit", _audit),
)
