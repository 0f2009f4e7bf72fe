"""Fair turns: what waits is taken from each owner in turn, however much any of them has.

Pure. Always true: putting and taking cost the same whatever waits; an owner's own things keep their order; whoever has nothing waiting is
at most one thing of each other owner away from its turn.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """`per_owner`: how many things of one owner may wait; `in_all`: of all."""

    def __init__(self, per_owner: int, in_all: int) -> None:
        self._per_owner = per_owner
        self._in_all = in_all
        self._waiting: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, owner: Hashable, thing: T) -> bool:
        """False, and nothing is kept, where the owner has too many, or all have."""
        if self._count >= self._in_all:
            return False
        queue = self._waiting.get(owner)
        if queue is None:
            queue = self._waiting[owner] = deque()
        elif len(queue) >= self._per_owner:
            return False
        queue.append(thing)
        self._count += 1
        return True

    def take(self) -> T:
        """The next in turn; KeyError where nothing waits."""
        owner, queue = self._waiting.popitem(last=False)
        thing = queue.popleft()
        self._count -= 1
        if queue:
            self._waiting[owner] = queue
        return thing
