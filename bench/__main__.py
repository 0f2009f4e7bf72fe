"""`python -m bench`: run the cases, write what they found.

Touches namespaces of its own, a scratch folder, bench/results and docs/performance.md.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import lab, report
from bench.cases import audit, grants, latency, neighbours, packets, rules, throughput, workers
from bench.figures import Result
from bench.servers import CoreDns, Dnsmasq, Unbound
from bench.setup import Setup, available
from bench.shell import BenchError

ROOT = Path(__file__).parent.parent
CACHE = Path(__file__).parent / ".cache"

CASES: Mapping[str, Callable[[Setup], Result]] = {
    "forwarded": throughput.forwarded,
    "cached": throughput.cached,
    "zipf": throughput.others(throughput.ZIPF),
    "refused": throughput.others(throughput.REFUSED),
    "search": throughput.others(throughput.SEARCH),
    "store": throughput.others(throughput.STORE),
    "latency": latency.latency,
    "neighbours": neighbours.neighbours,
    "audit": audit.audit,
    "workers": workers.workers,
    "commits": grants.commits,
    "million": grants.million,
    "adopt": grants.adopt,
    "connect": packets.connect,
    "rules": rules.rules,
}
_OTHERS = (Dnsmasq.name, Unbound.name, CoreDns.name)
_NEEDED = ("dnsperf", "nft", "ip", "unshare", "nsenter")


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ^C raises too: servers, namespaces and scratch go in either case
    try:
        for tool in _NEEDED:
            if shutil.which(tool) is None:
                raise BenchError(f"{tool} is not installed")
        servers, missing = available(CACHE)
        lab.enter()
        return _measure(given, servers, missing)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--cases", default="all", help=f"comma-separated, of: {', '.join(CASES)}; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load in a round")
    parser.add_argument("--grants", type=int, default=1_000_000, help="of the case million")
    parser.add_argument("--no-page", action="store_true", help="leave docs/performance.md and bench/results as they are")
    parser.add_argument("--keep", type=Path, help="scratch folder that is kept, with the servers' logs")
    given = parser.parse_args()
    unknown = set(given.cases.split(",")) - CASES.keys() - {"all"}
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    return given


def _measure(given: argparse.Namespace, servers: tuple[type, ...], missing: list[str]) -> int:
    wanted = list(CASES) if given.cases == "all" else given.cases.split(",")
    for words in missing:
        print(f"LEFT OUT  {words}", flush=True)
    begun = time.monotonic()
    results: list[Result] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dnsfw-bench-") as scratch, lab.Lab() as made:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        setup = Setup(lab=made, folder=folder, rounds=given.rounds, seconds=given.seconds, grants=given.grants, servers=servers)
        for name in wanted:
            try:
                result = CASES[name](setup)
            except BenchError as error:  # the others' figures must not be lost with it
                failed.append(f"case {name}: it failed in this run")
                print(f"FAILED  {name}: {error}", file=sys.stderr, flush=True)
                continue
            results.append(result)
            print(report.as_text(result), flush=True)
    machine = report.machine(ROOT, given.rounds, given.seconds, time.monotonic() - begun, [*missing, *failed])
    if not given.no_page:
        report.write(ROOT, machine, results)
    # What another server has lost is on the page; what we have lost ends in an error.
    return 1 if failed or any(series.problems for result in results for series in result.series if series.name not in _OTHERS) else 0


if __name__ == "__main__":
    sys.exit(main())
