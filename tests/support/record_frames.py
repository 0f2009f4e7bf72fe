"""Records as the audit's writer gets them, and back."""

from collections.abc import Iterator, Sequence
from typing import Any

from dnsfw.audit import frames
from dnsfw.audit.frames import Frame
from dnsfw.audit.record import Parts, QueryRecord, parts_of


def frame_of(records: Sequence[QueryRecord], number: int = 1) -> Frame:
    return Frame(number, frames.RECORDS, list(zip(*map(parts_of, records), strict=True)))


def whole(parts: Parts) -> QueryRecord:
    at, _, verdict, _ = parts
    asker, own = (frames.whole_part(part) if isinstance(part, bytes) else part for part in (parts[1], parts[3]))
    values: tuple[Any, ...] = (at, *asker, *own[:2], *verdict, *own[2:])
    return QueryRecord(*values)


def rows_of(frame: Frame) -> Iterator[Parts]:
    return zip(*frame.body, strict=True)
