"""The composition root: builds every part, starts them in order, stops them in reverse. The one module that knows everyone.

Always true: nothing is answered before the kernel has been brought in line with the first snapshot; whatever ends the process, the table
stays.
"""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import structlog
import uvloop

from dnsfw import collector, hot, locks, logs
from dnsfw.api.server import ApiServer
from dnsfw.api.sockets import try_address
from dnsfw.api.sources import ApiSources
from dnsfw.api.views import WorkerView
from dnsfw.audit.pipeline import AuditPipeline
from dnsfw.clock import Clock, SystemClock
from dnsfw.enforce.enforcer import Enforcer
from dnsfw.enforce.interfaces import interface_among
from dnsfw.errors import DnsfwError, Problem
from dnsfw.forwarder.doors import try_endpoints
from dnsfw.forwarder.perform import Performer
from dnsfw.forwarder.service import Forwarder
from dnsfw.hot import Hot
from dnsfw.policy.compile import compile_snapshot
from dnsfw.policy.model import IPAddress, World
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Snapshot
from dnsfw.settings import RunSettings
from dnsfw.sources.files import FileSource
from dnsfw.sources.node import NodeError, node_addresses
from dnsfw.views import Views
from dnsfw.workers.frames import Charge, News
from dnsfw.workers.team import Team
from nft.conntrack import Conntrack, ConntrackError
from nft.errors import NftError
from nft.netlink import RealKernel

log = structlog.get_logger(__name__)
REST_S, FINISH_S = 1.0, 1.5
"""SIGTERM to exit takes 5 s at most (design §1): a change of the table that is under way has REST_S to come to its end (a start twice as
much), then the queries that are under way FINISH_S, and after them the audit.
"""
IS_COMPILED = not hot.__file__.endswith(".py")
"""Whether every query's way is machine code (ADR 0010)."""
SWITCH_S = 0.001
"""A thread that reads a long conntrack table keeps the loop's thread waiting this long at a time (CPython's default is 5 ms)."""
NODE_S = 5.0
"""How long a new address of the node's own may go unseen."""


def run_agent(settings: RunSettings) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    logs.set_up(settings.log.format.value, settings.log.level)
    sys.setswitchinterval(SWITCH_S)
    try:
        return uvloop.run(_main(settings))
    except (DnsfwError, NftError, ConntrackError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)  # noqa: T201 -- why the start failed, for people
        return 1


async def _main(settings: RunSettings) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        agent = Agent(settings, SystemClock())
        if not await _started(agent, stack, stopped):
            return 0
        collector.settle()
        listen = [str(endpoint) for endpoint in settings.forwarder.listen]
        log.info("ready", listen=listen, table=settings.enforce.table, compiled=IS_COMPILED)
        await agent.run_until(stopped)
        log.info("stopping")
    return 0


async def _started(agent: "Agent", stack: AsyncExitStack, stopped: asyncio.Event) -> bool:
    """False: told to stop before that. What is under way may come to its end, but a table of 1,000,000 grants is not waited for."""
    starting = asyncio.create_task(agent.start(stack), name="start")
    stopping = asyncio.create_task(stopped.wait(), name="stop")
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        await asyncio.wait((starting,), timeout=2 * REST_S)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    return not stopped.is_set()


