"""Coarse timers, under a clock that the test moves and a loop that only notes what it is told."""

import contextlib
from collections.abc import Callable

from dnsfw.clock import ManualClock
from dnsfw.forwarder.timers import TICK_SECONDS, Patience, Timers, Waiting


class Handle:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """`call_later` as a loop has it; the test ticks."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []

    def call_later(self, _seconds: float, call: Callable[[], None]) -> Handle:
        self.handles.append(Handle(call))
        return self.handles[-1]

    def tick(self) -> None:
        handles, self.handles = self.handles, []
        for handle in handles:
            if not handle.is_cancelled:
                handle.call()


class Bench:
    def __init__(self) -> None:
        self.loop, self.clock = Loop(), ManualClock()
        self.timers = Timers(self.loop, self.clock)
        self.called: list[str] = []

    def add(self, seconds: float, word: str):
        return self.timers.add(self.clock.now() + seconds, lambda: self.called.append(word))

    def tick_after(self, seconds: float) -> list[str]:
        self.clock.advance(seconds)
        self.loop.tick()
        return self.called


def test_a_call_comes_once_and_never_early() -> None:
    """Not before its instant, then once."""
    bench = Bench()
    bench.add(1.0, "due")

    assert bench.tick_after(0.99) == []
    assert bench.tick_after(2 * TICK_SECONDS) == ["due"]
    assert bench.tick_after(1.0) == ["due"]


def test_cancelled_is_never_called() -> None:
    """Twice cancelled is cancelled."""
    bench = Bench()
    timer = bench.add(1.0, "due")
    timer.cancel()
    timer.cancel()

    assert bench.tick_after(2.0) == []


def test_nothing_ticks_while_nothing_waits() -> None:
    """One timer of the loop for all, and none at the end."""
    bench = Bench()
    bench.add(1.0, "first")
    bench.add(9.0, "second")

    assert len(bench.loop.handles) == 1
    bench.tick_after(10.0)
    assert bench.called == ["first", "second"]
    assert bench.loop.handles == []


def test_a_call_may_cancel_another_of_its_tick() -> None:
    """What was cancelled in time does not come, though both were due."""
    bench = Bench()
    timers: list = []
    for own, other in ((0, 1), (1, 0)):
        timers.append(bench.timers.add(1001.0, lambda own=own, other=other: (bench.called.append(str(own)), timers[other].cancel())))

    assert len(bench.tick_after(2.0)) == 1


def test_a_call_that_raises_does_not_take_the_others_with_it() -> None:
    """The others of its tick come at the next one."""
    bench = Bench()
    bench.add(1.0, "other")
    bench.timers.add(1001.0, lambda: 1 // 0)

    try:
        bench.tick_after(2.0)
    except ZeroDivisionError:
        bench.called.append("raised")

    assert bench.tick_after(1.0) == ["raised", "other"]


def test_closed_calls_nobody() -> None:
    """What waited is forgotten, and the loop's timer with it; to close twice is to close."""
    bench = Bench()
    bench.add(1.0, "due")
    bench.timers.close()
    bench.timers.close()

    assert bench.tick_after(2.0) == []


class Word(Waiting):
    """Who waits."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


def patient(bench: Bench, call: Callable[[Word, float], object] | None = None) -> Patience[Word]:
    """Of one second; without `call` it is written down who was told, and since when it had waited."""
    return Patience(1.0, bench.timers, bench.clock, call or (lambda word, since: bench.called.append(f"{word.text}@{since:g}")))


def test_patience_ends_in_order_and_never_early() -> None:
    """Each comes once, with the moment since which it waited, at most two ticks late."""
    bench = Bench()
    waits = patient(bench)
    waits.add(Word("a"), bench.clock.now())
    bench.tick_after(0.5)
    waits.add(Word("b"), bench.clock.now())

    assert bench.tick_after(0.49) == []
    assert bench.tick_after(2 * TICK_SECONDS) == ["a@1000"]
    assert bench.tick_after(0.3) == ["a@1000"]
    assert bench.tick_after(2 * TICK_SECONDS + 0.11) == ["a@1000", "b@1000.5"]
    assert bench.loop.handles == []


def test_patience_survives_a_call_that_raises() -> None:
    """The others come at the next tick."""
    bench = Bench()
    waits = patient(bench, lambda word, _since: bench.called.append(word.text) if word.text else 1 // 0)
    for text in ("", "other"):
        waits.add(Word(text), bench.clock.now())
    with contextlib.suppress(ZeroDivisionError):
        bench.tick_after(1.2)

    assert bench.tick_after(2 * TICK_SECONDS) == ["other"]


def test_patience_has_one_timer_however_often_a_call_waits_anew() -> None:
    """The last one that waits is told, and waits again at once: not once more as a timer each time."""
    bench = Bench()
    waits: Patience[Word] = patient(bench, lambda word, _since: waits.add(word, bench.clock.now()))
    waits.add(Word("a"), bench.clock.now())
    for _ in range(20):
        bench.tick_after(1.2)

    assert armed(bench.timers) == 1


def armed(timers: Timers) -> int:
    return sum(map(len, timers._buckets.values()))


def test_patience_forgets_whom_it_drops() -> None:
    """At once, whoever else waits; and whom one call drops is not called after it."""
    bench = Bench()
    words = {text: Word(text) for text in "abcd"}
    waits: Patience[Word] = patient(bench, lambda word, _since: (bench.called.append(word.text), waits.drop(words["c"])))
    for word in words.values():
        waits.add(word, bench.clock.now())
    waits.drop(words["b"])
    waits.drop(Word("nobody"))

    assert bench.tick_after(1.2) == ["a", "d"]
    assert bench.loop.handles == []


def test_patience_counts_from_the_last_time_that_a_thing_was_added() -> None:
    """It stands behind what was added before that."""
    bench = Bench()
    waits = patient(bench)
    first, second = Word("a"), Word("b")
    for word in (first, second):
        waits.add(word, bench.clock.now())
    bench.tick_after(0.5)
    waits.add(first, bench.clock.now())

    assert bench.tick_after(0.6) == ["b@1000"]
    assert bench.tick_after(0.5) == ["b@1000", "a@1000.5"]


def test_closed_patience_calls_nobody() -> None:
    """What still waits is forgotten."""
    bench = Bench()
    waits = patient(bench)
    waits.add(Word("a"), bench.clock.now())
    waits.close()

    assert bench.tick_after(2.0) == []
