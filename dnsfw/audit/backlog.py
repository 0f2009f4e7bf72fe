"""Records on their way to the writer: a bounded queue of batches, and what did not fit.

Pure: no I/O, no clock. The pipeline asks what to send and says what is written.
Always true: every record is written, waiting or counted as lost; where records are lost, a gap goes in their place; a batch is kept until
it is written, so that a writer's successor gets it again.
"""

from collections import deque
from typing import Final, NamedTuple

from dnsfw.audit import frames
from dnsfw.audit.record import Asker, Gap, Own, Verdict
from dnsfw.clock import WallTime

# Frames under way at once, some 2.5 MB: enough to keep the writer busy, little enough for the transport to copy.
_WINDOW: Final = 64


class _Batch(NamedTuple):
    number: int
    records: int
    data: bytes


def lengthened(gap: Gap | None, count: int, since: float, until: float) -> Gap:
    """The gap with these records in it, too."""
    if gap is None:
        return Gap(since, until, count, "queue full")
    return gap._replace(since=min(gap.since, since), until=max(gap.until, until), lost=(gap.lost or 0) + count)


class Backlog:
    def __init__(self, limit: int, batch: int) -> None:
        self._limit = limit
        self._batch = batch
        self._times: list[float] = []  # and the other columns: to turn records into columns once a batch costs as much as marshal
        self._askers: list[Asker | bytes] = []
        self._verdicts: list[Verdict] = []
        self._own: list[Own | bytes] = []
        self._ready: deque[_Batch] = deque()
        self._sent: deque[_Batch] = deque()
        self._number = 0
        self._unwritten = 0
        self._gap: Gap | None = None
        self._is_full = False
        self._is_closed = False
        self.written = 0
        self.lost = 0

    @property
    def queued(self) -> int:
        return self._unwritten + len(self._times)

    def add(self, at: WallTime, asker: Asker | bytes, verdict: Verdict, own: Own | bytes) -> int:
        """A record (`record.Parts`). How many wait to become a batch; 0 when they just did, or when the record was lost."""
        if self._is_full:
            self._lose(1, at, at)
            return 0
        self._times.append(at)
        self._askers.append(asker)
        self._verdicts.append(verdict)
        self._own.append(own)
        if (waiting := len(self._times)) < self._batch:
            return waiting
        self.cut()
        return 0

    def add_batch(self, batch: frames.Batch) -> None:
        """Records that another process has packed; taken or lost as a whole."""
        if self._is_full:
            self._lose(batch.records, batch.since, batch.until)
            return
        self.cut()
        self._enqueue(batch.records, frames.wrap_batch(self._number + 1, batch))
        self._is_full = self._unwritten + self._batch > self._limit

    def add_gap(self, gap: Gap) -> None:
        """Records that were lost before they came here."""
        self.lost += gap.lost or 0
        if not self._is_closed:
            self.cut()
            self._enqueue_gap(gap)

    def cut(self) -> None:
        """Make a batch of what has gathered."""
        if not self._times:
            return
        times, columns = self._times, [self._times, self._askers, self._verdicts, self._own]
        self._times, self._askers, self._verdicts, self._own = [], [], [], []
        try:
            data = frames.pack_columns(self._number + 1, columns)
        except (ValueError, TypeError):
            # Somebody's record holds what it must not; that the sink never raises is worth more than this batch.
            self.lost += len(times)
            self._enqueue_gap(Gap(times[0], times[-1], len(times), "unusable records"))
            return
        self._enqueue(len(times), data)
        self._is_full = self._unwritten + self._batch > self._limit

    def close(self) -> None:
        """The last frame says that the end was orderly; what comes later is lost, and counted."""
        self.cut()
        self._end_gap()
        self._enqueue(0, frames.pack_clean(self._number + 1))
        self._is_full = self._is_closed = True

    def next_to_send(self) -> bytes | None:
        if not self._ready or len(self._sent) >= _WINDOW:
            return None
        batch = self._ready.popleft()
        self._sent.append(batch)
        return batch.data

    def resend_after(self, number: int) -> None:
        """A new writer has everything up to `number`; the rest goes out again."""
        self.acknowledge(number)
        self._ready.extendleft(reversed(self._sent))
        self._sent.clear()

    def acknowledge(self, number: int) -> None:
        while self._sent and self._sent[0].number <= number:
            count = self._sent.popleft().records
            self.written += count
            self._unwritten -= count
        # A quarter must be free before records are taken again: else a slow disk would get a gap for each batch.
        if self._is_full and not self._is_closed and self._unwritten <= self._limit * 3 // 4:
            self._is_full = False
            self._end_gap()

    def give_up(self) -> int:
        """Nobody will write what waits: it counts as lost."""
        left, self._unwritten = self._unwritten, 0
        self._ready.clear()
        self._sent.clear()
        self.lost += left
        return left

    def _lose(self, count: int, since: float, until: float) -> None:
        self.lost += count
        self._gap = lengthened(self._gap, count, since, until)

    def _end_gap(self) -> None:
        gap, self._gap = self._gap, None
        if gap is not None:
            self._enqueue_gap(gap)

    def _enqueue_gap(self, gap: Gap) -> None:
        self._enqueue(0, frames.pack_gap(self._number + 1, gap))

    def _enqueue(self, count: int, data: bytes) -> None:
        self._number += 1
        self._unwritten += count
        self._ready.append(_Batch(self._number, count, data))
