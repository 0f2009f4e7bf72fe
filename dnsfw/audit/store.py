"""The audit database as its one writer sees it.

Touches the database; lives in the writer process.
Always true: a batch and the note that it was written are one transaction, so none is lost or doubled when the writer starts anew;
the database says "clean" only between an orderly stop and the next start.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter

from dnsfw.audit import blocks, frames, opening, schema
from dnsfw.audit.blocks import Columns
from dnsfw.audit.frames import Frame
from dnsfw.audit.record import Gap
from dnsfw.audit.settings import AuditSettings
from dnsfw.audit.tail import LONGEST_S, Tail
from dnsfw.clock import WallTime

_DELETE_AT_LEAST = 500
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
            self._tail = Tail(self._database)
        except BaseException:
            self.close()
            raise

    def write(self, batch: Sequence[Frame], now: WallTime) -> None:
        self._let_go(now)
        with self._transaction():
            written = sum(self._write_frame(frame, now) for frame in _runs(batch, self.last_batch))
            self._database.execute("UPDATE state SET last_batch = ?, last_at = ?", (batch[-1].number, now))
            self._delete_old(now, at_least=2 * written + _DELETE_AT_LEAST)
        self.last_batch = batch[-1].number

    def add_gap(self, gap: Gap) -> None:
        self._database.execute(schema.INSERT_GAP, gap)

    def tend(self, now: WallTime) -> None:
        """What is left to do when nothing arrives: age, and giving space back."""
        self._let_go(now)
        with self._transaction():
            self._delete_old(now, at_least=4 * _DELETE_AT_LEAST)
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
        for columns in blocks.cut(frame.body):
            pause = _go_on if columns[0][-1] <= now - _BEHIND_S else os.sched_yield
            if unusable := self._write_usable(columns, pause):
                self.add_gap(Gap(now, now, unusable, "unusable records"))
        return len(frame.body[0])

    def _write_usable(self, columns: Columns, pause: Callable[[], None]) -> int:
        """How many cannot be kept (a number out of bounds, half a surrogate): found by halves, for none must take its neighbours along."""
        try:
            self._tail.add(columns, pause)
        except blocks.UNUSABLE:
            if (half := len(columns[0]) // 2) == 0:
                return 1
            parts = ([column[:half] for column in columns], [column[half:] for column in columns])
            return sum(self._write_usable(part, pause) for part in parts)
        return 0

    def _let_go(self, now: WallTime) -> None:
        self._tail.let_go(now - min(LONGEST_S, self._settings.max_age_s))

    def _delete_old(self, now: WallTime, *, at_least: int) -> None:
        """Twice what was written, so that a full store keeps up; little more, so that no transaction is long. Not what still gathers."""
        horizon = now - self._settings.max_age_s
        settled = self._tail.settled
        if self._bytes_used() > self._settings.max_bytes:
            self._delete_blocks("id <= ? ORDER BY id", (settled,), at_least)
        self._delete_blocks("until < ? AND id <= ? ORDER BY until", (horizon, settled), at_least)
        self._database.execute("DELETE FROM gap WHERE until < ?", (horizon,))

    def _delete_blocks(self, which: str, values: tuple[float, ...], at_least: int) -> None:
        found = self._database.execute(f"SELECT id, records FROM block WHERE {which}", values)  # noqa: S608 -- ours, see above
        ids, records = [], 0
        while records < at_least and (row := found.fetchone()) is not None:
            ids.append(row[:1])
            records += row[1]
        found.close()
        self._database.executemany("DELETE FROM block WHERE id = ?", ids)

    def _bytes_used(self) -> int:
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_size

    def _pragma(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])


def _runs(batch: Sequence[Frame], written: int) -> Iterator[Frame]:
    """What is not written yet, frames of records that follow each other as one: larger blocks take less work and fewer bytes a record."""
    fresh = (frame for frame in batch if frame.number > written)
    for kind, group in groupby(fresh, key=attrgetter("kind")):
        run = list(group)
        if kind != frames.RECORDS:
            yield from run
        else:
            yield Frame(run[-1].number, kind, blocks.joined([frame.body for frame in run]))


def _go_on() -> None:
    """In place of giving way (sched_yield), for who is behind: since Linux 6.6 it costs the whole turn where another wants it.

    Who keeps up gives way: whoever else wants this processor is on the way of an answer.
    """
