"""Records as the audit's writer gets them, and back."""

from collections.abc import Container, Iterator, Sequence
from typing import Any

from dnsfw.audit import frames
from dnsfw.audit.frames import Frame
from dnsfw.audit.record import Parts, QueryRecord, parts_of


def frame_of(records: Sequence[QueryRecord], number: int = 1, *, packed: Container[int] = ()) -> Frame:
    """packed: the places of those that come as who has the same for many makes them."""
    made = (packed_parts(record) if place in packed else parts_of(record) for place, record in enumerate(records))
    return Frame(number, frames.RECORDS, list(zip(*made, strict=True)))


def packed_parts(record: QueryRecord) -> Parts:
    at, asker, verdict, own = parts_of(record)
    return at, frames.pack_part(asker), verdict, frames.pack_part(own)


def whole(parts: Parts) -> QueryRecord:
    at, _, verdict, _ = parts
    asker, own = (frames.whole_part(part) if isinstance(part, bytes) else part for part in (parts[1], parts[3]))
    values: tuple[Any, ...] = (at, *asker, *own[:2], *verdict, *own[2:])
    return QueryRecord(*values)


def rows_of(frame: Frame) -> Iterator[Parts]:
    return zip(*frame.body, strict=True)
