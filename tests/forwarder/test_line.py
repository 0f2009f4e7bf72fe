"""Work for pods in fair turns: a bounded piece in each turn of the loop, and nobody behind another's crowd."""

import asyncio

import pytest

from dnsfw.forwarder.line import FEW, MOST, PIECES, WAITING_PER_SOURCE, Line, shares


class Done:
    """What was done, in order; `turns`: how much of it each turn of the line had done when it ended."""

    def __init__(self, under_way: int = FEW + 1) -> None:
        self.line = Line(asyncio.get_running_loop(), lambda: under_way)
        self.line.at_end.append(self._end)
        self.work: list[tuple[str, int]] = []
        self.turns: list[int] = []

    def do(self, source: object, number: object) -> None:
        assert self.line.is_turn
        self.work.append((str(source), int(str(number))))

    def _end(self) -> None:
        self.turns.append(len(self.work))

    def ask(self, source: str, count: int = 1) -> None:
        for number in range(count):
            assert self.line.put_question(source, self.do, source, number)

    def answer(self, source: str, count: int = 1) -> None:
        for number in range(count):
            self.line.put_answer(source, self.do, source, number)

    async def all(self, count: int) -> None:
        for _ in range(1000):
            if len(self.work) >= count:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{len(self.work)} of {count} done")


@pytest.mark.parametrize("kind", ["ask", "answer"])
async def test_a_quiet_pods_piece_is_the_second_to_be_done(kind: str) -> None:
    """However much another's stands before it: a question, and what upstream has answered."""
    done = Done()
    put = getattr(done, kind)
    put("crowd", 500)
    put("quiet")
    await done.all(501)

    assert done.work[:3] == [("crowd", 0), ("quiet", 0), ("crowd", 1)]
    assert [number for source, number in done.work if source == "crowd"] == list(range(500))


async def test_a_turn_is_short_while_one_pod_floods() -> None:
    """Whoever comes next is heard after PIECES, half of them answers, which are done first; the ends are called behind each half."""
    done = Done()
    done.ask("a", 100)
    done.answer("b", 100)
    await asyncio.sleep(0)

    assert done.turns == [PIECES // 2, PIECES]
    assert done.work == [*(("b", number) for number in range(PIECES // 2)), *(("a", number) for number in range(PIECES // 2))]
    await done.all(200)


async def test_a_turn_is_a_round_of_all_who_wait() -> None:
    done = Done()
    for number in range(40):
        done.ask(f"pod{number}", 5)
    await asyncio.sleep(0)

    assert done.turns == [0, 80]
    assert [number for _, number in done.work] == [0] * 40 + [1] * 40
    await done.all(200)


async def test_a_turn_has_a_bound() -> None:
    done = Done()
    for number in range(3 * MOST):
        done.ask(f"pod{number}")
    await asyncio.sleep(0)

    assert done.turns == [0, MOST]
    await done.all(3 * MOST)


async def test_too_many_questions_of_one_source_are_not_kept_and_answers_always_are() -> None:
    done = Done()
    done.ask("crowd", WAITING_PER_SOURCE)
    done.answer("crowd", WAITING_PER_SOURCE + 1)

    assert not done.line.put_question("crowd", done.do, "crowd", 0)
    done.ask("quiet")
    await done.all(2 * WAITING_PER_SOURCE + 2)


async def test_work_that_breaks_costs_itself_alone() -> None:
    """The next piece is done, and the turn ends as others."""
    done, failures = Done(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(type(context["exception"])))
    done.line.put_question("a", done.do, "a", "no number")
    done.ask("a")
    await done.all(1)

    assert (done.work, failures, done.line.is_turn) == ([("a", 0)], [ValueError], False)


async def test_an_end_that_breaks_leaves_no_turn_open() -> None:
    """The other ends are called; else answers would wait for the end of a turn that never comes."""
    done, failures = Done(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(type(context["exception"])))
    done.line.at_end.insert(0, lambda: 1 // 0)
    done.ask("a", PIECES + 1)
    await done.all(PIECES + 1)

    assert (done.turns, failures) == ([0, PIECES, PIECES, PIECES + 1], 4 * [ZeroDivisionError])
    assert not done.line.is_turn


async def test_nothing_lines_up_while_little_is_under_way() -> None:
    """But where something waits already, what comes later must not overtake it."""
    assert not Done(FEW + 1).line.is_short
    done = Done(FEW)
    assert done.line.is_short
    done.ask("a")
    assert not done.line.is_short
    await done.all(1)
    assert done.line.is_short


@pytest.mark.parametrize(
    ("questions", "answers", "found"),
    [(100, 100, (8, 8)), (3, 100, (3, 13)), (100, 3, (13, 3)), (0, 100, (0, 16)), (100, 0, (16, 0)), (2, 3, (2, 3)), (8, 9, (8, 8))],
)
def test_what_one_half_leaves_is_the_others(questions: int, answers: int, found: tuple[int, int]) -> None:
    assert shares(16, questions, answers) == found
