"""How records travel to the writer process: length, then marshal.

Pure. Both ends are the same program at the same version, parent and child, so marshal is safe here and the cheapest: measured on batches of
256, 0.70 µs a record column-wise with marshal 4, 0.81 row-wise, 0.8 to 2.5 with its older versions, 0.75 with pickle 5.
"""

import marshal
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dnsfw.audit.record import Asker, Gap, Own, Parts

Part = Asker | Own
RECORDS, GAP, CLEAN, _WRAPPED = 0, 1, 2, 3
_HEADER = 4


class Frame(NamedTuple):
    """number: counts up within a session; the store remembers the last one, so that none is written twice.

    body: of records four columns (`record.Parts`), else a gap or None.
    """

    number: int
    kind: int
    body: Any


class Batch(NamedTuple):
    """Records that are packed already: how many, their first and last time, and the bytes."""

    records: int
    since: float
    until: float
    data: bytes


def pack_part(part: Part) -> bytes:
    """An asker or an `Own`, for many records: its fields cost 0.4 to 0.7 µs each time a batch is packed, and their bytes 0.1."""
    return marshal.dumps(part, 4)


def whole_part(packed: bytes) -> Part:
    whole: Part = marshal.loads(packed)  # noqa: S302 -- as in FrameReader
    return whole


def pack_columns(number: int, columns: list[Any]) -> bytes:
    """Records as four columns (`record.Parts`, each field's values together)."""
    return _packed(number, RECORDS, columns)


def pack_batch(records: Sequence[Parts]) -> Batch:
    """For who hands records on to whoever numbers the frames."""
    return Batch(len(records), records[0][0], records[-1][0], marshal.dumps(_columns(records), 4))


def wrap_batch(number: int, batch: Batch) -> bytes:
    """The same to a reader as `pack_columns` of what is in it; its records are not looked at."""
    return _packed(number, _WRAPPED, batch.data)


def _columns(records: Sequence[Parts]) -> list[tuple[Any, ...]]:
    # marshal writes what stands in several places once, so one asker of many records is an asker and many references.
    return list(zip(*records, strict=True))


def pack_gap(number: int, gap: Gap) -> bytes:
    return _packed(number, GAP, tuple(gap))


def pack_clean(number: int) -> bytes:
    return _packed(number, CLEAN, None)


def _packed(number: int, kind: int, body: list[Any] | tuple[Any, ...] | bytes | None) -> bytes:
    data = marshal.dumps((number, kind, body), 4)
    return len(data).to_bytes(_HEADER, "big") + data


class FrameReader:
    """Takes bytes as they come, gives whole frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._bytes += data
        start = 0
        while (end := self._end_of_frame(start)) is not None:
            number, kind, body = marshal.loads(self._bytes[start + _HEADER : end])  # noqa: S302 -- written by our own parent, see above
            if kind == _WRAPPED:
                kind, body = RECORDS, marshal.loads(body)  # noqa: S302 -- as above
            yield Frame(number, kind, body)
            start = end
        del self._bytes[:start]

    def _end_of_frame(self, start: int) -> int | None:
        end = start + _HEADER + int.from_bytes(self._bytes[start : start + _HEADER], "big")
        return end if len(self._bytes) >= max(end, start + _HEADER) else None
