"""The kernel's listing of a set's elements, read back.

Pure. Elements of a plain set that all have the usual form are read 1 µs each; whatever else comes is read attribute by attribute, 10 µs
each, with the same result (a test compares them). The starts and ends of intervals are put together again.
"""

import struct
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from nft import codec
from nft.codec import CodecError, Message, read_be32, read_be64, read_native32, read_text
from nft.errors import NotValidError
from nft.objects import Element, Set, Verdict

Data = int | Verdict | None
Reader = Callable[[Iterable[Message]], list[Element]]

ELEMENTS = 3  # NFTA_SET_ELEM_LIST_ELEMENTS
KEY, DATA, FLAGS, TIMEOUT, EXPIRATION, EXPRESSION, KEY_END, EXPRESSIONS = 1, 2, 3, 4, 5, 7, 10, 11
VALUE, VERDICT = 1, 2
INTERVAL_END, CATCHALL = 1, 2
CODES = {"drop": 0, "accept": 1, "continue": 0xFFFF_FFFF, "jump": 0xFFFF_FFFD, "goto": 0xFFFF_FFFC, "return": 0xFFFF_FFFB}
_KINDS = {code: kind for kind, code in CODES.items()}
_HEAD = struct.Struct("=HH")


def reader(of: Set) -> Reader:
    """What reads a dump of this set; expired elements are left out."""
    if not of.is_interval and of.data != "verdict":
        return _plain_reader(of)
    if not of.is_interval:
        return lambda found: [row.element for row in _all_rows(of, found)]
    if len(of.key) > 1:
        return lambda found: [_with_end(row.element, row.element.key_end or row.element.key) for row in _all_rows(of, found)]
    return lambda found: _joined(list(_all_rows(of, found)))


def _plain_reader(of: Set) -> Reader:
    forms = (_form(of, is_timed=True), _form(of, is_timed=False))

    def read(message: Message) -> Iterable[Element]:
        listed = codec.body(message).get(ELEMENTS, b"")
        for form in forms:
            if (elements := form(listed)) is not None:
                return elements
        return (row.element for row in _rows(of, message))

    return lambda found: [element for message in found for element in read(message)]


def _form(of: Set, *, is_timed: bool) -> Callable[[bytes], list[Element] | None]:
    """Reads a list of elements of one form; None if any of them has another (the kernel leaves out the mark of nesting)."""
    size = of.key_length
    gap = -size % 4
    is_mark = of.data == "mark"
    whole = 12 + size + gap + (12 if is_mark else 0) + (24 if is_timed else 0)
    heads = [_HEAD.pack(whole, 1) + _HEAD.pack(8 + size + gap, KEY) + _HEAD.pack(4 + size, VALUE)]
    heads += [_HEAD.pack(12, DATA) + _HEAD.pack(8, VALUE)] if is_mark else []
    heads += [_HEAD.pack(12, TIMEOUT), _HEAD.pack(12, EXPIRATION)] if is_timed else []
    form = struct.Struct(f">12s{size}s{gap}x" + ("8s4s" if is_mark else "") + ("4sQ4sQ" if is_timed else ""))
    order = sys.byteorder

    def read(listed: bytes) -> list[Element] | None:
        if len(listed) % whole:
            return None
        found: list[Element] = []
        for row in form.iter_unpack(listed):
            if [*row[::2]] != heads:
                return None
            data = int.from_bytes(row[3], order) if is_mark else None
            if not is_timed:
                found.append(Element(of, row[1], data))
            elif row[-1]:  # else it is over, though not yet collected
                found.append(Element(of, row[1], data, row[-3] or None, row[-1]))
        return found

    return read


class _Row(NamedTuple):
    """One element of the kernel's."""

    element: Element
    is_end: bool


def _all_rows(of: Set, found: Iterable[Message]) -> Iterator[_Row]:
    return (row for message in found for row in _rows(of, message))


def _rows(of: Set, message: Message) -> Iterator[_Row]:
    for _, listed in codec.walk(codec.body(message).get(ELEMENTS, b"")):
        found = codec.attributes(listed)
        flags = read_be32(found[FLAGS]) if FLAGS in found else 0
        if flags & CATCHALL:
            continue
        if (row := _row(of, found, flags)) is not None:
            yield row


def _row(of: Set, found: dict[int, bytes], flags: int) -> _Row | None:
    timeout_ms = read_be64(found[TIMEOUT]) if TIMEOUT in found else of.default_timeout_ms
    left_ms = read_be64(found[EXPIRATION]) if EXPIRATION in found else None
    if left_ms == 0:
        return None  # over, though not yet collected
    packets, octets = _counter(found)
    key_end = _bytes(found[KEY_END], len(_bytes(found.get(KEY, b"")))) if KEY_END in found else None
    key = _bytes(found.get(KEY, b""), of.key_length)
    timeout = None if left_ms is None else timeout_ms or None
    return _Row(Element(of, key, _data(found.get(DATA)), timeout, left_ms, key_end, packets, octets), bool(flags & INTERVAL_END))


def _bytes(value: bytes, size: int | None = None) -> bytes:
    data = codec.attributes(value).get(VALUE)
    if data is None or (size is not None and len(data) != size):
        raise CodecError(f"a value of {'no' if data is None else len(data)} bytes instead of {size}")
    return data


def _data(value: bytes | None) -> Data:
    if value is None:
        return None
    found = codec.attributes(value)
    if VERDICT not in found:
        return read_native32(found.get(VALUE, b""))
    verdict = codec.attributes(found[VERDICT])
    kind = _KINDS.get(read_be32(verdict.get(1, b"")))
    if kind is None:
        raise CodecError("a verdict that nobody knows")
    try:
        return Verdict(kind, read_text(verdict[2]) if 2 in verdict else None)
    except NotValidError as error:
        raise CodecError(f"a verdict that cannot be: {error}") from error


def _counter(found: dict[int, bytes]) -> tuple[int, int]:
    """Packets and bytes, where the element counts them."""
    expressions = [found[EXPRESSION]] if EXPRESSION in found else [value for _, value in codec.walk(found.get(EXPRESSIONS, b""))]
    for expression in map(codec.attributes, expressions):
        if read_text(expression.get(1, b"")) == "counter":
            counter = codec.attributes(expression.get(2, b""))
            return read_be64(counter.get(2, bytes(8))), read_be64(counter.get(1, bytes(8)))
    return 0, 0


def _joined(rows: list[_Row]) -> list[Element]:
    """Starts and ends, put together to intervals."""
    ends = sorted(row.element.key for row in rows if row.is_end)
    return [_with_end(row.element, _last(row.element.key, ends)) for row in rows if not row.is_end]


def _last(start: bytes, ends: list[bytes]) -> bytes:
    at = bisect_right(ends, start)
    if at == len(ends):
        return b"\xff" * len(start)
    return (int.from_bytes(ends[at], "big") - 1).to_bytes(len(start), "big")


def _with_end(element: Element, key_end: bytes) -> Element:
    return element._replace(key_end=key_end)
