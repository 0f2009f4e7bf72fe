"""A ring of things in order, where each can be taken out, or put behind all others, at the same small cost.

Pure. Always true: who has left holds nobody and is held by nobody of the ring, so that no cycle is left for the collector.

Not an OrderedDict, which costs 0.5 µs more for each thing that comes and goes; not a dict's own order, in which finding the first costs a
step for each one deleted before it; not a deque, which costs twice as much where compiled code uses it.
"""

from typing import Final


class Link:
    """A place in a ring."""

    __slots__ = ("after", "before")
    before: "Link"
    after: "Link"

    def leave(self) -> None:
        """The others close up."""
        self.before.after, self.after.before = self.after, self.before
        self.before = self.after = _NOBODY


class Ring(Link):
    """`after` it is the first, `before` it the last; itself, where it is empty."""

    __slots__ = ()

    def __init__(self) -> None:
        self.before = self.after = self

    def append(self, link: Link) -> None:
        """`link`, which is in no ring, becomes the last."""
        link.before, link.after = self.before, self
        self.before.after = link
        self.before = link


_NOBODY: Final = Ring()
