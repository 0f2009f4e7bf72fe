"""The tables of an audit database, and what makes a file one of ours.

Touches only the first bytes of a file and connections that others opened.
One index, on the time: measured, an index on (namespace, pod, time) more than doubled the cost of an insert (5.8 to 13 µs), while a scan
of 400,000 rows for the other filters takes 0.09 s (docs/adr/0002-audit-writer.md). The view `record` shows a record whole, for people.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from dnsfw.audit.errors import ForeignDatabaseError, OutdatedDatabaseError
from dnsfw.audit.record import Gap, QueryRecord

APPLICATION_ID = 0x646E7366  # "dnsf", at offset 68 of the file
VERSION = 2
RECORD_COLUMNS = ", ".join(QueryRecord._fields)
GAP_COLUMNS = ", ".join(Gap._fields)
ASKER = ("namespace", "pod", "pod_uid", "source", "transport")
VERDICT = ("decision", "reason", "rule", "rcode")
OWN = tuple(field for field in QueryRecord._fields if field not in ASKER + VERDICT)
"""What each record keeps for itself; the others are kept once for all records that share them (`audit.shared`)."""

_TYPES = {
    "at": "REAL",
    "qtype": "INTEGER",
    "rcode": "INTEGER",
    "ttl": "INTEGER",
    "grants": "INTEGER",
    "upstream_us": "INTEGER",
    "install_us": "INTEGER",
}


def _typed(columns: Sequence[str]) -> str:
    return ", ".join(f"{column} {_TYPES.get(column, 'TEXT')} NOT NULL" for column in columns)


# Named one by one, in this order: the planner would begin with the smaller table and lose the order of time.
JOINED = "CROSS JOIN asker ON asker.id = query.asker_id CROSS JOIN verdict ON verdict.id = query.verdict_id"
SCHEMA = f"""
BEGIN;
CREATE TABLE asker (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, {_typed(ASKER)});
CREATE TABLE verdict (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, {_typed(VERDICT)});
CREATE TABLE query (id INTEGER PRIMARY KEY, asker_id INTEGER NOT NULL, verdict_id INTEGER NOT NULL, {_typed(OWN)});
CREATE INDEX query_at ON query (at);
CREATE VIEW record AS SELECT query.id AS id, {RECORD_COLUMNS} FROM query {JOINED};
CREATE TABLE gap (id INTEGER PRIMARY KEY, since REAL NOT NULL, until REAL NOT NULL, lost INTEGER, why TEXT NOT NULL);
CREATE TABLE state (session TEXT NOT NULL, is_clean INTEGER NOT NULL, last_batch INTEGER NOT NULL, last_at REAL NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""  # noqa: S608 -- our own field names
INSERT_QUERY = f"INSERT INTO query (asker_id, verdict_id, {', '.join(OWN)}) VALUES (?, ?, {', '.join('?' * len(OWN))})"  # noqa: S608 -- our own field names
INSERT_GAP = f"INSERT INTO gap ({GAP_COLUMNS}) VALUES (?, ?, ?, ?)"  # noqa: S608 -- our own field names

_MAGIC = b"SQLite format 3\x00"


def check_ownership(path: Path) -> bool:
    """True for a database of ours, False for none yet; ForeignDatabaseError for a file that somebody else needs."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return False
    if not header:
        return False
    if header[:16] != _MAGIC or int.from_bytes(header[68:72], "big") not in (APPLICATION_ID, 0):
        raise ForeignDatabaseError(f"{path} is not an audit database of dnsfw and was left alone; name another file with --audit-db")
    return True


def check_version(database: sqlite3.Connection, path: Path) -> bool:
    """True when the tables stand; False for an empty database."""
    found = int(database.execute("PRAGMA user_version").fetchone()[0])
    if found == 0:
        _refuse_strangers(database, path)
        return False
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:  # set with the version, in one transaction
        raise _strangers(path)
    if found < VERSION:
        raise OutdatedDatabaseError(
            f"{path} has version {found} of the audit tables, this dnsfw has {VERSION}: dnsfw run keeps it beside and begins a new one; "
            "the old one can be read by the dnsfw that wrote it, or with SQL"
        )
    if found > VERSION:
        raise ForeignDatabaseError(
            f"{path} has version {found} of the audit tables, this dnsfw has {VERSION}: a newer one wrote it, run that; "
            "or name another file in the same folder with --audit-db"
        )
    return True


def _refuse_strangers(database: sqlite3.Connection, path: Path) -> None:
    if database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise _strangers(path)


def _strangers(path: Path) -> ForeignDatabaseError:
    return ForeignDatabaseError(f"{path} holds tables of somebody else and was left alone; name another file with --audit-db")
