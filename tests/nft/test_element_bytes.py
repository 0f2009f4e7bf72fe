"""The very bytes of elements, which the contract suite has seen the kernel take and list."""

import struct

import pytest

from nft import listed
from nft import objects as nft
from nft.codec import CodecError, Message, attribute, be32, be64, nested
from nft.elements import DELETE, DESTROY, NEW, SetCoder
from nft.errors import NotValidError
from nft.objects import pack_key

TABLE = nft.Table("t")
TIMED = frozenset({"timeout"})
INTERVAL = frozenset({"interval"})
MAP = nft.Set(TABLE, "m", ("ipv4_addr", "inet_service"), "mark", TIMED)
DEFAULT = nft.Set(TABLE, "d", ("mark",), flags=TIMED, timeout_s=60)
PLAIN = nft.Set(TABLE, "p", ("ether_addr",))
ODD = nft.Set(TABLE, "o", ("inet_proto",))
VERDICTS = nft.Set(TABLE, "v", ("ipv4_addr",), "verdict")
NETS = nft.Set(TABLE, "n", ("ipv4_addr",), flags=INTERVAL)
PORTS = nft.Set(TABLE, "q", ("ipv4_addr", "inet_service"), "mark", INTERVAL | TIMED)
KEY = pack_key(bytes([192, 0, 2, 1]), b"\x01\xbb")
END = pack_key(bytes([192, 0, 2, 1]), b"\x02\0")


def u16(*values: int) -> bytes:
    return struct.pack(f"={len(values)}H", *values)


