"""Reading the audit: while its writer runs, or when nothing of dnsfw does.

Touches the database, read-only. Blocks; the API calls it from a thread.
Always true: no transaction stays open between two chunks, so a slow reader never keeps the write-ahead log from being folded in.
"""

import heapq
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from dnsfw.audit.filters import AuditFilter
from dnsfw.audit.reader import reading, suffix_condition
from dnsfw.audit.record import Gap, QueryRecord
from dnsfw.audit.schema import GAP_COLUMNS, JOINED, RECORD_COLUMNS
from dnsfw.clock import WallTime

Entry = QueryRecord | Gap

_CHUNK = 1_000
_POLL_S = 0.2
_FOREVER = 1e12  # a wall time past all others


class _Position(NamedTuple):
    """The newest rows that a reader has seen, or decided to see."""

    record: int = 0
    gap: int = 0


class _Key(NamedTuple):
    """A record's place in time."""

    at: WallTime
    id: int


class _Start(NamedTuple):
    """is_cut: the limit left older records out."""

    key: _Key
    is_cut: bool


class _Where(NamedTuple):
    text: str
    values: tuple[object, ...]


def read_records(path: Path, wanted: AuditFilter) -> Iterator[Entry]:
    """What is there now, oldest first, gaps among the records where they belong."""
    with reading(path) as database:
        yield from _past(database, wanted, _newest(database))


def follow(path: Path, wanted: AuditFilter, wait: Callable[[float], None] = time.sleep) -> Iterator[Entry]:
    """What is there, then what comes, without end; where another database takes this one's place, that one is followed."""
    seen: _Position | None = None
    while True:
        inode = _inode(path)
        with reading(path) as database:
            if seen is None:
                seen = _newest(database)
                yield from _past(database, wanted, seen)
            while _inode(path) == inode:
                newest = _newest(database)
                yield from _fresh(database, wanted, _Position(*map(min, seen, newest)), newest)
                seen = newest
                wait(_POLL_S)
        while _inode(path) is None:
            wait(_POLL_S)
        seen = _Position()


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _newest(database: sqlite3.Connection) -> _Position:
    row = database.execute("SELECT (SELECT max(id) FROM query), (SELECT max(id) FROM gap)").fetchone()
    return _Position(*(number or 0 for number in row))


def _past(database: sqlite3.Connection, wanted: AuditFilter, newest: _Position) -> Iterator[Entry]:
    where = _conditions(wanted, _Position(), newest)
    start = _start(database, where, wanted.limit)
    gaps = _gaps(database, wanted, _Position(), newest, ended_after=start.key.at if start.is_cut else -_FOREVER)
    return heapq.merge(_by_time(database, where, start.key), gaps, key=_moment)


def _fresh(database: sqlite3.Connection, wanted: AuditFilter, seen: _Position, newest: _Position) -> Iterator[Entry]:
    """What came between two looks, in the order it was written."""
    yield from _gaps(database, wanted, seen, newest, ended_after=-_FOREVER)
    while True:
        where = _conditions(wanted, seen, newest)
        sql = f"SELECT query.id, {RECORD_COLUMNS} FROM query {JOINED} WHERE {where.text} ORDER BY query.id LIMIT {_CHUNK}"  # noqa: S608 -- values are bound
        rows = database.execute(sql, where.values).fetchall()
        yield from (QueryRecord._make(row[1:]) for row in rows)
        if len(rows) < _CHUNK:
            return
        seen = seen._replace(record=rows[-1][0])


def _moment(entry: Entry) -> WallTime:
    return entry[0]


def _conditions(wanted: AuditFilter, seen: _Position, newest: _Position) -> _Where:
    parts: list[tuple[str, tuple[object, ...]]] = [("query.id > ? AND query.id <= ?", (seen.record, newest.record))]
    for text, value in (
        ("asker_id IN (SELECT id FROM asker WHERE namespace = ?)", wanted.namespace),
        ("asker_id IN (SELECT id FROM asker WHERE pod = ?)", wanted.pod),
        ("verdict_id IN (SELECT id FROM verdict WHERE decision = ?)", wanted.decision),
        ("at >= ?", wanted.since),
        ("at <= ?", wanted.until),
    ):
        if value is not None:
            parts.append((text, (value,)))
    if wanted.pattern is not None:
        parts.append(suffix_condition(wanted.pattern) if wanted.pattern.is_wildcard else ("name = ?", (str(wanted.pattern),)))
    return _Where(" AND ".join(text for text, _ in parts), tuple(value for _, values in parts for value in values))


def _start(database: sqlite3.Connection, where: _Where, limit: int | None) -> _Start:
    """One pass over the keys of the newest `limit` records, so that a filter that hardly anything passes is not scanned for twice."""
    if limit is None:
        return _Start(_Key(-_FOREVER, 0), is_cut=False)
    sql = f"SELECT at, id FROM query INDEXED BY query_at WHERE {where.text} ORDER BY at DESC, id DESC LIMIT ?"  # noqa: S608 -- values are bound
    key, found = (_FOREVER, 0), 0
    for found, key in enumerate(database.execute(sql, (*where.values, limit)), 1):  # noqa: B007 -- the last pair is what we are after
        pass
    return _Start(_Key(*key), is_cut=found >= limit)


def _by_time(database: sqlite3.Connection, where: _Where, start: _Key) -> Iterator[QueryRecord]:
    sql = (
        f"SELECT query.id, {RECORD_COLUMNS} FROM query INDEXED BY query_at {JOINED} "  # noqa: S608 -- values are bound
        f"WHERE (at, query.id) >= (?, ?) AND {where.text} ORDER BY at, query.id LIMIT {_CHUNK}"
    )
    while True:
        rows = database.execute(sql, (*start, *where.values)).fetchall()
        yield from (QueryRecord._make(row[1:]) for row in rows)
        if len(rows) < _CHUNK:
            return
        start = _Key(rows[-1][1], rows[-1][0] + 1)


def _gaps(database: sqlite3.Connection, wanted: AuditFilter, seen: _Position, newest: _Position, *, ended_after: WallTime) -> Iterator[Gap]:
    """A gap may hide records of any pod or name, so only time leaves one out."""
    after = ended_after if wanted.since is None else max(wanted.since, ended_after)
    before = _FOREVER if wanted.until is None else wanted.until
    sql = f"SELECT {GAP_COLUMNS} FROM gap WHERE id > ? AND id <= ? AND until >= ? AND since <= ? ORDER BY since, id"  # noqa: S608 -- values are bound
    return map(Gap._make, database.execute(sql, (seen.gap, newest.gap, after, before)).fetchall())
