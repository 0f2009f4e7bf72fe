"""Runs one target: fuzzing with atheris, or the reproduction of files; and what each message costs.

    python fuzz/wire_target.py                        fuzz for 60 s
    python fuzz/wire_target.py --seconds 600
    python fuzz/wire_target.py FILE...                run the target on files, without atheris; what it raises comes through

Writes below fuzz/found/<target>: `crash-*` and `timeout-*` of libFuzzer's, `slow-<step>`, the dearest input of each step, and `corpus`,
what libFuzzer learnt. Always true: costs that are reported were measured in a process without instrumentation, as processor time, the
best of five, so that neither atheris nor the machine's other work is in them.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
_BEST_OF = 5
_IS_DEARER = 1.1  # times: a new dearest input is written only if it is clearly one
_FIRST_WRITTEN_NS = 100_000

R = TypeVar("R")


class Meter:
    """The dearest input of each step. `data`: the input that is being run."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.data = b""
        self.worst: dict[str, int] = {}

    def run(self, step: str, call: Callable[..., R], /, *args: Any, **named: Any) -> R:
        start = time.process_time_ns()
        try:
            return call(*args, **named)
        finally:
            self._note(step, time.process_time_ns() - start)

    def _note(self, step: str, cost: int) -> None:
        worst = self.worst.get(step, 0)
        if cost <= worst:
            return
        self.worst[step] = cost
        if self.folder is not None and cost > max(worst * _IS_DEARER, _FIRST_WRITTEN_NS):
            (self.folder / f"slow-{step}").write_bytes(self.data)


Target = Callable[[bytes, Meter], None]
"""Raises whatever is wrong; an AssertionError where an invariant does not hold."""


def main(name: str, target: Target, *, largest: int, instrumented: Sequence[str] = ("dnsfw", "nft")) -> None:
    """largest: octets of an input. `target` imports what it fuzzes when it is first called, so that atheris sees the import."""
    options = _options(name)
    if options.files:
        for file in options.files:
            print(file, _shown(costs(target, file.read_bytes())))
    elif options.inner:
        _fuzz(target, options.inner, instrumented)
    else:
        sys.exit(_supervise(name, target, largest, options.seconds))


def _options(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"fuzz target {name}")
    parser.add_argument("files", nargs="*", type=Path, help="inputs to reproduce")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--inner", help=argparse.SUPPRESS)
    return parser.parse_args()


def _fuzz(target: Target, arguments: str, instrumented: Sequence[str]) -> None:
    import atheris  # only who fuzzes has it  # noqa: PLC0415

    found, *given = json.loads(arguments)
    meter = Meter(Path(found))

    def one(data: bytes) -> None:
        meter.data = data
        target(data, meter)

    with atheris.instrument_imports(include=list(instrumented)):
        target(b"", Meter())
    atheris.Setup([sys.argv[0], *given], one)
    atheris.Fuzz()


def _supervise(name: str, target: Target, largest: int, seconds: int) -> int:
    """Fuzz in a child, then tell what happened. The exit status is 1 if anything escaped."""
    found, seeds = HERE / "found" / name, HERE / "corpus" / name
    (found / "corpus").mkdir(parents=True, exist_ok=True)
    given = [
        str(found),
        f"-max_total_time={seconds}",
        f"-max_len={largest}",
        f"-artifact_prefix={found}/",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
        str(found / "corpus"),
        str(seeds),
    ]
    script = Path(sys.argv[0]).resolve()
    child = subprocess.run([sys.executable, script, "--inner", json.dumps(given)], capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)$", child.stderr, re.MULTILINE))
    if child.returncode:
        print(child.stdout, child.stderr[-8000:], file=sys.stderr)
    executions, peak = stats.get("number_of_executed_units", "?"), stats.get("peak_rss_mb", "?")
    print(f"{name}: {executions} executions, peak {peak} MB, exit {child.returncode}")
    print(f"{name}: dearest, measured without instrumentation: {_shown(_dearest(target, found))}")
    return 1 if child.returncode else 0


def _dearest(target: Target, found: Path) -> dict[str, int]:
    """What the inputs that looked dear really cost."""
    dearest: dict[str, int] = {}
    for file in found.glob("slow-*"):
        for step, cost in costs(target, file.read_bytes()).items():
            dearest[step] = max(cost, dearest.get(step, 0))
    return dearest


def costs(target: Target, data: bytes) -> dict[str, int]:
    """Nanoseconds of each step, the best of five."""
    runs = []
    for _ in range(_BEST_OF):
        meter = Meter()
        target(data, meter)
        runs.append(meter.worst)
    return {step: min(run.get(step, 0) for run in runs) for step in runs[0]}


def _shown(found: dict[str, int]) -> str:
    return ", ".join(f"{step} {cost / 1000:.0f} µs" for step, cost in sorted(found.items())) or "nothing above 100 µs"
