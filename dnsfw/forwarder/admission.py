"""How many queries may wait at the same time, of one pod and in all.

Pure. Always true: a pod past its bound costs the others nothing, and what was counted in is counted out.
"""

from dnsfw.policy.reasons import Reason


class InFlight:
    """Owners are pod uids, or addresses where no pod is known."""

    def __init__(self, per_owner: int, in_all: int) -> None:
        self._per_owner = per_owner
        self._in_all = in_all
        self._counts: dict[str, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def refusal(self, owner: str) -> Reason | None:
        """Why `owner` may not have one more."""
        if self._counts.get(owner, 0) >= self._per_owner or self._total >= self._in_all:
            return Reason.QUEUE_FULL
        return None

    def enter(self, owner: str) -> None:
        self._counts[owner] = self._counts.get(owner, 0) + 1
        self._total += 1

    def leave(self, owner: str) -> None:
        self._total -= 1
        count = self._counts[owner] - 1
        if count:
            self._counts[owner] = count
        else:
            del self._counts[owner]