def u32(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


def lease(milliseconds: int) -> bytes:
    """An equal timeout renews nothing; the expiration does."""
    return be64(4, milliseconds) + be64(5, milliseconds)


def verdict(code: int, chain: bytes = b"") -> bytes:
    return nested(2, nested(2, be32(1, code), chain))


def interval(first: bytes, beyond: bytes) -> bytes:
    return element(key(first)) + element(key(beyond), be32(3, 1))


def element(*parts: bytes) -> bytes:
    return nested(1, *parts)


def key(value: bytes, kind: int = 1) -> bytes:
    return nested(kind, attribute(1, value))


@pytest.mark.parametrize(
    ("of", "given", "expected"),
    [
        pytest.param(MAP, (KEY, 7, 5000), element(key(KEY), key(u32(7), 2), lease(5000)), id="lease"),
        pytest.param(MAP, (KEY, 0xFFFF_FFFF, None), element(key(KEY), key(u32(0xFFFF_FFFF), 2)), id="without-lease"),
        pytest.param(MAP, (KEY, 7, 1), element(key(KEY), key(u32(7), 2), lease(10)), id="too-short-for-the-kernel"),
        pytest.param(MAP, (KEY, 7, 9), element(key(KEY), key(u32(7), 2), lease(10)), id="just-too-short"),
        pytest.param(MAP, (KEY, 7, 11), element(key(KEY), key(u32(7), 2), lease(11)), id="short"),
        pytest.param(MAP, (KEY, 7, (1 << 50) - 1), element(key(KEY), key(u32(7), 2), lease((1 << 50) - 1)), id="longest"),
        pytest.param(DEFAULT, (u32(9), None, None), element(key(u32(9)), lease(60_000)), id="default"),
        pytest.param(PLAIN, (bytes(6), None, None), element(key(bytes(6))), id="padded"),
        pytest.param(ODD, (b"\x06", None, None), element(key(b"\x06")), id="padded-by-three"),
        pytest.param(VERDICTS, (bytes(4), nft.Verdict("drop"), None), element(key(bytes(4)), verdict(0)), id="verdict"),
        pytest.param(
            VERDICTS,
            (bytes(4), nft.Verdict("goto", "c"), None),
            element(key(bytes(4)), verdict(0xFFFF_FFFC, attribute(2, b"c\0"))),
            id="goto",
        ),
        pytest.param(
            NETS,
            (b"\x0a\0\0\0", None, None, b"\x0a\0\0\xff"),
            interval(b"\x0a\0\0\0", b"\x0a\0\x01\0"),
            id="net",
        ),
        pytest.param(NETS, (b"\x0a\0\0\x01", None, None), interval(b"\x0a\0\0\1", b"\x0a\0\0\2"), id="one"),
        pytest.param(
            NETS,
            (b"\x0a\0\0\x01", None, None, b"\x0a\0\0\x01"),
            interval(b"\x0a\0\0\1", b"\x0a\0\0\2"),
            id="same",
        ),
        pytest.param(NETS, (b"\xff\0\0\0", None, None, b"\xff" * 4), element(key(b"\xff\0\0\0")), id="to-the-end"),
        pytest.param(
            PORTS,
            (KEY, 7, 5000, END),
            element(key(KEY), key(END, 10), key(u32(7), 2), lease(5000)),
            id="range",
        ),
    ],
)
def test_element_as_the_kernel_takes_it(of: nft.Set, given: tuple, expected: bytes) -> None:
    """Key, end, data, and both timeout and expiration, which renews an equal one."""
    assert SetCoder(of).pack(*given) == expected


@pytest.mark.parametrize(
    ("of", "given", "expected"),
    [
        pytest.param(MAP, (KEY,), element(key(KEY)), id="plain"),
        pytest.param(PLAIN, (bytes(6),), element(key(bytes(6))), id="padded"),
        pytest.param(ODD, (b"\x06",), element(key(b"\x06")), id="padded-by-three"),
        pytest.param(NETS, (b"\x0a\0\0\0", b"\x0a\0\0\xff"), interval(b"\x0a\0\0\0", b"\x0a\0\x01\0"), id="net"),
        pytest.param(PORTS, (KEY, END), element(key(KEY), key(END, 10)), id="range"),
        pytest.param(PORTS, (KEY,), element(key(KEY), key(KEY, 10)), id="one"),
        pytest.param(VERDICTS, (bytes(4),), element(key(bytes(4))), id="verdict"),
    ],
)
def test_element_is_named_by_its_key_alone(of: nft.Set, given: tuple, expected: bytes) -> None:
    """A deletion brings neither data nor timeout."""
    assert SetCoder(of).pack_key(*given) == expected


@pytest.mark.parametrize(
    ("of", "given", "said"),
    [
        pytest.param(MAP, (b"1234", 7, None), "map inet t m: a key has 8 bytes, not 4", id="key"),
        pytest.param(MAP, (KEY, 7, 0), "map inet t m: a timeout is positive and needs the flag timeout, not 0", id="zero"),
        pytest.param(MAP, (KEY, 7, 1 << 50), f"map inet t m: a timeout is positive and needs the flag timeout, not {1 << 50}", id="long"),
        pytest.param(PLAIN, (bytes(6), None, 10), "set inet t p: a timeout is positive and needs the flag timeout, not 10", id="no-flag"),
        pytest.param(PLAIN, (bytes(6), 7, None), "set inet t p holds no data, so not 7", id="data-for-a-set"),
        pytest.param(MAP, (KEY, nft.Verdict("drop"), None), "map inet t m cannot hold drop", id="verdict-for-marks"),
        pytest.param(MAP, (KEY, None, 10), "map inet t m cannot hold None", id="nothing-for-marks"),
        pytest.param(MAP, (KEY, 1 << 32, 10), "map inet t m cannot hold 4294967296", id="large-mark"),
        pytest.param(MAP, (KEY, -1, None), "map inet t m cannot hold -1", id="negative-mark"),
        pytest.param(VERDICTS, (bytes(4), 7, None), "map inet t v cannot hold 7", id="mark-for-verdicts"),
        pytest.param(MAP, (KEY, 7, None, KEY), f"map inet t m: no interval may end there: {KEY.hex()}", id="end-without-flag"),
        pytest.param(NETS, (b"\x0a\0\0\1", None, None, b"\x0a\0\0\0"), "set inet t n: no interval may end there: 0a000000", id="backwards"),
        pytest.param(NETS, (b"\x0a\0\0\1", None, None, b"\x0b\0\0"), "set inet t n: no interval may end there: 0b0000", id="short-end"),
    ],
)
def test_element_that_cannot_be_is_refused(of: nft.Set, given: tuple, said: str) -> None:
    """Before anything is sent, and with the set's name."""
    with pytest.raises(NotValidError) as caught:
        SetCoder(of).pack(*given)
    assert str(caught.value) == said


def test_key_of_the_wrong_length_cannot_be_named() -> None:
    """Neither to delete it."""
    with pytest.raises(NotValidError, match="map inet t m: a key has 8 bytes, not 3"):
        SetCoder(MAP).pack_key(b"abc")
    with pytest.raises(NotValidError, match="no interval may end there"):
        SetCoder(MAP).pack_key(KEY, KEY)


@pytest.mark.parametrize(("kind", "is_last", "flags"), [(NEW, False, 0x401), (NEW, True, 0x405), (DELETE, False, 1), (DESTROY, True, 5)])
def test_message_of_elements(kind: int, is_last: bool, flags: int) -> None:
    """The set's address, then the elements; the last message of a transaction asks for an answer."""
    body = attribute(1, b"t\0") + attribute(2, b"m\0") + nested(3, b"abcd")
    head = u32(20 + len(body)) + u16(0xA00 | kind, flags) + u32(9, 0) + b"\x01\0\0\0"

    assert SetCoder(MAP).message(kind, 9, b"abcd", is_last=is_last) == head + body
    assert SetCoder(MAP).first_element == len(head + body) - 4


def listing(*elements: bytes) -> list[Message]:
    return [Message(0xA0C, 2, 1, 0, b"\x01\0\0\0" + attribute(1, b"t\0") + nested(3, *elements))]


def as_listed(packed: bytes) -> bytes:
    """The kernel leaves out the mark of nesting."""
    return packed.replace(u16(0x8001), u16(1)).replace(u16(0x8002), u16(2))


@pytest.mark.parametrize("of", [MAP, DEFAULT, PLAIN, ODD, nft.Set(TABLE, "u", ("mark",), "mark")])
@pytest.mark.parametrize("timeout_ms", [None, 5000])
def test_usual_elements_take_the_quick_way(of: nft.Set, timeout_ms: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain set's elements are read without looking at each attribute; those that are over are left out."""
    timeout_ms = timeout_ms if of.has_timeout else None
    keys = [number.to_bytes(of.key_length, "big") for number in (1, 2)]
    data = 9 if of.data else None
    packed = [as_listed(SetCoder(of).pack(each, data, timeout_ms)) for each in keys]
    over = [packed[0][:-8] + bytes(8)] if timeout_ms or of.timeout_s else []
    slow = listed._all_rows(of, listing(*packed))
    expected = [row.element for row in slow]
    monkeypatch.setattr(listed, "_rows", None)

    assert SetCoder(of).read(listing(*packed, *over)) == expected
    assert [one.key for one in expected] == keys


@pytest.mark.parametrize("of", [MAP, DEFAULT, PLAIN, VERDICTS, NETS, PORTS])
def test_message_without_elements_lists_none(of: nft.Set) -> None:
    """The kernel answers so for an empty set."""
    assert SetCoder(of).read([Message(0xA0C, 2, 1, 0, b"\x01\0\0\0" + attribute(1, b"t\0"))]) == []


def test_reading_goes_on_behind_a_catch_all() -> None:
    """It is no element of ours, and not the last either."""
    assert [one.key for one in SetCoder(PLAIN).read(listing(element(be32(3, 2)), element(key(b"abcdef"))))] == [b"abcdef"]


def test_default_lease_counts_where_the_kernel_leaves_it_out() -> None:
    """Of an element with the set's own timeout only the rest is listed."""
    (found,) = SetCoder(DEFAULT).read(listing(element(key(u32(9)), be64(5, 100))))
    (standing,) = SetCoder(DEFAULT).read(listing(element(key(u32(9)), be64(4, 100))))

    assert (found.timeout_ms, found.expires_ms) == (60_000, 100)
    assert (standing.timeout_ms, standing.expires_ms) == (None, None)


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        pytest.param(element(be64(5, 1)), "a value of no bytes instead of 6", id="no-key"),
        pytest.param(element(nested(1)), "a value of no bytes instead of 6", id="empty-key"),
        pytest.param(element(key(bytes(5))), "a value of 5 bytes instead of 6", id="short-key"),
        pytest.param(element(key(bytes(6)), key(bytes(5), 10)), "a value of 5 bytes instead of 6", id="short-end"),
        pytest.param(element(key(bytes(6)), nested(2)), "a number of 0 bytes instead of 4", id="no-mark"),
        pytest.param(element(key(bytes(6)), nested(2, nested(2))), "a number of 0 bytes instead of 4", id="no-verdict"),
        pytest.param(element(key(bytes(6)), nested(2, nested(2, be32(1, 9)))), "a verdict that nobody knows", id="odd-verdict"),
        pytest.param(
            element(key(bytes(6)), verdict(0, attribute(2, b"c\0"))), "a verdict that cannot be: no such verdict: drop c", id="drop-into-c"
        ),
    ],
)
def test_element_that_is_none_of_this_set_says_why(packed: bytes, said: str) -> None:
    """The way it cannot be read, in the message."""
    with pytest.raises(CodecError) as caught:
        SetCoder(PLAIN).read(listing(packed))
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        pytest.param(attribute(1, b"counter\0") + nested(2, be64(1, 5)), (0, 5), id="bytes-alone"),
        pytest.param(attribute(1, b"counter\0") + nested(2, be64(2, 5)), (5, 0), id="packets-alone"),
        pytest.param(attribute(1, b"counter\0"), (0, 0), id="empty"),
        pytest.param(nested(2, be64(2, 5)), (0, 0), id="nameless"),
    ],
)
def test_counter_without_a_part_has_counted_nothing(expression: bytes, found: tuple[int, int]) -> None:
    """Packets and bytes, as far as they are there."""
    (one,) = SetCoder(PLAIN).read(listing(element(key(bytes(6)), nested(7, expression))))

    assert (one.packets, one.bytes) == found
