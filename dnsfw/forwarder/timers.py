"""Coarse deadlines for very many short waits, behind one timer of the loop.

May touch the loop's `call_later` and the clock, nothing else. Always true: a call comes at most once, never before its instant, and at most
two ticks after it while the loop is free; while nothing waits, nothing ticks.

A `call_later` and its cancel cost 1.0 µs, an entry here 0.4 µs, and a forwarded query needs two deadlines that hardly ever come.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final, Generic, TypeVar, cast

from dnsfw.clock import Clock, Instant
from dnsfw.ring import Link, Ring

TICK_SECONDS: Final = 0.05


class Timer:
    """One wait; `cancel` it when what was waited for has come."""

    __slots__ = ("_bucket", "call")

    def __init__(self, bucket: "dict[Timer, None]", call: Callable[[], None]) -> None:
        self._bucket = bucket
        self.call = call
        bucket[self] = None

    def cancel(self) -> None:
        self._bucket.pop(self, None)


class Timers:
    """Buckets of timers, one for each tick of time in which something falls due."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._buckets: dict[int, dict[Timer, None]] = {}
        self._handle: asyncio.TimerHandle | None = None

    def add(self, due: Instant, call: Callable[[], None]) -> Timer:
        tick = int(due / TICK_SECONDS) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = {}
            self._arm()
        return Timer(bucket, call)

    def close(self) -> None:
        self._buckets.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        if self._handle is None:
            self._handle = self._loop.call_later(TICK_SECONDS, self._on_tick)

    def _on_tick(self) -> None:
        self._handle = None
        current = int(self._clock.now() / TICK_SECONDS)
        try:
            for tick in sorted(tick for tick in self._buckets if tick <= current):
                self._drain(tick)
        finally:
            # A call that raises costs the others of its tick one tick, not their turn.
            if self._buckets:
                self._arm()

    def _drain(self, tick: int) -> None:
        bucket = self._buckets[tick]
        # One call may cancel another of the same tick, hence one at a time.
        while bucket:
            bucket.popitem()[0].call()
        del self._buckets[tick]


class Waiting(Link):
    """Whoever `Patience` waits with."""

    __slots__ = ("is_waiting", "since")

    def __init__(self) -> None:
        self.is_waiting = False
        self.since: Instant = 0.0


T = TypeVar("T", bound=Waiting)


class Patience(Generic[T]):
    """Waits of one length, for very many who hardly ever wait to the end: in the order in which they fall due, with no timer each.

    `call(thing, since)` comes where it was neither dropped nor added anew. An entry costs 0.05 µs, a timer and its cancel 1.2; what is
    dropped is gone at once: kept until it was due, 20,000 of them took the place of others in the processor's caches.
    """

    def __init__(self, seconds: float, timers: Timers, clock: Clock, call: Callable[[T, Instant], None]) -> None:
        self._seconds = seconds
        self._timers = timers
        self._clock = clock
        self._call = call
        self._ring = Ring()  # the first that falls due stands first
        self._is_armed = False  # one timer for all

    def add(self, thing: T, since: Instant) -> None:
        self.drop(thing)
        thing.is_waiting, thing.since = True, since
        self._ring.append(thing)
        if not self._is_armed:
            self._arm(since)

    def drop(self, thing: T) -> None:
        if thing.is_waiting:
            thing.is_waiting = False
            thing.leave()

    def close(self) -> None:
        for thing in self._until(inf):
            self.drop(thing)

    def _on_due(self) -> None:
        try:
            latest = self._clock.now() - self._seconds
            for thing in self._until(latest):
                if thing.is_waiting and thing.since <= latest:  # none of the calls before has ended its wait, or begun it anew
                    self.drop(thing)
                    self._call(thing, thing.since)
        finally:
            self._is_armed = False
            if self._ring.after is not self._ring:
                self._arm(cast("T", self._ring.after).since)

    def _until(self, latest: Instant) -> list[T]:
        """Those that have waited since `latest` or longer."""
        found: list[T] = []
        place = self._ring.after
        while place is not self._ring and (thing := cast("T", place)).since <= latest:
            found.append(thing)
            place = place.after
        return found

    def _arm(self, first: Instant) -> None:
        self._is_armed = True
        self._timers.add(first + self._seconds, self._on_due)
