"""Fair turns: what waits is taken from each owner in turn, however much any of them has.

Pure. Always true: putting and taking cost the same whatever waits; an owner's own things keep their order; whoever has nothing waiting is
at most one thing of each other owner away from its turn, and finds room: nobody may have more waiting than there are places left, so
that one crowd takes half of them, two take a third each, and never all.
"""

from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar, cast

from dnsfw.ring import Link, Ring

T = TypeVar("T")
NO_BOUND: Final = 1 << 30
"""For what is bounded where it comes from."""


_MOST_TAKEN: Final = 64
"""Things of an owner that are gone and still have their place in its list."""
MOST_RESTING: Final = 1_024
"""Owners without anything waiting whose place is kept, 0.7 kB at most: to make and unmake it for each thing takes 0.5 µs."""


class _Queue(Link):
    """What one owner has waiting. A list and where it begins, since a deque would cost an owner of one thing 600 bytes."""

    __slots__ = ("_begin", "_things", "owner")

    def __init__(self, owner: Hashable) -> None:
        self.owner = owner
        self._things: list[Any] = []
        self._begin = 0

    def __len__(self) -> int:
        return len(self._things) - self._begin

    def put(self, thing: object) -> None:
        self._things.append(thing)

    def take(self) -> Any:  # noqa: ANN401 -- of the type that its Turns has
        thing = self._things[self._begin]
        self._things[self._begin] = None
        self._begin += 1
        if self._begin >= _MOST_TAKEN:
            del self._things[: self._begin]
            self._begin = 0
        return thing

    def take_all(self) -> list[Any]:
        things, begin = self._things, self._begin
        self._things, self._begin = [], 0
        return things[begin:]


class Turns(Generic[T]):
    """`per_owner`: how many things of one owner may wait; `in_all`: of all."""

    def __init__(self, per_owner: int, in_all: int) -> None:
        self._per_owner = per_owner
        self._in_all = in_all
        self._queues: dict[Hashable, _Queue] = {}
        self._ring = Ring()  # whose turn it is, each owner of something once
        self._count = 0
        self.owners = 0
        """How many have something waiting."""

    def __len__(self) -> int:
        return self._count

    def of(self, owner: Hashable) -> int:
        """How many of this owner's wait."""
        queue = self._queues.get(owner)
        return 0 if queue is None else len(queue)

    def put(self, owner: Hashable, thing: T) -> bool:
        """False, and nothing is kept, where the owner has too many."""
        queue = self._queues.get(owner)
        waiting, room = 0 if queue is None else len(queue), self._in_all - self._count
        if waiting >= room or waiting >= self._per_owner:
            return False
        if queue is None:
            queue = self._queues[owner] = _Queue(owner)
        queue.put(thing)
        self._count += 1
        if not waiting:
            self._ring.append(queue)
            self.owners += 1
        return True

    def take(self) -> T:
        """The next in turn; IndexError where nothing waits."""
        if not self._count:
            raise IndexError("nothing waits")
        queue = cast("_Queue", self._ring.after)
        queue.leave()
        self._count -= 1
        thing = cast("T", queue.take())
        if len(queue):
            self._ring.append(queue)
        else:
            self._rest(queue)
        return thing

    def take_all(self, is_wanted: Callable[[Hashable], bool]) -> list[T]:
        """All that the wanted owners have waiting. Looks at every owner."""
        taken: list[T] = []
        place = self._ring.after
        while place is not self._ring:
            queue, place = cast("_Queue", place), place.after
            if is_wanted(queue.owner):
                queue.leave()
                taken += queue.take_all()
                self._rest(queue)
        self._count -= len(taken)
        return taken

    def _rest(self, queue: _Queue) -> None:
        """Its owner has nothing waiting any more, and is in no ring."""
        self.owners -= 1
        if len(self._queues) - self.owners > MOST_RESTING:
            del self._queues[queue.owner]
