"""A file's bytes -> text, bounded.

Reads one file.
"""

import stat
from pathlib import Path
from typing import BinaryIO

from dnsfw.errors import Problem

LARGEST = 64 << 20


def read_content(path: Path) -> str | Problem:
    """The text, or what is wrong with the file. Raises OSError where it cannot be read just now."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return _problem(path, "is not a regular file")
    if status.st_size > LARGEST:
        return _too_large(path)
    with path.open("rb") as file:
        return read_stream(file, path)


def read_stream(stream: BinaryIO, path: Path) -> str | Problem:
    """The same of what is open already, a pipe too; `path` is its name in messages."""
    content = stream.read(LARGEST + 1)
    return _text(path, content) if len(content) <= LARGEST else _too_large(path)


def _too_large(path: Path) -> Problem:
    return _problem(path, f"is larger than {LARGEST >> 20} MiB", "split it into several files of a folder")


def _text(path: Path, content: bytes) -> str | Problem:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _problem(path, "is not UTF-8", line=1 + content.count(b"\n", 0, error.start))


def _problem(path: Path, what: str, right: str = "", line: int | None = None) -> Problem:
    return Problem(file=str(path), line=line, path="", what=what, right=right)
