"""Work for pods in fair turns: a bounded piece in each turn of the loop, and nobody behind another's crowd."""

import asyncio
from collections.abc import Callable

import pytest

from dnsfw.clock import ManualClock
from dnsfw.forwarder.line import BESIDE_OTHERS, CROWD, FEW, MOST, OTHERS_S, PIECES, REST_S, WAITING_PER_SOURCE, WORK_S, Line, Work, shares


class Loop(asyncio.AbstractEventLoop):
    """Its turns are in our hands."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.soon: list[Callable[[], object]] = []
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.broken: list[type] = []

    def call_soon(self, callback, **_):
        self.soon.append(callback)

    def call_later(self, delay, callback, **_):
        self.later.append((self.clock.now() + delay, callback))

    def call_exception_handler(self, context) -> None:
        self.broken.append(type(context["exception"]))

    def turn(self) -> None:
        """What is due; where nothing is, time passes until it is."""
        if not self.soon and self.later:
            self.clock.instant = max(self.clock.instant, min(at for at, _ in self.later))
        self.soon += [callback for at, callback in self.later if at <= self.clock.instant]
        self.later = [timer for timer in self.later if timer[0] > self.clock.instant]
        due, self.soon = self.soon, []
        for callback in due:
            callback()


class Done(Work):
    """What was done, in order; `turns`: how much of it was done at each end. turn_s: how long a turn takes."""

    def __init__(self, under_way: int = FEW + 1, turn_s: float = 0.0) -> None:
        self.loop = Loop()
        self.clock, self._turn_s = self.loop.clock, turn_s
        self.line = Line(self.loop, self.clock, lambda: under_way)
        self.line.at_end.append(self._end)
        self.work: list[tuple[str, int]] = []
        self.turns: list[int] = []

    def do(self, source: object, number: object, /) -> None:
        assert self.line.is_turn
        self.work.append((str(source), int(str(number))))

    def _end(self) -> None:
        self.turns.append(len(self.work))
        self.clock.advance(self._turn_s / 2)

    def ask(self, source: str, count: int = 1) -> None:
        for number in range(count):
            assert self.line.put_question(source, self, source, number)

    def answer(self, source: str, count: int = 1) -> None:
        for number in range(count):
            self.line.put_answer(source, self, source, number)

    def turn(self) -> list[tuple[str, int]]:
        """What one turn of the loop does."""
        before = len(self.work)
        self.loop.turn()
        return self.work[before:]

    def all(self, count: int) -> None:
        for _ in range(10_000):
            if len(self.work) >= count:
                break
            self.loop.turn()
        assert len(self.work) == count


@pytest.mark.parametrize("kind", ["ask", "answer"])
def test_a_quiet_pods_piece_is_the_first_to_be_done(kind: str) -> None:
    """However much another's stands before it: a question, and what upstream has answered."""
    done = Done()
    put = getattr(done, kind)
    put("crowd", 500)
    put("quiet")
    done.all(501)

    assert done.work[:3] == [("quiet", 0), ("crowd", 0), ("crowd", 1)]
    assert [number for source, number in done.work if source == "crowd"] == list(range(500))


