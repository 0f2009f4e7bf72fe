"""Elements of one set, to the kernel's bytes (and back: nft.listed).

Pure. `SetCoder` knows all about a set that does not change, and packs an element of a plain set in one go; intervals and
verdicts, which no hot path needs, take the readable way (both ways yield the same bytes: a test compares them).
An interval in a set of one part is two elements for the kernel, the second marked as the end and lying one past the last key;
in a concatenation it is one element with two keys.
"""

import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from nft import codec
from nft.changes import MIN_TIMEOUT_MS, Add, Change
from nft.codec import attribute, be32, be64, nested
from nft.errors import NotValidError
from nft.listed import CODES, DATA, ELEMENTS, EXPIRATION, FLAGS, INTERVAL_END, KEY, KEY_END, TIMEOUT, VALUE, VERDICT, Data, reader
from nft.objects import Set, Verdict

NEW: Final = 12  # NFT_MSG_…SETELEM
GET: Final = 13
DELETE: Final = 14
DESTROY: Final = 30
_TABLE: Final = 1  # NFTA_SET_ELEM_LIST_…
_SET: Final = 2
_MAX_TIMEOUT_MS: Final = 1 << 50
ROOM: Final = 0xFFFF - 4
"""Octets in the attribute that lists the elements."""
_HEAD: Final = struct.Struct("=HH")
_MARK_HEAD: Final = _HEAD.pack(12, DATA | codec.NESTED) + _HEAD.pack(8, VALUE)
_TIMEOUT_HEAD: Final = _HEAD.pack(12, TIMEOUT)
_EXPIRATION_HEAD: Final = _HEAD.pack(12, EXPIRATION)
_MOST_VALUES: Final = 4096
_NFTABLES: Final = codec.NFTABLES << 8
_FLAGS_OF: Final = {NEW: codec.REQUEST | codec.CREATE, DELETE: codec.REQUEST, DESTROY: codec.REQUEST}
_LAST_FLAGS: Final = {kind: flags | codec.ACK for kind, flags in _FLAGS_OF.items()}


