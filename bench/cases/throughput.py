"""Queries a second, side by side: the same load on one server after the other, round by round.

Touches what `Setup` gives. Always true: every server is started anew for every round, so that none profits from a former one's state.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench import zone
from bench.figures import Result, Series
from bench.load import PODS, Load, Questions, put
from bench.program import DEFAULT, Dnsfw, Interpreted, Setting, rule
from bench.servers import CoreDns, Dnsmasq, Server, Unbound
from bench.setup import Setup
from bench.shell import BenchError

HOT_NAMES = 1_000
ZIPF_NAMES = 10_000
STORES = 50
_FASTEST = 150_000  # queries/s that a file of new names must last for
_SEED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a case asks. questions: the load, from the number of the round. warm: asked once before. expected: rcodes that are no failure.

    is_once: never a question twice. addresses: what must stand in the kernel behind so many completed queries.
    """

    case: str
    title: str
    questions: Callable[[Setup, int], Iterable[str]]
    servers: Sequence[type[Server]]
    warm: Callable[[], Iterable[str]] | None = None
    is_caching: bool = False
    is_once: bool = False
    expected: tuple[str, ...] = ("NOERROR",)
    addresses: Callable[[int, int], set[bytes]] | None = None
    setting: Setting = DEFAULT


class Round(NamedTuple):
    kind: Kind
    number: int
    questions: Questions


def compare(setup: Setup, kind: Kind) -> Result:
    result = Result(kind.case, kind.title, [Series(server.name, "queries/s") for server in setup.others(*kind.servers)])
    for number in range(setup.rounds):
        questions = Questions(setup.folder / "questions", kind.questions(setup, number))
        for series, server in zip(result.series, setup.others(*kind.servers), strict=True):
            one_round(setup, Round(kind, number, questions), series, server)
    return result


def one_round(setup: Setup, of: Round, series: Series, made: type[Server]) -> None:
    kind, number, questions = of
    server = made(setup.folder / f"{kind.case}-{made.__name__}-{number}", is_caching=kind.is_caching)
    if isinstance(server, Dnsfw):
        server.setting = kind.setting
    asked = 0
    with server:
        if kind.warm is not None:
            warm = Questions(setup.folder / "warm", kind.warm())
            asked = put(setup.lab, server.target, warm, seconds=60, is_once=True).completed
        cpu, helpers = server.cpu_seconds(), server.helpers_cpu_seconds()
        load = put(setup.lab, server.target, questions, seconds=setup.seconds, is_once=kind.is_once)
        _note(series, load, server.cpu_seconds() - cpu, server.helpers_cpu_seconds() - helpers, kind)
        if server.has_firewall and kind.addresses is not None:
            _check_installed(series, server, kind.addresses(number, load.completed))
    if isinstance(server, Dnsfw):
        _check_audit(series, server, asked + load.completed)


def _note(series: Series, load: Load, cpu: float, helpers: float, kind: Kind) -> None:
    series.values.append(load.qps)
    series.failures += load.failures(*kind.expected)
    if load.completed:
        series.note("µs of CPU a query", cpu / load.completed * 1e6)
        series.note("µs of CPU a query, helpers", helpers / load.completed * 1e6)
    series.note("mean latency, µs", load.mean_s * 1e6)


def _check_installed(series: Series, server: Server, wanted: set[bytes]) -> None:
    """That the kernel really lets through what was answered."""
    keys = server.installed()
    found = {key[4:8] for key in keys} if isinstance(server, Dnsfw) else keys
    series.note("elements in the kernel", len(keys))
    if absent := wanted - found:
        series.problems.append(f"{len(absent)} of {len(wanted)} answered addresses do not stand in the kernel")


def _check_audit(series: Series, server: Dnsfw, answered: int) -> None:
    """One query, one record: by now the program has stopped, and its audit is on disk."""
    try:
        audited = server.audited()
    except BenchError as error:
        series.problems.append(str(error))
        return
    series.note("records", audited)
    if audited < answered:
        series.problems.append(f"{answered} queries were answered, {audited} are audited")


# What is asked


def _block(number: int) -> int:
    return number * 4_000_000


def new_names(setup: Setup, number: int) -> Iterator[str]:
    first = _block(number)
    return (f"{name} A" for name in zone.names("one", range(first, first + int(setup.seconds * _FASTEST))))


