"""Records are kept in blocks, and come back whole however those are made, and made one."""

import sqlite3
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from audit_kit import T0, entries, names, numbered, query
from hypothesis import given
from hypothesis import strategies as st
from record_frames import frame_of

from dnsfw.audit import blocks, frames, tail
from dnsfw.audit import query as reading
from dnsfw.audit.blocks import Block
from dnsfw.audit.errors import AuditError, DamagedDatabaseError
from dnsfw.audit.filters import AuditFilter, parse_name_filter
from dnsfw.audit.frames import Frame
from dnsfw.audit.query import read_records
from dnsfw.audit.record import Gap, QueryRecord
from dnsfw.audit.settings import AuditSettings
from dnsfw.audit.store import Store
from dnsfw.audit.tail import ENOUGH_RECORDS
from dnsfw.names import parse_name

HALF = "\ud800"  # of a surrogate: no text
LINES = "two\nlines"  # what a column's end of a record would be taken for
COUNTS = st.one_of(st.integers(-3, 5), st.integers(-(1 << 33), 1 << 33))
RECORDS = st.builds(
    query,
    at=st.one_of(st.floats(T0, T0 + 9), st.sampled_from((T0, T0 + 1, float("nan")))),
    pod=st.sampled_from(("web", "db", "", HALF, "t\u00fcr")),
    namespace=st.sampled_from(("shop", "bank", LINES)),
    name=st.sampled_from(("a.example.net", "b.example.net", "x.a.example.net", r"x\.a.example.net", "", HALF, LINES)),
    addresses=st.sampled_from(("", "192.0.2.1", "192.0.2.1 2001:db8::1")),
    decision=st.sampled_from(("allowed", "refused")),
    rule=st.sampled_from(("", "shop/web", "shop/db")),
    rcode=st.sampled_from((-1, 0, 3)),
    qtype=COUNTS,
    ttl=COUNTS,
    grants=COUNTS,
    upstream_us=COUNTS,
)
FILTERS = st.builds(
    AuditFilter,
    namespace=st.sampled_from((None, None, "shop", LINES)),
    pod=st.sampled_from((None, None, "web", "t\u00fcr")),
    decision=st.sampled_from((None, None, "refused")),
    pattern=st.sampled_from((None, None, *map(parse_name_filter, ("a.example.net", "*.example.net", "*.a.example.net")))),
    since=st.sampled_from((None, None, T0 + 1)),
    until=st.sampled_from((None, None, T0 + 1)),
    limit=st.sampled_from((None, None, 0, 1, 3, 50)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


def opened(path: Path, session: str = "one", **settings: float) -> Store:
    return Store(AuditSettings(path=path, **settings), session, T0)


def sizes(path: Path) -> list[int]:
    with sqlite3.connect(path) as database:
        found = [row[0] for row in database.execute("SELECT records FROM block ORDER BY id")]
    database.close()
    return found


def is_usable(record: QueryRecord) -> bool:
    """As the promise says it, in other words than the code."""
    is_text = all(HALF not in text for text in record if isinstance(text, str)) and "\n" not in record.name
    fits = (
        0 <= record.qtype < 1 << 16
        and abs(record.ttl + 0.5) < 1 << 31
        and all(0 <= n < 1 << 32 for n in (record.grants, record.upstream_us))
    )
    return is_text and fits and record.at == record.at


def takes(wanted: AuditFilter, record: QueryRecord) -> bool:
    if wanted.pattern is not None and (not record.name or not wanted.pattern.matches(parse_name(record.name))):
        return False
    return (
        wanted.namespace in (None, record.namespace)
        and wanted.pod in (None, record.pod)
        and wanted.decision in (None, record.decision)
        and (wanted.since is None or record.at >= wanted.since)
        and (wanted.until is None or record.at <= wanted.until)
    )


def expected(records: list[QueryRecord], wanted: AuditFilter) -> list[QueryRecord]:
    """The slow way: all of them, sorted by time and by when they were written, then counted from the end."""
    taken = sorted((record for record in records if takes(wanted, record)), key=lambda record: record.at)
    return taken if wanted.limit is None else taken[len(taken) - min(wanted.limit, len(taken)) :]


@given(
    st.lists(st.lists(RECORDS, min_size=1, max_size=6), min_size=1, max_size=8),
    st.lists(FILTERS, min_size=1, max_size=4),
    st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4)),
    st.sets(st.integers(0, 7)),
    st.sets(st.integers(0, 5)),
)
def test_what_is_written_is_found(
    made: list[list[QueryRecord]], filters: list[AuditFilter], bounds: tuple[int, int, int], restarts: set[int], packed: set[int]
) -> None:
    """Whatever the blocks' sizes, whichever records come packed, whenever the writer starts anew, whatever cannot be kept; every filter."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "ENOUGH_RECORDS", bounds[0])
        patch.setattr(tail, "_MOST_BLOCKS", bounds[1])
        patch.setattr(blocks, "MOST_RECORDS", bounds[2])
        path, store = Path(folder) / "audit.db", None
        for number, records in enumerate(made, 1):
            if store is None or number in restarts:
                if store is not None:
                    store.close()
                store = opened(path)
            store.write([frame_of(records, number, packed=packed)], T0)
        assert store is not None
        store.close()
        found = [[entry for entry in read_records(path, wanted) if isinstance(entry, QueryRecord)] for wanted in filters]

    usable = [record for records in made for record in records if is_usable(record)]
    assert found == [expected(usable, wanted) for wanted in filters]


@given(
    st.lists(RECORDS, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(("web", "db")), st.booleans()), min_size=1, max_size=12),
    st.lists(FILTERS, min_size=1, max_size=4),
)
def test_what_records_share_is_found(pool: list[QueryRecord], picks: list[tuple[int, str, bool]], filters: list[AuditFilter]) -> None:
    """Few answers, many records, some of them packed: by every filter each record comes back with its own."""
    records = [pool[place % len(pool)]._replace(pod=pod) for place, pod, _ in picks]
    with TemporaryDirectory() as folder:
        store = opened(path := Path(folder) / "audit.db")
        store.write([frame_of(records, packed=[place for place, pick in enumerate(picks) if pick[2]])], T0)
        store.close()
        found = [[entry for entry in read_records(path, wanted) if isinstance(entry, QueryRecord)] for wanted in filters]

    usable = [record for record in records if is_usable(record)]
    assert found == [expected(usable, wanted) for wanted in filters]


def test_small_blocks_become_one_and_large_ones_stay(path: Path) -> None:
    """A record a write is a block each, until there are enough of them; records keep their numbers."""
    store = opened(path)
    seen = []
    for number, count in enumerate((1, 2, ENOUGH_RECORDS - 4, 1, ENOUGH_RECORDS, 3, ENOUGH_RECORDS), 1):
        store.write([frame_of(numbered(count, start=1_000 * number), number)], T0)
        seen.append(sizes(path))
    store.close()

    small, large = ENOUGH_RECORDS - 4, ENOUGH_RECORDS
    assert seen == [[1], [1, 2], [1, 2, small], [large], [large, large], [large, large, 3], [large, large, large + 3]]
    assert len(names(path)) == 3 * large + 3


def test_a_record_at_a_time_is_gathered(path: Path) -> None:
    """A quiet pod's records do not lie about in a block each."""
    store = opened(path)
    for number in range(1, 1_001):
        store.write([frame_of(numbered(1, start=number), number)], T0)
    store.close()

    assert len(sizes(path)) < 100
    assert names(path) == [f"n{number}.example.net" for number in range(1, 1_001)]