class SetCoder:
    """Packs and reads the elements of one set."""

    __slots__ = (
        "_family",
        "_head",
        "_is_plain",
        "_key_length",
        "_named",
        "_run",
        "_singles",
        "_timed",
        "_untimed",
        "_values",
        "address",
        "first_element",
        "of",
        "read",
    )

    def __init__(self, of: Set) -> None:
        self.of = of
        self.address = codec.text(_TABLE, of.table.name) + codec.text(_SET, of.name)
        self._key_length = of.key_length
        self._is_plain = not of.is_interval and of.data != "verdict"
        self._timed, self._untimed = _template(of, is_timed=True), _template(of, is_timed=False)
        self._named = _template_of_key(of)
        self.read = reader(of)
        """The elements in the messages of a dump; expired ones left out."""
        self._run = _run_of(of)
        self._values: dict[int, bytes] = {}
        self._family = codec.FAMILIES[of.table.family]
        self._head = struct.Struct(f"=IHHIIBBBB{len(self.address)}sHH")
        self.first_element = self._head.size
        self._singles = {kind: self._single(kind) for kind in (NEW, DESTROY)}

    def pack(self, key: bytes, data: Data, timeout_ms: int | None, key_end: bytes | None = None) -> bytes:
        """The element as it stands in a message's list of elements."""
        if len(key) != self._key_length:
            raise self._refuse_key(key)
        if timeout_ms is None:
            timeout_ms = self.of.default_timeout_ms
        elif not self.of.has_timeout or not 0 < timeout_ms < _MAX_TIMEOUT_MS:
            raise NotValidError(f"{self.of.kind} {self.of}: a timeout is positive and needs the flag timeout, not {timeout_ms}")
        elif timeout_ms < MIN_TIMEOUT_MS:
            timeout_ms = MIN_TIMEOUT_MS
        if not self._is_plain or key_end is not None:
            return spell_out(self.of, key, data, timeout_ms, key_end)
        try:
            return self._untimed(key, data, 0) if timeout_ms is None else self._timed(key, data, timeout_ms)
        except (AttributeError, OverflowError) as error:
            raise NotValidError(f"{self.of.kind} {self.of} cannot hold {data}") from error

    def pack_run(self, changes: Sequence[Change]) -> bytes | None:
        """Plain timed elements of this set, each with another key, as they stand in one message; None: not all of them are that."""
        of, length, parts, keys = self.of, self._key_length, [], set()
        if not (self._is_plain and of.has_timeout and of.data == "mark"):
            return None
        before, middle, pack_timeout = self._run
        last_timeout, tail = -1, b""
        for change in changes:
            if type(change) is not Add:
                return None
            its, key, data, timeout_ms, key_end = change
            if its is not of or key_end is not None or len(key) != length or type(data) is not int or timeout_ms is None:
                return None
            if not MIN_TIMEOUT_MS <= timeout_ms < _MAX_TIMEOUT_MS or not 0 <= data <= 0xFFFF_FFFF:
                return None
            if timeout_ms != last_timeout:  # what was asked in one turn mostly has one TTL
                last_timeout, tail = timeout_ms, pack_timeout(_TIMEOUT_HEAD, timeout_ms, _EXPIRATION_HEAD, timeout_ms)
            if (value := self._values.get(data)) is None:
                value = self._value_of(data)
            parts.append(before)
            parts.append(key)
            parts.append(middle)
            parts.append(value)
            parts.append(tail)
            keys.add(key)
        elements = b"".join(parts)
        return elements if len(elements) <= ROOM and len(keys) == len(changes) else None

    def _value_of(self, data: int) -> bytes:
        """A mark as it stands in an element, remembered: a mark is of a pod and a rule, and each answer of theirs bears it."""
        if len(self._values) >= _MOST_VALUES:
            self._values.clear()
        value = self._values[data] = data.to_bytes(4, sys.byteorder)
        return value

    def message(self, kind: int, seq: int, elements: bytes, *, is_last: bool) -> bytes:
        """A message that does one thing to packed elements; the last one of a transaction asks for the acknowledgement."""
        flags = (_LAST_FLAGS if is_last else _FLAGS_OF)[kind]
        size = len(elements)
        fixed, table, mark = self.first_element, self.address, ELEMENTS | codec.NESTED
        return self._head.pack(fixed + size, kind | _NFTABLES, flags, seq, 0, self._family, 0, 0, 0, table, size + 4, mark) + elements

    def single(self, kind: int, element: bytes, first: int) -> bytes:
        """The whole transaction that does one thing to one packed element; its messages are numbered from `first` on."""
        return self._singles[kind](element, first)

    def pack_key(self, key: bytes, key_end: bytes | None = None) -> bytes:
        """The element as a deletion names it."""
        if len(key) != self._key_length:
            raise self._refuse_key(key)
        if self.of.is_interval or key_end is not None:
            return spell_out(self.of, key, None, None, key_end, is_named_only=True)
        return self._named(key)

    def _single(self, kind: int) -> Callable[[bytes, int], bytes]:
        """A batch with holes: two packs of 0.7 µs instead of four messages' 2.5."""
        sent = self.message(kind, 0, b"", is_last=True)
        kind_and_flags, port_and_rest = sent[4:8], sent[12:-4]
        begin, end = codec.batch_mark(codec.BATCH_BEGIN, 0), codec.batch_mark(codec.BATCH_END, 0)
        begin_head, end_head, tail = begin[:8], end[:8], begin[12:]
        pack_head = struct.Struct(f"=8sI8sI4sI{len(port_and_rest)}sHH").pack
        pack_end = struct.Struct("=8sI8s").pack
        fixed, mark = self.first_element, ELEMENTS | codec.NESTED

        def single(element: bytes, first: int) -> bytes:
            size = len(element)
            head = pack_head(begin_head, first, tail, fixed + size, kind_and_flags, first + 1, port_and_rest, size + 4, mark)
            return head + element + pack_end(end_head, first + 2, tail)

        return single

    def _refuse_key(self, key: bytes) -> NotValidError:
        return NotValidError(f"{self.of.kind} {self.of}: a key has {self._key_length} bytes, not {len(key)}")