def _new_addresses(number: int, completed: int) -> set[bytes]:
    """Outstanding ones aside, names are answered in the order of the file."""
    first = _block(number)
    return {zone.packed_address(at) for at in range(first, first + max(0, completed - 1_000))}


def _hot(_setup: Setup, _number: int) -> list[str]:
    asked = [f"{name} A" for name in zone.names("hot", range(HOT_NAMES))]
    return random.Random(_SEED).choices(asked, k=200_000)


def _every_pair() -> Iterator[str]:
    """dnsperf's clients take turns, so that in this order each pod asks for each name once."""
    hot = list(zone.names("hot", range(HOT_NAMES)))
    return (f"{hot[(at + turn) % HOT_NAMES]} A" for turn in range(PODS) for at in range(HOT_NAMES))


def _zipf(_setup: Setup, number: int) -> list[str]:
    asked = [f"{name} A" for name in zone.names("hot", range(ZIPF_NAMES))]
    return random.Random(_SEED + number).choices(asked, weights=[1 / (rank + 1) for rank in range(ZIPF_NAMES)], k=300_000)


def _refused(_setup: Setup, number: int) -> Iterator[str]:
    return (f"x{at:08x}.exfiltration.example.org A" for at in range(_block(number), _block(number) + 300_000))


def _search_list(_setup: Setup, number: int) -> Iterator[str]:
    """What a resolver with ndots:5 and three suffixes asks before it comes to the name itself; A and AAAA."""
    suffixes = (".bench.svc.cluster.local", ".svc.cluster.local", ".cluster.local", "")
    for name in zone.names("one", range(_block(number), _block(number) + 30_000)):
        for suffix in suffixes:
            yield f"{name}{suffix} A"
            yield f"{name}{suffix} AAAA"


def _stores(_setup: Setup, number: int) -> list[str]:
    return random.Random(number).choices([f"{name} A" for name in zone.names("s3", range(STORES))], k=200_000)


ALL = (Dnsfw, Dnsmasq, Unbound, CoreDns)
BOTH_WAYS = (Dnsfw, Interpreted, *ALL[1:])

FORWARDED = Kind(
    case="forwarded",
    title="Forwarded, installed and audited: a new name each time",
    questions=new_names,
    servers=BOTH_WAYS,
    is_once=True,
    addresses=_new_addresses,
)
CACHED = Kind(
    case="cached",
    title="From the cache, and audited: 1,000 hot names, 100 pods",
    questions=_hot,
    servers=BOTH_WAYS,
    warm=_every_pair,
    is_caching=True,
    addresses=lambda _number, _completed: {zone.packed_address(at) for at in range(HOT_NAMES)},
)
ZIPF = replace(CACHED, servers=ALL, case="zipf", title="Zipf over 10,000 names, cold cache", questions=_zipf, warm=None, addresses=None)
REFUSED = Kind(
    case="refused",
    title="Names that no rule allows (the others forward them)",
    questions=_refused,
    servers=ALL,
    is_once=True,
    expected=("NXDOMAIN",),
)
SEARCH = Kind(
    case="search",
    title="A and AAAA behind a search list of three suffixes",
    questions=_search_list,
    servers=ALL,
    is_caching=True,
    is_once=True,
    expected=("NOERROR", "NXDOMAIN"),
)
STORE = Kind(
    case="store",
    title="Object stores: 8 new addresses of 10,000 each time, TTL 5",
    questions=_stores,
    servers=ALL,
    setting=Setting(rules=(rule("stores", ["*.s3.example.net"]),)),
)


def forwarded(setup: Setup) -> Result:
    result = compare(setup, FORWARDED)
    result.ratio_bar("forwarded + installed + audited against dnsmasq --nftset", Dnsfw.name, Dnsmasq.name, 2.5)
    result.ratio_bar("forwarded + installed + audited against CoreDNS forward", Dnsfw.name, CoreDns.name, 1.0)
    return result


def cached(setup: Setup) -> Result:
    result = compare(setup, CACHED)
    result.ratio_bar("cached + audited against dnsmasq's cache", Dnsfw.name, Dnsmasq.name, 1.0)
    result.ratio_bar("cached + audited against CoreDNS's cache", Dnsfw.name, CoreDns.name, 1.3)
    return result


def others(kind: Kind) -> Callable[[Setup], Result]:
    return lambda setup: compare(replace(setup, seconds=min(setup.seconds, 2.0)), kind)
