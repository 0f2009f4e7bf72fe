"""The tables of an audit database, and what makes a file one of ours.

Touches only the first bytes of a file and connections that others opened.
Records stand in blocks (`audit.blocks`), each under the number of its last record: numbers count records, in the order in which they were
written, and never change, however often small blocks are made one. One index, on the time of blocks.
"""

import sqlite3
from pathlib import Path

from dnsfw.audit.errors import ForeignDatabaseError, OutdatedDatabaseError
from dnsfw.audit.record import Gap

APPLICATION_ID = 0x646E7366  # "dnsf", at offset 68 of the file
VERSION = 4
GAP_COLUMNS = ", ".join(Gap._fields)
SCHEMA = f"""
BEGIN;
CREATE TABLE block (id INTEGER PRIMARY KEY, records INTEGER NOT NULL, since REAL NOT NULL, until REAL NOT NULL, body BLOB NOT NULL);
CREATE INDEX block_time ON block (until, since, records);
CREATE TABLE gap (id INTEGER PRIMARY KEY, since REAL NOT NULL, until REAL NOT NULL, lost INTEGER, why TEXT NOT NULL);
CREATE TABLE state (session TEXT NOT NULL, is_clean INTEGER NOT NULL, last_batch INTEGER NOT NULL, last_at REAL NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""
INSERT_BLOCK = "INSERT INTO block (id, records, since, until, body) VALUES (?, ?, ?, ?, ?)"
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
