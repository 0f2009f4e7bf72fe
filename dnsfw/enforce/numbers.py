"""Decision numbers: what the upper bits of a connection's mark mean.

A number stands for (pod, rule) at one content of the rule (`basis`). It is live, or leaving (out of the kernel's `live` set, perhaps
still on some
connection), or free. Always true: a number that any connection may still bear is never given out again.
Pure but for the journal, which is told of a number's meaning before the number is used.
"""

from collections.abc import Callable, Iterator, KeysView, Set
from dataclasses import dataclass
from typing import Final, NamedTuple

from dnsfw.policy.model import PodUid, RuleRef

OPEN_RULE: Final = RuleRef(namespace="", name="*open")
"""Stands for what is open by default on a pod that no enforced rule closes; no object can have this name."""


class Holder(NamedTuple):
    """What a number stands for: one rule's permissions of one pod. Looked up for each grant: a dataclass's hash would take 2 µs."""

    pod: PodUid
    rule: RuleRef


@dataclass(frozen=True, slots=True)
class Meaning:
    holder: Holder
    basis: str


Note = Callable[[int, Meaning | None], None]
"""Told that a number now means this, or (None) nothing any more."""


class Numbers:
    """Who holds which number. Owned by the enforcer."""

    def __init__(self, highest: int, note: Note) -> None:
        self._highest = highest
        self._note = note
        self._next = 1
        self._by_pod: dict[PodUid, dict[RuleRef, int]] = {}
        self._meanings: dict[int, Meaning] = {}
        self._free: list[int] = []
        self._left: set[int] = set()
        self._inherited: set[int] = set()
        self._seen: set[int] = set()  # found at start, so `_next` must never give them: they come back through `_free`

    def of(self, holder: Holder) -> int | None:
        return self.of_rule(holder.pod, holder.rule)

    def of_rule(self, pod: PodUid, rule: RuleRef) -> int | None:
        rules = self._by_pod.get(pod)
        return None if rules is None else rules.get(rule)

    def meaning(self, number: int) -> Meaning | None:
        return self._meanings.get(number)

    def live(self) -> Iterator[tuple[int, Meaning]]:
        return iter(self._meanings.items())

    def live_numbers(self) -> KeysView[int]:
        return self._meanings.keys()

    def holders_of(self, pod: PodUid) -> list[Holder]:
        return [Holder(pod, rule) for rule in self._by_pod.get(pod, ())]

    def __len__(self) -> int:
        return len(self._meanings)

    @property
    def available(self) -> int:
        unseen = self._highest - self._next + 1 - sum(number >= self._next for number in self._seen)
        return len(self._free) + unseen

    @property
    def left(self) -> frozenset[int]:
        """Numbers that wait for a conntrack dump to show that no connection bears them."""
        return frozenset(self._left)

    def take(self, holder: Holder, basis: str) -> int | None:
        """A number for this holder; None if none is free (closed, design §2)."""
        number = self._unused()
        if number is None:
            return None
        self._enter(number, Meaning(holder, basis))
        return number

    def adopt(self, number: int, meaning: Meaning) -> None:
        """Take over what stood in the kernel at start."""
        self._seen.add(number)
        self._inherited.add(number)
        self._left.discard(number)  # connections bear it, so `avoid` may have met it before its meaning was known
        self._hold(number, meaning)

    def is_out_of_sight(self, holder: Holder, basis: str) -> bool:
        """Whether its number may stand for more than the ledger has: connections from before our start, whose leases were over by then.

        They live for as long as the content that they were granted under (`basis`) does.
        """
        number = self._by_pod[holder.pod][holder.rule]
        return number in self._inherited and self._meanings[number].basis != basis

    def rebase(self, holder: Holder, basis: str) -> None:
        """The rule's content has changed, and everything the number stood for is still allowed."""
        number = self._by_pod[holder.pod][holder.rule]
        if self._meanings[number].basis != basis:
            self._enter(number, Meaning(holder, basis))

    def release(self, holder: Holder) -> int:
        """The number is nobody's, but stays live until `leave`."""
        number = self._by_pod[holder.pod].pop(holder.rule)
        if not self._by_pod[holder.pod]:
            del self._by_pod[holder.pod]
        return number

    def leave(self, number: int) -> None:
        """The number has gone out of the kernel's `live` set."""
        meaning = self._meanings.pop(number, None)
        if meaning is not None and self.of(meaning.holder) == number:
            self.release(meaning.holder)
        self._inherited.discard(number)
        self._left.add(number)
        self._note(number, None)

    def reclaim(self, waited: Set[int], in_use: Set[int]) -> None:
        """`waited` had left before a conntrack dump was begun, and `in_use` are the numbers that it shows."""
        unused = self._left & waited - in_use
        self._left -= unused
        self._free.extend(unused)

    def avoid(self, in_use: Set[int]) -> None:
        """At start: marks that connections already bear and that mean nothing to us."""
        unknown = {number for number in in_use if 0 < number <= self._highest and number not in self._meanings}
        self._left |= unknown
        self._seen |= unknown

    def _unused(self) -> int | None:
        while self._next <= self._highest:
            number, self._next = self._next, self._next + 1
            if number not in self._seen:
                return number
        return self._free.pop() if self._free else None

    def _enter(self, number: int, meaning: Meaning) -> None:
        self._note(number, meaning)
        self._hold(number, meaning)

    def _hold(self, number: int, meaning: Meaning) -> None:
        self._by_pod.setdefault(meaning.holder.pod, {})[meaning.holder.rule] = number
        self._meanings[number] = meaning