class Agent:
    """One node's dnsfw in standalone mode: rules and pods from files."""

    def __init__(self, settings: RunSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._source = FileSource(settings.files)
        self._world = World()
        self._node: tuple[IPAddress, ...] = ()
        self._serial = 0
        self._news = asyncio.Event()
        self._why: set[str] = set()

    async def start(self, stack: AsyncExitStack) -> None:
        """Everything that can fail for a reason of the operator's fails here, with a message that says what would be right."""
        settings = self._settings
        self._world = await asyncio.to_thread(self._source.load)
        self._node = await asyncio.to_thread(node_addresses)
        stack.enter_context(locks.hold(settings.enforce.table))
        await asyncio.to_thread(self._try_doors)
        self.audit = AuditPipeline(settings.audit)
        await self.audit.start()
        stack.push_async_callback(self.audit.stop, FINISH_S)
        self.enforcer = await self._enforcer(stack)
        self.team = self._team() if settings.workers > 1 else None
        await self.enforcer.start(self._compile())
        self.serving = self.team or self._forwarder()
        await self.serving.start()
        stack.push_async_callback(self._stop_serving)
        await self._serve(stack)

    def _forwarder(self) -> Forwarder:
        """Queries are answered here."""
        return Forwarder(
            self._settings.forwarder,
            snapshot=lambda: self.enforcer.snapshot,
            grants=self.enforcer,
            sink=self.audit.sink,
            clock=self._clock,
            interface_of=interface_among(self._settings.enforce.interfaces),
            unready=self._unready,
            fast=self._hot,
        )

    def _team(self) -> Team:
        """Queries are answered by workers; the ledger, the audit and the API stay here."""
        settings = self._settings
        charge = Charge(
            number=0,
            forwarder=settings.forwarder,
            doors=(),
            batch_records=settings.audit.batch_records,
            batch_s=settings.audit.batch_s,
            log_format=settings.log.format.value,
            log_level=settings.log.level,
        )
        team = Team(settings.workers, charge, self.enforcer.state, self.enforcer, self.audit, self._clock)
        self.enforcer.state.followers = team
        return team

    def _try_doors(self) -> None:
        """Before the kernel is touched: a table that nobody serves would hold pods closed that another dnsfw protects well."""
        try_endpoints(self._settings.forwarder.listen)
        try_address(self._settings.api.address)

    def _hot(self, performer: Performer) -> Hot:
        return Hot(self._settings.forwarder, performer, self.enforcer.state, self.enforcer, self.audit, self._clock)

    async def run_until(self, stopped: asyncio.Event) -> None:
        """Follow the sources and keep the kernel, until told to stop."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._source.watch(self._on_world, self._on_problems), name="sources"),
                tasks.create_task(self._apply_news(), name="apply"),
                tasks.create_task(self._follow_dates(), name="dates"),
                tasks.create_task(self._follow_node(), name="node"),
                tasks.create_task(self.enforcer.run(), name="enforce"),
                tasks.create_task(collector.collect(self._clock), name="collector"),
            ]
            await stopped.wait()
            await self.enforcer.at_rest(REST_S)
            for task in running:
                task.cancel()

    async def _enforcer(self, stack: AsyncExitStack) -> Enforcer:
        kernel = await RealKernel.open()
        stack.push_async_callback(kernel.close)
        connections = Conntrack()
        stack.callback(connections.close)
        enforcer = Enforcer(self._settings.enforce, kernel, connections, self._clock)
        stack.callback(enforcer.close)
        return enforcer

    async def _serve(self, stack: AsyncExitStack) -> None:
        views = Views(
            self._settings, self._clock, self.enforcer, self.serving, self.audit, self._source, lambda: self._world, self._worker_views
        )
        sources = ApiSources(
            status=views.status, grants=views.grants, metrics=views.metrics, audit_path=self._settings.audit.path, now=self._clock.wall
        )
        api = ApiServer(self._settings.api, sources)
        await api.start()
        stack.push_async_callback(api.stop)

    async def _stop_serving(self) -> None:
        await self.serving.stop(self._clock.now() + FINISH_S)

    def _worker_views(self) -> tuple[WorkerView, ...]:
        found = () if self.team is None else self.team.figures()
        return tuple(
            WorkerView(number=each.number, pid=each.pid, ready=each.is_ready, restarts=each.restarts, queries=each.queries)
            for each in found
        )

    def _compile(self) -> Snapshot:
        self._serial += 1
        settings, wall, begun = replace(self._settings.policy, node_addresses=self._node), self._clock.wall(), self._clock.now()
        snapshot = compile_snapshot(self._world, settings, wall, self._serial, self.enforcer.snapshot)
        if self.team is not None:
            news = News(serial=self._serial, world=self._world, settings=settings, wall=wall)
            self.team.announce(news, self._clock.now() - begun)
        return snapshot

    def _on_world(self, world: World) -> None:
        self._world = world
        self._tell("documents")

    def _tell(self, why: str) -> None:
        self._why.add(why)
        self._news.set()

    def _on_problems(self, problems: tuple[Problem, ...]) -> None:
        for problem in problems:
            log.error("document refused; its last good state stays in force", problem=str(problem))
        if not problems:
            log.info("all documents are good again")

    async def _apply_news(self) -> None:
        """One snapshot at a time, always of the newest world."""
        while True:
            await self._news.wait()
            self._news.clear()
            why, self._why = self._why, set()
            begun = self._clock.now()
            await self.enforcer.apply(self._compile())
            self.serving.snapshot_changed()
            if not self.enforcer.trouble:  # else it has said so itself
                took_ms = round((self._clock.now() - begun) * 1000, 1)
                log.info("in force", serial=self._serial, why=sorted(why), took_ms=took_ms)

    async def _follow_node(self) -> None:
        """The node's own addresses are protected; they come and go with its interfaces."""
        while True:
            await asyncio.sleep(NODE_S)
            try:
                addresses = await asyncio.to_thread(node_addresses)
            except NodeError as error:
                log.warning("the node's addresses are as they were", reason=str(error))
                continue
            if addresses != self._node:
                self._node = addresses
                self._tell("node addresses")

    async def _follow_dates(self) -> None:
        """An Audit rule turns into Enforce on its date: by the wall clock, looked at every second so that a step of it is seen."""
        while True:
            await asyncio.sleep(1.0)
            snapshot = self.enforcer.snapshot
            if snapshot is not None and snapshot.changes_at is not None and self._clock.wall() >= snapshot.changes_at:
                self._tell("dates")

    def _unready(self) -> Reason | None:
        if self.enforcer.snapshot is None:
            return Reason.NOT_READY
        return Reason.KERNEL_FAILED if self.enforcer.trouble else None
