"""What workers ask of the ledger's owner: looked up, passed on, and the outcomes sent back as they come, one frame a turn of the loop.

Touches what it is given, and one callback of the loop. Always true: an ask is carried out only under the snapshot that it was decided by,
once that is in force; one from before it is told that the rules have changed; at most MOST_PARKED wait for rules on their way, and none
for longer than its asker does.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from dnsfw.clock import Clock, Instant
from dnsfw.policy.grants import GrantOutcome, Grants, NotGranted
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Snapshot
from dnsfw.workers.asking import PATIENCE_S
from dnsfw.workers.frames import RemoteAsk, Said

MOST_PARKED = 65_536
Send = Callable[[Sequence[Said]], None]


class Granting:
    """One for each worker's link. snapshot: the one in force."""

    def __init__(self, grants: Grants, snapshot: Callable[[], Snapshot | None], send: Send, clock: Clock) -> None:
        self._grants = grants
        self._snapshot = snapshot
        self._send = send
        self._clock = clock
        self._parked: list[tuple[RemoteAsk, Instant]] = []
        self._said: list[Said] = []

    def take(self, asks: Sequence[RemoteAsk]) -> None:
        now = self._clock.now()
        for ask in asks:
            self._take(ask, now)

    def snapshot_changed(self) -> None:
        """What waited for it is carried out; who has given up meanwhile is not granted anything behind their back."""
        parked, self._parked = self._parked, []
        oldest = self._clock.now() - PATIENCE_S
        for ask, since in parked:
            if since >= oldest:
                self._take(ask, since)

    def _take(self, ask: RemoteAsk, since: Instant) -> None:
        snapshot = self._snapshot()
        if snapshot is None or snapshot.serial < ask.serial:
            self._park(ask, since)
            return
        subject = snapshot.subjects.get(ask.uid) if snapshot.serial == ask.serial else None
        if subject is None:
            self._say(ask.number, NotGranted(Reason.RULES_CHANGED))
            return
        self._grants.request(subject, ask.name, ask.addresses, ask.ttl, partial(self._say, ask.number))

    def _park(self, ask: RemoteAsk, since: Instant) -> None:
        if len(self._parked) < MOST_PARKED:
            self._parked.append((ask, since))
        else:
            self._say(ask.number, NotGranted(Reason.QUEUE_FULL, f"{MOST_PARKED} grants wait for new rules"))

    def _say(self, number: int, outcome: GrantOutcome) -> None:
        if not self._said:
            asyncio.get_running_loop().call_soon(self._flush)
        self._said.append(Said(number, outcome))

    def _flush(self) -> None:
        said, self._said = self._said, []
        self._send(said)
