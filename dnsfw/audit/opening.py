"""Opening an audit database for its one writer: the lock, the file with its mode, the tables.

Touches the database file and its neighbours `PATH.lock`, `PATH.damaged-*` and `PATH.outdated-*`.
Always true: a file that is not ours is left as it was, and nothing is put beside it; a damaged one of ours is kept under another name.
"""

import fcntl
import os
import sqlite3
from pathlib import Path

from dnsfw.audit import schema
from dnsfw.audit.errors import AuditError, DamagedDatabaseError
from dnsfw.clock import WallTime

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY_MS = 2_000  # a reader that recovers the log holds it for moments only
_LOG_BYTES = 16 << 20  # what the log is cut back to after a reader held it open


def locked(path: Path) -> int:
    """The lock that makes us the one writer; released by closing it, or by our death.

    A file of its own: closing any other descriptor of the database would drop SQLite's own locks (POSIX).
    """
    schema.check_ownership(path)  # first: a file /etc/passwd.lock would keep everybody from changing users
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise AuditError(f"another dnsfw writes to {path}; stop it, or name another file with --audit-db") from error
    return descriptor


def opened(path: Path) -> sqlite3.Connection:
    """The database with its tables; `locked` is held."""
    _make_file(path)
    schema.check_ownership(path)
    database = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
    try:
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _make_file(path: Path) -> None:
    # Whoever widens the mode later did so on purpose; the log and its index take it over from the file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    has_tables = schema.check_version(database, path)
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    database.execute("PRAGMA journal_mode = WAL")
    # Synced at checkpoints only: a power cut may cost the last records, which the next start then says, never the database.
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    if not has_tables:
        database.executescript(schema.SCHEMA)


def is_damage(error: BaseException) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED


def moved_aside(path: Path, now: WallTime, why: str = "damaged") -> Path:
    """The new place of a database that cannot be written on; its log goes with it, for whoever repairs it."""
    aside = path.with_name(f"{path.name}.{why}-{int(now)}")
    try:
        for suffix in ("", "-wal"):
            if (part := Path(f"{path}{suffix}")).exists():
                part.rename(f"{aside}{suffix}")
        Path(f"{path}-shm").unlink(missing_ok=True)
    except OSError as error:
        raise DamagedDatabaseError(f"{path} is {why} and could not be moved aside: {error}") from error
    return aside
