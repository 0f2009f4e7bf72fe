"""What each decision number stands for, kept over a restart: the kernel holds numbers, not names.

One JSON line a change, appended before the number is used; rewritten whole at start, and whenever most of it is history. Not synced to the
disk: a machine that goes down takes the kernel's table with it.
A line that cannot be read only means that a restart does not know the number: its elements are deleted then (closed). Where a line cannot
be written, what the file says of earlier numbers may be history, so it is emptied: a restart that knows nothing is closed, one that
believes an old meaning is not.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from dnsfw.enforce.numbers import Holder, Meaning
from dnsfw.policy.model import PodUid, RuleRef

HISTORY_LINES = 10_000
"""Lines (some 200 bytes each) that may be history before the file is written anew."""
UNWRITTEN = 1 << 40
"""In place of a number of lines: it is due to be written anew."""


class Journal:
    """One file; `problem` says why it could not be written last time."""

    def __init__(self, path: Path | None, mask: int = 0) -> None:
        """`mask`: under which the numbers lie in marks; under another one the same bits are other numbers."""
        self._path = path
        self._head = json.dumps({"mask": mask}) + "\n"
        self._file: IO[str] | None = None
        self._lines = 0
        self.problem = ""

    def read(self) -> dict[int, Meaning]:
        """The last meaning of each number; lines that are torn or strange are passed over, and all of them under another mask."""
        if self._path is None:
            return {}
        try:
            head, *lines = self._path.read_text().splitlines(keepends=True) or [""]
        except (OSError, UnicodeDecodeError):
            return {}
        if head != self._head:
            return {}
        meanings: dict[int, Meaning] = {}
        for line in lines:
            entry = _parse(line)
            if entry is None:
                continue
            number, meaning = entry
            meanings.pop(number, None)
            if meaning is not None:
                meanings[number] = meaning
        return meanings

    def rewrite(self, meanings: Iterable[tuple[int, Meaning]]) -> None:
        """Begin anew with what is live."""
        if self._path is None:
            return
        fresh = half_written(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lines = [_line(number, meaning) for number, meaning in meanings]
            fresh.write_text("".join((self._head, *lines)))
            fresh.replace(self._path)
            self._lines = len(lines)
            self.close()
            self._file = self._path.open("a", buffering=1)
            self.problem = ""
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            self._fail(self._path, error)

    def note(self, number: int, meaning: Meaning | None) -> None:
        if self._file is None or self._path is None:
            return
        try:
            self._file.write(_line(number, meaning))
            self._lines += 1
        except OSError as error:
            self._fail(self._path, error)

    def _fail(self, path: Path, error: OSError) -> None:
        """What has not been written is not known; nothing else may be believed either, until all of it can be written anew."""
        self.close()
        self._lines = UNWRITTEN
        self.problem = f"journal {path}: {error.strerror}; after a restart its connections would be refused"
        try:
            os.truncate(path, 0)  # takes no room, where a disk is full
        except FileNotFoundError:
            pass
        except OSError as worse:
            self.problem = f"journal {path}: {worse.strerror}, and it may say what is no longer so; remove it before the next start"

    def is_mostly_history(self, live: int) -> bool:
        """Whether it is time to `rewrite` it."""
        return self._lines > 2 * live + HISTORY_LINES

    def close(self) -> None:
        file, self._file = self._file, None
        with suppress(OSError):  # on a full disk: what could not be written has been said
            if file is not None:
                file.close()


def half_written(path: Path) -> Path:
    """Where the file is while it is written anew; a killed process leaves it there."""
    return path.with_suffix(".new")


def _line(number: int, meaning: Meaning | None) -> str:
    if meaning is None:
        return json.dumps([number]) + "\n"
    rule = meaning.holder.rule
    return json.dumps([number, meaning.holder.pod, rule.namespace, rule.name, rule.uid, meaning.basis]) + "\n"


def _parse(line: str) -> tuple[int, Meaning | None] | None:
    try:
        match json.loads(line):
            case [int(number)]:
                return number, None
            case [int(number), str(pod), str(namespace), str(name), str(uid), str(basis)]:
                rule = RuleRef(namespace=namespace, name=name, uid=uid)
                return number, Meaning(Holder(PodUid(pod), rule), basis)
    except ValueError:
        return None
    return None
