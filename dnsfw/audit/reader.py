"""Opening an audit database to read it, whether its writer runs or not.

Touches the database, read-only; says in plain words why it cannot.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from dnsfw.audit import schema
from dnsfw.audit.errors import AuditError, DamagedDatabaseError

_BUSY_S = 5.0


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose errors, here and in the block, are AuditErrors."""
    try:
        with closing(_opened(path)) as database:
            yield database
    except (sqlite3.Error, DamagedDatabaseError) as error:
        raise AuditError(f"audit database {path} cannot be read: {error}") from error


def _opened(path: Path) -> sqlite3.Connection:
    try:
        is_there = schema.check_ownership(path)
    except PermissionError as error:
        raise AuditError(f"audit database {path}: permission denied; only the user that runs dnsfw may read it (try sudo)") from error
    except OSError as error:
        raise AuditError(f"audit database {path} cannot be read: {error.strerror}") from error
    if not is_there:
        raise AuditError(f"there is no audit database at {path}; dnsfw run makes one, --audit-db names another")
    database = _connected(path)
    if not schema.check_version(database, path):
        database.close()
        raise AuditError(f"audit database {path} is empty")
    return database


def _connected(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    database = _connection(address)
    try:
        database.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        database.close()
        if Path(f"{path}-wal").exists():
            raise
        # In a folder that we may not write to: without a log nobody writes, so the file can be read as it lies.
        database = _connection(f"{address}&immutable=1")
    return database


def _connection(address: str) -> sqlite3.Connection:
    # The API reads one block after another in whichever thread is free, never two at once.
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_S, check_same_thread=False)
