"""Records as the audit's writer gets them."""

from collections.abc import Sequence

from dnsfw.audit import frames
from dnsfw.audit.frames import Frame
from dnsfw.audit.record import QueryRecord, parts_of


def frame_of(records: Sequence[QueryRecord], number: int = 1) -> Frame:
    return Frame(number, frames.RECORDS, list(zip(*map(parts_of, records), strict=True)))
