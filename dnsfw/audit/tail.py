"""The newest blocks while they are small: a few records a second would make a block each, so they are made one when there are enough.

Touches the database; lives in the writer process. Always true: what it remembers are the database's last blocks, whole. A record is packed
twice where many come a little at a time, five times where few do.
Blocks go when their newest record is too old (`store`), so none may span long: what is LONGEST_S old gathers no more.
"""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from dnsfw.audit import blocks, schema
from dnsfw.audit.blocks import Columns
from dnsfw.clock import WallTime

ENOUGH_RECORDS = 256
LONGEST_S = 3600.0
_MOST_BLOCKS = 64  # at ten a second


class _Small(NamedTuple):
    id: int
    since: WallTime
    columns: Columns


class Tail:
    """Of one open database; what a writer before this one left small stays so."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._small: list[_Small] = []
        self._last = int(database.execute("SELECT coalesce(max(id), 0) FROM block").fetchone()[0])

    @property
    def settled(self) -> int:
        """The number of the last record whose block will not be made anew."""
        return self._small[0].id - len(self._small[0].columns[0]) if self._small else self._last

    def add(self, columns: Columns, pause: Callable[[], None]) -> None:
        """Of one record or more; `pause` as `blocks.pack` has it. Raises one of `blocks.UNUSABLE`: nothing was added then."""
        is_enough = self._last - self.settled + len(columns[0]) >= ENOUGH_RECORDS or len(self._small) >= _MOST_BLOCKS
        taken = self._small if is_enough else []
        together = blocks.joined([*(small.columns for small in taken), columns])
        packed = blocks.pack(together, pause)
        if taken:
            self._database.execute("DELETE FROM block WHERE id > ?", (self.settled,))
            self._small = []
        self._last += len(columns[0])
        self._database.execute(schema.INSERT_BLOCK, (self._last, *packed))
        if packed.records < ENOUGH_RECORDS:
            self._small.append(_Small(self._last, packed.since, together))

    def let_go(self, before: WallTime) -> None:
        """Blocks that began before that time stay as they are."""
        while self._small and self._small[0].since < before:
            del self._small[0]
