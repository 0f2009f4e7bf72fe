"""Changes of elements to one batch of messages, and a refusal back to the change it concerns.

Pure. Neighbouring changes of one set share a message as far as its 64 KiB reach. What a change takes depends on the kernel:
Add    renews itself from 6.12 on; before, add, delete and add again: the first makes other data fail, the second then cannot.
Put    destroy and add; without destroy (before 6.3) delete and add, and the delete is left out where the element was missing.
Discard  destroy; without it delete, left out likewise.
"""

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from nft import codec
from nft.changes import Add, Change, Discard, Put
from nft.codec import Refusal
from nft.elements import DELETE, DESTROY, ELEMENTS, NEW, SetCoder
from nft.errors import NftError
from nft.objects import Features, Set

_ROOM = 0xFFFF - 4  # of the attribute that lists the elements
_LIST = struct.Struct("=HH")


@dataclass(slots=True)
class Part:
    """One message: elements of one set to which the same is done. `may_miss`: elements may be missing (a delete in place of a destroy)."""

    kind: int
    coder: SetCoder
    may_miss: bool = False
    elements: list[bytes] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)  # index of the change that each element comes from
    size: int = 0

    def encode(self, seq: int, *, is_last: bool) -> bytes:
        flags = codec.REQUEST | (codec.CREATE if self.kind == NEW else 0) | (codec.ACK if is_last else 0)
        body = b"".join((self.coder.address, _LIST.pack(self.size + 4, ELEMENTS | codec.NESTED), *self.elements))
        return codec.header(len(body), self.kind, flags, seq, codec.FAMILIES[self.coder.of.table.family]) + body

    def owner(self, refusal: Refusal) -> int | None:
        """The change that the refusal concerns; None if the kernel did not say and there are several."""
        begin = codec.GENERAL_SIZE + len(self.coder.address) + 4
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
        return refusal.offset >= codec.GENERAL_SIZE + len(self.coder.address) + 4


@dataclass(frozen=True, slots=True)
class Planner:
    """How changes become messages on this kernel."""

    features: Features
    coder: Callable[[Set], SetCoder]

    def parts(self, changes: Sequence[Change], missing: AbstractSet[int] = frozenset(), *, is_single: bool = False) -> list[Part]:
        """`missing`: changes whose element is known not to stand; `is_single`: one element a message, so that each refusal is told."""
        found: list[Part] = []
        for start, end in _runs(changes):
            for phase, kind in enumerate(self._phases(changes[start])):
                may_miss = kind == DELETE and (phase == 0 or not isinstance(changes[start], Add))
                indexes = (at for at in range(start, end) if not (may_miss and at in missing))
                found.extend(self._fill(kind, may_miss, is_single or may_miss, changes, indexes))
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

    def _fill(self, kind: int, may_miss: bool, is_single: bool, changes: Sequence[Change], indexes: Iterator[int]) -> Iterator[Part]:
        part: Part | None = None
        for at in indexes:
            element = self._pack(kind, changes[at], at)
            if part is None or is_single or part.size + len(element) > _ROOM:
                if part is not None:
                    yield part
                part = Part(kind, self.coder(changes[at].set), may_miss)
            part.elements.append(element)
            part.owners.append(at)
            part.size += len(element)
        if part is not None:
            yield part

    def _pack(self, kind: int, change: Change, index: int) -> bytes:
        try:
            coder = self.coder(change.set)
            if kind != NEW or isinstance(change, Discard):
                return coder.pack_key(change.key, change.key_end)
            return coder.pack(change.key, change.data, change.timeout_ms, change.key_end)
        except NftError as error:
            error.index = index
            raise


def _runs(changes: Sequence[Change]) -> Iterator[tuple[int, int]]:
    """Neighbours that may share messages: same set, same kind, and no key twice where a change takes more than one step."""
    start = 0
    keys: set[bytes] = set()
    for at, change in enumerate(changes):
        before = changes[start]
        if at > start and (change.set is not before.set or type(change) is not type(before) or change.key in keys):
            yield start, at
            start = at
            keys.clear()
        keys.add(change.key)
    if changes:
        yield start, len(changes)


def encode(parts: Sequence[Part], first: int) -> bytes:
    """The batch; its messages are numbered from `first`, the begin mark's number, on."""
    last = len(parts) - 1
    encoded = [part.encode(first + 1 + at, is_last=at == last) for at, part in enumerate(parts)]
    return b"".join((codec.batch_mark(codec.BATCH_BEGIN, first), *encoded, codec.batch_mark(codec.BATCH_END, first + len(parts) + 1)))
