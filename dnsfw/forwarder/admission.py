"""What one pod may have of us: queries that wait at the same time, queries a second, different names a minute.

Pure: time is passed in. Always true: a pod past its bound costs the others nothing, and what was counted in is counted out; memory is
bounded by the limits themselves.
"""

from collections.abc import Hashable
from typing import Final

from dnsfw.clock import Instant
from dnsfw.policy.reasons import Reason

RESERVED: Final = 16
"""Queries that any pod may have in flight even where the others have taken all places: a crowd of pods must not keep a quiet one out."""


class InFlight:
    """Owners are pod uids, or addresses where no pod is known."""

    def __init__(self, per_owner: int, in_all: int) -> None:
        self._per_owner = per_owner
        self._in_all = in_all
        self._counts: dict[str, int] = {}
        self._total = 0
        self._least = min(per_owner, in_all)  # with fewer in flight nobody can be over a bound

    def __len__(self) -> int:
        return self._total

    def refusal(self, owner: str) -> Reason | None:
        """Why `owner` may not have one more."""
        if self._total < self._least:
            return None
        count = self._counts.get(owner, 0)
        if count >= self._per_owner:
            return Reason.IN_FLIGHT
        return Reason.QUEUE_FULL if self._total >= self._in_all and count >= RESERVED else None

    def enter(self, owner: str) -> None:
        self._counts[owner] = self._counts.get(owner, 0) + 1
        self._total += 1

    def leave(self, owner: str) -> None:
        self._total -= 1
        count = self._counts[owner] - 1
        if count:
            self._counts[owner] = count
        else:
            del self._counts[owner]


class Rate:
    """How many different things of an owner's are taken in each span of time; `most` 0: all.

    Spans follow each other without overlap, so around the turn of one an owner may have twice as many: what it costs is one set.
    """

    def __init__(self, most: int, span_seconds: float) -> None:
        self._most = most
        self._span_seconds = span_seconds
        self._span = -1
        self._taken: dict[Hashable, set[Hashable]] = {}

    def takes(self, owner: Hashable, thing: Hashable, now: Instant) -> bool:
        if not self._most:
            return True
        if (span := int(now / self._span_seconds)) != self._span:
            self._span = span
            self._taken.clear()
        taken = self._taken.setdefault(owner, set())
        if thing in taken:
            return True
        if len(taken) >= self._most:
            return False
        taken.add(thing)
        return True
