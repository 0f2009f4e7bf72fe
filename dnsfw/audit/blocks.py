"""Records as the database keeps them: hundreds or thousands to a block, column beside column, compressed.

Pure. A block says everything itself; none refers to another. Inflated it is, little-endian: the number of records and the length of the
head (2 x 4 bytes); the head, JSON in UTF-8 (who asked and what was decided, each once, how many `Own` there are, and how long each text
is); then the columns, numbers in the order of `_NUMBERS` and texts (name, addresses, removed, chain), one line an `Own`. Records that
share one refer to it; where none do, they are in its order and nothing refers.
9 bytes a record where 1,000 names are asked for again and again, 15 where each is new; a row each took 93, and twice the time to write
(docs/adr/0002-audit-writer.md).
"""

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain, count
from math import isfinite
from typing import Any, Final, NamedTuple, cast

from dnsfw.audit.errors import DamagedDatabaseError
from dnsfw.audit.frames import Part, whole_part
from dnsfw.audit.record import Asker, Own, QueryRecord, Verdict

MOST_RECORDS: Final = 4_096
UNUSABLE = (TypeError, ValueError, EOFError, struct.error)
"""What `pack` raises for records that are none: of another shape, numbers out of bounds, half a surrogate, a line's end within a text."""

Columns = Sequence[Sequence[Any]]
"""Records as four columns: times, askers, verdicts and what each has for itself (`record.Parts`, some of it packed)."""

_FRONT: Final = struct.Struct("<II")
_LEVEL: Final = 1  # 6 saves a byte a record and takes half as long again
# Of each record: at, asker, verdict, own; of each own: qtype, ttl, grants, upstream_us, install_us.
_NUMBERS: Final = "dHHHHiIII"
_SIZES: Final = tuple(struct.calcsize(f"<{code}") for code in _NUMBERS)
_AT, _ASKER, _VERDICT, _OWN, _QTYPE, _TTL, _GRANTS, _UPSTREAM, _INSTALL = range(len(_NUMBERS))
_NAME, _ADDRESSES, _REMOVED, _CHAIN = range(4)
_ASKER_FIELDS, _VERDICT_FIELDS = 5, 4


class Packed(NamedTuple):
    """since/until: of the oldest and the newest record in it."""

    records: int
    since: float
    until: float
    body: bytes


def joined(parts: Sequence[Columns]) -> Columns:
    return parts[0] if len(parts) == 1 else [[*chain.from_iterable(columns)] for columns in zip(*parts, strict=True)]


def cut(columns: Columns) -> list[Columns]:
    """In pieces that are worth a block and take 4 to 8 ms."""
    return [[column[start : start + MOST_RECORDS] for column in columns] for start in range(0, len(columns[0]), MOST_RECORDS)]


def pack(columns: Columns, pause: Callable[[], None] = lambda: None) -> Packed:
    """Of one record or more, some 4,400 at most (`Tail` may join small blocks to MOST_RECORDS).

    Raises one of UNUSABLE for what `Block` would not give back as it was. `pause`: called between two steps, 0.1 to 1 ms each, for who
    shares a processor with somebody more urgent.
    """
    times, askers, verdicts, owns = columns
    if len({*map(len, columns)}) != 1:
        raise ValueError("columns of different lengths")
    pause()
    different, own_ids = _shared(owns)
    names, qtypes, addresses, removed, chains, ttls, grants, upstream, install = zip(*different, strict=True)
    pause()
    ids_of_askers, asker_ids = _counted(askers)
    pause()
    ids_of_verdicts, verdict_ids = _counted(verdicts)
    sections = []
    for code, column in zip(_NUMBERS, (times, asker_ids, verdict_ids, own_ids, qtypes, ttls, grants, upstream, install), strict=True):
        pause()
        sections.append(struct.pack(f"<{len(column)}{code}", *column))
    texts = [_lines(column) for column in (names, addresses, removed, chains)]
    pause()
    head = {
        "askers": [*map(_whole, ids_of_askers)],
        "verdicts": [*ids_of_verdicts],
        "owns": len(different),
        "texts": [*map(len, texts)],
    }
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


