"""The database as the writer keeps it."""

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from audit_kit import T0, entries, gaps, names, numbered, query
from record_frames import frame_of

from dnsfw.audit import blocks, frames, opening
from dnsfw.audit.errors import AuditError, ForeignDatabaseError
from dnsfw.audit.frames import Frame
from dnsfw.audit.record import Gap, QueryRecord, parts_of
from dnsfw.audit.settings import AuditSettings
from dnsfw.audit.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.db"


@contextmanager
def store(path: Path, session: str = "one", now: float = T0, *, is_clean: bool = True, **settings: float) -> Iterator[Store]:
    opened = Store(AuditSettings(path=path, **settings), session, now)
    yield opened
    if is_clean:
        opened.mark_clean()
    opened.close()


def batch(records: list[QueryRecord], number: int = 1) -> list[Frame]:
    return [frame_of(records, number)]


def test_records_come_back_as_they_were(path: Path) -> None:
    """Every field of every record survives the disk."""
    records = [query(), query(at=T0 + 1, addresses="192.0.2.1 2001:db8::1", chain="a.example.net", removed="::1", ttl=-1, rcode=-1)]
    with store(path) as opened:
        opened.write(batch(records), T0)

    assert entries(path) == records


@pytest.mark.parametrize(("late", "gives_way"), [(0.0, True), (1.0, False)])
def test_who_keeps_up_gives_way_and_who_is_behind_does_not(
    path: Path, monkeypatch: pytest.MonkeyPatch, late: float, *, gives_way: bool
) -> None:
    """Records that were to wait behind busy neighbours would fill the backlog, and then be lost."""
    given: list[None] = []
    monkeypatch.setattr(os, "sched_yield", lambda: given.append(None))
    with store(path) as opened:
        opened.write(batch([query(at=T0)] * 9_000), T0 + late)

    assert (len(given) > 30, bool(given), len(entries(path))) == (gives_way, gives_way, 9_000)


def test_files_are_for_their_owner_only(path: Path) -> None:
    """Who asked for what is nobody else's business: folder 0700, files 0600, whatever the umask."""
    old = os.umask(0)
    try:
        with store(path) as opened:
            opened.write(batch([query()]), T0)
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(old)

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(["audit.db", "audit.db-wal", "audit.db-shm", "audit.db.lock"], 0o600)


def test_mode_widened_by_operator_stays(path: Path) -> None:
    """Whoever lets a group read the audit does not have to do it again after each start."""
    with store(path):
        pass
    path.chmod(0o640)
    with store(path, "two"):
        pass

    assert path.stat().st_mode & 0o777 == 0o640


def test_batch_is_written_once(path: Path) -> None:
    """A batch that is sent again, since its acknowledgement was lost, stands once."""
    with store(path, is_clean=False) as opened:
        opened.write(batch(numbered(3)), T0)
    with store(path) as again:
        again.write([*batch(numbered(3)), *batch(numbered(2, start=3), number=2)], T0)

        assert again.last_batch == 2
    assert names(path) == [f"n{number}.example.net" for number in range(5)]
    assert gaps(path) == []


def test_start_after_unclean_end_leaves_gap_of_unknown_count(path: Path) -> None:
    """After a kill or a power cut nobody knows how many records are missing; the gap says since when."""
    with store(path, is_clean=False) as opened:
        opened.write(batch([query()]), T0 + 1)
    with store(path, "two", now=T0 + 60):
        pass
    with store(path, "three", now=T0 + 90):
        pass

    assert gaps(path) == [Gap(T0 + 1, T0 + 60, None, "unclean end")]


def test_retention_by_age_in_small_steps(path: Path) -> None:
    """Old records go some blocks at a time, and in the end all of them and the old gaps have gone."""
    with store(path, max_age_s=100.0) as opened:
        opened.write([*batch(numbered(5 * blocks.MOST_RECORDS)), Frame(2, frames.GAP, tuple(Gap(T0, T0, 7, "queue full")))], T0)
        opened.tend(T0 + 200)
        left = len(names(path))
        for _ in range(4):
            opened.tend(T0 + 200)

    assert left == 4 * blocks.MOST_RECORDS
    assert entries(path) == []


