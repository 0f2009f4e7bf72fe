"""Stays awake for an answer that is about to come, where the processor would sleep and take longer to wake than the answer takes.

Touches the loop's `call_soon`; time is passed in. Always true: a vigil lasts LONGEST_S at most, and all of them together SHARE of the time;
none is kept for upstreams whose answers do not come that soon, none where there is but one processor; while nobody waits for an answer,
nothing is done. It does not give the processor away (sched_yield): since Linux 6.6 that costs a whole turn where another wants it, 2 ms.

What it is for: an upstream on the same node answers from its cache in less than 0.1 ms. A processor that has slept meanwhile needs 0.05 ms
to wake, and its caches are cold: a commit takes 41 µs then, and 10 after a millisecond without sleep (docs/adr/0013-vigil.md).
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final

from dnsfw.clock import Clock, Instant

LONGEST_S: Final = 0.000_25
SHARE: Final = 0.25
"""Of one processor, for each process that answers: at 1,000 new names a second half of it is used, at ten a two-hundredth."""
MOST_SAVED_S: Final = 0.002
"""Of what was not used of it before."""
MOST_SKIPPED: Final = 64
"""Questions for which none is kept, once the last vigils were in vain."""


class Vigil:
    """awaited: how many answers are. kept_s: how long all vigils were so far."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, awaited: Callable[[], int]) -> None:
        self._loop = loop
        self._now = clock.now
        self._awaited = awaited
        self._look_again = self._look  # made once: each use would make a method anew
        self._can = len(os.sched_getaffinity(0)) > 1
        self._is_kept = False
        self._saved = MOST_SAVED_S
        self._counted_at = self._begun = self._until = clock.now()
        self._skip = self._skipped = self._many = 0
        self.kept_s = 0.0

    def begin(self, now: Instant) -> None:
        """A question has left."""
        if self._is_kept or not self._can or not (many := self._awaited()):
            return
        if self._skipped < self._skip:
            self._skipped += 1
            return
        self._saved = min(self._saved + (now - self._counted_at) * SHARE, MOST_SAVED_S)
        self._counted_at = now
        if self._saved < LONGEST_S / 4:
            return  # it would be too short to be of use
        self._is_kept, self._begun, self._skipped, self._many = True, now, 0, many
        self._until = now + min(LONGEST_S, self._saved)
        self._loop.call_soon(self._look_again)

    def close(self) -> None:
        """None any more."""
        self._can = False

    def _look(self) -> None:
        now = self._now()
        if self._awaited() < self._many or not self._can:
            self._end(now, skip=0)
        elif now >= self._until:
            self._end(now, skip=min(2 * self._skip + 1, MOST_SKIPPED))
        else:
            self._loop.call_soon(self._look_again)

    def _end(self, now: Instant, *, skip: int) -> None:
        self._is_kept, self._skip = False, skip
        self._saved -= now - self._begun
        self.kept_s += now - self._begun