def _shared(owns: Sequence[Own | bytes]) -> tuple[Sequence[Own], Sequence[int]]:
    """Each once, and for each record which one it has; none of these where no two have the same.

    Looked for only where some came packed: who packed them has the same for many.
    """
    if bytes not in set(map(type, owns)):
        return cast("Sequence[Own]", owns), ()
    numbers, places = _counted(owns)
    different = [*map(_whole, numbers)]
    return different, places if len(different) < len(owns) else ()


def _counted(items: Sequence[Any]) -> tuple[dict[Any, int], list[int]]:
    """Each once, in the order in which they came first, and for each item which one it is."""
    numbers = dict(zip(dict.fromkeys(items), count(), strict=False))
    return numbers, [*map(numbers.__getitem__, items)]


def _whole(part: Part | bytes) -> Part:
    return whole_part(part) if isinstance(part, bytes) else part


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
            self.owns: int = head["owns"]
            self._texts: list[int] = head["texts"]
            referring = self.records if self.owns < self.records else 0
            self._lengths = [*[self.records] * _OWN, referring, *[self.owns] * (len(_NUMBERS) - _OWN - 1)]
            self._start = _FRONT.size + length
            self._check()
        except (zlib.error, struct.error, ValueError, LookupError, TypeError) as error:
            raise DamagedDatabaseError(f"a block of records is damaged: {error}") from error

    def _check(self) -> None:
        """That no column ends before its records do, and no record refers to what is not there."""
        end = self._start + self._before(len(_NUMBERS)) + sum(self._texts)
        if not 0 < self.owns <= self.records or len(self._texts) != _CHAIN + 1 or min(self._texts) < 0 or end != len(self._bytes):
            raise ValueError("not as long as it says")
        if any(len(asker) != _ASKER_FIELDS for asker in self.askers) or any(len(verdict) != _VERDICT_FIELDS for verdict in self.verdicts):
            raise ValueError("an asker or a verdict has another number of fields")
        if any(self._text_bytes(column).count(b"\n") != self.owns - 1 for column in range(_CHAIN + 1)):
            raise ValueError("a column of texts has another number of lines")
        referred = ((self.asker_ids, self.askers), (self.verdict_ids, self.verdicts), (self.own_ids, range(self.owns)))
        if any(max(ids) >= len(there) for ids, there in referred):
            raise ValueError("a record refers to what is not there")

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
    def own_ids(self) -> Sequence[int]:
        return self._numbers(_OWN) or range(self.records)

    @cached_property
    def names(self) -> Sequence[str]:
        """One for each of `own_ids`' numbers."""
        return self._text(_NAME)

    def holds(self, text: str) -> bool:
        """Whether some name has it somewhere: a look at the bytes, without taking them apart."""
        return text.encode() in self._text_bytes(_NAME)

    def record(self, place: int) -> QueryRecord:
        asker, verdict, own = self.askers[self.asker_ids[place]], self.verdicts[self.verdict_ids[place]], self.own_ids[place]
        qtype, *numbers = (column[own] for column in self._owns_numbers)
        name, *texts = (column[own] for column in self._owns_texts)
        return QueryRecord._make((self.times[place], *asker, name, qtype, *verdict, *texts, *numbers))

    @cached_property
    def _owns_numbers(self) -> Sequence[Sequence[Any]]:
        return [*map(self._numbers, (_QTYPE, _TTL, _GRANTS, _UPSTREAM, _INSTALL))]

    @cached_property
    def _owns_texts(self) -> Sequence[Sequence[str]]:
        return [self.names, *map(self._text, (_ADDRESSES, _REMOVED, _CHAIN))]

    def _numbers(self, column: int) -> Sequence[Any]:
        start = self._start + self._before(column)
        return struct.unpack_from(f"<{self._lengths[column]}{_NUMBERS[column]}", self._bytes, start)

    def _before(self, column: int) -> int:
        return sum(length * size for length, size in zip(self._lengths[:column], _SIZES, strict=False))

    def _text(self, column: int) -> Sequence[str]:
        try:
            return self._text_bytes(column).decode().split("\n")
        except UnicodeDecodeError as error:
            raise DamagedDatabaseError(f"a block of records is damaged: {error}") from error

    def _text_bytes(self, column: int) -> bytes:
        start = self._start + self._before(len(_NUMBERS)) + sum(self._texts[:column])
        return self._bytes[start : start + self._texts[column]]