def test_a_turn_is_short_while_one_pod_floods() -> None:
    """Whoever comes next is heard after PIECES, half of them answers, which are done first; the ends are called behind each half."""
    done = Done()
    done.ask("a", 100)
    done.answer("b", 100)

    half = range(PIECES // 2)
    assert done.turn() == [*(("b", number) for number in half), *(("a", number) for number in half)]
    assert done.turns == [PIECES // 2, PIECES]
    done.all(200)


def test_a_turn_is_a_round_of_all_who_wait() -> None:
    done = Done()
    for number in range(40):
        done.ask(f"pod{number}", 5)

    assert done.turn() == [(f"pod{number}", 0) for number in range(40)]
    assert done.turns == [0, 40]
    done.all(200)


def test_beside_others_a_crowd_has_little_of_a_turn_after_theirs_has_left() -> None:
    done = Done()
    done.ask("crowd", 100)
    done.ask("quiet")

    done.turn()
    assert done.work == [("quiet", 0), *(("crowd", number) for number in range(BESIDE_OTHERS))]
    assert done.turns == [0, 1, 1, 1 + BESIDE_OTHERS]
    done.all(101)


def test_beside_others_crowds_rest_after_work_and_others_need_not() -> None:
    done = Done(turn_s=WORK_S)
    done.ask("crowd", 100)
    done.ask("quiet")
    done.turn()
    begun = done.clock.now()

    assert not done.loop.soon
    assert not done.line.is_short
    done.ask("crowd")
    assert not done.loop.soon
    done.ask("quiet")
    assert done.turn() == [("quiet", 0)]
    assert not done.loop.soon
    done.turn()
    assert done.clock.now() >= begun + REST_S
    assert done.turn()
    done.all(103)


def test_a_crowd_that_is_alone_does_not_rest() -> None:
    """Nor one whose neighbours were last seen a while ago."""
    done = Done(turn_s=WORK_S)
    done.ask("crowd", 1000)
    done.turn()
    assert done.loop.soon
    done.ask("quiet")
    done.turn()
    assert not done.loop.soon
    done.clock.advance(OTHERS_S)
    done.turn()
    assert len(done.turn()) == PIECES
    assert done.loop.soon


def test_a_crowds_few_answers_are_a_crowds() -> None:
    """What it has waiting counts together: else its answers went before a quiet pod's question."""
    done = Done()
    done.ask("crowd", 100)
    done.answer("crowd")
    done.ask("quiet")
    done.turn()

    assert done.work[:2] == [("quiet", 0), ("crowd", 0)]
    done.all(102)


def test_many_who_ask_much_are_no_crowds() -> None:
    """A node where everybody is busy is worked for without a rest."""
    done = Done(turn_s=WORK_S)
    for number in range(FEW + 1):
        done.ask(f"pod{number}", 2 * CROWD)
    done.turn()

    assert done.loop.soon


def test_few_who_ask_little_are_no_crowds() -> None:
    done = Done(turn_s=WORK_S)
    for number in range(FEW):
        done.ask(f"pod{number}", CROWD)
    done.turn()

    assert done.loop.soon


def test_a_turn_has_a_bound() -> None:
    done = Done()
    for number in range(3 * MOST):
        done.ask(f"pod{number}")

    assert len(done.turn()) == MOST
    assert done.turns == [0, MOST]
    done.all(3 * MOST)


def test_too_many_questions_of_one_source_are_not_kept_and_answers_always_are() -> None:
    done = Done()
    done.ask("crowd", WAITING_PER_SOURCE)
    done.answer("crowd", WAITING_PER_SOURCE + 1)

    assert not done.line.put_question("crowd", done, "crowd", 0)
    done.ask("quiet")
    done.all(2 * WAITING_PER_SOURCE + 2)


def test_work_that_breaks_costs_itself_alone() -> None:
    """The next piece is done, and the turn ends as others."""
    done = Done()
    done.line.put_question("a", done, "a", "no number")
    done.ask("a")
    done.all(1)

    assert (done.work, done.loop.broken, done.line.is_turn) == ([("a", 0)], [ValueError], False)


def test_an_end_that_breaks_leaves_no_turn_open() -> None:
    """The other ends are called; else answers would wait for the end of a turn that never comes."""
    done = Done()
    done.line.at_end.insert(0, lambda: 1 // 0)
    done.ask("a", PIECES + 1)
    done.all(PIECES + 1)

    assert (done.turns, done.loop.broken) == ([0, PIECES, PIECES, PIECES + 1], 4 * [ZeroDivisionError])
    assert not done.line.is_turn


def test_nothing_lines_up_while_little_is_under_way() -> None:
    """But where something waits already, what comes later must not overtake it."""
    assert not Done(FEW + 1).line.is_short
    done = Done(FEW)
    assert done.line.is_short
    done.ask("a")
    assert not done.line.is_short
    done.all(1)
    assert done.line.is_short


@pytest.mark.parametrize(
    ("questions", "answers", "found"),
    [(100, 100, (8, 8)), (3, 100, (3, 13)), (100, 3, (13, 3)), (0, 100, (0, 16)), (100, 0, (16, 0)), (2, 3, (2, 3)), (8, 9, (8, 8))],
)
def test_what_one_half_leaves_is_the_others(questions: int, answers: int, found: tuple[int, int]) -> None:
    assert shares(16, questions, answers) == found
