"""What several workers have counted, as if one had.

Pure.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from dnsfw.forwarder.cache import CacheStats
from dnsfw.forwarder.server import ServerStats, State
from dnsfw.forwarder.service import ForwarderStats
from dnsfw.forwarder.upstreams import UpstreamStats


def total(living: Iterable[ForwarderStats], gone: Iterable[ForwarderStats] = ()) -> ForwarderStats:
    """gone: of workers that are no more; what they have done still counts, what they had does not."""
    alive = tuple(living)
    each = (*alive, *gone)
    return ForwarderStats(
        queries=sum(part.queries for part in each),
        by_decision=_added(part.by_decision for part in each),
        by_reason=_added(part.by_reason for part in each),
        dropped=_added(part.dropped for part in each),
        in_flight=sum(part.in_flight for part in alive),
        waiting=sum(part.waiting for part in alive),
        tcp_connections=sum(part.tcp_connections for part in alive),
        cache=CacheStats(
            entries=sum(part.cache.entries for part in alive),
            bytes=sum(part.cache.bytes for part in alive),
            hits=sum(part.cache.hits for part in each),
            misses=sum(part.cache.misses for part in each),
        ),
        upstreams=UpstreamStats(
            in_flight=sum(part.upstreams.in_flight for part in alive),
            asked=sum(part.upstreams.asked for part in each),
            joined=sum(part.upstreams.joined for part in each),
            failed=sum(part.upstreams.failed for part in each),
            servers=_servers([part.upstreams.servers for part in each], {server.address for part in alive for server in _up(part)}),
        ),
    )


def _up(part: ForwarderStats) -> Iterable[ServerStats]:
    return (server for server in part.upstreams.servers if server.state is State.UP)


def _added(counts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    sums: Counter[str] = Counter()
    for each in counts:
        sums.update(each)
    return dict(sums)


def _servers(lists: Sequence[Sequence[ServerStats]], up: Container[str]) -> tuple[ServerStats, ...]:
    """An upstream is down if it is so for all who ask it."""
    by_address: dict[str, list[ServerStats]] = {}
    for servers in lists:
        for server in servers:
            by_address.setdefault(server.address, []).append(server)
    return tuple(_server(address, State.UP if address in up else State.DOWN, those) for address, those in by_address.items())


def _server(address: str, state: State, those: Sequence[ServerStats]) -> ServerStats:
    return ServerStats(
        address=address,
        state=state,
        answers=sum(each.answers for each in those),
        timeouts=sum(each.timeouts for each in those),
        refusals=sum(each.refusals for each in those),
        mismatches=sum(each.mismatches for each in those),
        late=sum(each.late for each in those),
        udp_opened=sum(each.udp_opened for each in those),
        tcp_opened=sum(each.tcp_opened for each in those),
    )
