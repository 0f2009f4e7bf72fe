"""One of the workers, as main sees it: a place with its sockets, and the process that has it now.

Touches one child process after the other, and the link to it. Always true: a process that ends, hangs or does not read is followed by
another with the same sockets; what it had counted still counts; what it had not handed over of the audit is a gap of unknown count.
"""

import asyncio
import dataclasses
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from dnsfw.audit.frames import Batch
from dnsfw.audit.record import Gap
from dnsfw.clock import Clock, WallTime
from dnsfw.forwarder.doors import Door
from dnsfw.forwarder.service import ForwarderStats
from dnsfw.policy.grants import Grants
from dnsfw.policy.snapshot import Snapshot
from dnsfw.workers import frames, sums
from dnsfw.workers.frames import Charge, Kind, Said
from dnsfw.workers.granting import Granting
from dnsfw.workers.link import MOST_UNREAD, Link

log = structlog.get_logger(__name__)
LAST_WORDS_S = 0.5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
SILENT_LOOKS, STARTING_LOOKS = 10, 30
"""A worker says something every second (`worker.HEARTBEAT_S`); so often in a row it may have been silent when it was looked at. Counted,
not timed: this process may have been stopped, too, and must read first what has come meanwhile.
"""


class Records(Protocol):
    """Where audit records go; the pipeline."""

    def take(self, batch: Batch) -> None: ...

    def tell_gap(self, gap: Gap) -> None: ...


