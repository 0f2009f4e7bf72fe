"""What a quiet pod notices of its neighbours: its latency while others send abuse, ask as fast as they can, or are past a limit.

Touches what `Setup` gives. Every situation is measured against the same pod alone, in the same round and at the same server.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from bench import zone
from bench.figures import Bar, Result, Series, percentile
from bench.load import Questions, Target, put
from bench.program import Dnsfw, Setting
from bench.servers import python
from bench.setup import Setup
from bench.shell import run

QUIET_RATE, BUSY_RATE, ABUSE_RATE = 200, 1_800, 200
_SECONDS, _MARGIN_S = 5.0, 2.0
_FLOOD = 100_000  # names a second at most
_ALONE = "alone"
_MOST_GRANTS = 5_000  # the quiet pod makes 2,000 in a round, the other one so many within a second
_PASSED = "past its limit of grants"


def neighbours(setup: Setup) -> Result:
    result = Result("neighbours", f"A quiet pod at {QUIET_RATE} queries/s, beside neighbours of the same node")
    situations = {
        _ALONE: (),
        f"{BUSY_RATE + ABUSE_RATE:,} queries/s, a tenth of it abuse": (_busy, _abuse),
        "a pod asks for new names as fast as it can": (_flood,),
    }
    found = {name: Series(name, "µs, p99") for name in (*situations, f"{_ALONE}, limited", f"such a pod, {_PASSED}")}
    result.series += found.values()
    for number in range(setup.rounds):
        with Dnsfw(setup.folder / f"neighbours-{number}", is_caching=False) as server:
            for at, (name, crowd) in enumerate(situations.items()):
                _measure(setup, server.target, found[name], (number, at), crowd)
        limited = Dnsfw(setup.folder / f"limited-{number}", is_caching=False)
        limited.setting = replace(Setting(), arguments=("--max-grants-per-pod", str(_MOST_GRANTS)))
        with limited as server:
            _measure(setup, server.target, found[f"{_ALONE}, limited"], (number, 3), ())
            _measure(setup, server.target, found[f"such a pod, {_PASSED}"], (number, 4), (_flood,))
    _hold(result)
    return result


def _measure(setup: Setup, target: Target, series: Series, turn: tuple[int, int], crowd: Sequence[Callable[..., object]]) -> None:
    """The quiet pod is pod 0; it asks for new names of its own, few enough for any limit."""
    first = 40_000_000 + (turn[0] * 5 + turn[1]) * 10_000
    asked = Questions(setup.folder / "quiet", (f"{name} A" for name in zone.names("one", range(first, first + int(_SECONDS * QUIET_RATE)))))
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        for one in crowd:
            stack.callback(pool.submit(partial(one, setup, target, turn)).result)
        load = put(setup.lab, target, asked, seconds=_SECONDS, is_once=True, rate=QUIET_RATE, pods=1)
    series.failures += load.failures("NOERROR")
    series.values.append(percentile(load.latencies, 0.99) * 1e6)
    series.note("p50", percentile(load.latencies, 0.5) * 1e6)


def _busy(setup: Setup, target: Target, _: tuple[int, int]) -> None:
    asked = Questions(setup.folder / "busy", (f"{name} A" for name in zone.names("hot", range(300))))
    put(setup.lab, target, asked, seconds=_SECONDS + _MARGIN_S, rate=BUSY_RATE, pods=8, first=1)


def _abuse(setup: Setup, target: Target, _: tuple[int, int]) -> None:
    given = (target.address, str(target.port), str(ABUSE_RATE), f"{_SECONDS + _MARGIN_S:g}")
    run(setup.lab.pods(python("bench.clients", "abuse", *given)))


def _flood(setup: Setup, target: Target, turn: tuple[int, int]) -> None:
    first = 50_000_000 + (turn[0] * 5 + turn[1]) * 2_000_000
    names = zone.names("one", range(first, first + int((_SECONDS + _MARGIN_S) * _FLOOD)))
    asked = Questions(setup.folder / "flood", (f"{name} A" for name in names))
    put(setup.lab, target, asked, seconds=_SECONDS + _MARGIN_S, is_once=True, pods=1, first=1)


def _hold(result: Result) -> None:
    alone, abuse, flood, limited, past = result.series
    for ours, than in ((abuse, alone), (flood, alone), (past, limited)):
        ratio = ours.median / than.median if than.median else 0.0
        result.bars.append(Bar(what=f"a quiet pod's p99 against alone: {ours.name}", value=ratio, bar=2.0, unit="×", is_ceiling=True))
