"""A worker's grants: what its mirror does not hold is asked of main, the ledger's one owner.

Touches the link and timers. What is asked within one turn of the loop goes as one frame, as the owner makes one transaction of it.
Always true: every ask is answered within a second, by main or with a reason; at most MOST_PENDING wait.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from dnsfw.clock import Clock, Instant
from dnsfw.enforce.asked import Ask, Wanted, refusal_of, wanted_of
from dnsfw.forwarder.timers import TICK_SECONDS, Timer, Timers
from dnsfw.names import Name
from dnsfw.policy.grants import Granted, NotGranted, Told
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Subject
from dnsfw.workers.frames import Kind, RemoteAsk, Said, pack_asks
from dnsfw.workers.link import Link
from dnsfw.workers.mirror import Mirror

MOST_PENDING = 65_536  # as many as may wait for the kernel (enforce.installer)
PATIENCE_S = 1.0 - 2 * TICK_SECONDS  # `Grants.request` promises a second, and a timer may be two ticks late


class _Pending(NamedTuple):
    then: Told
    ask: Ask
    wanted: tuple[Wanted, ...]
    serial: int
    timer: Timer


class Asking:
    """Keeps the promise of `policy.grants.Grants`."""

    def __init__(self, mirror: Mirror, link: Link, clock: Clock, timers: Timers) -> None:
        self._mirror = mirror
        self._link = link
        self._clock = clock
        self._timers = timers
        self._pending: dict[int, _Pending] = {}
        self._line: list[RemoteAsk] = []
        self._is_due = False
        self._number = 0

    def request(self, subject: Subject, name: Name, addresses: Sequence[bytes], ttl: int, then: Told) -> None:
        if (refusal := refusal_of(self._mirror, subject)) is not None:
            then(refusal)
            return
        ask, now = Ask(subject, name, tuple(addresses), ttl), self._clock.now()
        wanted = tuple(wanted_of(ask, now))
        if (granted := self._mirror.held(ask, wanted)) is not None:
            then(granted)
        elif len(self._pending) >= MOST_PENDING or not self._link.has_room:
            then(NotGranted(Reason.QUEUE_FULL, f"{len(self._pending)} grants wait for the main process"))
        else:
            self._line_up(ask, wanted, now, then)

    def request_now(self, subject: Subject, name: Name, addresses: Sequence[bytes], ttl: int, then: Told) -> None:
        self.request(subject, name, addresses, ttl, then)
        self.flush()

    def settle(self, said: Sequence[Said]) -> None:
        """Main has answered; what has waited too long is not waited for any more."""
        snapshot = self._mirror.snapshot
        for number, outcome in said:
            if (pending := self._pending.pop(number, None)) is None:
                continue
            pending.timer.cancel()
            if isinstance(outcome, Granted) and snapshot is not None and snapshot.serial == pending.serial:
                self._mirror.accept(pending.ask, pending.wanted, outcome)
            pending.then(outcome)

    def _line_up(self, ask: Ask, wanted: tuple[Wanted, ...], now: Instant, then: Told) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._on_due)
        self._number += 1
        number, snapshot = self._number, self._mirror.snapshot
        serial = 0 if snapshot is None else snapshot.serial  # without one, it has been refused
        self._line.append(RemoteAsk(number, serial, ask.subject.pod.uid, ask.name, ask.addresses, ask.ttl))
        timer = self._timers.add(now + PATIENCE_S, partial(self._expire, number))
        self._pending[number] = _Pending(then, ask, wanted, serial, timer)

    def _on_due(self) -> None:
        self._is_due = False
        self.flush()

    def flush(self) -> None:
        if not self._line:
            return
        line, self._line = self._line, []
        self._link.send(Kind.ASKS, pack_asks(line))

    def _expire(self, number: int) -> None:
        pending = self._pending.pop(number)
        pending.then(NotGranted(Reason.KERNEL_TIMEOUT, "the main process took longer than the bound"))
