"""Where records go: whole, or in the four parts (`record.Parts`) that whoever answers has at hand."""

from dnsfw.audit.record import Asker, Own, QueryRecord, Verdict, parts_of
from dnsfw.clock import WallTime


class Recorder:
    """The pipeline, or a worker's buffer. Takes a record and returns at once; never raises; what it cannot keep it counts as lost.

    A class that both are, not a protocol: compiled, its method is called as it is, where a protocol's is looked up by name (0.1 µs).
    """

    def sink(self, record: QueryRecord) -> None:
        self.sink_parts(*parts_of(record))

    def sink_parts(self, at: WallTime, asker: Asker | bytes, verdict: Verdict, own: Own | bytes) -> None:
        raise NotImplementedError
