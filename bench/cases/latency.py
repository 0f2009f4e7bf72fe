"""What a server adds to an answer's way at 1,000 queries/s: new names, forwarded, and by dnsfw installed before they are answered.

Touches what `Setup` gives. The way without any server, through the same node to the same upstream, is measured in the same rounds.
"""

from bench import zone
from bench.figures import Bar, Result, Series, percentile
from bench.lab import OUTSIDE, UPSTREAM_PORT
from bench.load import Load, Questions, Target, put
from bench.program import Dnsfw
from bench.servers import CoreDns, Dnsmasq, Unbound
from bench.setup import Setup

RATE = 1_000
_DIRECT = "no server"
_BLOCK = 100_000


def latency(setup: Setup) -> Result:
    servers = setup.others(Dnsfw, Dnsmasq, Unbound, CoreDns)
    result = Result("latency", f"Latency at {RATE:,} queries/s, a new name each time", [Series(_DIRECT, "µs")])
    result.series += [Series(server.name, "µs") for server in servers]
    for number in range(setup.rounds):
        first = number * _BLOCK
        asked = Questions(
            setup.folder / "paced", (f"{name} A" for name in zone.names("one", range(first, first + int(setup.seconds * RATE) + 1)))
        )
        direct = Target(address=OUTSIDE, port=UPSTREAM_PORT)
        _note(result.series[0], put(setup.lab, direct, asked, seconds=setup.seconds, is_once=True, rate=RATE, pods=10, is_pod=False))
        for series, made in zip(result.series[1:], servers, strict=True):
            with made(setup.folder / f"latency-{made.__name__}-{number}", is_caching=False) as server:
                _note(series, put(setup.lab, server.target, asked, seconds=setup.seconds, is_once=True, rate=RATE, pods=10))
    _hold(result)
    return result


def _note(series: Series, load: Load) -> None:
    series.failures += load.failures("NOERROR")
    series.values.append(sum(load.latencies) / max(1, len(load.latencies)) * 1e6)
    series.note("p50", percentile(load.latencies, 0.5) * 1e6)
    series.note("p99", percentile(load.latencies, 0.99) * 1e6)


def _hold(result: Result) -> None:
    direct, ours = result.of(_DIRECT), result.of(Dnsfw.name)
    if direct is None or ours is None:
        return
    added = ours.median - direct.median
    result.bars.append(Bar(what=f"added latency at {RATE:,} queries/s, mean", value=added, bar=150, unit="µs", is_ceiling=True))
    # Held against the mean of the way without us, which is the harder way to count.
    tail = ours.median_of("p99") - direct.median
    result.bars.append(Bar(what=f"added latency at {RATE:,} queries/s, p99", value=tail / 1000, bar=1, unit="ms", is_ceiling=True))