def test_retention_by_size_keeps_the_newest(path: Path) -> None:
    """The database stays within its size while records keep coming, and loses the oldest ones."""
    with store(path, max_bytes=120_000) as opened:
        for number in range(40):
            opened.write(batch(numbered(500, start=500 * number), number + 1), T0)

    found = names(path)
    assert path.stat().st_size < 200_000
    assert found == [f"n{number}.example.net" for number in range(20_000 - len(found), 20_000)]
    assert len(found) > 1_000


def test_space_is_given_back(path: Path) -> None:
    """A lower bound takes effect on the file, not only inside it."""
    with store(path) as opened:
        noise = random.Random(1)
        opened.write(batch([query(name=f"{noise.randbytes(60).hex()}.example.net") for _ in range(80_000)]), T0)
    big = path.stat().st_size
    with store(path, "two", max_bytes=300_000) as opened:
        for _ in range(60):
            opened.tend(T0)

    assert path.stat().st_size < big // 4


def test_record_of_another_shape_does_not_take_its_neighbours_along(path: Path) -> None:
    """None of ours has one; a defect that made one must not end the audit."""
    records = [parts_of(record) for record in numbered(3)]
    records[1] = (*records[1][:3], records[1][3][:-1])
    with store(path) as opened:
        opened.write([Frame(1, frames.RECORDS, list(zip(*records, strict=True)))], T0 + 9)

    assert names(path) == ["n0.example.net", "n2.example.net"]
    assert gaps(path) == [Gap(T0 + 9, T0 + 9, 1, "unusable records")]


def test_unusable_record_does_not_take_its_neighbours_along(path: Path) -> None:
    """A value that a block cannot keep costs itself only, and is counted."""
    bad = [query(name="bad\ud800.example.net"), query(ttl=1 << 80)]
    with store(path) as opened:
        opened.write(batch([*numbered(2), *bad, *numbered(2, start=2)]), T0 + 9)

    assert names(path) == [f"n{number}.example.net" for number in range(4)]
    assert gaps(path) == [Gap(T0 + 9, T0 + 9, 2, "unusable records")]


def test_one_writer_only(path: Path) -> None:
    """Two processes with one database would each take the other for dead."""
    with store(path), pytest.raises(AuditError, match="another dnsfw writes to"):
        Store(AuditSettings(path=path), "two", T0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"PNG, or someone's diary", id="no-database"),
        pytest.param(b"SQLite format 3\x00" + b"\x01" * 200, id="another-application"),
    ],
)
def test_foreign_file_is_refused_and_untouched(path: Path, content: bytes) -> None:
    """A wrong --audit-db must not cost anybody a file."""
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(ForeignDatabaseError, match="left alone; name another file with --audit-db"):
        Store(AuditSettings(path=path), "one", T0)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]  # /etc/passwd.lock, for one, would keep everybody from changing users


@pytest.mark.parametrize("version", [pytest.param(0, id="no-version"), pytest.param(1, id="our-version"), pytest.param(2, id="another")])
def test_foreign_tables_are_refused_and_untouched(path: Path, version: int) -> None:
    """A database without an application's mark may still be somebody's, whatever version it has."""
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE diary (text)")
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    content = path.read_bytes()

    with pytest.raises(ForeignDatabaseError, match="tables of somebody else"):
        Store(AuditSettings(path=path), "one", T0)
    assert path.read_bytes() == content


def test_newer_version_is_refused(path: Path) -> None:
    """After a downgrade the old program leaves the new one's records alone."""
    with store(path):
        pass
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(ForeignDatabaseError, match="version 99"):
        Store(AuditSettings(path=path), "two", T0)


def test_replaced_database_is_noticed(path: Path) -> None:
    """Records do not go on into a file that somebody has deleted."""
    with store(path) as opened:
        path.rename(path.with_name("away.db"))
        path.touch()

        with pytest.raises(FileNotFoundError):
            opened.write(batch([query()]), T0)


def test_damaged_database_is_kept_beside(path: Path) -> None:
    """What SQLite cannot read any more is moved, not deleted, and tells by its error that it is damage."""
    with store(path) as opened:
        opened.write(batch(numbered(2_000)), T0)
    content = bytearray(path.read_bytes())
    content[100:8192] = os.urandom(8092)
    path.write_bytes(content)

    with pytest.raises(sqlite3.DatabaseError) as caught:
        Store(AuditSettings(path=path), "two", T0)
    aside = opening.moved_aside(path, T0)

    assert opening.is_damage(caught.value)
    assert aside.read_bytes() == content
    assert not path.exists()
