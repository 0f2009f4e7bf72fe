"""What many records have in common, who asked and what was decided, kept once: a record takes half the bytes and a third less work.

Touches the database; lives in the writer process. Always true: a record's asker and verdict are of its epoch, and epochs only go up with
the records; so all of an epoch may go once the oldest record is of a later one, and nobody has to count.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dnsfw.audit.schema import ASKER, VERDICT

_MOST_KNOWN = 4_096
"""Askers or verdicts of an epoch, some 2 MB; one frame more at most."""


class _Ids(dict[tuple[Any, ...], int]):
    """The ids of the epoch's rows of one table; who is asked for and missing is written."""

    def __init__(self, database: sqlite3.Connection, table: str, columns: Sequence[str], epoch: int) -> None:
        super().__init__()
        self._database = database
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self._insert = f"INSERT INTO {table} (epoch, {names}) VALUES ({epoch:d}, {marks})"  # noqa: S608 -- our own names

    def __missing__(self, key: tuple[Any, ...]) -> int:
        number = self._database.execute(self._insert, key).lastrowid
        if number is None:
            raise AssertionError("an INSERT has a row")
        self[key] = number
        return number

    def of(self, keys: Iterable[tuple[Any, ...]]) -> list[int]:
        return [self[key] for key in keys]


class Shared:
    """Of one open database. After a rollback, `begin_epoch`: what was written for it is gone."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._oldest = 0
        self._epoch = max(_last_epoch(database, "asker"), _last_epoch(database, "verdict"))
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self._epoch += 1
        self._askers = _Ids(self._database, "asker", ASKER, self._epoch)
        self._verdicts = _Ids(self._database, "verdict", VERDICT, self._epoch)

    def rows_of(self, body: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
        """What `schema.INSERT_QUERY` takes, of a frame's records; askers and verdicts are written now."""
        if max(len(self._askers), len(self._verdicts)) > _MOST_KNOWN:
            self.begin_epoch()
        times, askers, verdicts, own = body
        return zip(self._askers.of(askers), self._verdicts.of(verdicts), times, *zip(*own, strict=True), strict=True)

    def delete_old(self) -> None:
        """The askers and verdicts of epochs that no record is of any more."""
        oldest = self._database.execute(
            "SELECT epoch FROM query CROSS JOIN asker ON asker.id = query.asker_id ORDER BY query.id LIMIT 1"
        ).fetchone()
        if oldest is None or oldest[0] <= self._oldest:
            return
        (self._oldest,) = oldest
        for table in ("asker", "verdict"):
            # Ids rise with the epochs: only what goes is looked at, however much stays.
            first = f"SELECT id FROM {table} WHERE epoch >= ? ORDER BY id LIMIT 1"  # noqa: S608 -- our own names
            self._database.execute(f"DELETE FROM {table} WHERE id < ({first})", oldest)  # noqa: S608 -- our own names


def _last_epoch(database: sqlite3.Connection, table: str) -> int:
    row = database.execute(f"SELECT epoch FROM {table} ORDER BY id DESC LIMIT 1").fetchone()  # noqa: S608 -- our own names
    return int(row[0]) if row is not None else 0
