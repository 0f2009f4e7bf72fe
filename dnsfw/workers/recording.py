"""A worker's audit records, on their way to main: gathered into batches, bounded by what the link may hold.

Touches the link and one timer of the loop. Always true: a record is sent, or counted in a gap that is sent where it would have been, as
soon as there is room; the sink neither blocks nor raises.
"""

import asyncio

from dnsfw.audit.backlog import lengthened
from dnsfw.audit.frames import pack_batch
from dnsfw.audit.record import Asker, Gap, Own, Parts, Verdict
from dnsfw.audit.recorder import Recorder
from dnsfw.clock import WallTime
from dnsfw.workers import frames
from dnsfw.workers.frames import Kind
from dnsfw.workers.link import Link


class Recording(Recorder):
    def __init__(self, link: Link, batch_records: int, batch_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self._link = link
        self._batch_records = batch_records
        self._batch_s = batch_s
        self._loop = loop
        self._buffer: list[Parts] = []
        self._timer: asyncio.TimerHandle | None = None
        self._gap: Gap | None = None

    def sink_parts(self, at: WallTime, asker: Asker | bytes, verdict: Verdict, own: Own | bytes) -> None:
        self._buffer.append((at, asker, verdict, own))
        if len(self._buffer) >= self._batch_records:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._batch_s, self.flush)

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        records, self._buffer = self._buffer, []
        if not self._link.has_room:
            self._lose(records)
            return
        self._end_gap()
        if records:
            self._send(records)

    def close(self) -> None:
        """The last of them, room or not: nothing comes after."""
        self.flush()
        self._end_gap()

    def _lose(self, records: list[Parts]) -> None:
        if records:
            self._gap = lengthened(self._gap, len(records), records[0][0], records[-1][0])
        self._timer = self._loop.call_later(self._batch_s, self.flush)

    def _end_gap(self) -> None:
        gap, self._gap = self._gap, None
        if gap is not None:
            self._link.send(Kind.GAP, frames.pack_value(gap))

    def _send(self, records: list[Parts]) -> None:
        try:
            body = frames.pack_batch(pack_batch(records))
        except (ValueError, TypeError):
            # Somebody's record holds what it must not; that the sink never raises is worth more than this batch.
            body = frames.pack_value(Gap(records[0][0], records[-1][0], len(records), "unusable records"))
            self._link.send(Kind.GAP, body)
        else:
            self._link.send(Kind.RECORDS, body)
