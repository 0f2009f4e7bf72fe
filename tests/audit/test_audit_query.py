"""Reading the audit."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from audit_kit import T0, entries, names, numbered, query
from record_frames import frame_of

from dnsfw.audit import frames, opening
from dnsfw.audit import query as asking
from dnsfw.audit.errors import AuditError
from dnsfw.audit.filters import AuditFilter, parse_name_filter
from dnsfw.audit.frames import Frame
from dnsfw.audit.query import follow, read_records
from dnsfw.audit.reader import reading
from dnsfw.audit.record import Gap, QueryRecord
from dnsfw.audit.settings import AuditSettings
from dnsfw.audit.store import Store

GAP = Gap(T0 + 2.5, T0 + 2.6, 3, "queue full")
RECORDS = [
    query(at=T0, name="www.example.net"),
    query(at=T0 + 1, name="api.example.net", pod="app2", decision="refused", reason="no-rule"),
    query(at=T0 + 2, name="example.net", namespace="bank"),
    query(at=T0 + 3, name="evilexample.net"),
    query(at=T0 + 4, name=r"evil\.example.net", decision="would-refuse"),
    query(at=T0 + 5, name=r"a\\.example.net"),
    query(at=T0 + 6, name="a.b.example.net", pod="app2", namespace="bank"),
]


def write(store: Store, *items: QueryRecord | Gap) -> None:
    for number, item in enumerate(items, store.last_batch + 1):
        if isinstance(item, Gap):
            store.write([Frame(number, frames.GAP, tuple(item))], T0)
        else:
            store.write([frame_of([item], number)], T0)


def write_and_close(path: Path, *items: QueryRecord | Gap) -> None:
    store = Store(AuditSettings(path=path), "one", T0)
    write(store, *items)
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(AuditSettings(path=path), "one", T0)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param({}, [0, 1, 2, 3, 4, 5, 6], id="everything"),
        pytest.param({"namespace": "bank"}, [2, 6], id="namespace"),
        pytest.param({"pod": "app2"}, [1, 6], id="pod"),
        pytest.param({"namespace": "bank", "pod": "app2"}, [6], id="namespace-and-pod"),
        pytest.param({"decision": "refused"}, [1], id="decision"),
        pytest.param({"since": T0 + 5}, [5, 6], id="since"),
        pytest.param({"until": T0 + 1}, [0, 1], id="until"),
        pytest.param({"since": T0 + 1, "until": T0 + 2}, [1, 2], id="since-and-until"),
        pytest.param({"limit": 2}, [5, 6], id="newest"),
        pytest.param({"limit": 0}, [], id="none"),
        pytest.param({"limit": 100}, [0, 1, 2, 3, 4, 5, 6], id="limit-beyond"),
        pytest.param({"limit": 1, "pod": "app2"}, [6], id="newest-of-filtered"),
        pytest.param({"pattern": parse_name_filter("EXAMPLE.net")}, [2], id="exact-name"),
        pytest.param({"pattern": parse_name_filter("*.example.net")}, [0, 1, 5, 6], id="a16-below-by-whole-labels"),
        pytest.param({"pattern": parse_name_filter("*.net")}, [0, 1, 2, 3, 4, 5, 6], id="below-net"),
        pytest.param({"pattern": parse_name_filter(r"evil\.example.net")}, [4], id="escaped-name"),
        pytest.param({"pattern": parse_name_filter("*.b.example.net")}, [6], id="below-b"),
        pytest.param({"namespace": "nowhere"}, [], id="nothing"),
    ],
)
def test_filters(store: Store, path: Path, wanted: dict[str, object], expected: list[int]) -> None:
    """Filters are ANDed; the order is that of time."""
    write(store, *RECORDS)

    assert entries(path, **wanted) == [RECORDS[index] for index in expected]


def test_records_are_in_order_of_arrival_not_of_writing(store: Store, path: Path) -> None:
    """A query that waited long for upstream stands where it began."""
    write(store, *reversed(RECORDS))

    assert entries(path) == RECORDS


def test_gap_stands_among_the_records_of_its_time(store: Store, path: Path) -> None:
    """A gap is seen whatever the filter, since it may hide what was asked for, unless its time is not asked for."""
    write(store, *RECORDS, GAP)

    assert entries(path)[3] == GAP
    assert entries(path, namespace="bank") == [RECORDS[2], GAP, RECORDS[6]]
    assert entries(path, limit=3) == RECORDS[4:]
    assert entries(path, limit=4)[0] == RECORDS[3]
    assert entries(path, limit=5)[1] == GAP
    assert GAP not in entries(path, since=T0 + 3)
    assert GAP not in entries(path, until=T0 + 2)
    assert entries(path, namespace="nowhere", limit=5) == [GAP]


def test_many_records_of_one_moment_come_once(store: Store, path: Path) -> None:
    """The chunks in which we read neither repeat nor skip, though thousands share a time."""
    records = [record._replace(at=T0) for record in numbered(2_500)]
    store.write([frame_of(records)], T0)

    assert names(path) == [record.name for record in records]
    assert names(path, limit=1_200) == [record.name for record in records[1_300:]]


def test_reading_uses_the_index_and_sorts_no_blocks(store: Store, path: Path) -> None:
    """The newest records of a big database come at once, and where to look is said by the index alone."""
    write(store, *RECORDS)
    seen: list[str] = []
    with reading(path) as database:
        database.set_trace_callback(seen.append)
        assert asking._start(database, AuditFilter(limit=2), 7).key.at == T0 + 5
        asking._spans(database, AuditFilter(), asking._Key(T0, 0), 7)
        database.set_trace_callback(None)
        plans = [[row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in seen]

    assert plans == [["SEARCH block USING INDEX block_time (until>?)"], ["SEARCH block USING COVERING INDEX block_time (until>?)"]]


def test_slow_reader_does_not_hold_the_log(store: Store, path: Path) -> None:
    """Someone who pages through the audit for hours does not make the write-ahead log grow for hours."""
    store.write([frame_of(numbered(3_000))], T0)
    reader = read_records(path, AuditFilter())
    next(reader)
    for number in range(2, 40):
        store.write([frame_of(numbered(1_000, start=number * 3_000), number)], T0)

    log_size = Path(f"{path}-wal").stat().st_size
    assert log_size < 6_000_000
    assert len(list(reader)) == 2_999


def test_follow_shows_what_was_and_what_comes(store: Store, path: Path) -> None:
    """-f begins with the newest ones, then shows each record and gap once, as they are written."""
    write(store, *RECORDS)
    coming = [[query(at=T0 + 10, name="later.example.net")], [], [GAP, query(at=T0 + 1, name="late.example.net")]]

    def wait(_seconds: float) -> None:
        write(store, *coming.pop(0))

    seen = list(islice(follow(path, AuditFilter(limit=2), wait), 5))

    assert seen == [RECORDS[5], RECORDS[6], query(at=T0 + 10, name="later.example.net"), GAP, query(at=T0 + 1, name="late.example.net")]


def test_follow_filters_what_comes(store: Store, path: Path) -> None:
    """The filter holds for new records as for old ones, also when they come by the thousand."""
    many = [query(at=T0 + 1, name="x.example.net", pod=f"app{number % 2}") for number in range(4_001)]
    coming = [many]

    def wait(_seconds: float) -> None:
        records = coming.pop()
        store.write([frame_of(records)], T0)

    assert len(list(islice(follow(path, AuditFilter(pod="app0"), wait), 2_001))) == 2_001


def test_follow_goes_on_with_the_database_that_takes_the_place(path: Path) -> None:
    """When a damaged database is moved aside, followers see the new one from its beginning."""
    write_and_close(path, *RECORDS)
    steps = [
        lambda: opening.moved_aside(path, T0),
        lambda: write_and_close(path, query(name="new.example.net")),
    ]

    seen = list(islice(follow(path, AuditFilter(limit=1), lambda _seconds: steps.pop(0)()), 2))

    assert [entry.name for entry in seen if isinstance(entry, QueryRecord)] == ["a.b.example.net", "new.example.net"]


def test_closed_database_in_a_read_only_folder_is_read(path: Path) -> None:
    """An audit can be looked at where nothing may be written: a mounted backup, another user's."""
    folder = path.parent / "read only?#"
    write_and_close(folder / "audit.db", *RECORDS)
    before = sorted(folder.iterdir())

    assert entries(folder / "audit.db") == RECORDS
    assert [file.name for file in before] == ["audit.db", "audit.db.lock"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "there is no audit database at", id="missing"),
        pytest.param(b"", "there is no audit database at", id="empty"),
        pytest.param(b"text", "is not an audit database of dnsfw", id="foreign"),
    ],
)
def test_what_cannot_be_read_is_said(path: Path, content: bytes | None, message: str) -> None:
    """One clear sentence, and no file made by the reader."""
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(AuditError, match=message):
        entries(path)
    assert path.exists() == (content is not None)


def test_damage_found_while_reading_is_said(path: Path) -> None:
    """A page that went bad is an error with the file's name, not a stack trace."""
    write_and_close(path, *numbered(500))
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(content)

    with pytest.raises(AuditError, match=r"audit\.db cannot be read"):
        entries(path)
