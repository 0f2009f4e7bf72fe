"""What each decision number stands for, kept over a restart: the kernel holds numbers, not names.

One JSON line a change, appended before the number is used; rewritten whole at start, and whenever most of it is history. Not synced to the
disk: a machine that goes down takes the kernel's table with it.
A line that cannot be written or read only means that a restart does not know the number: its elements are deleted then (closed).
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from dnsfw.enforce.numbers import Holder, Meaning
from dnsfw.policy.model import PodUid, RuleRef

HISTORY_LINES = 10_000
"""Lines (some 200 bytes each) that may be history before the file is written anew."""


class Journal:
    """One file; `problem` says why it could not be written last time."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._lines = 0
        self.problem = ""

    def read(self) -> dict[int, Meaning]:
        """The last meaning of each number; lines that are torn or strange are passed over."""
        if self._path is None:
            return {}
        try:
            lines = self._path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
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
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = self._path.with_suffix(".new")
            lines = [_line(number, meaning) for number, meaning in meanings]
            fresh.write_text("".join(lines))
            fresh.replace(self._path)
            self._lines = len(lines)
            self.close()
            self._file = self._path.open("a", buffering=1)
            self.problem = ""
        except OSError as error:
            self.problem = f"journal {self._path}: {error.strerror}; after a restart its connections would be refused"

    def note(self, number: int, meaning: Meaning | None) -> None:
        if self._file is None:
            return
        try:
            self._file.write(_line(number, meaning))
            self._lines += 1
            self.problem = ""
        except OSError as error:
            self.problem = f"journal {self._path}: {error.strerror}; after a restart its connections would be refused"

    def is_mostly_history(self, live: int) -> bool:
        """Whether it is time to `rewrite` it."""
        return self._lines > 2 * live + HISTORY_LINES

    def close(self) -> None:
        file, self._file = self._file, None
        with suppress(OSError):  # on a full disk: what could not be written has been said
            if file is not None:
                file.close()


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