def _template(of: Set, *, is_timed: bool) -> Callable[[bytes, Data, int], bytes]:
    """One element's bytes with holes: one pack of 0.4 µs instead of a dozen attributes' 4."""
    size = of.key_length
    gap = -size % 4
    is_mark = of.data == "mark"
    head = _key_head(of, (12 if is_mark else 0) + (24 if is_timed else 0))
    mark, timeout, expiration = _MARK_HEAD, _TIMEOUT_HEAD, _EXPIRATION_HEAD
    pack = struct.Struct(f">12s{size}s{gap}x" + ("8s4s" if is_mark else "") + ("4sQ4sQ" if is_timed else "")).pack
    order = sys.byteorder

    def bare(key: bytes, data: Data, timeout_ms: int) -> bytes:
        if data is not None:
            raise NotValidError(f"set {of} holds no data, so not {data}")
        return pack(head, key, timeout, timeout_ms, expiration, timeout_ms) if is_timed else pack(head, key)

    def marked(key: bytes, data: Data, timeout_ms: int) -> bytes:
        value = data.to_bytes(4, order)  # type: ignore[union-attr]  # what has no to_bytes is refused by the caller
        if is_timed:
            return pack(head, key, mark, value, timeout, timeout_ms, expiration, timeout_ms)
        return pack(head, key, mark, value)

    return marked if is_mark else bare


def _template_of_key(of: Set) -> Callable[[bytes], bytes]:
    head, gap = _key_head(of, 0), bytes(-of.key_length % 4)
    return lambda key: head + key + gap


def _run_of(of: Set) -> tuple[bytes, bytes, Callable[[bytes, int, bytes, int], bytes]]:
    """Of a timed element with a mark: what stands before its key, and between key and mark; what packs the rest."""
    return _key_head(of, 12 + 24), bytes(-of.key_length % 4) + _MARK_HEAD, struct.Struct(">4sQ4sQ").pack


def _key_head(of: Set, behind: int) -> bytes:
    """What stands before the key of an element with so many octets behind it."""
    size = of.key_length
    padded = size + -size % 4
    return _HEAD.pack(12 + padded + behind, 1 | codec.NESTED) + _HEAD.pack(8 + padded, KEY | codec.NESTED) + _HEAD.pack(4 + size, VALUE)


def spell_out(of: Set, key: bytes, data: Data, timeout_ms: int | None, key_end: bytes | None, *, is_named_only: bool = False) -> bytes:
    """The element attribute by attribute, as many as the kernel makes of it."""
    if key_end is not None and (not of.is_interval or len(key_end) != len(key) or key_end < key):
        raise NotValidError(f"{of.kind} {of}: no interval may end there: {key_end.hex()}")
    parts = [_value(KEY, key)]
    if of.is_interval and len(of.key) > 1:
        parts.append(_value(KEY_END, key if key_end is None else key_end))
    if not is_named_only:
        parts.extend(_contents(of, data, timeout_ms))
    start = nested(1, *parts)
    if not of.is_interval or len(of.key) > 1:
        return start
    return start + _closing(key if key_end is None else key_end)


def _closing(last: bytes) -> bytes:
    """The element that ends an interval; none where the keys themselves end."""
    if last == b"\xff" * len(last):
        return b""
    beyond = (int.from_bytes(last, "big") + 1).to_bytes(len(last), "big")
    return nested(1, _value(KEY, beyond), be32(FLAGS, INTERVAL_END))


def _contents(of: Set, data: Data, timeout_ms: int | None) -> Iterator[bytes]:
    match of.data, data:
        case None, None:
            pass
        case "mark", int():
            yield _value(DATA, data.to_bytes(4, sys.byteorder))
        case "verdict", Verdict():
            chain = codec.text(2, data.chain) if data.chain else b""
            yield nested(DATA, nested(VERDICT, be32(1, CODES[data.kind]), chain))
        case _:
            raise NotValidError(f"{of.kind} {of} cannot hold {data}")
    if timeout_ms is not None:
        # An equal timeout alone changes nothing in an element that stands; the expiration is what renews it (6.12 on).
        yield be64(TIMEOUT, timeout_ms)
        yield be64(EXPIRATION, timeout_ms)


def _value(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(VALUE, value))
