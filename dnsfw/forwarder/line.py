"""What waits to be done for pods, in fair turns: queries that have come, and the answers of upstreams to those that went out.

Touches the loop's `call_soon`. Always true: a turn of the loop does PIECES, or a round of all pods that wait, and never more than MOST, so
that whoever comes next is heard soon; each pod is at most one piece of each other pod away from its turn, with its question as with its
answer; what has been put in line is done, in the order of its pod, and whatever breaks costs itself alone.

While little is under way nothing waits here: it is done where it was read.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from dnsfw.policy.turns import NO_BOUND, Turns

PIECES, MOST = 16, 128
"""Done in a turn of the loop, 10 to 25 µs each, or where many pods wait, a round of all of them, up to MOST: the more of a kind are done in
a row, the less each costs (44 µs a new name with 128, 66 with 16: the processor's caches hold one stage of the way, not all of it).
"""
FEW = 8
"""Questions under way, up to which nothing needs to wait for its turn."""
WAITING_PER_SOURCE, WAITING = 4096, 16_384  # more than a socket's buffer holds: a burst that fitted there is not cut short here

_Work = Callable[[Any, Any], object]


class Piece(NamedTuple):
    """`work(first, second)`: no closure, which would cost twice as much."""

    work: _Work
    first: Any
    second: Any


class Line:
    """under_way: how many questions are, of all pods. at_end: called in every turn behind its answers and behind its questions."""

    def __init__(self, loop: asyncio.AbstractEventLoop, under_way: Callable[[], int]) -> None:
        self._loop = loop
        self._under_way = under_way
        self._questions: Turns[Piece] = Turns(WAITING_PER_SOURCE, WAITING)
        self._answers: Turns[Piece] = Turns(NO_BOUND, NO_BOUND)  # no more can wait than questions are under way
        self._is_due = False
        self.is_turn = False
        self.at_end: list[Callable[[], object]] = []

    @property
    def is_short(self) -> bool:
        """Whether a piece of work need not line up: nothing waits, and little is under way."""
        return not self._is_due and self._under_way() <= FEW

    def put_question(self, source: Hashable, work: _Work, first: object, second: object) -> bool:
        """False, and nothing is kept, where too many of this source's wait already."""
        if not self._questions.put(source, Piece(work, first, second)):
            return False
        self._expect()
        return True

    def put_answer(self, source: Hashable, work: _Work, first: object, second: object) -> None:
        """`source`: whose question it answers."""
        self._answers.put(source, Piece(work, first, second))
        self._expect()

    def _expect(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_due, self.is_turn = False, True
        # Half of them are of each kind, hence twice as many as pods wait.
        pieces = min(max(PIECES, 2 * self._questions.owners, 2 * self._answers.owners), MOST)
        questions, answers = shares(pieces, len(self._questions), len(self._answers))
        for _ in range(answers):
            self._do(*self._answers.take())
        self._end()  # what was granted leaves before anything is asked
        for _ in range(questions):
            self._do(*self._questions.take())
        self._end()
        self.is_turn = False
        if self._questions or self._answers:
            self._expect()

    def _end(self) -> None:
        for end in self.at_end:
            self._do(_call, end, None)

    def _do(self, work: _Work, first: object, second: object) -> None:
        try:
            work(first, second)
        except Exception as error:
            self._loop.call_exception_handler({"message": "a piece of work was not done", "exception": error})


def _call(end: Callable[[], object], _: None) -> None:
    end()


def shares(pieces: int, questions: int, answers: int) -> tuple[int, int]:
    """How many of each make a turn: half and half, what one leaves being the other's."""
    half = pieces // 2
    return min(questions, max(half, pieces - answers)), min(answers, max(half, pieces - questions))
