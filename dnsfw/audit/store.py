"""The audit database as its one writer sees it.

Touches the database; lives in the writer process.
Always true: a batch and the note that it was written are one transaction, so none is lost or doubled when the writer starts anew;
the database says "clean" only between an orderly stop and the next start.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dnsfw.audit import frames, opening, schema
from dnsfw.audit.frames import Frame
from dnsfw.audit.record import Gap, Parts
from dnsfw.audit.settings import AuditSettings
from dnsfw.audit.shared import Shared
from dnsfw.clock import WallTime

_UNUSABLE = (TypeError, ValueError, OverflowError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
_DELETE_AT_LEAST = 500
_ROWS_IN_A_ROW = 16  # 0.1 ms
_BEHIND_S = 0.5  # of the 4 s that the backlog holds at 50,000 records/s
_VACUUM_PAGES = 256


class Store:
    """An open database. Raises sqlite3.Error or OSError where the disk fails: close it and open anew."""

    def __init__(self, settings: AuditSettings, session: str, now: WallTime) -> None:
        self._settings = settings
        self._lock = opening.locked(settings.path)
        try:
            self._database = opening.opened(settings.path)
        except BaseException:
            os.close(self._lock)
            raise
        try:
            self._page_size = self._pragma("page_size")
            self._inode = settings.path.stat().st_ino
            self.last_batch = self._begin_session(session, now)
            self._shared = Shared(self._database)
        except BaseException:
            self.close()
            raise

    def write(self, batch: Sequence[Frame], now: WallTime) -> None:
        with self._transaction():
            written = sum(self._write_frame(frame, now) for frame in batch if frame.number > self.last_batch)
            self._database.execute("UPDATE state SET last_batch = ?, last_at = ?", (batch[-1].number, now))
            self._delete_old(now, at_most=2 * written + _DELETE_AT_LEAST)
        self.last_batch = batch[-1].number

    def add_gap(self, gap: Gap) -> None:
        self._database.execute(schema.INSERT_GAP, gap)

    def tend(self, now: WallTime) -> None:
        """What is left to do when nothing arrives: age, and giving space back."""
        with self._transaction():
            self._delete_old(now, at_most=4 * _DELETE_AT_LEAST)
        if self._pragma("freelist_count") > max(self._pragma("page_count") // 4, _VACUUM_PAGES):
            # As a script: it frees one page a step and has no columns, so execute() would stop after the first.
            self._database.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")

    def mark_clean(self) -> None:
        self._database.execute("UPDATE state SET is_clean = 1")

    def close(self) -> None:
        try:
            self._database.close()  # the last connection folds the log into the database
        finally:
            os.close(self._lock)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._settings.path.stat().st_ino != self._inode:
            raise FileNotFoundError("the database was replaced under us")
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # a full disk may have rolled it back already
                self._database.execute("ROLLBACK")
            raise

    def _begin_session(self, session: str, now: WallTime) -> int:
        with self._transaction():
            row = self._database.execute("SELECT session, is_clean, last_batch, last_at FROM state").fetchone()
            if row is not None and row[0] == session:
                return int(row[2])
            if row is not None and not row[1]:
                self.add_gap(Gap(row[3], now, None, "unclean end"))
            self._database.execute("DELETE FROM state")
            self._database.execute("INSERT INTO state VALUES (?, 0, 0, ?)", (session, now))
        return 0

    def _write_frame(self, frame: Frame, now: WallTime) -> int:
        if frame.kind == frames.GAP:
            self.add_gap(Gap(*frame.body))
        if frame.kind != frames.RECORDS:
            return 0
        self._database.execute("SAVEPOINT frame")
        try:
            rows, newest = self._shared.rows_of(frame.body), frame.body[0][-1]
            self._database.executemany(schema.INSERT_QUERY, rows if newest < now - _BEHIND_S else _unhurried(rows))
        except _UNUSABLE:
            self._database.execute("ROLLBACK TO frame")
            self._shared.begin_epoch()
            self._write_one_by_one(frames.rows_of(frame), now)
        self._database.execute("RELEASE frame")
        return len(frame.body[0])

    def _write_one_by_one(self, records: Iterable[Parts], now: WallTime) -> None:
        """One record that SQLite cannot keep (a number beyond 64 bits, half a surrogate) must not take its neighbours along."""
        unusable = 0
        for record in records:
            try:
                self._database.executemany(schema.INSERT_QUERY, self._shared.rows_of([(part,) for part in record]))
            except _UNUSABLE:
                unusable += 1
        self.add_gap(Gap(now, now, unusable, "unusable records"))

    def _delete_old(self, now: WallTime, *, at_most: int) -> None:
        """Twice what was written, so that a full store keeps up; small, so that no transaction is long."""
        horizon = now - self._settings.max_age_s
        if self._bytes_used() > self._settings.max_bytes:
            self._database.execute("DELETE FROM query WHERE id IN (SELECT id FROM query ORDER BY id LIMIT ?)", (at_most,))
        self._database.execute("DELETE FROM query WHERE id IN (SELECT id FROM query WHERE at < ? ORDER BY at LIMIT ?)", (horizon, at_most))
        self._shared.delete_old()
        self._database.execute("DELETE FROM gap WHERE until < ?", (horizon,))

    def _bytes_used(self) -> int:
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_size

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])


def _unhurried(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Giving way now and then: who else wants this processor is on the way of an answer, and waited 1.5 ms (p99) where it now waits 0.5.

    Not for who is behind: beside one busy neighbour it leaves 11,000 rows/s of 154,000 (Linux 6.18, where giving way costs the turn).
    """
    for number, row in enumerate(rows, 1):
        yield row
        if number % _ROWS_IN_A_ROW == 0:
            os.sched_yield()
