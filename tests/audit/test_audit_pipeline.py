"""The pipeline with its real writer process, and what faults do to it."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import netns
import pytest
from audit_kit import entries, gaps, names, numbered, query, until

from dnsfw.audit.errors import ForeignDatabaseError, OutdatedDatabaseError
from dnsfw.audit.pipeline import AuditPipeline
from dnsfw.audit.record import QueryRecord
from dnsfw.audit.schema import APPLICATION_ID
from dnsfw.audit.settings import AuditSettings

Make = Callable[..., Awaitable[AuditPipeline]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


@pytest.fixture
async def start(path: Path) -> AsyncIterator[Make]:
    running: list[AuditPipeline] = []

    async def make(**changes: float) -> AuditPipeline:
        pipeline = AuditPipeline(AuditSettings(path=path, **changes))
        await pipeline.start()
        running.append(pipeline)
        return pipeline

    yield make
    for pipeline in running:
        await pipeline.stop(5)


def writer_of(pid: int) -> int:
    """The one child of a process that is an audit writer."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"dnsfw.audit.writer" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("no writer is running")


async def test_the_writer_does_not_interrupt_who_wakes_it(start: Make) -> None:
    """It is scheduled as a batch job is, with its full share; the loop's own process as ever."""
    await start()

    assert os.sched_getscheduler(writer_of(os.getpid())) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


async def test_records_reach_the_disk_while_running_and_at_the_stop(start: Make, path: Path) -> None:
    """A lone record is on disk soon, a burst as well, and the stop writes what waits."""
    pipeline = await start()
    pipeline.sink(query(name="first.example.net"))
    await until(lambda: pipeline.counts().written == 1)
    assert names(path) == ["first.example.net"]

    for record in numbered(1_000):
        pipeline.sink(record)
    await pipeline.stop(10)

    counts = pipeline.counts()
    assert (counts.written, counts.lost, counts.queued, counts.trouble) == (1_001, 0, 0, "")
    assert len(names(path)) == 1_001


async def test_orderly_restart_leaves_no_gap(start: Make, path: Path) -> None:
    """After a clean stop the next start has nothing to regret."""
    await (await start()).stop(10)
    await (await start()).stop(10)

    assert gaps(path) == []


async def test_records_from_before_the_start_are_kept(path: Path) -> None:
    """The listeners may be up before the audit is."""
    pipeline = AuditPipeline(AuditSettings(path=path))
    pipeline.sink(query())
    await pipeline.start()
    await pipeline.stop(10)

    assert len(names(path)) == 1


async def test_f4_killed_writer_costs_nothing(start: Make, path: Path) -> None:
    """A writer that dies is replaced; what it had not written is sent again, and nothing stands twice."""
    pipeline = await start()
    for round_ in range(3):
        for record in numbered(2_000, start=2_000 * round_):
            pipeline.sink(record)
        if round_ < 2:
            os.kill(writer_of(os.getpid()), signal.SIGKILL)
            await until(lambda: pipeline.counts().trouble != "")
            await until(lambda: pipeline.counts().trouble == "")
    await until(lambda: pipeline.counts().queued == 0)
    await pipeline.stop(10)

    assert names(path) == [f"n{number}.example.net" for number in range(6_000)]
    assert gaps(path) == []


async def test_writer_outlives_signals_for_its_parent(start: Make, path: Path) -> None:
    """^C and a service manager's stop reach the writer too; it ends when it has written."""
    pipeline = await start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(writer_of(os.getpid()), number)
    pipeline.sink(query())
    await pipeline.stop(10)

    assert pipeline.counts().written == 1
    assert len(names(path)) == 1


async def test_f8_stopped_disk_never_blocks_and_leaves_a_counted_gap(start: Make, path: Path) -> None:
    """While the writer stands still, the sink takes what fits, counts the rest, and a gap says so afterwards."""
    pipeline = await start(queue_records=1_000, batch_records=100)
    writer = writer_of(os.getpid())
    os.kill(writer, signal.SIGSTOP)
    try:
        for record in numbered(5_000):
            pipeline.sink(record)
        counts = pipeline.counts()
    finally:
        os.kill(writer, signal.SIGCONT)
    await pipeline.stop(10)

    assert (counts.queued, counts.lost) == (1_000, 4_000)
    (gap,) = gaps(path)
    assert (gap.lost, gap.why) == (4_000, "queue full")
    assert (gap.since, gap.until) == (numbered(5_000)[1_000].at, numbered(5_000)[-1].at)
    assert len(names(path)) == 1_000


