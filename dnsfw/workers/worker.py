"""A worker process: answers the queries of the pods that the kernel sends to its sockets, and decides nothing but these.

Touches its sockets, the upstreams, and the link to main, by which it lives: it is charged over it, told what is in force, and when it is
gone without a word, the process ends at once.
Always true: an answer with addresses leaves only after main has said that the kernel lets them through; nothing is decided by an older
snapshot once main has been told "switched". It ignores the signals that a terminal or a service manager sends to all.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any

import structlog
import uvloop

from dnsfw import collector, logs
from dnsfw.clock import SystemClock
from dnsfw.enforce.interfaces import interface_among
from dnsfw.forwarder.doors import Door
from dnsfw.forwarder.perform import Performer
from dnsfw.forwarder.service import Forwarder, ForwarderStats
from dnsfw.forwarder.settings import Endpoint
from dnsfw.forwarder.timers import Timers
from dnsfw.hot import Hot
from dnsfw.policy.compile import compile_snapshot
from dnsfw.policy.reasons import Reason
from dnsfw.workers import frames
from dnsfw.workers.asking import Asking
from dnsfw.workers.frames import Charge, Kind, News
from dnsfw.workers.link import Link
from dnsfw.workers.mirror import Mirror
from dnsfw.workers.recording import Recording

log = structlog.get_logger(__name__)
STATS_S, HEARTBEAT_S = 0.25, 1.0
"""Figures go to main when they have changed, and as a sign of life."""
SWEEP_S, SLICE = 30.0, 1000
"""As the owner sweeps its ledger (enforce.enforcer)."""


class Worker:
    """Made inside the running loop; `ended` is set when all that was under way at a stop has ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = SystemClock()
        self._mirror = Mirror()
        self._timers = Timers(self._loop, self._clock)
        self._forwarder: Forwarder | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.link = Link(self._on_frame, self._on_end)
        self._asking = Asking(self._mirror, self.link, self._clock, self._timers)
        self.ended = asyncio.Event()

    def _on_frame(self, kind: Kind, body: bytes) -> None:
        match kind:
            case Kind.OUTCOMES:
                self._asking.settle(frames.outcomes_of(body))
            case Kind.FORGET:
                self._mirror.forget(frames.row_of(body))
            case Kind.WORLD:
                self._switch(frames.value_of(body))
            case Kind.IN_FORCE:
                self._wake_waiting()
            case Kind.TROUBLE:
                self._mirror.trouble = body.decode()
                if not self._mirror.trouble:
                    self._wake_waiting()
            case Kind.CHARGE:
                self._begin(frames.value_of(body))
            case Kind.STOP:
                self._run(self._stop(frames.value_of(body)), "stop")
            case _:
                raise AssertionError(f"main says no {kind!r}")

    def _on_end(self) -> None:
        if not self._is_stopping:
            os._exit(1)  # main is gone: nothing more may leave, not even what is in a buffer
        self.ended.set()

    def _begin(self, charge: Charge) -> None:
        logs.set_up(charge.log_format, charge.log_level)
        structlog.contextvars.bind_contextvars(worker=charge.number)
        self._charge = charge
        self._recording = Recording(self.link, charge.batch_records, charge.batch_s, self._loop)
        self._forwarder = Forwarder(
            charge.forwarder,
            snapshot=lambda: self._mirror.snapshot,
            grants=self._asking,
            sink=self._recording.sink,
            clock=self._clock,
            interface_of=interface_among(charge.forwarder.interfaces),
            unready=self._unready,
            fast=self._hot,
        )
        self.link.send(Kind.HERE)

    def _hot(self, performer: Performer) -> Hot:
        return Hot(self._charge.forwarder, performer, self._mirror, self._asking, self._recording, self._clock)

    def _switch(self, news: News) -> None:
        """From here on nothing is decided by the former snapshot."""
        is_first = self._mirror.snapshot is None
        self._mirror.switch(compile_snapshot(news.world, news.settings, news.wall, news.serial, self._mirror.snapshot))
        if is_first:
            self._run(self._listen(), "listen")
        else:
            self._say_switched()

    def _say_switched(self) -> None:
        if (snapshot := self._mirror.snapshot) is not None:
            self.link.send(Kind.SWITCHED, frames.pack_value(snapshot.serial))

    async def _listen(self) -> None:
        if (forwarder := self._forwarder) is None:
            raise AssertionError("charged before the first world")
        await forwarder.start(_door(endpoint, *numbers) for endpoint, *numbers in self._charge.doors)
        collector.settle()
        self._say_switched()
        self._run(self._report(forwarder), "report")
        self._run(self._sweep(), "sweep")
        self._run(collector.collect(self._clock), "collector")

    def _wake_waiting(self) -> None:
        if self._forwarder is not None:
            self._forwarder.snapshot_changed()

    async def _stop(self, seconds: float) -> None:
        """What is under way is finished; then the last records and figures, and the end."""
        self._is_stopping = True
        if self._forwarder is not None:
            await self._forwarder.stop(self._clock.now() + seconds)
            self._recording.close()
            self.link.send(Kind.STATS, frames.pack_value(self._forwarder.stats()))
        self.link.close()

    async def _report(self, forwarder: Forwarder) -> None:
        last: ForwarderStats | None = None
        last_at = self._clock.now()
        while True:
            stats, now = forwarder.stats(), self._clock.now()
            if stats != last or now - last_at >= HEARTBEAT_S:
                self.link.send(Kind.STATS, frames.pack_value(stats))
                last, last_at = stats, now
            await asyncio.sleep(STATS_S)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            ledger = self._mirror.ledger
            for uid in tuple(ledger.pods()):
                keys = [(uid, address) for address in ledger.addresses_of(uid)]
                for start in range(0, len(keys), SLICE):
                    self._mirror.sweep(keys[start : start + SLICE], self._clock.now())
                    await asyncio.sleep(0)

    def _unready(self) -> Reason | None:
        if self._mirror.snapshot is None:
            return Reason.NOT_READY
        return Reason.KERNEL_FAILED if self._mirror.trouble else None

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A task that must not fail in silence: what it does not catch ends the process, and main starts another."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the worker ends", task=task.get_name(), reason=repr(error))
            os._exit(1)


def _door(endpoint: Endpoint, udp: int, tcp: int) -> Door:
    return Door(endpoint, socket.socket(fileno=udp), socket.socket(fileno=tcp))


async def _main(end: socket.socket) -> None:
    worker = Worker()
    await asyncio.get_running_loop().create_unix_connection(lambda: worker.link, sock=end)
    await worker.ended.wait()


def main() -> None:
    """`python -m dnsfw.workers.worker SOCKET`, started by `workers.member` only."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    uvloop.run(_main(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
