"""All workers, as the main process sees them: started, told, followed, stopped; and what they have done, as if one had.

Touches the listening sockets, which it keeps open and never reads, and the workers through `member`.
Always true: no worker decides by an older snapshot when the kernel is narrowed (one that does not follow in time is killed); what changes
in the ledger or in the kernel's state before its time is told to all of them at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from dnsfw.clock import Clock, Instant
from dnsfw.enforce.asked import View
from dnsfw.errors import DnsfwError
from dnsfw.forwarder.doors import Door, open_doors
from dnsfw.forwarder.service import ForwarderStats
from dnsfw.forwarder.settings import Endpoint
from dnsfw.policy.grants import Grants
from dnsfw.policy.ledger import RowKey
from dnsfw.policy.snapshot import Snapshot
from dnsfw.workers import frames, sums
from dnsfw.workers.frames import Charge, Kind, News
from dnsfw.workers.member import Figures, Member, Records

START_S = 30.0
SWITCH_S = 2.0
"""How long workers may take to follow, beside what the compilation takes; they may be many on few cores."""
LOOK_S = 1.0
END_S = 0.4
"""From the last answer to the end of the process."""


class WorkersError(DnsfwError):
    """The workers cannot do their work."""


class _World(NamedTuple):
    serial: int
    packed: bytes


class Team:
    """Keeps `enforce.state.Followers`. view, grants: of the ledger's owner. charge: what is the same for all of them."""

    def __init__(self, count: int, charge: Charge, view: View, grants: Grants, records: Records, clock: Clock) -> None:  # noqa: PLR0917 -- one of each part
        self._count = count
        self._charge = charge
        self._view = view
        self._grants = grants
        self._records = records
        self._clock = clock
        self._news: dict[int, tuple[News, float]] = {}
        self._world = _World(0, b"")
        self._moved = asyncio.Event()
        self._members: tuple[Member, ...] = ()
        self._doors: list[tuple[Door, ...]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.endpoints: tuple[Endpoint, ...] = ()

    async def start(self) -> None:
        """Returns when all of them answer. ListenError names an address that is taken; WorkersError: they do not begin."""
        try:
            await self._start()
        except BaseException:
            await self.stop(self._clock.now())
            raise

    async def _start(self) -> None:
        for endpoint in self._charge.forwarder.listen:
            self._doors.append(open_doors(endpoint, self._count))
        self.endpoints = tuple(group[0].endpoint for group in self._doors)
        self._members = tuple(self._member(number) for number in range(self._count))
        self._pack(self._in_force_serial())
        self._tasks = [asyncio.create_task(member.keep(), name=f"worker-{number}") for number, member in enumerate(self._members)]
        self._tasks.append(asyncio.create_task(self._look(), name="workers-look"))
        if not await self._wait_until(lambda: all(member.is_ready for member in self._members), self._clock.now() + START_S):
            raise WorkersError(f"the workers did not begin within {START_S:g} s")

    async def stop(self, deadline: Instant) -> None:
        """What is under way is finished, and what is not by `deadline` gets SERVFAIL."""
        for member in self._members:
            member.stop(max(0.0, deadline - self._clock.now()))
        keeping = self._tasks[: len(self._members)]
        if keeping:
            await asyncio.wait(keeping, timeout=max(0.0, deadline + END_S - self._clock.now()))
        for member in self._members:
            member.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_doors()

    def announce(self, news: News, compiled_s: float) -> None:
        """The next snapshot is made of this, and took so long to compile; `follow` comes before it is in force."""
        self._news[news.serial] = (news, compiled_s)

    # What the ledger's owner says (enforce.state.Followers)

    async def follow(self, snapshot: Snapshot) -> None:
        if not self._members:
            return
        self._pack(snapshot.serial)
        for member in self._members:
            member.switch(*self._world)
        allowed = SWITCH_S + 2 * self._count * self._news[snapshot.serial][1]
        if await self._wait_until(lambda: not self._behind(snapshot.serial), self._clock.now() + allowed):
            return
        for member in self._behind(snapshot.serial):
            member.replace("does not follow new rules")
        await self._wait_until(lambda: not self._behind(snapshot.serial), self._clock.now() + SWITCH_S)

    def in_force(self, snapshot: Snapshot) -> None:
        self._news = {serial: news for serial, news in self._news.items() if serial >= snapshot.serial}
        for member in self._members:
            member.snapshot_changed()
            member.tell(Kind.IN_FORCE)

    def tell_trouble(self, trouble: str) -> None:
        for member in self._members:
            member.tell(Kind.TROUBLE, trouble.encode())
            member.snapshot_changed()

    def forget(self, key: RowKey) -> None:
        for member in self._members:
            member.tell(Kind.FORGET, frames.pack_row(key))

    # What a worker must know when it begins (member.Told)

    def world(self) -> tuple[int, bytes]:
        return self._world

    def trouble(self) -> str:
        return self._view.trouble

    def snapshot(self) -> Snapshot | None:
        return self._view.snapshot

    def moved(self) -> None:
        self._moved.set()

    # What people ask

    def stats(self) -> ForwarderStats:
        living = [member.living for member in self._members if member.living is not None]
        return sums.total(living, [member.gone for member in self._members])

    def figures(self) -> Sequence[Figures]:
        return [member.figures() for member in self._members]

    def snapshot_changed(self) -> None:
        """They have heard it (`in_force`), before whoever says so here."""

    def _member(self, number: int) -> Member:
        doors = [group[number] for group in self._doors]
        return Member(replace(self._charge, number=number), doors, self, self._grants, self._records, self._clock)

    def _close_doors(self) -> None:
        for group in self._doors:
            for door in group:
                door.udp.close()
                door.tcp.close()
        self._doors.clear()

    def _behind(self, serial: int) -> list[Member]:
        return [member for member in self._members if member.decides_by_older(serial)]

    def _in_force_serial(self) -> int:
        if self._view.snapshot is None:
            raise AssertionError("workers are started when the first rules are in force")
        return self._view.snapshot.serial

    def _pack(self, serial: int) -> None:
        """Once for all of them, and for those who come later."""
        if serial != self._world.serial:
            self._world = _World(serial, frames.pack_value(self._news[serial][0]))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for member in self._members:
                member.look()

    async def _wait_until(self, holds: Callable[[], bool], deadline: Instant) -> bool:
        """Whether it does by then; looked at whenever a worker has moved on."""
        while not holds():
            self._moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline - self._clock.now()):
                    await self._moved.wait()
            if self._clock.now() >= deadline:
                return holds()
        return True
