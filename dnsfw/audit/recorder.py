"""Where records go: whole, or in the four parts (`record.Parts`) that whoever answers has at hand."""

from dnsfw.audit.record import Asker, Own, QueryRecord, Verdict, parts_of
from dnsfw.clock import WallTime


class Recorder:
    """The pipeline, or a worker's buffer; a `record.Sink` is one's method. A class, not a protocol: ADR 0010."""

    def sink(self, record: QueryRecord) -> None:
        at, asker, verdict, own = parts_of(record)
        self.sink_parts(at, asker, verdict, own)

    def sink_parts(self, at: WallTime, asker: Asker | bytes, verdict: Verdict, own: Own | bytes) -> None:
        raise NotImplementedError