async def test_stop_keeps_its_deadline(start: Make, path: Path) -> None:
    """A disk that hangs does not keep the process from ending; the next start says that records are missing."""
    pipeline = await start()
    os.kill(writer_of(os.getpid()), signal.SIGSTOP)
    pipeline.sink(query())
    await asyncio.wait_for(pipeline.stop(0.2), timeout=5)
    await (await start()).stop(10)

    assert (pipeline.counts().written, pipeline.counts().lost) == (0, 1)
    assert [gap.why for gap in gaps(path)] == ["unclean end"]


async def test_foreign_file_stops_the_start(start: Make, path: Path) -> None:
    """A wrong --audit-db is an operator's mistake that must not be worked around."""
    path.write_text("my diary")

    with pytest.raises(ForeignDatabaseError, match="left alone"):
        await start()
    assert path.read_text() == "my diary"


async def test_f8_unusable_place_does_not_stop_the_start(start: Make, path: Path) -> None:
    """DNS comes first: where the database cannot be made, it starts, says so, and writes when it can."""
    path.mkdir()
    pipeline = await start()
    pipeline.sink(query())
    trouble = pipeline.counts().trouble
    path.rmdir()
    await until(lambda: pipeline.counts().written == 1)

    assert str(path) in trouble
    assert pipeline.counts().trouble == ""


async def test_damaged_database_is_set_aside_and_a_gap_begins_the_new_one(start: Make, path: Path) -> None:
    """What cannot be read is kept for whoever repairs it; the audit goes on, and says that it is not whole."""
    first = await start()
    for record in numbered(3_000):
        first.sink(record)
    await first.stop(10)
    content = bytearray(path.read_bytes())
    content[100:12_000] = os.urandom(11_900)
    path.write_bytes(content)

    second = await start()
    second.sink(query(name="new.example.net"))
    await second.stop(10)

    aside = [file for file in path.parent.iterdir() if "damaged" in file.name]
    assert [file.read_bytes() for file in aside] == [content]
    assert names(path) == ["new.example.net"]
    assert [(gap.lost, gap.why) for gap in gaps(path)] == [(None, "damaged database")]


