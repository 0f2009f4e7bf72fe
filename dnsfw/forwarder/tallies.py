"""How many queries ended how.

Pure: counts, for metrics and `status`.
"""

from collections import Counter
from collections.abc import Callable


class Tally:
    """How many queries ended with one decision and one reason."""

    __slots__ = ("count", "decision", "reason")

    def __init__(self, decision: str, reason: str) -> None:
        self.decision = decision
        self.reason = reason
        self.count = 0


class Tallies:
    """Those of all queries that are over. Who has one at hand adds to it: a Counter's `+=` costs 0.1 µs, and each query has two."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], Tally] = {}

    def of(self, decision: str, reason: str) -> Tally:
        if (tally := self._tallies.get((decision, reason))) is None:
            tally = self._tallies[decision, reason] = Tally(decision, reason)
        return tally

    def by_decision(self) -> dict[str, int]:
        return self._sums(lambda tally: tally.decision)

    def by_reason(self) -> dict[str, int]:
        return self._sums(lambda tally: tally.reason)

    def _sums(self, word_of: Callable[[Tally], str]) -> dict[str, int]:
        found: Counter[str] = Counter()
        for tally in self._tallies.values():
            found[word_of(tally)] += tally.count
        return {word: count for word, count in found.items() if count}
