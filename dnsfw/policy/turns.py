"""Fair turns: what waits is taken from each owner in turn, however much any of them has.

Pure. Always true: putting and taking cost the same whatever waits; an owner's own things keep their order; whoever has nothing waiting is
at most one thing of each other owner away from its turn, and finds room: nobody may have more waiting than there are places left, so
that one crowd takes half of them, two take a third each, and never all.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
NO_BOUND: Final = 1 << 30
"""For what is bounded where it comes from."""


class Turns(Generic[T]):
    """`per_owner`: how many things of one owner may wait; `in_all`: of all."""

    def __init__(self, per_owner: int, in_all: int) -> None:
        self._per_owner = per_owner
        self._in_all = in_all
        self._waiting: dict[Hashable, deque[T]] = {}
        self._ring: deque[Hashable] = deque()  # whose turn it is, each owner of something once
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of(self, owner: Hashable) -> int:
        """How many of this owner's wait."""
        return len(self._waiting.get(owner, ()))

    @property
    def owners(self) -> int:
        """How many have something waiting."""
        return len(self._ring)

    def put(self, owner: Hashable, thing: T) -> bool:
        """False, and nothing is kept, where the owner has too many."""
        queue = self._waiting.get(owner)
        if (len(queue) if queue else 0) >= min(self._per_owner, self._in_all - self._count):
            return False
        if queue is None:
            queue = self._waiting[owner] = deque()
            self._ring.append(owner)
        queue.append(thing)
        self._count += 1
        return True

    def take(self) -> T:
        """The next in turn; IndexError where nothing waits."""
        owner = self._ring.popleft()
        queue = self._waiting[owner]
        thing = queue.popleft()
        self._count -= 1
        if queue:
            self._ring.append(owner)
        else:
            del self._waiting[owner]
        return thing

    def take_all(self, is_wanted: Callable[[Hashable], bool]) -> list[T]:
        """All that the wanted owners have waiting. Looks at every owner."""
        owners = [owner for owner in self._ring if is_wanted(owner)]
        for owner in owners:
            self._ring.remove(owner)
        taken = [thing for owner in owners for thing in self._waiting.pop(owner)]
        self._count -= len(taken)
        return taken
