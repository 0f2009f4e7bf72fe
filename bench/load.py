"""Load by dnsperf, from the pods' namespace.

Touches a scratch folder and processes. Always true: what was lost or answered otherwise than expected is counted, never left out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.lab import FIRST_PORT, LOAD, Lab
from bench.shell import BenchError, run

OUTSTANDING = 200  # what a default receive buffer (212 kB) holds of small datagrams: nobody loses the first burst
PODS = 100
_TIMEOUT_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What dnsperf saw. seconds: of the run; mean_s: latency; latencies: each one, where asked for."""

    sent: int
    completed: int
    lost: int
    rcodes: dict[str, int]
    seconds: float
    qps: float
    mean_s: float
    latencies: list[float] = field(default_factory=list)

    def failures(self, *expected: str) -> int:
        return self.lost + sum(count for rcode, count in self.rcodes.items() if rcode not in expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    address: str
    port: int


class Questions:
    """A file of questions."""

    def __init__(self, path: Path, lines: Iterable[str]) -> None:
        self.path = path
        path.write_text("\n".join(lines) + "\n")


def put(
    lab: Lab,
    target: Target,
    questions: Questions,
    *,
    seconds: float,
    is_once: bool = False,
    rate: int = 0,
    outstanding: int = OUTSTANDING,
    pods: int = PODS,
    first: int = 0,
    is_pod: bool = True,
) -> Load:
    """first: number of the first pod. is_once: no question twice. rate: queries/s at most; then each latency is kept.

    is_pod: from the pods, else from their namespace.
    """
    command = [
        "dnsperf",
        "-s",
        target.address,
        "-p",
        str(target.port),
        "-d",
        str(questions.path),
        "-l",
        f"{seconds:g}",
        "-t",
        str(_TIMEOUT_S),
    ]
    command += ["-c", str(pods), "-T", "1", "-q", str(outstanding), "-a", LOAD]
    command += ["-x", str(FIRST_PORT + first)] if is_pod else []
    command += ["-n", "1"] if is_once else []
    command += ["-Q", str(rate), "-v"] if rate else []
    return _read(run(lab.pods(command), timeout_s=seconds + 60))


def _read(text: str) -> Load:
    def number(pattern: str) -> float:
        found = re.search(pattern, text)
        if found is None:
            raise BenchError(f"dnsperf said something unexpected: {text[-500:]}")
        return float(found[1])

    rcodes = re.search(r"Response codes:\s*(.*)", text)
    return Load(
        sent=int(number(r"Queries sent:\s*(\d+)")),
        completed=int(number(r"Queries completed:\s*(\d+)")),
        lost=int(number(r"Queries lost:\s*(\d+)")),
        rcodes={word: int(count) for word, count in re.findall(r"(\w+) (\d+) \(", rcodes[1])} if rcodes else {},
        seconds=number(r"Run time \(s\):\s*([\d.]+)"),
        qps=number(r"Queries per second:\s*([\d.]+)"),
        mean_s=number(r"Average Latency \(s\):\s*([\d.]+)"),
        latencies=[float(found) for found in re.findall(r"^> \w+ .* ([\d.]+)$", text, re.MULTILINE)],
    )
