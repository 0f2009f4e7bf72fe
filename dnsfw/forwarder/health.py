"""Whether one upstream is worth asking: what it did lately, and when to look again.

Pure. Always true: only silence and refusals count against an upstream, never a datagram that was not its answer; an upstream that is down
is looked at again at bounded intervals, neither in a busy loop (CoreDNS #7704) nor later than `probe_max_seconds`.
"""

from dataclasses import dataclass
from typing import Final

from dnsfw.clock import Instant

MIN_PROBE_SECONDS: Final = 0.1


@dataclass(slots=True)
class Health:
    """One upstream's state. `failures_to_down` failures without any answer in between take it out of the order."""

    failures_to_down: int
    probe_max_seconds: float
    is_down: bool = False
    failures: int = 0
    last_heard: Instant = float("-inf")
    probe_after: float = MIN_PROBE_SECONDS

    def heard(self, now: Instant) -> bool:
        """An answer came; True if that brings the upstream back."""
        self.last_heard = now
        self.failures = 0
        if not self.is_down:
            return False
        self.is_down = False
        self.probe_after = MIN_PROBE_SECONDS
        return True

    def failed(self, asked_at: Instant) -> bool:
        """What was asked at `asked_at` was refused or not answered in time; True if that takes the upstream down.

        Counts only if nothing at all was heard since: slow names are no fault of the upstream, and an old refusal is old news.
        """
        if self.last_heard >= asked_at:
            return False
        self.failures += 1
        if self.is_down or self.failures < self.failures_to_down:
            return False
        self.is_down = True
        return True

    def next_probe(self) -> float:
        """Seconds until the next look at an upstream that is down; doubles up to the bound."""
        wait = self.probe_after
        self.probe_after = min(2 * wait, self.probe_max_seconds)
        return wait
