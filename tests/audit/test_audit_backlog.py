"""The bounded way to the writer: nothing vanishes without a trace."""

from audit_kit import T0, numbered, query
from hypothesis import given
from hypothesis import strategies as st
from record_frames import rows_of, whole

from dnsfw.audit import frames
from dnsfw.audit.backlog import Backlog
from dnsfw.audit.frames import Frame, FrameReader
from dnsfw.audit.record import Gap, parts_of


def sent(backlog: Backlog) -> list[Frame]:
    reader = FrameReader()
    result: list[Frame] = []
    while (data := backlog.next_to_send()) is not None:
        result.extend(reader.feed(data))
    return result


def test_batches_keep_order_and_content() -> None:
    """What the writer gets is what was added, in order, numbered from one."""
    backlog = Backlog(limit=100, batch=4)
    records = numbered(10)

    waiting = [backlog.add(*parts_of(record)) for record in records]
    backlog.cut()
    arrived = sent(backlog)

    assert waiting == [1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    assert [frame.number for frame in arrived] == [1, 2, 3]
    assert [whole(row) for frame in arrived for row in rows_of(frame)] == records


def test_f8_overflow_leaves_one_gap_with_count_and_span() -> None:
    """Beyond the bound records are counted, and where they would have been stands one gap, however slowly room comes back."""
    backlog = Backlog(limit=8, batch=2)
    for record in numbered(20):
        backlog.add(*parts_of(record))
    arrived = sent(backlog)
    backlog.acknowledge(1)
    backlog.acknowledge(2)
    backlog.add(*parts_of(query(at=T0 + 5)))
    backlog.cut()

    assert [len(frame.body[0]) for frame in arrived] == [2, 2, 2, 2]
    gap, last = sent(backlog)
    assert Gap(*gap.body) == Gap(T0 + 0.008, T0 + 0.019, 12, "queue full")
    assert last.kind == frames.RECORDS
    assert (backlog.lost, backlog.written, backlog.queued) == (12, 4, 5)


def test_room_is_taken_again_only_when_a_quarter_is_free() -> None:
    """A disk that is a little too slow does not get a gap for each batch."""
    backlog = Backlog(limit=80, batch=2)
    for record in numbered(100):
        backlog.add(*parts_of(record))
    sent(backlog)

    backlog.acknowledge(1)
    backlog.add(*parts_of(query()))
    assert backlog.lost == 21
    backlog.acknowledge(10)
    assert backlog.add(*parts_of(query())) == 1


def test_successor_gets_what_was_not_written() -> None:
    """A new writer says what stands on disk; the rest goes out again, in order, once."""
    backlog = Backlog(limit=100, batch=1)
    for record in numbered(5):
        backlog.add(*parts_of(record))
    first = sent(backlog)

    backlog.resend_after(2)

    assert [frame.number for frame in first] == [1, 2, 3, 4, 5]
    assert [frame.number for frame in sent(backlog)] == [3, 4, 5]
    assert (backlog.written, backlog.queued) == (2, 3)


def test_window_bounds_what_is_under_way() -> None:
    """Not more goes to the pipe than the writer can soon take."""
    backlog = Backlog(limit=1_000, batch=1)
    for record in numbered(200):
        backlog.add(*parts_of(record))

    under_way = len(sent(backlog))
    backlog.acknowledge(10)

    assert under_way == 64
    assert len(sent(backlog)) == 10


def test_record_that_cannot_be_packed_costs_its_batch_and_says_so() -> None:
    """The sink never raises, whatever somebody put into a record."""
    backlog = Backlog(limit=100, batch=2)
    backlog.add(*parts_of(query(name=object())))
    backlog.add(*parts_of(query()))

    (gap,) = sent(backlog)
    assert Gap(*gap.body) == Gap(T0, T0, 2, "unusable records")
    assert (backlog.lost, backlog.queued) == (2, 0)


def test_close_sends_the_rest_the_gap_and_the_clean_end() -> None:
    """An orderly end loses nothing that fits, and later records are counted as lost."""
    backlog = Backlog(limit=4, batch=2)
    for record in numbered(7):
        backlog.add(*parts_of(record))
    backlog.close()
    backlog.add(*parts_of(query()))

    assert [frame.kind for frame in sent(backlog)] == [frames.RECORDS, frames.RECORDS, frames.GAP, frames.CLEAN]
    assert backlog.lost == 4


def test_given_up_records_are_lost() -> None:
    """What a stop could not write in time is not called queued for ever."""
    backlog = Backlog(limit=10, batch=1)
    for record in numbered(3):
        backlog.add(*parts_of(record))
    sent(backlog)

    assert backlog.give_up() == 3
    assert (backlog.lost, backlog.queued, backlog.next_to_send()) == (3, 0, None)


STEP = st.one_of(st.tuples(st.just("add"), st.integers(1, 9)), st.tuples(st.sampled_from(["cut", "send", "ack", "die"]), st.just(1)))


@given(st.lists(STEP, max_size=60), st.integers(1, 12), st.integers(1, 5))
def test_every_record_is_written_or_in_a_gap(steps: list[tuple[str, int]], limit: int, batch: int) -> None:
    """Whatever the order of records, writes and dying writers: the disk ends with each record or a gap that counts it."""
    backlog = Backlog(limit, batch)
    disk: dict[int, Frame] = {}
    added = 0

    def deliver(count: int = 1_000_000) -> None:
        reader = FrameReader()
        while count and (data := backlog.next_to_send()) is not None:
            disk.update({frame.number: frame for frame in reader.feed(data)})
            count -= 1

    for step, times in steps:
        match step:
            case "add":
                for _ in range(times):
                    backlog.add(*parts_of(query(at=T0 + added)))
                    added += 1
            case "cut":
                backlog.cut()
            case "send":
                deliver(2)
            case "ack":
                backlog.acknowledge(max(disk, default=0))
            case "die":
                backlog.resend_after(max(disk, default=0))
        assert backlog.written + backlog.queued + backlog.lost == added
        assert backlog.queued <= max(limit, batch) + batch
    backlog.close()
    deliver()
    backlog.acknowledge(max(disk))

    rows = [row[0] for frame in disk.values() if frame.kind == frames.RECORDS for row in rows_of(frame)]
    assert sorted(disk) == list(range(1, len(disk) + 1))
    assert rows == sorted(set(rows))
    assert len(rows) + sum(frame.body[2] for frame in disk.values() if frame.kind == frames.GAP) == added


@given(st.lists(st.integers(1, 4), max_size=6), st.lists(st.integers(1, 200), max_size=20))
def test_frames_survive_any_split(sizes: list[int], cuts: list[int]) -> None:
    """The pipe may deliver bytes in whatever portions it likes."""
    packed = [frames.pack_columns(number, list(zip(*map(parts_of, numbered(size)), strict=True))) for number, size in enumerate(sizes, 1)]
    stream = b"".join(packed) + frames.pack_clean(99)
    reader = FrameReader()
    arrived: list[Frame] = []
    for cut in [*cuts, len(stream)]:
        arrived.extend(reader.feed(stream[:cut]))
        stream = stream[cut:]

    assert [frame.number for frame in arrived] == [*range(1, len(sizes) + 1), 99]
    assert [len(frame.body[0]) for frame in arrived[:-1]] == sizes
