"""What main and a worker say to each other arrives as it was said; what workers have counted is summed; what was lost is told."""

import asyncio
from typing import get_type_hints

import pytest
from audit_kit import T0, numbered, query
from hypothesis import given
from hypothesis import strategies as st
from pair import StillLink
from record_frames import rows_of, whole

from dnsfw.audit import frames as audit_frames
from dnsfw.audit.backlog import Backlog
from dnsfw.audit.frames import FrameReader as AuditReader
from dnsfw.audit.record import Gap, parts_of
from dnsfw.forwarder.cache import CacheStats
from dnsfw.forwarder.server import ServerStats, State
from dnsfw.forwarder.service import ForwarderStats
from dnsfw.forwarder.upstreams import UpstreamStats
from dnsfw.policy.grants import Granted, NotGranted
from dnsfw.policy.model import PodUid
from dnsfw.policy.reasons import Reason
from dnsfw.workers import frames
from dnsfw.workers.frames import FrameReader, Kind, RemoteAsk, Said
from dnsfw.workers.recording import Recording
from dnsfw.workers.sums import total


@given(sent=st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=40)), max_size=12), cuts=st.lists(st.integers(1, 60), max_size=40))
def test_frames_come_out_whole_however_they_are_cut(sent: list[tuple[Kind, bytes]], cuts: list[int]) -> None:
    """In order, with their kinds; a part of one stays until the rest comes."""
    stream, reader, got = b"".join(frames.pack(*frame) for frame in sent), FrameReader(), []
    for size in [*cuts, len(stream)]:
        got += reader.feed(stream[:size])
        stream = stream[size:]

    assert got == sent


_uids = st.text(max_size=40).map(PodUid)
_addresses = st.lists(st.binary()).map(tuple)
_asks = st.builds(RemoteAsk, st.integers(0, 1 << 60), st.integers(0, 1 << 40), _uids, st.binary(), _addresses, st.integers(0, 1 << 31))
_outcomes = st.one_of(
    st.builds(Granted, st.floats(0, allow_nan=False), st.integers(0, 1 << 31), st.integers(0, 1 << 20)),
    st.builds(NotGranted, st.sampled_from(Reason), st.text(max_size=20)),
)


@given(asks=st.lists(_asks), said=st.lists(st.builds(Said, st.integers(0, 1 << 60), _outcomes)), uid=_uids, address=st.binary())
def test_what_is_said_by_the_thousand_arrives(asks: list[RemoteAsk], said: list[Said], uid: PodUid, address: bytes) -> None:
    """Asks, their outcomes (an end that is infinite, too) and rows to forget."""
    assert frames.asks_of(frames.pack_asks(asks)) == asks
    assert frames.outcomes_of(frames.pack_outcomes(said)) == said
    assert frames.row_of(frames.pack_row((uid, address))) == (uid, address)


def stats(scale: int, state: State = State.UP) -> ForwarderStats:
    """Every figure another one."""
    number = iter(range(scale, 100 * scale, scale))
    server = ServerStats(address="192.0.2.53:53", state=state, **{name: next(number) for name in _numbers(ServerStats)})
    return ForwarderStats(
        **{name: next(number) for name in _numbers(ForwarderStats)},
        by_decision={"allowed": next(number), f"only-{scale}": scale},
        by_reason={"rule": next(number)},
        dropped={"source port 0": next(number)},
        cache=CacheStats(**{name: next(number) for name in _numbers(CacheStats)}),
        upstreams=UpstreamStats(**{name: next(number) for name in _numbers(UpstreamStats)}, servers=(server,)),
    )


def _numbers(kind: type) -> list[str]:
    return [name for name, annotation in get_type_hints(kind).items() if annotation is int]


def figures(of: object) -> list[int]:
    return [getattr(of, name) for name in _numbers(type(of))]


def test_sums() -> None:
    """Of two workers, every figure; an upstream that one of them can reach is up."""
    one, both = stats(1), total([stats(1), stats(10, State.DOWN)])
    (mine,), (server,) = one.upstreams.servers, both.upstreams.servers

    assert both.by_decision == {"allowed": 11 * one.by_decision["allowed"], "only-1": 1, "only-10": 10}
    pairs = [(one, both), (one.cache, both.cache), (one.upstreams, both.upstreams), (mine, server)]
    assert [figures(theirs) for _, theirs in pairs] == [[11 * figure for figure in figures(single)] for single, _ in pairs]
    assert server.state is State.UP
    assert total([stats(1, State.DOWN)]).upstreams.servers[0].state is State.DOWN


