"""Opening an audit database to read it, whether its writer runs or not.

Touches the database, read-only; says in plain words why it cannot.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from dnsfw.audit import schema
from dnsfw.audit.errors import AuditError
from dnsfw.names import NameError_, Pattern, format_name, parse_name

_BUSY_S = 5.0


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose errors, here and in the block, are AuditErrors."""
    try:
        with closing(_opened(path)) as database:
            yield database
    except sqlite3.Error as error:
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
    # The API reads one chunk after another in whichever thread is free, never two at once.
    database = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_S, check_same_thread=False)
    database.create_function("is_below", 2, _is_below, deterministic=True)
    return database


def _is_below(name: str, suffix: str) -> bool:
    try:
        return Pattern(parse_name(suffix), is_wildcard=True).matches(parse_name(name))
    except NameError_:
        return False


def suffix_condition(pattern: Pattern) -> tuple[str, tuple[object, ...]]:
    """SQL for "a name below": the text decides, but for an escaped dot before the suffix (`a\\.example.net` is no child of example.net)."""
    suffix = format_name(pattern.name)
    tail = len(suffix) + 1
    text = "substr(name, ?) = ? AND (substr(name, ?, 1) <> '\\' OR is_below(name, ?))"
    return text, (-tail, f".{suffix}", -tail - 1, suffix)
