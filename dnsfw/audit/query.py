"""Reading the audit: while its writer runs, or when nothing of dnsfw does.

Touches the database, read-only. Blocks; the API calls it from a thread.
Always true: no transaction stays open between two blocks, so a slow reader never keeps the write-ahead log from being folded in. A record
is found by its number, for its block may be made one with others between two looks.
"""

import heapq
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dnsfw.audit.blocks import Block
from dnsfw.audit.filters import AuditFilter
from dnsfw.audit.matching import matching
from dnsfw.audit.reader import reading
from dnsfw.audit.record import Gap, QueryRecord
from dnsfw.audit.schema import GAP_COLUMNS
from dnsfw.clock import WallTime

Entry = QueryRecord | Gap

_POLL_S = 0.2
_FOREVER = 1e12  # a wall time past all others
_MOST_HELD = 100_000  # records, some 50 MB


class _Position(NamedTuple):
    """The newest that a reader has seen, or decided to see."""

    record: int = 0
    gap: int = 0


class _Key(NamedTuple):
    """A record's place in time."""

    at: WallTime
    number: int


class _Start(NamedTuple):
    """is_cut: the limit left older records out."""

    key: _Key
    is_cut: bool


class _Span(NamedTuple):
    """Records that stood in one block when we looked: `last` is the number of the last one."""

    since: WallTime
    last: int
    records: int


class _Found(NamedTuple):
    last: int
    block: Block

    @property
    def first(self) -> int:
        return self.last - self.block.records + 1


def read_records(path: Path, wanted: AuditFilter) -> Iterator[Entry]:
    """What is there now, oldest first, gaps among the records where they belong.

    Where more than 100,000 records are of one time (a clock that was set back for an hour), they come in nearly this order.
    """
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
    row = database.execute("SELECT (SELECT max(id) FROM block), (SELECT max(id) FROM gap)").fetchone()
    return _Position(*(number or 0 for number in row))


def _past(database: sqlite3.Connection, wanted: AuditFilter, newest: _Position) -> Iterator[Entry]:
    start = _start(database, wanted, newest.record)
    gaps = _gaps(database, wanted, _Position(), newest, ended_after=start.key.at if start.is_cut else -_FOREVER)
    return heapq.merge(_by_time(database, wanted, start.key, newest.record), gaps, key=_moment)


def _fresh(database: sqlite3.Connection, wanted: AuditFilter, seen: _Position, newest: _Position) -> Iterator[Entry]:
    """What came between two looks, in the order it was written."""
    yield from _gaps(database, wanted, seen, newest, ended_after=-_FOREVER)
    number = seen.record
    while number < newest.record and (found := _block_with(database, number + 1)) is not None:
        places = matching(found.block, wanted)
        yield from (found.block.record(place) for place in places if number < found.first + place <= newest.record)
        number = found.last


def _moment(entry: Entry) -> WallTime:
    return entry[0]


def _block_with(database: sqlite3.Connection, number: int) -> _Found | None:
    """The one with this record, or the next one where that has been deleted."""
    row = database.execute("SELECT id, body FROM block WHERE id >= ? ORDER BY id LIMIT 1", (number,)).fetchone()
    return None if row is None else _Found(row[0], Block(row[1]))


def _start(database: sqlite3.Connection, wanted: AuditFilter, newest: int) -> _Start:
    """Where the newest `limit` records begin. From the newest block on, until no older one can have one of them."""
    if wanted.limit is None:
        return _Start(_Key(-_FOREVER, 0), is_cut=False)
    kept: list[_Key] = []
    sql = "SELECT until, id, body FROM block INDEXED BY block_time WHERE until >= ? AND since <= ? ORDER BY until DESC"
    for until, last, body in database.execute(sql, _in_time(wanted)):
        if len(kept) == wanted.limit and (not kept or until < kept[0].at):
            break
        _keep_newest(kept, wanted.limit, _Found(last, Block(body)), wanted, newest)
    is_cut = len(kept) >= wanted.limit
    return _Start(kept[0] if kept else _Key(_FOREVER, 0), is_cut)


def _in_time(wanted: AuditFilter) -> tuple[WallTime, WallTime]:
    return -_FOREVER if wanted.since is None else wanted.since, _FOREVER if wanted.until is None else wanted.until


def _keep_newest(kept: list[_Key], limit: int, found: _Found, wanted: AuditFilter, newest: int) -> None:
    """A heap: the oldest of the newest ones is its first."""
    for place in matching(found.block, wanted):
        if (number := found.first + place) > newest:
            break
        heapq.heappush(kept, _Key(found.block.times[place], number))
        if len(kept) > limit:
            heapq.heappop(kept)


def _by_time(database: sqlite3.Connection, wanted: AuditFilter, start: _Key, newest: int) -> Iterator[QueryRecord]:
    held: list[tuple[_Key, QueryRecord]] = []
    for span in _spans(database, wanted, start, newest):
        while held and (held[0][0].at < span.since or len(held) > _MOST_HELD):
            yield heapq.heappop(held)[1]
        for key, record in _records_of(database, span, wanted, newest):
            if key >= start:
                heapq.heappush(held, (key, record))
    while held:
        yield heapq.heappop(held)[1]


def _spans(database: sqlite3.Connection, wanted: AuditFilter, start: _Key, newest: int) -> Sequence[_Span]:
    """Where to look, in the order in which their records begin; 170,000 for a full gigabyte, in 25 MB."""
    since, until = _in_time(wanted)
    sql = "SELECT since, id, records FROM block INDEXED BY block_time WHERE until >= ? AND since <= ? AND id - records < ?"
    return [*map(_Span._make, sorted(database.execute(sql, (max(start.at, since), until, newest))))]


def _records_of(database: sqlite3.Connection, span: _Span, wanted: AuditFilter, newest: int) -> Iterator[tuple[_Key, QueryRecord]]:
    first, last = span.last - span.records + 1, min(span.last, newest)
    while first <= last and (found := _block_with(database, first)) is not None:
        for place in matching(found.block, wanted):
            if first <= (number := found.first + place) <= last:
                yield _Key(found.block.times[place], number), found.block.record(place)
        first = found.last + 1


def _gaps(database: sqlite3.Connection, wanted: AuditFilter, seen: _Position, newest: _Position, *, ended_after: WallTime) -> Iterator[Gap]:
    """A gap may hide records of any pod or name, so only time leaves one out."""
    after = ended_after if wanted.since is None else max(wanted.since, ended_after)
    before = _FOREVER if wanted.until is None else wanted.until
    sql = f"SELECT {GAP_COLUMNS} FROM gap WHERE id > ? AND id <= ? AND until >= ? AND since <= ? ORDER BY since, id"  # noqa: S608 -- values are bound
    return map(Gap._make, database.execute(sql, (seen.gap, newest.gap, after, before)).fetchall())
