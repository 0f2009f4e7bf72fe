"""Changes of elements to one batch of messages, and a refusal back to the change it concerns.

Pure. Neighbouring changes of one set share a message as far as its 64 KiB reach. What a change takes depends on the kernel:
Add    renews itself from 6.12 on; before, add, delete and add again: the first makes other data fail, the second then cannot.
Put    destroy and add; without destroy (before 6.3) delete and add, and the delete is left out where the element was missing.
Discard  destroy; without it delete, left out likewise.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from nft import codec
from nft.changes import Add, Change, Discard, Put
from nft.codec import Refusal
from nft.elements import DELETE, DESTROY, NEW, ROOM, SetCoder
from nft.errors import NftError
from nft.objects import Features, Set


class Part:
    """One message: elements of one set to which the same is done. `may_miss`: elements may be missing (a delete in place of a destroy)."""

    __slots__ = ("coder", "elements", "kind", "may_miss", "owners", "size")

    def __init__(self, kind: int, coder: SetCoder, may_miss: bool) -> None:
        self.kind = kind
        self.coder = coder
        self.may_miss = may_miss
        self.elements: list[bytes] = []
        self.owners: list[int] = []  # index of the change that each element comes from
        self.size = 0

    def encode(self, seq: int, *, is_last: bool) -> bytes:
        return self.coder.message(self.kind, seq, b"".join(self.elements), is_last=is_last)

    def owner(self, refusal: Refusal) -> int | None:
        """The change that the refusal concerns; None if the kernel did not say and there are several."""
        begin = self.coder.first_element
        if len(self.owners) == 1 or (refusal.offset is not None and refusal.offset < begin):
            return self.owners[0]
        if refusal.offset is None:
            return None
        starts = [begin]
        for element in self.elements[:-1]:
            starts.append(starts[-1] + len(element))
        return self.owners[bisect_right(starts, refusal.offset) - 1]

    def names_element(self, refusal: Refusal) -> bool | None:
        """Whether the refusal is about an element, not the whole set; None if the kernel did not say."""
        if refusal.offset is None:
            return None
        return refusal.offset >= self.coder.first_element


@dataclass(frozen=True, slots=True)
class Planner:
    """How changes become messages on this kernel."""

    features: Features
    coder: Callable[[Set], SetCoder]

    def parts(self, changes: Sequence[Change], missing: AbstractSet[int] = frozenset(), *, is_single: bool = False) -> list[Part]:
        """`missing`: changes whose element is known not to stand; `is_single`: one element a message, so that each refusal is told."""
        found: list[Part] = []
        for start, end in _runs(changes):
            first = changes[start]
            for kind in self._phases(first):
                may_miss = kind == DELETE and not isinstance(first, Add)
                indexes = [at for at in range(start, end) if at not in missing] if may_miss and missing else range(start, end)
                self._fill(found, Part(kind, self.coder(first.set), may_miss), changes, indexes, is_single=is_single or may_miss)
        return found

    def _phases(self, change: Change) -> tuple[int, ...]:
        gone = DESTROY if self.features.has_destroy else DELETE
        if isinstance(change, Discard):
            return (gone,)
        if isinstance(change, Put):
            return (gone, NEW)
        if self.features.renews_by_add or not change.set.has_timeout:
            return (NEW,)
        return (NEW, DELETE, NEW)

    def _fill(self, found: list[Part], part: Part, changes: Sequence[Change], indexes: Sequence[int], *, is_single: bool) -> None:
        """Add the run's elements to `part`, and to more like it when it is full."""
        coder, is_new = part.coder, part.kind == NEW
        for at in indexes:
            change = changes[at]
            try:
                if is_new and not isinstance(change, Discard):
                    element = coder.pack(change.key, change.data, change.timeout_ms, change.key_end)
                else:
                    element = coder.pack_key(change.key, change.key_end)
            except NftError as error:
                error.index = at
                raise
            if part.elements and (is_single or part.size + len(element) > ROOM):
                found.append(part)
                part = Part(part.kind, coder, part.may_miss)
            part.elements.append(element)
            part.owners.append(at)
            part.size += len(element)
        if part.elements:
            found.append(part)


def _runs(changes: Sequence[Change]) -> Iterator[tuple[int, int]]:
    """Neighbours that may share messages: same set, same kind, and no key twice, since a change may take several steps."""
    start = 0
    kind, of = type(changes[0]), changes[0].set
    keys: set[bytes] = set()
    for at, change in enumerate(changes):
        if change.set is not of or type(change) is not kind or change.key in keys:
            yield start, at
            start, kind, of = at, type(change), change.set
            keys.clear()
        keys.add(change.key)
    yield start, len(changes)


def encode(parts: Sequence[Part], first: int) -> bytes:
    """The batch; its messages are numbered from `first`, the begin mark's number, on."""
    last = first + len(parts)
    sent = [part.encode(seq, is_last=seq == last) for seq, part in enumerate(parts, first + 1)]
    return wrap(b"".join(sent), first, last + 1)


def wrap(sent: bytes, first: int, end: int) -> bytes:
    """Messages between the marks that make them one transaction."""
    return codec.batch_mark(codec.BATCH_BEGIN, first) + sent + codec.batch_mark(codec.BATCH_END, end)
