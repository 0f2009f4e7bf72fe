"""What records have in common is kept once, and a record comes back whole however that is done."""

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from audit_kit import T0, entries, query
from hypothesis import given
from hypothesis import strategies as st
from record_frames import frame_of

from dnsfw.audit import shared
from dnsfw.audit.frames import Frame
from dnsfw.audit.record import Gap, QueryRecord
from dnsfw.audit.settings import AuditSettings
from dnsfw.audit.store import Store

HALF = "\ud800"  # of a surrogate: no text to SQLite
RECORDS = st.builds(
    lambda pod, name, decision, rule, rcode: query(pod=pod, name=name, decision=decision, rule=rule, rcode=rcode),
    st.sampled_from(("web", "db", "", HALF)),
    st.sampled_from(("a.example.net", "b.example.net", HALF)),
    st.sampled_from(("allowed", "refused")),
    st.sampled_from(("", "shop/web", "shop/db")),
    st.sampled_from((-1, 0, 3)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


def opened(path: Path, session: str = "one", **settings: float) -> Store:
    return Store(AuditSettings(path=path, **settings), session, T0)


def frame(number: int, *records: QueryRecord) -> Frame:
    return frame_of(records, number)


def count(path: Path, what: str) -> list[int]:
    with sqlite3.connect(path) as database:
        found = [int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in what.split()]  # noqa: S608 -- our own names
    database.close()
    return found


def is_text(record: QueryRecord) -> bool:
    return HALF not in record


@given(st.lists(st.lists(RECORDS, min_size=1, max_size=6), min_size=1, max_size=8), st.integers(1, 5), st.sets(st.integers(0, 7)))
def test_records_come_back_whole(made: list[list[QueryRecord]], known: int, restarts: set[int]) -> None:
    """Whatever is shared, however little is remembered, whenever the writer starts anew, and what of them cannot be kept."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "_MOST_KNOWN", known)
        path, store = Path(folder) / "audit.db", None
        for number, records in enumerate(made, 1):
            if store is None or number in restarts:
                if store is not None:
                    store.close()
                store = opened(path)
            store.write([frame(number, *records)], T0)
        assert store is not None
        store.close()
        found = [entry for entry in entries(path) if not isinstance(entry, Gap)]

    assert found == [record for records in made for record in records if is_text(record)]


def test_what_is_shared_is_kept_once(path: Path) -> None:
    """One asker and one verdict for as many records as have them; the answer, the name and the times are each one's own."""
    store = opened(path)
    for number in range(1, 4):
        store.write([frame(number, *[query(name=f"n{number}.example.net")] * 5, query(pod="other", decision="refused"))], T0)
    store.close()

    assert count(path, "query asker verdict") == [18, 2, 2]


def test_who_was_known_only_to_what_was_rolled_back_is_written_again(path: Path) -> None:
    """A record that cannot be kept takes its frame's new askers with it; those that come after must not point to nobody."""
    store = opened(path)
    store.write([frame(1, query(pod="new"), query(name=HALF)), frame(2, query(pod="new"))], T0)
    store.close()

    assert [entry for entry in entries(path) if isinstance(entry, QueryRecord)] == [query(pod="new")] * 2


def test_what_no_record_shares_any_more_goes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the records of its epoch, by age or by size; never what a record still points to."""
    monkeypatch.setattr(shared, "_MOST_KNOWN", 4)
    store = opened(path, max_age_s=100)
    for number in range(1, 21):
        store.write([frame(number, *[query(at=T0 + number, pod=f"p{number}-{place}") for place in range(5)])], T0 + number)
    before = count(path, "query asker")
    store.tend(T0 + 115)
    store.close()

    assert (before, count(path, "query asker")) == ([100, 100], [30, 30])
    assert len(entries(path)) == 30


def test_the_view_shows_records_whole(path: Path) -> None:
    """For whoever asks with SQL."""
    records = [query(), query(at=T0 + 1, pod="other", decision="refused", rcode=3)]
    store = opened(path)
    store.write([frame(1, *records)], T0)
    store.close()
    with sqlite3.connect(path) as database:
        found = database.execute("SELECT * FROM record ORDER BY id").fetchall()
    database.close()

    assert [QueryRecord._make(row[1:]) for row in found] == records