async def test_outdated_database_is_kept_beside(start: Make, path: Path) -> None:
    """An upgrade stops nobody's DNS: what an older version has written stays as it was, and a gap says where it ends."""
    path.parent.mkdir(exist_ok=True)
    with sqlite3.connect(path) as database:
        database.executescript(f"CREATE TABLE record (at REAL); PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
    database.close()
    content = path.read_bytes()

    pipeline = await start()
    pipeline.sink(query(name="new.example.net"))
    await pipeline.stop(10)

    (aside,) = [file for file in path.parent.iterdir() if "outdated" in file.name]
    assert aside.read_bytes() == content
    assert names(path) == ["new.example.net"]
    assert [(gap.lost, gap.why) for gap in gaps(path)] == [(None, "outdated database")]
    with pytest.raises(OutdatedDatabaseError, match="the dnsfw that wrote it"):
        names(aside)


async def test_removed_database_is_made_anew(start: Make, path: Path) -> None:
    """`rm audit.db` under a running dnsfw does not send records into nowhere."""
    pipeline = await start()
    pipeline.sink(query(name="old.example.net"))
    await until(lambda: pipeline.counts().written == 1)
    for file in path.parent.glob("audit.db*"):
        file.unlink()
    pipeline.sink(query(name="new.example.net"))
    await until(lambda: pipeline.counts().written == 2)

    assert names(path) == ["new.example.net"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_readers_see_whole_batches_while_the_writer_writes(start: Make, path: Path) -> None:
    """Reading neither disturbs the writer nor sees half of anything, and each look sees at least what the last one saw."""
    pipeline = await start()
    seen = [0]
    for number in range(30):
        for record in numbered(256, start=256 * number):
            pipeline.sink(record)
        found = await asyncio.to_thread(names, path)
        assert found == [f"n{index}.example.net" for index in range(len(found))]
        assert len(found) % 256 == 0
        seen.append(len(found))
    await pipeline.stop(10)

    assert seen == sorted(seen)
    assert len(names(path)) == 30 * 256


HOSTILE = [
    "a\\010b.example.net",
    '"; DROP TABLE record; --.example.net',
    "\\000\\255\\027[31m.example.net",
    ".".join(["x" * 63] * 3 + ["y" * 61]),
    "[bold red]not markup[/].example.net",
]


async def test_a25_hostile_names_are_kept_as_they_are(start: Make, path: Path) -> None:
    """Quotes, escaped line ends and 255 octets are only text to the audit, and 10,000 distinct names cost no more than one."""
    pipeline = await start()
    for name in HOSTILE + [f"r{number}.example.net" for number in range(10_000)]:
        pipeline.sink(query(name=name))
    await pipeline.stop(10)

    assert sorted(names(path)) == sorted(HOSTILE + [f"r{number}.example.net" for number in range(10_000)])


KILLED = """
import asyncio, sys, uvloop
from pathlib import Path
from audit_kit import query
from dnsfw.audit.pipeline import AuditPipeline
from dnsfw.audit.schema import APPLICATION_ID
from dnsfw.audit.settings import AuditSettings

async def main():
    pipeline = AuditPipeline(AuditSettings(path=Path(sys.argv[1])))
    await pipeline.start()
    pipeline.sink(query(name="handed-over.example.net"))
    pipeline._flush()
    print("ready", flush=True)
    await asyncio.sleep(60)

uvloop.run(main())
"""


async def test_f4_killed_process_leaves_a_gap_of_unknown_count(start: Make, path: Path) -> None:
    """After kill -9 what was handed over is written still, and the next start says that nobody knows what else there was."""
    process = subprocess.Popen(  # noqa: ASYNC220 -- the test has nothing else to do
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.communicate()
    await (await start()).stop(10)

    assert names(path) == ["handed-over.example.net"]
    assert [(gap.lost, gap.why) for gap in gaps(path)] == [(None, "unclean end")]


FULL = """
import asyncio, sys, uvloop
from pathlib import Path
from audit_kit import numbered, until
from dnsfw.audit.pipeline import AuditPipeline
from dnsfw.audit.schema import APPLICATION_ID
from dnsfw.audit.settings import AuditSettings

async def main():
    folder = Path(sys.argv[1])
    ballast = folder / "ballast"
    pipeline = AuditPipeline(AuditSettings(path=folder / "audit.db", queue_records=2_000, batch_records=100))
    await pipeline.start()
    ballast.write_bytes(bytes(1 << 20))
    count = 0

    def pour(more):
        nonlocal count
        for record in numbered(more, start=count):
            pipeline.sink(record)
        count += more

    def is_full():
        trouble = pipeline.counts().trouble
        return "full" in trouble or "disk" in trouble

    while not is_full():  # as fast as the writer writes: the disk is to be what stops it
        pour(100)
        await until(lambda: pipeline.counts().queued <= 1_500 or is_full())
    pour(5_000)
    full = pipeline.counts()
    ballast.unlink()
    await until(lambda: pipeline.counts().trouble == "" and pipeline.counts().queued == 0)
    pour(10)
    await pipeline.stop(10)
    end = pipeline.counts()
    print(count, full.queued, full.lost, end.written, end.lost)

uvloop.run(main())
"""
MOUNT = 'mount -t tmpfs -o size=1600k tmpfs "$1" && "$2" -c "$3" "$1" && cp "$1"/audit.db* "$4"'


async def test_f8_full_disk_is_waited_for(tmp_path: Path) -> None:
    """On a full disk nothing blocks; when it has room again the audit goes on, and a gap counts what did not fit meanwhile."""
    if (reason := netns.why_not()) is not None:
        pytest.skip(f"no network namespaces here: {reason}")
    disk, saved = tmp_path / "disk", tmp_path / "saved"
    disk.mkdir()
    saved.mkdir()
    command = ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", str(disk), sys.executable, FULL, str(saved)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment)
    printed, _ = await asyncio.wait_for(process.communicate(), timeout=30)

    count, queued, lost_then, written, lost = map(int, printed.splitlines()[-1].split())
    found = entries(saved / "audit.db")
    records = [entry for entry in found if isinstance(entry, QueryRecord)]
    assert queued > 1_500
    assert lost >= lost_then > 0
    assert written + lost == count == len(records) + sum(gap.lost or 0 for gap in gaps(saved / "audit.db"))
    assert records[-1].name == f"n{count - 1}.example.net"
