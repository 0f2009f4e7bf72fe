"""docs/performance.md, written from the newest results of each case.

Touches bench/results, docs/performance.md and docs/performance/*.svg.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import plots

_ORDER = (
    *("forwarded", "cached", "latency", "neighbours", "audit", "commits", "million", "rules", "connect"),
    *("zipf", "refused", "search", "store", "adopt", "workers"),
)
_HEAD = """# Performance

Written by `make bench`: do not edit. Each figure is the median of its rounds, with the least and the most; the servers take turns in one
run, in network namespaces of their own, under load from dnsperf, beside one upstream of ours. dnsfw runs as its users run it: grants in the
kernel before the answer, one audit record for each query, journal, guards; nothing is switched off. The others run without a firewall,
except dnsmasq, which puts addresses into one set for everybody and without an end.

Why some bars are missed: [ADR 0012](adr/0012-bars-that-are-missed.md).

How to repeat it: `make bench`, or a part: `make bench CASES=forwarded,cached ROUNDS=3`.
"""

Json = Mapping[str, Any]


def write(root: Path) -> None:
    results = sorted(_results(root / "bench" / "results"), key=lambda found: _ORDER.index(found["case"]))
    pictures = root / "docs" / "performance"
    if plots.can_draw():
        pictures.mkdir(parents=True, exist_ok=True)
        for result in results:
            plots.draw(result, pictures / f"{result['case']}.svg")
    (root / "docs" / "performance.md").write_text("\n".join(_page(results, pictures)))


def _results(folder: Path) -> Iterator[Json]:
    for path in folder.glob("*.json"):
        yield json.loads(path.read_text())


def _page(results: Sequence[Json], pictures: Path) -> Iterator[str]:
    yield _HEAD
    yield "## What has to hold\n"
    yield "| what | measured | bar | |\n|---|---|---|---|"
    for result in results:
        yield from (_bar(bar) for bar in result["bars"])
    for result in results:
        yield from _section(result, pictures)


def _bar(bar: Json) -> str:
    sign = "≤" if bar["is_ceiling"] else "≥"
    verdict = "met" if bar["is_met"] else "**missed**"
    return f"| {bar['what']} | {bar['value']:.3g} {bar['unit']} | {sign} {bar['bar']:g} {bar['unit']} | {verdict} |"


def _section(result: Json, pictures: Path) -> Iterator[str]:
    yield f"\n## {result['title']}\n"
    if (pictures / f"{result['case']}.svg").exists():
        yield f"![{result['title']}](performance/{result['case']}.svg)\n"
    beside = list(dict.fromkeys(name for one in result["series"] for name in one["beside"]))
    yield f"| | median (least–most) | failures |{''.join(f' {name} |' for name in beside)}"
    yield f"|---|---|---|{'---|' * len(beside)}"
    for one in result["series"]:
        cells = "".join(f" {_middle(one['beside'].get(name))} |" for name in beside)
        yield f"| {one['name']} | {_spread(one)} | {one['failures']:,} |{cells}"
    for one in result["series"]:
        yield from (f"\n**Problem:** {one['name']}: {problem}" for problem in one["problems"])
    on = result["machine"]
    words = f"{on['rounds']} rounds of {on['seconds']:g} s, {on['cores']} cores of {on['cpu']}, Linux {on['kernel']}, Python {on['python']}"
    yield f"\n<sub>{on['at']}, commit {on['commit']}, {words}, load average afterwards {on['load_average_after']}</sub>"
    for left_out in on["left_out"]:
        yield f"\n**Left out:** {left_out}"


def _spread(one: Json) -> str:
    values = one["values"]
    if not values:
        return "-"
    return f"{_number(one['median'])} ({_number(min(values))}–{_number(max(values))}) {one['unit']}"


def _middle(values: Sequence[float] | None) -> str:
    return _number(sorted(values)[len(values) // 2]) if values else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
