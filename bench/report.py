"""What was measured, for people and for programs: lines on the terminal, JSON in bench/results, the page docs/performance.md.

Touches these files and, to say what was measured on, /proc and git.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import processes
from bench.figures import Bar, Result, Series

Machine = Mapping[str, Any]


def machine(root: Path, rounds: int, seconds: float, took_s: float, missing: Sequence[str]) -> Machine:
    commit = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit.stdout.strip() or "unknown",
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "rounds": rounds,
        "seconds": seconds,
        "took_s": round(took_s),
        "load_average_after": round(processes.load_average(), 2),
        "left_out": list(missing),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def as_text(result: Result) -> str:
    lines = [f"\n{result.title}"]
    lines += [f"  {_series_text(series)}" for series in result.series]
    lines += [f"  {'meets ' if bar.is_met else 'MISSES'} {_bar_text(bar)}" for bar in result.bars]
    lines += [f"  {note}" for note in result.notes]
    return "\n".join(lines)


def _series_text(series: Series) -> str:
    beside = "  ".join(f"{name} {series.median_of(name):,.1f}" for name in series.beside)
    failures = f"  FAILURES {series.failures}" if series.failures else ""
    problems = "".join(f"\n    PROBLEM {problem}" for problem in series.problems)
    return f"{series.name:18} {_spread(series)} {series.unit}{failures}  {beside}{problems}"


def _spread(series: Series) -> str:
    if not series.values:
        return "-"
    return f"{_number(series.median)} ({_number(min(series.values))}–{_number(max(series.values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bar_text(bar: Bar) -> str:
    return f"{bar.what}: {bar.value:.3g} {bar.unit} (bar {'≤' if bar.is_ceiling else '≥'} {bar.bar:g} {bar.unit})"


def write(root: Path, on: Machine, results: Sequence[Result]) -> None:
    """A part of the cases replaces its part of the page's data; the newest of each case is shown."""
    folder = root / "bench" / "results"
    folder.mkdir(exist_ok=True)
    for result in results:
        (folder / f"{result.case}.json").write_text(json.dumps({"machine": on, **_as_json(result)}, indent=1, ensure_ascii=False) + "\n")
    from bench import page  # noqa: PLC0415 -- the page reads what was just written

    page.write(root)


def _as_json(result: Result) -> Mapping[str, Any]:
    return {
        "case": result.case,
        "title": result.title,
        "series": [
            {
                "name": series.name,
                "unit": series.unit,
                "median": series.median,
                "values": series.values,
                "failures": series.failures,
                "beside": series.beside,
                "problems": series.problems,
            }
            for series in result.series
        ],
        "bars": [
            {"what": bar.what, "value": bar.value, "bar": bar.bar, "unit": bar.unit, "is_ceiling": bar.is_ceiling, "is_met": bar.is_met}
            for bar in result.bars
        ],
        "notes": result.notes,
    }