class Told(Protocol):
    """What a worker must know when it begins, and who hears that it has moved on."""

    def world(self) -> tuple[int, bytes]:
        """The serial that is decided by now, and its packed News."""
        ...

    def trouble(self) -> str: ...

    def snapshot(self) -> Snapshot | None:
        """The one in force."""
        ...

    def moved(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One worker, for people. pid: 0 while there is no process. is_ready: it decides by the rules of now, or is about to."""

    number: int
    pid: int
    restarts: int
    is_ready: bool
    queries: int


class Member:
    """`keep` runs for as long as the main process does."""

    def __init__(self, charge: Charge, doors: Sequence[Door], told: Told, grants: Grants, records: Records, clock: Clock) -> None:  # noqa: PLR0917 -- one of each part
        numbers = tuple((door.endpoint, door.udp.fileno(), door.tcp.fileno()) for door in doors)
        self._charge = dataclasses.replace(charge, doors=numbers)
        self._sockets = tuple(number for _, *pair in numbers for number in pair)
        self._told = told
        self._grants = grants
        self._records = records
        self._clock = clock
        self.living: ForwarderStats | None = None
        self.gone = sums.total(())
        self._process: asyncio.subprocess.Process | None = None
        self._link: Link | None = None
        self._granting: Granting | None = None
        self._ended = asyncio.Event()
        self._silent_looks = 0
        self._recorded_at: WallTime = 0.0
        self._serial = self._switched = 0  # told it, and has said that it decides by it; 0: by none
        self._most_unread = MOST_UNREAD
        self._is_stopping = False
        self._restarts = 0

    def figures(self) -> Figures:
        """As of its last report."""
        pid = 0 if self._process is None else self._process.pid
        queries = self.gone.queries + (0 if self.living is None else self.living.queries)
        return Figures(number=self._charge.number, pid=pid, restarts=self._restarts, is_ready=self.is_ready, queries=queries)

    @property
    def is_ready(self) -> bool:
        return self._switched > 0

    def decides_by_older(self, serial: int) -> bool:
        """Whether it may still answer something by a snapshot from before this one."""
        return self._serial > 0 and self._switched < serial

    def switch(self, serial: int, world: bytes) -> None:
        """Tell it to decide by this from now on; nothing to do for a process that has not asked for a world yet."""
        if self._link is not None and 0 < self._serial < serial:
            self._tell_world(serial, world)

    def tell(self, kind: Kind, body: bytes = b"") -> None:
        if self._link is None or not self._serial:
            return
        if self._link.unread > self._most_unread:
            self.replace("does not read")
            return
        self._link.send(kind, body)

    def snapshot_changed(self) -> None:
        if self._granting is not None:
            self._granting.snapshot_changed()

    def look(self) -> None:
        """Once a second: kill what says nothing any more."""
        self._silent_looks += 1
        if self._process is not None and self._silent_looks > (SILENT_LOOKS if self._switched else STARTING_LOOKS):
            self.replace("hangs")

    def replace(self, why: str) -> None:
        log.error("a worker is ended by force", worker=self._charge.number, why=why)
        self.kill()

    def kill(self) -> None:
        """At once: nothing that it has not sent yet leaves any more."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def keep(self) -> None:
        """One process after another until a stop."""
        pause = FIRST_PAUSE_S
        while not self._is_stopping:
            began = self._clock.now()
            try:
                code: int | str = await self._run()
            except OSError as error:
                code = f"{error.errno} ({error.strerror})"
            if self._is_stopping:
                return
            pause = FIRST_PAUSE_S if self._clock.now() - began > LONGEST_PAUSE_S else min(2 * pause, LONGEST_PAUSE_S)
            log.error("a worker ended; its pods wait for the next one", worker=self._charge.number, status=code, pause_s=pause)
            await asyncio.sleep(pause)
            self._restarts += 1

    def stop(self, seconds: float) -> None:
        """It finishes what is under way, within `seconds`; `keep` returns when it has ended."""
        self._is_stopping = True
        if self._link is not None:
            self._link.send(Kind.STOP, frames.pack_value(seconds))

    async def _run(self) -> int:
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as stack:
            stack.enter_context(ours)
            process = await self._spawned(theirs)
            stack.pop_all()
        link = Link(self._on_frame, self._on_end)
        self._process, self._link = process, link
        self._silent_looks, self._recorded_at = 0, self._clock.wall()
        # Bound to this link: an outcome must never reach a successor, whose asks have the same numbers.
        self._granting = Granting(self._grants, self._told.snapshot, partial(self._answer, link), self._clock)
        self._ended.clear()
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
            link.send(Kind.CHARGE, frames.pack_value(self._charge))
            return await process.wait()
        finally:
            await self._end(process, link)

    async def _spawned(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        # -P: not a module of the folder that we happen to be started in.
        command = (sys.executable, "-P", "-m", "dnsfw.workers.worker", str(theirs.fileno()))
        inherited = (theirs.fileno(), *self._sockets)
        return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, pass_fds=inherited)

    async def _end(self, process: asyncio.subprocess.Process, link: Link) -> None:
        self._granting = None
        if process.returncode is None:
            process.kill()
            await process.wait()
        # What it has sent before its end still comes. Not asyncio.timeout: see audit.pipeline.
        last_words = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait((last_words,), timeout=LAST_WORDS_S)
        last_words.cancel()
        link.abort()
        if self._serial and not (self._is_stopping and process.returncode == 0):
            self._records.tell_gap(Gap(self._recorded_at, self._clock.wall(), None, "worker ended"))
        if self.living is not None:
            self.gone = sums.total((), (self.gone, self.living))
        self._process = self._link = self.living = None
        self._serial = self._switched = 0
        self._told.moved()

    def _on_end(self) -> None:
        """The link is closed from the other side: at a stop, or since the process is ending anyhow."""
        self._ended.set()
        if not self._is_stopping:
            self.kill()

    def _on_frame(self, kind: Kind, body: bytes) -> None:
        self._silent_looks = 0
        match kind:
            case Kind.ASKS if self._granting is not None:
                self._granting.take(frames.asks_of(body))
            case Kind.RECORDS:
                batch = frames.batch_of(body)
                self._recorded_at = batch.until
                self._records.take(batch)
            case Kind.GAP:
                self._records.tell_gap(frames.value_of(body))
            case Kind.STATS:
                self.living = frames.value_of(body)
            case Kind.SWITCHED:
                self._switched = max(self._switched, frames.value_of(body))
                self._told.moved()
            case Kind.HERE:
                self._welcome()
            case _:
                raise AssertionError(f"a worker says no {kind!r}")

    def _welcome(self) -> None:
        serial, world = self._told.world()
        self._tell_world(serial, world)
        if trouble := self._told.trouble():
            self.tell(Kind.TROUBLE, trouble.encode())

    def _tell_world(self, serial: int, world: bytes) -> None:
        self._serial, self._most_unread = serial, MOST_UNREAD + len(world)
        if self._link is not None:
            self._link.send(Kind.WORLD, world)

    def _answer(self, link: Link, said: Sequence[Said]) -> None:
        if link is self._link:
            self.tell(Kind.OUTCOMES, frames.pack_outcomes(said))
