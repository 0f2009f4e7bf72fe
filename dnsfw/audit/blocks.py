"""Records as the database keeps them: some hundreds to a block, column beside column, compressed.

Pure. A block says everything itself; none refers to another. Inflated it is, little-endian: the number of records and the length of the
head (2 x 4 bytes); the head, JSON in UTF-8 (who asked and what was decided, each once, and how long each text is); then the columns,
numbers in the order of `_NUMBERS` and texts (name, addresses, removed, chain), one line a record.
Measured on 200,000 records of 100 pods: 1.7 to 2.5 µs a record to write, 14 to 19 bytes, where a row each took 4.2 to 5.3 and
93 bytes (docs/adr/0002-audit-writer.md).
"""

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from math import isfinite
from typing import Any, Final, NamedTuple

from dnsfw.audit.errors import DamagedDatabaseError
from dnsfw.audit.record import Asker, QueryRecord, Verdict

MOST_RECORDS: Final = 1_024
UNUSABLE = (TypeError, ValueError, struct.error)
"""What `pack` raises for records that are none: of another shape, numbers out of bounds, half a surrogate, a line's end within a text."""

Columns = Sequence[Sequence[Any]]
"""Records as four columns: times, askers, verdicts and what each has for itself (`record.Parts`)."""

_FRONT: Final = struct.Struct("<II")
_LEVEL: Final = 1  # 6 saves a byte a record and takes half as long again
# at, asker, verdict, qtype, ttl, grants, upstream_us, install_us
_NUMBERS: Final = "dHHHiIII"
_SIZES: Final = tuple(struct.calcsize(f"<{code}") for code in _NUMBERS)
_AT, _ASKER, _VERDICT, _QTYPE, _TTL, _GRANTS, _UPSTREAM, _INSTALL = range(len(_NUMBERS))
_NAME, _ADDRESSES, _REMOVED, _CHAIN = range(4)


class Packed(NamedTuple):
    """since/until: of the oldest and the newest record in it."""

    records: int
    since: float
    until: float
    body: bytes


def joined(parts: Sequence[Columns]) -> Columns:
    return parts[0] if len(parts) == 1 else [[item for column in columns for item in column] for columns in zip(*parts, strict=True)]


def cut(columns: Columns) -> list[Columns]:
    """In pieces that are worth a block and take 2 ms at most."""
    return [[column[start : start + MOST_RECORDS] for column in columns] for start in range(0, len(columns[0]), MOST_RECORDS)]


def pack(columns: Columns, pause: Callable[[], None] = lambda: None) -> Packed:
    """Of one record or more, some 1,300 at most (`Tail` may join small blocks to MOST_RECORDS).

    Raises one of UNUSABLE for what `Block` would not give back as it was. `pause`: called between two steps, some 0.1 ms each, for who
    shares a processor with somebody more urgent.
    """
    times, askers, verdicts, own = columns
    names, qtypes, addresses, removed, chains, ttls, grants, upstream, install = zip(*own, strict=True)
    pause()
    ids_of_askers, asker_ids = _counted(askers)
    pause()
    ids_of_verdicts, verdict_ids = _counted(verdicts)
    sections = []
    for code, column in zip(_NUMBERS, (times, asker_ids, verdict_ids, qtypes, ttls, grants, upstream, install), strict=True):
        pause()
        sections.append(struct.pack(f"<{len(times)}{code}", *column))
    texts = [_lines(column) for column in (names, addresses, removed, chains)]
    pause()
    head = {"askers": [*ids_of_askers], "verdicts": [*ids_of_verdicts], "texts": [*map(len, texts)]}
    front = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    since, until = min(times), max(times)
    if not isfinite(sum(times)):
        raise ValueError("a time that is no number")
    return Packed(len(times), since, until, _compressed([_FRONT.pack(len(times), len(front)), front, *sections, *texts], pause))


def _compressed(parts: Sequence[bytes], pause: Callable[[], None]) -> bytes:
    compressor, found = zlib.compressobj(_LEVEL), []
    for part in parts:
        pause()
        found.append(compressor.compress(part))
    return b"".join((*found, compressor.flush()))


def _counted(items: Sequence[tuple[Any, ...]]) -> tuple[dict[tuple[Any, ...], int], list[int]]:
    """Each once, in the order in which they came first, and for each item which one it is."""
    ids: dict[tuple[Any, ...], int] = {}
    return ids, [ids.setdefault(item, len(ids)) for item in items]


def _lines(texts: Sequence[str]) -> bytes:
    lines = "\n".join(texts).encode()
    if lines.count(b"\n") != len(texts) - 1:
        raise ValueError("a line's end within a text")
    return lines


class Block:
    """What `pack` made of them; a column is read when it is asked for, for a filter mostly needs one or two.

    Raises DamagedDatabaseError for bytes that are none of `pack`'s.
    """

    def __init__(self, body: bytes) -> None:
        try:
            self._bytes = zlib.decompress(body)
            self.records: int
            self.records, length = _FRONT.unpack_from(self._bytes)
            head = json.loads(self._bytes[_FRONT.size : _FRONT.size + length])
            self.askers: list[Asker] = [*map(tuple, head["askers"])]
            self.verdicts: list[Verdict] = [*map(tuple, head["verdicts"])]
            self._texts: list[int] = head["texts"]
        except (zlib.error, struct.error, ValueError, LookupError, TypeError) as error:
            raise DamagedDatabaseError(f"a block of records is damaged: {error}") from error
        self._start = _FRONT.size + length

    @cached_property
    def times(self) -> Sequence[float]:
        return self._numbers(_AT)

    @cached_property
    def asker_ids(self) -> Sequence[int]:
        return self._numbers(_ASKER)

    @cached_property
    def verdict_ids(self) -> Sequence[int]:
        return self._numbers(_VERDICT)

    @cached_property
    def names(self) -> Sequence[str]:
        return self._text(_NAME)

    def holds(self, text: str) -> bool:
        """Whether some name has it somewhere: a look at the bytes, without taking them apart."""
        return text.encode() in self._text_bytes(_NAME)

    def record(self, place: int) -> QueryRecord:
        at, asker, verdict, qtype, *numbers = (column[place] for column in self._all_numbers)
        name, *texts = (column[place] for column in self._all_texts)
        return QueryRecord._make((at, *self.askers[asker], name, qtype, *self.verdicts[verdict], *texts, *numbers))

    @cached_property
    def _all_numbers(self) -> Sequence[Sequence[Any]]:
        others = map(self._numbers, (_QTYPE, _TTL, _GRANTS, _UPSTREAM, _INSTALL))
        return [self.times, self.asker_ids, self.verdict_ids, *others]

    @cached_property
    def _all_texts(self) -> Sequence[Sequence[str]]:
        return [self.names, *map(self._text, (_ADDRESSES, _REMOVED, _CHAIN))]

    def _numbers(self, column: int) -> Sequence[Any]:
        start = self._start + self.records * sum(_SIZES[:column])
        return struct.unpack_from(f"<{self.records}{_NUMBERS[column]}", self._bytes, start)

    def _text(self, column: int) -> Sequence[str]:
        return self._text_bytes(column).decode().split("\n")

    def _text_bytes(self, column: int) -> bytes:
        start = self._start + self.records * sum(_SIZES) + sum(self._texts[:column])
        return self._bytes[start : start + self._texts[column]]
