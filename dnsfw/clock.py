"""The two clocks of the program, and the only module that reads one.

Durations, leases and deadlines are monotonic seconds (`Instant`): a step of the wall clock must not
lengthen or shorten a grant (CoreDNS #8346). Wall time stands only in audit records and `auditUntil`.
"""

import time
from dataclasses import dataclass
from typing import Protocol

Instant = float
"""Monotonic seconds."""
WallTime = float
"""Seconds since 1970-01-01T00:00:00Z."""


class Clock(Protocol):
    """Where time comes from; passed in, so that tests own it."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...


class SystemClock:
    """The machine's clocks; Python's own functions, since a method around one costs as much again, ten times a query."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


@dataclass(slots=True)
class ManualClock:
    """A clock that a test moves."""

    instant: Instant = 1000.0
    wall_time: WallTime = 1_800_000_000.0

    def now(self) -> Instant:
        return self.instant

    def wall(self) -> WallTime:
        return self.wall_time

    def advance(self, seconds: float) -> None:
        self.instant += seconds
        self.wall_time += seconds
