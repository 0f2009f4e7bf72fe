"""From the loop's thread to the disk: a bounded backlog, and a writer process that alone touches the database.

Touches one child process and two pipes. A process, not a thread: SQLite takes and gives the interpreter's lock once a row, and a thread
that had 50,000 rows/s to write fell behind and stalled the loop for 35 ms (docs/adr/0002-audit-writer.md).
Always true: `sink` neither blocks nor raises; a dead writer is followed by another, which continues where the last one ended.
"""

import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog

from dnsfw.audit.backlog import Backlog
from dnsfw.audit.errors import ForeignDatabaseError
from dnsfw.audit.frames import Batch
from dnsfw.audit.record import Asker, Gap, Own, Verdict
from dnsfw.audit.recorder import Recorder
from dnsfw.audit.settings import AuditSettings
from dnsfw.clock import WallTime

log = structlog.get_logger(__name__)

_START_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCounts:
    """written/lost: records since the start. queued: neither yet. trouble: why nothing is being written, "" when all is well."""

    written: int
    lost: int
    queued: int
    trouble: str


class AuditPipeline(Recorder):
    """All state belongs to the loop's thread."""

    def __init__(self, settings: AuditSettings) -> None:
        self._settings = settings
        self._session = os.urandom(8).hex()
        self._backlog = Backlog(settings.queue_records, settings.batch_records)
        self._trouble = "the writer has not started yet"
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pipe: asyncio.StreamWriter | None = None  # only while the writer takes frames
        self._supervisor: asyncio.Task[None] | None = None
        self._is_open = asyncio.Event()
        self._is_stopping = False
        self._refusal = ""

    def counts(self) -> AuditCounts:
        backlog = self._backlog
        return AuditCounts(written=backlog.written, lost=backlog.lost, queued=backlog.queued, trouble=self._trouble)

    def sink_parts(self, at: WallTime, asker: Asker | bytes, verdict: Verdict, own: Own | bytes) -> None:
        """Takes 0.3 to 1 µs on average, most of it marshal once a batch."""
        waiting = self._backlog.add(at, asker, verdict, own)
        if waiting == 0:
            self._send()
        elif self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(self._settings.batch_s, self._flush)

    def take(self, batch: Batch) -> None:
        """Records that a worker has gathered; as good as `sink` for each, without looking at them."""
        self._backlog.add_batch(batch)
        self._send()

    def tell_gap(self, gap: Gap) -> None:
        """Records that were lost before they came here."""
        self._backlog.add_gap(gap)
        self._send()

    async def start(self) -> None:
        """Returns when the database is open, or known to be in trouble: DNS waits for no disk. ForeignDatabaseError: not our file."""
        self._loop = asyncio.get_running_loop()
        self._supervisor = asyncio.create_task(self._supervise(), name="audit-writer")
        try:
            async with asyncio.timeout(_START_S):
                await self._is_open.wait()
        except TimeoutError:
            log.warning("the audit writer is slow to start", path=str(self._settings.path))
        if self._refusal:
            await self._end_supervisor()
            raise ForeignDatabaseError(self._refusal)

    async def stop(self, deadline: float) -> None:
        """Writes what waits, within `deadline` seconds; what could not be written is lost, and the next start says so."""
        self._is_stopping = True
        self._backlog.close()
        self._send()
        if self._supervisor is not None:
            await asyncio.wait((self._supervisor,), timeout=deadline)
        await self._end_supervisor()
        if left := self._backlog.give_up():
            log.error("audit records were lost at the stop", records=left, why=self._trouble)

    def _flush(self) -> None:
        self._timer = None
        self._backlog.cut()
        self._send()

    def _send(self) -> None:
        if (pipe := self._pipe) is None or pipe.is_closing():
            return
        while (data := self._backlog.next_to_send()) is not None:
            pipe.write(data)  # goes to the transport's buffer when the pipe is full; never waits

    async def _end_supervisor(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait((self._supervisor,))

    async def _supervise(self) -> None:
        """One writer after another until an orderly stop."""
        pause = _FIRST_PAUSE_S
        while True:
            began = asyncio.get_running_loop().time()
            code = await self._run_writer()
            if code == 0 and self._is_stopping:
                return
            lived = asyncio.get_running_loop().time() - began
            pause = _FIRST_PAUSE_S if lived > _LONGEST_PAUSE_S else min(2 * pause, _LONGEST_PAUSE_S)
            self._set_trouble(f"the audit writer ended with code {code}; another one starts in {pause:g} s")
            await asyncio.sleep(pause)

    async def _run_writer(self) -> int | str:
        try:
            process = await _spawned(self._settings, self._session)
        except OSError as error:
            return f"{error.errno} ({error.strerror})"
        try:
            await self._listen_to(process)
        finally:
            self._pipe = None
            await _reap(process)
        return process.returncode if process.returncode is not None else "unknown"

    async def _listen_to(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise AssertionError("spawned with a pipe")
        while line := await process.stdout.readline():
            self._hear(process, json.loads(line))
            self._send()

    def _hear(self, process: asyncio.subprocess.Process, message: dict[str, Any]) -> None:
        match message:
            case {"event": "written", "number": int(number)}:
                self._backlog.acknowledge(number)
            case {"event": "opened", "number": int(number)} if self._pipe is None:
                self._backlog.resend_after(number)
                self._pipe = process.stdin
                self._clear_trouble()
            case {"event": "recovered"}:
                self._clear_trouble()
            case {"event": "trouble", "text": str(text)}:
                self._set_trouble(text)
            case {"event": "replaced", "text": str(text)}:
                log.error("audit database replaced", why=text)
            case {"event": "refused", "text": str(text)}:
                self._set_trouble(text)
                self._refusal = text

    def _set_trouble(self, text: str) -> None:
        self._trouble = text
        log.warning("audit records wait for the disk", why=text)
        self._is_open.set()

    def _clear_trouble(self) -> None:
        if self._is_open.is_set() and self._trouble:
            log.info("audit records are written again")
        self._trouble = ""
        self._is_open.set()


async def _spawned(settings: AuditSettings, session: str) -> asyncio.subprocess.Process:
    told = json.dumps(asdict(settings) | {"path": str(settings.path.absolute()), "session": session})
    # -P: not a module of the folder that we happen to be started in.
    command = (sys.executable, "-P", "-m", "dnsfw.audit.writer", told)
    return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)


async def _reap(process: asyncio.subprocess.Process) -> None:
    """The writer has closed its output or is given up: it must be gone before a successor takes its lock."""
    if process.stdin is not None:
        process.stdin.close()
    # Not asyncio.timeout: within a task that is being cancelled it raises CancelledError before Python 3.11.3 (cpython gh-102780), and
    # Debian 12 has 3.11.2.
    ended = asyncio.ensure_future(process.wait())
    await asyncio.wait((ended,), timeout=0.5)
    if not ended.done():
        process.kill()
    await ended
