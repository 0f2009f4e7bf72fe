"""Which files a path stands for, and whether they have changed.

Reads the file system's names and times, never a file's content. Hidden files are left out: editors' swap files, and the `..data` of a
Kubernetes ConfigMap, whose links are followed.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dnsfw.errors import Problem

SUFFIXES = (".yaml", ".yml", ".json")


class Signature(NamedTuple):
    """What changes when a file is written, replaced, or its link is turned; -1s: it cannot be looked at."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    device: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The files below the roots at one moment, in order; and the roots that cannot be looked at."""

    files: Mapping[Path, Signature] = field(default_factory=dict)
    problems: Mapping[Path, Problem] = field(default_factory=dict)


def list_files(roots: Iterable[Path]) -> Listing:
    files: dict[Path, Signature] = {}
    problems: dict[Path, Problem] = {}
    for root in roots:
        try:
            files |= {path: signature_of(path) for path in sorted(_files_of(root))}
        except OSError as error:
            problems[root] = unreadable(root, error)
    return Listing(files, problems)


def _files_of(root: Path) -> list[Path]:
    if not stat.S_ISDIR(root.stat().st_mode):
        return [root]
    with os.scandir(root) as entries:
        return [root / entry.name for entry in entries if _is_ours(entry)]


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.name.endswith(SUFFIXES) and not _is_folder(entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it will say so, with its name
        return False


def signature_of(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError:
        return Signature(-1, -1, -1, -1, -1)
    return Signature(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


def unreadable(path: Path, error: OSError) -> Problem:
    what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror or error}"
    return Problem(file=str(path), line=None, path="", what=what)