def test_what_is_an_hour_old_gathers_no_more(path: Path) -> None:
    """A block goes as a whole: records that lie days apart must not wait for each other."""
    store = opened(path, max_age_s=3 * 3_600)
    for number, hour in enumerate((0, 0.2, 1.5, 1.6, 4, 4.1), 1):
        at = T0 + 3_600 * hour
        store.write([frame_of([query(at=at)] * 100, number)], at)
    seen = [round((entry.at - T0) / 3_600, 1) for entry in entries(path) if isinstance(entry, QueryRecord)]
    store.tend(T0 + 7.2 * 3_600)
    store.close()

    assert sorted(set(seen)) == [1.5, 1.6, 4.0, 4.1]
    assert sizes(path) == []


def test_frames_of_one_write_share_a_block(path: Path) -> None:
    """Who asked is said once for all of them."""
    store = opened(path)
    store.write([frame_of(numbered(1_200, start=1_200 * number), number) for number in range(1, 5)], T0)
    store.close()

    assert sizes(path) == [blocks.MOST_RECORDS, 4_800 - blocks.MOST_RECORDS]


def test_what_many_records_share_stands_once(path: Path) -> None:
    """Pods ask for the same few names all day: what they were told stands there once."""
    records = [query(pod=f"p{place % 7}", name=f"n{place % 3}.example.net") for place in range(1_000)]
    store = opened(path)
    store.write([frame_of(records, packed=range(1_000))], T0)
    store.close()
    with sqlite3.connect(path) as database:
        block = Block(database.execute("SELECT body FROM block").fetchone()[0])
    database.close()

    assert (block.records, len(block.askers), len(block.names)) == (1_000, 7, 3)
    assert entries(path) == records


def test_blocks_made_one_between_two_looks_lose_no_record(path: Path) -> None:
    """Somebody pages through the newest records while the writer packs the same ones anew."""
    store = opened(path)
    for number in range(1, 6):
        store.write([frame_of(numbered(2, start=2 * number), number)], T0)
    reader = read_records(path, AuditFilter())
    first = next(reader)
    store.write([frame_of(numbered(ENOUGH_RECORDS, start=100), 6)], T0)
    rest = list(reader)
    store.close()

    assert sizes(path) == [10 + ENOUGH_RECORDS]
    assert [first, *rest] == numbered(10, start=2)


