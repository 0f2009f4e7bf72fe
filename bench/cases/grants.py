"""What many grants, many policies and many foreign chains cost: commits, memory, a start that adopts what stands.

Touches what `Setup` gives, and chains of its own making in the node's namespace.
"""

import time
from collections.abc import Iterator
from statistics import median

from bench import kernel, processes, zone
from bench.figures import Bar, Result, Series
from bench.load import Questions, put
from bench.program import Dnsfw, Document, Setting, rule
from bench.setup import Setup
from bench.shell import BenchError

POLICIES = 1_000
GRANTS = 100_000
FOREIGN = 5_000
_LONG = {"minSeconds": 3600, "maxSeconds": 3600}
_PACED = 1_000
_PACED_S = 3.0
_FILL_S = 600.0
_RUNS = 7
_SETTLE_S = 3.0  # until what the fill has left in the audit's queue is written
_BLOCK = 200_000_000  # names of this module's own


def commits(setup: Setup) -> Result:
    result = Result("commits", f"A commit beside {POLICIES:,} policies, {GRANTS:,} grants and foreign chains, at {_PACED:,} queries/s")
    for foreign in (0, FOREIGN):
        series = Series(f"{foreign:,} foreign chains", "µs, p99")
        result.series.append(series)
        for number in range(min(setup.rounds, 2)):
            _commits_round(setup, series, foreign, number)
    worst = result.series[-1].median / 1000
    result.bars.append(Bar(what=f"commit p99 beside {FOREIGN:,} foreign chains", value=worst, bar=1, unit="ms", is_ceiling=True))
    return result


def _commits_round(setup: Setup, series: Series, foreign: int, number: int) -> None:
    kernel.add_foreign_chains(foreign)
    server = _program(setup, f"commits-{foreign}-{number}", tuple(_distinct_rules(POLICIES)), POLICIES)
    with server:
        fill(setup, server, GRANTS)
        p50, p99 = paced_commits(setup, server, 0)
        series.values.append(p99)
        series.note("p50", p50)
        series.note("grants", server.installed_count())


def million(setup: Setup) -> Result:
    count = setup.grants
    memory, rss, insert = Series("kernel", "MB"), Series("RSS", "MB"), Series("insert", "µs, p99")
    result = Result("million", f"{count:,} live grants", [memory, rss, insert])
    with _program(setup, "million", (rule("long", ["*.example.net"], ttl=_LONG),), 100) as server:
        before = kernel.memory_bytes()
        begun = min(GRANTS, count)
        fill(setup, server, begun)
        few = _insert_p99(setup, server, 0)
        fill(setup, server, count - begun, _BLOCK + 2 * begun)
        many = _insert_p99(setup, server, _RUNS)
        standing = server.installed_count()
        memory.values.append((kernel.memory_bytes() - before) / 1e6)
        rss.values.append(processes.rss_bytes(server.pid) / 1e6)
        insert.values.append(many)
        insert.note(f"with {begun:,}", few)
        insert.note("grants", standing)
        if standing < count:
            insert.problems.append(f"{standing} grants stand in the kernel, not {count}")
    result.bars += [
        Bar(what=f"{count:,} live grants, kernel", value=memory.median, bar=150, unit="MB", is_ceiling=True),
        Bar(what=f"{count:,} live grants, RSS", value=rss.median, bar=400, unit="MB", is_ceiling=True),
        Bar(what=f"insert p99 against that with {begun:,} grants", value=many / few, bar=1.5, unit="×", is_ceiling=True),
    ]
    return result


def adopt(setup: Setup) -> Result:
    first, again = Series("an empty start", "s"), Series(f"{GRANTS:,} grants to adopt", "s")
    result = Result("adopt", "From start to the first answer", [first, again])
    for number in range(min(setup.rounds, 3)):
        with _program(setup, f"adopt-{number}", (rule("long", ["*.example.net"], ttl=_LONG),), 100) as server:
            fill(setup, server, GRANTS)
            before = server.installed_count()
            server.stop()
            again.values.append(server.start())
            if (after := server.installed_count()) < before:
                again.problems.append(f"{before} grants stood before the restart, {after} after it")
            server.stop()
            kernel.clear()
            first.values.append(server.start())
    return result


def _program(setup: Setup, name: str, rules: tuple[Document, ...], pods: int) -> Dnsfw:
    server = Dnsfw(setup.folder / name, is_caching=False)
    server.setting = Setting(rules=rules, pods=pods)
    return server


def _distinct_rules(count: int) -> Iterator[Document]:
    return (rule(f"rule{at}", ["*.example.net", f"only{at}.example.org"], labels={"app": f"app{at}"}, ttl=_LONG) for at in range(count))


def _insert_p99(setup: Setup, server: Dnsfw, turn: int) -> float:
    """Median of some runs: of 1,024 commits, the tenth slowest is what else ran on the machine.

    Ten runs each gave 73 to 143 µs beside 100,000 grants and 56 to 106 beside 1,000,000; of three, the medians' ratio was 0.7 to 2.1.
    """
    time.sleep(_SETTLE_S)
    return median(paced_commits(setup, server, turn + number)[1] for number in range(_RUNS))


def fill(setup: Setup, server: Dnsfw, count: int, first: int = _BLOCK) -> None:
    """So many new names, until the kernel holds them; what was lost on the way is made up for by others."""
    names = (f"{name} A" for name in zone.names("day", range(first, first + count)))
    load = put(setup.lab, server.target, Questions(setup.folder / "fill", names), seconds=_FILL_S, is_once=True)
    if load.completed < count * 0.99:
        raise BenchError(f"only {load.completed} of {count} names were answered")
    if load.completed < count:
        names = (f"{name} A" for name in zone.names("day", range(first + count, first + count + 2 * (count - load.completed))))
        put(setup.lab, server.target, Questions(setup.folder / "fill", names), seconds=_FILL_S, is_once=True)


def paced_commits(setup: Setup, server: Dnsfw, turn: int) -> tuple[float, float]:
    """p50 and p99 of the last 1,024 commits, in µs, after three seconds at an honest rate."""
    first = _BLOCK + 20_000_000 + turn * 100_000
    names = (f"{name} A" for name in zone.names("one", range(first, first + int(_PACED * _PACED_S))))
    put(setup.lab, server.target, Questions(setup.folder / "paced", names), seconds=_PACED_S + 1, is_once=True, rate=_PACED)
    seen = server.status()["kernel"]
    return float(seen["commit_p50_us"]), float(seen["commit_p99_us"])