def test_what_a_dead_worker_has_done_still_counts() -> None:
    """What it had does not: queries under way, connections, a full cache."""
    left = total([], [total([], [stats(1)])])

    assert (left.queries, left.cache.hits, left.by_reason) == (stats(1).queries, stats(1).cache.hits, stats(1).by_reason)
    assert (left.in_flight, left.waiting, left.tcp_connections, left.cache.entries, left.cache.bytes, left.upstreams.in_flight) == (0,) * 6


def gaps_and_records(link: StillLink) -> list[Gap | int]:
    found: list[Gap | int] = []
    for kind, body in link.frames:
        found.append(frames.value_of(body) if kind is Kind.GAP else frames.batch_of(body).records)
    return found


async def test_records_go_in_batches() -> None:
    """When there are enough, or after a while; what is left goes at the end."""
    link = StillLink()
    recording = Recording(link, 4, 0.001, asyncio.get_running_loop())
    for record in numbered(6):
        recording.sink(record)
    await asyncio.sleep(0.05)
    recording.sink(query())
    recording.close()

    assert gaps_and_records(link) == [4, 2, 1]


async def test_link_without_room_loses_records_and_says_how_many() -> None:
    """They become one gap, in their place, with their times; it comes as soon as there is room, and at the end in any case."""
    link = StillLink()
    recording = Recording(link, 2, 0.001, asyncio.get_running_loop())
    link.has_room = False
    for record in numbered(5):
        recording.sink(record)
    await asyncio.sleep(0.05)
    assert link.frames == type(link.frames)()
    link.has_room = True
    await asyncio.sleep(0.05)
    assert gaps_and_records(link) == [Gap(T0, T0 + 0.004, 5, "queue full")]

    link.has_room = False
    recording.sink(query(at=T0 + 9))
    recording.close()
    assert gaps_and_records(link)[1:] == [Gap(T0 + 9, T0 + 9, 1, "queue full")]


async def test_record_that_cannot_be_packed_is_a_gap() -> None:
    """The sink does not raise, and nothing vanishes."""
    link = StillLink()
    recording = Recording(link, 2, 0.001, asyncio.get_running_loop())

    recording.sink(query())
    recording.sink(query()._replace(name=object()))

    assert [(gap.lost, gap.why) for gap in gaps_and_records(link)] == [(2, "unusable records")]


def _sent(backlog: Backlog) -> list[audit_frames.Frame]:
    reader = AuditReader()
    found: list[audit_frames.Frame] = []
    while (data := backlog.next_to_send()) is not None:
        found.extend(reader.feed(data))
    return found


def test_batches_of_workers_reach_the_writer_as_if_added_here() -> None:
    """Numbered with the others, in the order of their coming, their records as they were."""
    backlog, records = Backlog(limit=100, batch=4), numbered(9)
    backlog.add(*parts_of(records[0]))
    backlog.add_batch(audit_frames.pack_batch(list(map(parts_of, records[1:6]))))
    for record in records[6:]:
        backlog.add(*parts_of(record))
    backlog.cut()
    arrived = _sent(backlog)

    assert [frame.number for frame in arrived] == [1, 2, 3]
    assert [whole(row) for frame in arrived for row in rows_of(frame)] == records
    assert backlog.queued == 9


@pytest.mark.parametrize("size", [1, 3, 5])
def test_batches_beyond_the_bound_are_lost_and_counted(size: int) -> None:
    """As single records would be: written, waiting or lost, and a gap in their place."""
    backlog = Backlog(limit=10, batch=2)
    records = numbered(30)
    for start in range(0, 30, size):
        backlog.add_batch(audit_frames.pack_batch(list(map(parts_of, records[start : start + size]))))
    queued = backlog.queued
    assert queued + backlog.lost == 30
    frames_sent = _sent(backlog)
    backlog.acknowledge(len(frames_sent))
    (gap,) = _sent(backlog)

    assert (backlog.written, gap.kind, gap.body[2]) == (queued, audit_frames.GAP, backlog.lost)
    assert (gap.body[0], gap.body[1]) == (T0 + queued / 1000, T0 + 0.029)


def test_gap_from_elsewhere_stands_among_the_records() -> None:
    """A worker's loss is counted here, an unknown count is not guessed; after the orderly end nothing is written."""
    backlog = Backlog(limit=10, batch=2)
    backlog.add(*parts_of(query()))
    backlog.add_gap(Gap(T0, T0 + 1, 7, "queue full"))
    backlog.add_gap(Gap(T0, T0 + 1, None, "worker ended"))
    backlog.close()
    backlog.add_gap(Gap(T0, T0 + 1, 3, "queue full"))

    assert [frame.kind for frame in _sent(backlog)] == [audit_frames.RECORDS, audit_frames.GAP, audit_frames.GAP, audit_frames.CLEAN]
    assert backlog.lost == 10