def test_records_deleted_between_two_looks_are_left_out(path: Path) -> None:
    """Age takes what a slow reader has not come to; it goes on with what is left."""
    store = opened(path, max_age_s=100)
    for number in range(1, 4):
        store.write([frame_of(numbered(ENOUGH_RECORDS, start=60_000 * number), number)], T0)
    reader = read_records(path, AuditFilter())
    next(reader)
    store.tend(T0 + 120 + 101)
    rest = list(reader)
    store.close()

    assert sizes(path) == [ENOUGH_RECORDS]
    assert rest[-ENOUGH_RECORDS:] == numbered(ENOUGH_RECORDS, start=180_000)


def test_what_overlaps_beyond_the_bound_still_comes_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was set back makes blocks of one time; a reader holds so many records and no more."""
    monkeypatch.setattr(reading, "_MOST_HELD", 10)
    store = opened(path)
    records = [record._replace(at=T0 + place % 7) for place, record in enumerate(numbered(2_000))]
    store.write([frame_of(records)], T0)
    store.close()
    found = entries(path)

    assert sorted(found, key=str) == sorted(records, key=str)


SHARING = [*numbered(10), *numbered(10)]
PACKED = blocks.pack(frame_of(numbered(20)).body).body
SHARED = blocks.pack(frame_of(SHARING, packed=range(0, 20, 2)).body).body
PLACES = st.floats(0, 1, exclude_max=True)
MADE = pytest.mark.parametrize(
    ("packed", "records"), [pytest.param(PACKED, numbered(20), id="each its own"), pytest.param(SHARED, SHARING, id="shared")]
)


@MADE
@given(noise=st.binary(max_size=60), part=PLACES)
def test_a_damaged_block_is_said(noise: bytes, part: float, packed: bytes, records: list[QueryRecord]) -> None:
    """Whatever stands there instead of a block, it is one error."""
    assert Block(packed).records == len(records)
    for damaged in (noise, packed[: int(part * len(packed))], zlib.compress(noise)):
        with pytest.raises(DamagedDatabaseError):
            Block(damaged)


@MADE
@given(part=PLACES)
def test_a_changed_bit_is_said_or_changes_nothing(part: float, packed: bytes, records: list[QueryRecord]) -> None:
    """Some bits are padding."""
    damaged = (int.from_bytes(packed, "little") ^ 1 << int(part * 8 * len(packed))).to_bytes(len(packed), "little")
    try:
        block = Block(damaged)
    except DamagedDatabaseError:
        return
    assert [block.record(place) for place in range(block.records)] == records


@MADE
@given(part=PLACES, octet=st.integers(0, 255))
def test_a_block_of_somebody_else_s_is_said_before_it_is_read(part: float, octet: int, packed: bytes, records: list[QueryRecord]) -> None:
    """Well compressed, so that no checksum tells: lengths and references are looked at, or the columns say what they say."""
    inflated = bytearray(zlib.decompress(packed))
    inflated[int(part * len(inflated))] = octet
    try:
        block = Block(zlib.compress(bytes(inflated)))
        read = [block.record(place) for place in range(block.records)]
    except DamagedDatabaseError:
        return
    assert len(read) == len(records)


def test_what_came_packed_and_broken_is_a_gap(path: Path) -> None:
    """None takes its neighbours along; columns of different lengths are nobody's."""
    columns = frame_of(numbered(3), packed=[1]).body
    broken = [list(column) for column in columns]
    broken[3][1] = broken[3][1][:-3]
    store = opened(path)
    store.write([Frame(1, frames.RECORDS, broken)], T0)
    store.close()

    found = entries(path)
    assert [entry for entry in found if isinstance(entry, QueryRecord)] == [numbered(3)[0], numbered(3)[2]]
    assert [entry for entry in found if isinstance(entry, Gap)] == [Gap(T0, T0, 1, "unusable records")]
    with pytest.raises(ValueError, match="different lengths"):
        blocks.pack([*columns[:3], columns[3][:2]])


def test_a_damaged_block_is_said_with_its_file(path: Path) -> None:
    """Where SQLite sees nothing wrong with it."""
    store = opened(path)
    store.write([frame_of(numbered(3))], T0)
    store.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE block SET body = zeroblob(9)")
    database.close()

    with pytest.raises(AuditError, match=r"audit\.db cannot be read: a block of records is damaged"):
        entries(path)


def test_unusable_records_leave_a_gap(path: Path) -> None:
    """In the place of two of five, the others keep their order."""
    store = opened(path)
    store.write([frame_of([query(name="a"), query(name=LINES), query(name="b"), query(at=float("nan")), query(name="c")])], T0)
    store.close()

    assert names(path) == ["a", "b", "c"]
    assert [entry for entry in entries(path) if isinstance(entry, Gap)] == [Gap(T0, T0, 2, "unusable records")]
