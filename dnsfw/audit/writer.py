"""The writer process: frames on standard input, one line of JSON on standard output for each thing the pipeline must know.

Touches the store and its two pipes. It ends when its input ends or says "clean", never by a signal meant for its parent
(a terminal sends ^C to both, a service manager stops both), so that what was handed over is written.
Always true: the next frames are read only after the last ones are on disk; while the disk refuses, it tries again and reads nothing.
"""

import contextlib
import gc
import json
import os
import select
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dnsfw.audit import frames, opening
from dnsfw.audit.errors import AuditError, DamagedDatabaseError, ForeignDatabaseError, OutdatedDatabaseError
from dnsfw.audit.frames import Frame, FrameReader
from dnsfw.audit.record import Gap
from dnsfw.audit.settings import AuditSettings
from dnsfw.audit.store import Store
from dnsfw.clock import SystemClock

_STDIN, _STDOUT = 0, 1
_CHUNK = 1 << 20
_TEND_S = 2.0
_GATHER_S = 0.04
_MUCH = 1 << 16  # octets, some 1,000 records
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_ORPHAN_TRIES = 5
_MOST_UNCOLLECTED = 100_000  # objects; a batch holds some 10,000 at once, and lets them go without the collector


class Writer:
    """Keeps a store open through whatever the disk does."""

    def __init__(self, settings: AuditSettings, session: str) -> None:
        self._settings = settings
        self._session = session
        self._clock = SystemClock()
        self._store: Store | None = None
        self._trouble = ""

    def run(self) -> None:
        self._persist(())
        for batch in _batches():
            self._persist(batch)
            if batch and batch[-1].kind == frames.CLEAN:
                break
        if self._store is not None:
            self._store.close()

    def _persist(self, batch: tuple[Frame, ...]) -> None:
        pause, tries_left = _FIRST_PAUSE_S, _ORPHAN_TRIES
        while not self._has_persisted(batch):
            tries_left -= _is_orphan()
            if not tries_left:
                sys.exit(1)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _has_persisted(self, batch: tuple[Frame, ...]) -> bool:
        try:
            store = self._store = self._store or self._opened()
            _write(store, batch, self._clock.wall())
        except ForeignDatabaseError as error:
            self._report(str(error), event="refused")
        except OutdatedDatabaseError:
            self._replace("outdated")
        except (sqlite3.Error, OSError, AuditError) as error:
            self._recover(error)
        else:
            self._say_written(store.last_batch, batch)
            return True
        return False

    def _opened(self) -> Store:
        store = Store(self._settings, self._session, self._clock.wall())
        _tell(event="opened", number=store.last_batch)
        return store

    def _say_written(self, number: int, batch: tuple[Frame, ...]) -> None:
        if self._trouble:
            self._trouble = ""
            _tell(event="recovered")
        if batch:
            _tell(event="written", number=number)

    def _recover(self, error: Exception) -> None:
        self._close_broken()
        self._report(str(error) if isinstance(error, AuditError) else f"{self._settings.path}: {error}")
        if opening.is_damage(error):
            self._replace("damaged")

    def _close_broken(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            try:
                store.close()
            except sqlite3.Error as error:
                self._report(f"{self._settings.path}: closing: {error}")

    def _replace(self, why: str) -> None:
        now = self._clock.wall()
        try:
            aside = opening.moved_aside(self._settings.path, now, why)
            self._store = self._opened()
            self._store.add_gap(Gap(now, now, None, f"{why} database"))
        except (sqlite3.Error, OSError, DamagedDatabaseError) as error:
            self._report(str(error))
        else:
            _tell(event="replaced", text=f"{self._settings.path} was {why}, it is kept as {aside}; a new one was begun")

    def _report(self, text: str, event: str = "trouble") -> None:
        if text != self._trouble:
            self._trouble = text
            _tell(event=event, text=text)


def _write(store: Store, batch: tuple[Frame, ...], now: float) -> None:
    if not batch:
        store.tend(now)
        return
    store.write(batch, now)
    if batch[-1].kind == frames.CLEAN:
        store.mark_clean()


def _batches() -> Iterator[tuple[Frame, ...]]:
    """What has arrived, as one batch; an empty one when nothing does for a while.

    A pause behind each that is not much already: with 20 ms in one batch a record took 2.2 to 3.5 µs, as they come 4 to 5, and the loop
    read 50 notes a second of what is written instead of 350 (90,000 cached and 30,000 new names/s); with 40 ms another 0.2 µs less. With a
    pause behind each and every one 108,000 records/s were the most; so 120,000 are kept up with.
    """
    reader = FrameReader()
    while True:
        if not select.select([_STDIN], [], [], _TEND_S)[0]:
            yield ()
        elif data := os.read(_STDIN, _CHUNK):
            if batch := tuple(reader.feed(data)):
                yield batch
            if len(data) < _MUCH:
                time.sleep(_GATHER_S)
        else:
            return


def _is_orphan() -> bool:
    poll = select.poll()
    poll.register(_STDIN, 0)
    return bool(poll.poll(0))  # nothing was asked for, so only a hang-up or an error answers


def _tell(**event: str | int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent is gone; what it handed over is written all the same
        os.write(_STDOUT, json.dumps(event).encode() + b"\n")


def _yield_to_queries() -> None:
    """Woken by a batch, the kernel would let us run in the middle of the loop's own write: 1 ms, ten times a second (measured).

    sched(7), SCHED_BATCH: the same share of the processor, but not at once.
    """
    with contextlib.suppress(OSError):  # not everywhere
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def main() -> None:
    """`python -m dnsfw.audit.writer SETTINGS`, started by the pipeline only."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    _yield_to_queries()
    # What could refer to itself are errors' traces; to look for them after each 700 new tuples takes a sixth of the time.
    gc.freeze()
    gc.set_threshold(_MOST_UNCOLLECTED)
    given = json.loads(sys.argv[1])
    session = given.pop("session")
    Writer(AuditSettings(**given | {"path": Path(given["path"])}), session).run()


if __name__ == "__main__":
    main()
