"""An owner on a fake kernel and a worker's grants, with a link whose frames lie still until the test delivers them.

Everything between the sockets is the program's own: frames, asking, granting, mirror. The clock is the test's, one for both.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from enforce_kit import Node

from dnsfw.names import parse_name
from dnsfw.policy.grants import GrantOutcome
from dnsfw.policy.ledger import Claim, RowKey
from dnsfw.policy.model import Pod, PodUid, Rule
from dnsfw.policy.snapshot import Snapshot
from dnsfw.workers import frames
from dnsfw.workers.asking import Asking
from dnsfw.workers.frames import Kind, Said
from dnsfw.workers.granting import Granting
from dnsfw.workers.mirror import Mirror


class StillLink:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.frames: deque[tuple[Kind, bytes]] = deque()
        self.has_room = True

    def send(self, kind: Kind, body: bytes = b"") -> None:
        self.frames.append((kind, body))


@dataclass(slots=True)
class StillTimers:
    """Calls nothing until the test says so."""

    calls: "dict[StillTimer, None]" = field(default_factory=dict)

    def add(self, _due: float, call: Callable[[], None]) -> "StillTimer":
        timer = StillTimer(self, call)
        self.calls[timer] = None
        return timer

    def run_out(self) -> None:
        for timer in list(self.calls):
            timer.cancel()
            timer.call()


@dataclass(slots=True, eq=False)
class StillTimer:
    timers: StillTimers
    call: Callable[[], None]

    def cancel(self) -> None:
        self.timers.calls.pop(self, None)


class Pair:
    """`node` is the owner's; made inside a running loop. Keeps `enforce.state.Followers`."""

    def __init__(self) -> None:
        self.node = Node()
        self.mirror = Mirror()
        self.up, self.down = StillLink(), StillLink()
        self.timers = StillTimers()
        self.asking = Asking(self.mirror, self.up, self.node.clock, self.timers)
        enforcer = self.node.enforcer
        self.granting = Granting(enforcer, lambda: enforcer.snapshot, self._answer, self.node.clock)
        enforcer.state.followers = self

    async def start(self, rules: Iterable[Rule], pods: Iterable[Pod]) -> None:
        await self.node.start(rules, pods)
        assert self.node.enforcer.snapshot is not None
        self.mirror.switch(self.node.enforcer.snapshot)
        self.down.frames.clear()

    async def change(self, rules: Sequence[Rule], pods: Sequence[Pod]) -> None:
        await self.node.change(rules, pods)

    def ask(self, uid: str, name: str, addresses: Sequence[bytes], ttl: int) -> "GrantOutcome | asyncio.Future[GrantOutcome]":
        """As a worker's exchange asks, under the worker's snapshot."""
        assert self.mirror.snapshot is not None
        subject = self.mirror.snapshot.subjects[PodUid(uid)]
        future = asyncio.get_running_loop().create_future()
        self.asking.request(subject, parse_name(name), addresses, ttl, future.set_result)
        return future.result() if future.done() else future

    async def turn(self) -> None:
        """What is due in the loop."""
        for _ in range(6):
            await asyncio.sleep(0)

    def deliver_up(self) -> None:
        while self.up.frames:
            kind, body = self.up.frames.popleft()
            assert kind is Kind.ASKS
            self.granting.take(frames.asks_of(body))

    def deliver_down(self) -> None:
        while self.down.frames:
            kind, body = self.down.frames.popleft()
            match kind:
                case Kind.OUTCOMES:
                    self.asking.settle(frames.outcomes_of(body))
                case Kind.FORGET:
                    self.mirror.forget(frames.row_of(body))
                case Kind.TROUBLE:
                    self.mirror.trouble = body.decode()

    async def deliver_all(self) -> None:
        await self.turn()
        while self.up.frames or self.down.frames:
            self.deliver_up()
            await self.turn()
            self.deliver_down()
            await self.turn()

    def overstated(self) -> Iterator[tuple[RowKey, Claim]]:
        """Claims of the mirror that the owner's ledger does not hold, or not for so long; what has ended, or is being forgotten, aside."""
        now, ledger = self.node.clock.now(), self.node.enforcer.state.ledger
        on_their_way = {frames.row_of(body) for kind, body in self.down.frames if kind is Kind.FORGET}
        for uid in self.mirror.ledger.pods():
            for address, row in self.mirror.ledger.rows_of(uid):
                owned = {(claim.permit.rule, claim.name): claim for claim in ledger.row(uid, address)}
                for claim in (claim for claim in row if claim.until > now):
                    theirs = owned.get((claim.permit.rule, claim.name))
                    is_less = theirs is None or theirs.until < claim.until or theirs.permit.ports != claim.permit.ports
                    if is_less and (uid, address) not in on_their_way:
                        yield (uid, address), claim

    # enforce.state.Followers; the worker compiles the same snapshot in the program, and is given it here

    async def follow(self, snapshot: Snapshot) -> None:
        self.mirror.switch(snapshot)

    def in_force(self, _snapshot: Snapshot) -> None:
        self.granting.snapshot_changed()

    def tell_trouble(self, trouble: str) -> None:
        self.down.send(Kind.TROUBLE, trouble.encode())
        self.granting.snapshot_changed()

    def forget(self, key: RowKey) -> None:
        self.down.send(Kind.FORGET, frames.pack_row(key))

    def _answer(self, said: Sequence[Said]) -> None:
        self.down.send(Kind.OUTCOMES, frames.pack_outcomes(said))
