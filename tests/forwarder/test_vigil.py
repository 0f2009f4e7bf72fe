"""Staying awake for an answer: soon over, and never more than its share of the time."""

import asyncio
from collections.abc import Callable

import pytest

from dnsfw.clock import ManualClock
from dnsfw.forwarder.vigil import LONGEST_S, MOST_SAVED_S, MOST_SKIPPED, SHARE, Vigil

LOOK_S = 0.000_005
"""What one look takes."""


class Loop(asyncio.AbstractEventLoop):
    """Its turns are in our hands."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def call_soon(self, callback, **_):
        self.soon.append(callback)


class Watch:
    """A vigil, its clock, and how many answers are awaited. looked: how often somebody looked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, processors: int = 2) -> None:
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
        self.loop, self.clock = Loop(), ManualClock()
        self.awaited = self.looked = 0
        self.vigil = Vigil(self.loop, self.clock, lambda: self.awaited)

    def ask(self, answered_after: float) -> float:
        """How long one was awake for it, if at all."""
        asked_at, self.awaited = self.clock.now(), self.awaited + 1
        self.vigil.begin(asked_at)
        is_answered = False
        while self.loop.soon:
            self.clock.advance(LOOK_S)
            if not is_answered and self.clock.now() - asked_at >= answered_after:
                is_answered, self.awaited = True, self.awaited - 1
            self.looked += 1
            self.loop.soon.pop()()
        took = self.clock.now() - asked_at
        self.awaited -= not is_answered
        return took


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def test_it_ends_with_the_answer(watch: Watch) -> None:
    """Whoever looks often enough sees it come."""
    assert watch.ask(0.0001) == pytest.approx(0.0001, abs=2 * LOOK_S)
    assert watch.looked >= 15


def test_it_ends_with_its_own_answer_whoever_else_waits(watch: Watch) -> None:
    """A question that nobody answers keeps no one awake."""
    watch.awaited = 1

    assert watch.ask(0.0001) == pytest.approx(0.0001, abs=2 * LOOK_S)


def test_it_ends_without_an_answer(watch: Watch) -> None:
    """And the next one waits until as many questions were asked as vigils were in vain, twice as many each time."""
    kept = [number for number in range(300) if watch.ask(1.0) > 0 or watch.clock.advance(0.1)]

    assert kept == [0, 2, 6, 14, 30, 62, 126, 191, 256]
    assert kept[-1] - kept[-2] == MOST_SKIPPED + 1


def test_answers_that_come_soon_again_are_awaited_again(watch: Watch) -> None:
    """One that comes in time is enough."""
    for _ in range(3):
        watch.ask(1.0)
        watch.clock.advance(0.1)
    while not watch.ask(0.0001):
        watch.clock.advance(0.1)

    assert [watch.ask(0.0001) > 0 for _ in range(5)] == [True] * 5


def test_all_of_them_take_no_more_than_their_share(watch: Watch) -> None:
    """However many questions are asked: what is over is slept through."""
    begun = watch.clock.now()
    for _ in range(20_000):
        watch.ask(0.0002)
        watch.clock.advance(0.00005)

    took = watch.clock.now() - begun
    assert watch.vigil.kept_s <= took * SHARE + MOST_SAVED_S + LONGEST_S
    assert watch.vigil.kept_s > took * SHARE / 2


def test_one_begins_no_second_one(watch: Watch) -> None:
    """Questions that are asked meanwhile are covered."""
    watch.awaited = 2
    watch.vigil.begin(watch.clock.now())
    watch.vigil.begin(watch.clock.now())

    assert len(watch.loop.soon) == 1


def test_without_a_question_under_way_there_is_none(watch: Watch) -> None:
    """It was answered, or given up, before anybody could look."""
    watch.vigil.begin(watch.clock.now())

    assert watch.loop.soon == []


def test_closed_it_looks_no_more(watch: Watch) -> None:
    """The look that is due is the last, and no other vigil begins."""
    watch.awaited = 1
    watch.vigil.begin(watch.clock.now())
    watch.vigil.close()
    watch.loop.soon.pop()()
    watch.vigil.begin(watch.clock.now())

    assert watch.loop.soon == []


def test_the_only_processor_is_left_to_whoever_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Staying awake there would only be in the way."""
    assert Watch(monkeypatch, processors=1).ask(0.0001) == 0
