"""What waits to be done for pods, in fair turns: queries that have come, and the answers of upstreams to those that went out.

Touches the loop's `call_soon` and `call_later`; time is passed in. Always true: no crowd stands before a pod that has little waiting, with
its question as with its answer, and among others each has one piece after the other; a turn is bounded, so that whoever comes next is heard
soon; what has been put in line is done, in the order of its pod, and whatever breaks costs itself alone.

A turn is a round, one piece of each pod that waits; of somebody who is alone it is more. Where few wait and some of them are crowds, those
with little go first, and their things leave at once; and a crowd is worked on a third of the time only: a loop that never rests has each
newcomer wait for the end of its turn, and keeps upstreams and clients on the same machine from their processor, 2 ms at a time.

While little is under way nothing waits here: it is done where it was read.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, Final

from dnsfw.clock import Clock, Instant
from dnsfw.policy.turns import NO_BOUND, Turns

MOST: Final = 128
"""Done in a turn of the loop, 10 to 25 µs each: the more of a kind are done in a row, the less each costs (44 µs a new name with 128, 66
with 16: the processor's caches hold one stage of the way, not all of it)."""
PIECES: Final = 16
BESIDE_OTHERS: Final = 4
"""Done in a turn of somebody who is alone; and of crowds, while others are there."""
FEW: Final = 8
"""Questions under way, up to which nothing needs to wait for its turn; owners of what waits, up to which some may be crowds."""
LITTLE: Final = 4
CROWD: Final = 8
"""Pieces waiting: of a pod that is no crowd; and of each owner on average, where crowds are."""
WORK_S: Final = 0.0005
REST_S: Final = 0.001  # uvloop's timers count in milliseconds
OTHERS_S: Final = 1.0
"""For so long after several have waited at once, there are others."""
WAITING_PER_SOURCE: Final = 4096  # more than a socket's buffer holds: a burst that fitted there is not cut short here
WAITING: Final = 16_384


class Work:
    """Whoever puts pieces in line, and does each when its turn has come. A class, not a callable: ADR 0010."""

    def do(self, first: Any, second: Any, /) -> None:  # noqa: ANN401 -- of what was put in line
        raise NotImplementedError


Piece = tuple[Work, Any, Any]
"""Whose it is, and `do`'s arguments: no closure, and no named tuple; either would cost twice as much."""


class Line:
    """under_way: how many questions are, of all pods. at_end: called behind answers and behind questions that leave together."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, under_way: Callable[[], int]) -> None:
        self._loop = loop
        self._now = clock.now  # not the loop's time, which stands still within a turn
        self._under_way = under_way
        self._questions: Turns[Piece] = Turns(WAITING_PER_SOURCE, WAITING)
        self._answers: Turns[Piece] = Turns(NO_BOUND, NO_BOUND)  # no more can wait than questions are under way
        self._is_due = self._is_resting = False
        self._others_until = self._works_since = 0.0
        self.is_turn = False
        self.at_end: list[Callable[[], object]] = []

    @property
    def is_short(self) -> bool:
        """Whether a piece of work need not line up: nothing waits, and little is under way."""
        return not (self._is_due or self._is_resting) and self._under_way() <= FEW

    def put_question(self, source: Hashable, work: Work, first: object, second: object) -> bool:
        """False, and nothing is kept, where too many of this source's wait already."""
        if not self._questions.put(source, (work, first, second)):
            return False
        self._expect(source)
        return True

    def put_answer(self, source: Hashable, work: Work, first: object, second: object) -> None:
        """`source`: whose question it answers."""
        self._answers.put(source, (work, first, second))
        self._expect(source)

    def _expect(self, source: Hashable) -> None:
        """While crowds rest, who has little waiting does not."""
        if not self._is_due and (not self._is_resting or self._has_little(source)):
            self._turn_soon()

    def _has_little(self, source: Hashable) -> bool:
        return self._questions.of(source) + self._answers.of(source) <= LITTLE

    def _turn_soon(self) -> None:
        self._is_due = True
        self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_due, self.is_turn = False, True
        now, questions, answers = self._now(), self._questions.owners, self._answers.owners
        if questions > 1 or answers > 1:
            self._others_until = now + OTHERS_S
        if max(questions, answers) > FEW:
            self._take(*shares(MOST, questions, answers))
        elif now >= self._others_until:
            self._take(*shares(PIECES, len(self._questions), len(self._answers)))
        else:
            self._take_little_first()
        self.is_turn = False
        if not self._is_due and not self._is_resting:
            self._look_ahead(now)

    def _take_little_first(self) -> None:
        self._do_all(self._questions.take_all(self._has_little), self._answers.take_all(self._has_little))
        if not self._is_resting:
            self._take(*shares(BESIDE_OTHERS, len(self._questions), len(self._answers)))

    def _take(self, questions: int, answers: int) -> None:
        """So many of each, in turns."""
        self._do_all([self._questions.take() for _ in range(questions)], [self._answers.take() for _ in range(answers)])

    def _do_all(self, questions: list[Piece], answers: list[Piece]) -> None:
        for kind in (answers, questions):  # what was granted leaves before anything is asked
            for piece in kind:
                self._do(piece)
            self._end()

    def _look_ahead(self, begun: Instant) -> None:
        """What still waits has its next turn at once, or after a rest. begun: when this one did."""
        if not self._questions and not self._answers:
            self._works_since = 0.0
            return
        now = self._now()
        self._works_since = self._works_since or begun
        if now < self._others_until and now - self._works_since >= WORK_S and self._is_crowded():
            self._is_resting = True
            self._loop.call_later(REST_S, self._end_rest)
            return
        self._turn_soon()

    def _is_crowded(self) -> bool:
        owners, waiting = self._questions.owners + self._answers.owners, len(self._questions) + len(self._answers)
        return owners <= FEW and waiting >= CROWD * owners

    def _end_rest(self) -> None:
        self._is_resting, self._works_since = False, 0.0
        if not self._is_due:
            self._turn_soon()

    def _end(self) -> None:
        for end in self.at_end:
            try:
                end()
            except Exception as error:
                self._tell(error)

    def _do(self, piece: Piece) -> None:
        work, first, second = piece
        try:
            work.do(first, second)
        except Exception as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "a piece of work was not done", "exception": error})


def shares(pieces: int, questions: int, answers: int) -> tuple[int, int]:
    """How many of each make so many pieces: half and half, what one leaves being the other's."""
    half = pieces // 2
    return min(questions, max(half, pieces - answers)), min(answers, max(half, pieces - questions))
