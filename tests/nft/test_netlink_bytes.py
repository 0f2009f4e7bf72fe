"""The very bytes of netlink and of transactions, which the contract suite has seen the kernel take."""

import struct

import pytest

from nft import batch, codec
from nft import objects as nft
from nft.changes import Add, Discard, Put
from nft.codec import Message, Refusal, attribute
from nft.elements import DESTROY, NEW, SetCoder
from nft.errors import NftError
from nft.objects import pack_key

TABLE = nft.Table("t")
TIMED = frozenset({"timeout"})
INTERVAL = frozenset({"interval"})
MAP = nft.Set(TABLE, "m", ("ipv4_addr", "inet_service"), "mark", TIMED)
NETS = nft.Set(TABLE, "n", ("ipv4_addr",), flags=INTERVAL)
ADDRESSES = nft.Set(TABLE, "w", ("ipv6_addr",))
KEY = pack_key(bytes([192, 0, 2, 1]), b"\x01\xbb")
NEW_KERNEL = nft.Features(renews_by_add=True, has_destroy=True, has_owner=True, version="")
OLD_KERNEL = nft.Features(renews_by_add=False, has_destroy=False, has_owner=False, version="")


def u16(*values: int) -> bytes:
    return struct.pack(f"={len(values)}H", *values)


def u32(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


# ---- netlink


def test_header_says_what_is_to_be_done() -> None:
    """Length, type, flags, number, port 0; family, version 0, resource id 0."""
    head = u32(24) + u16(0xA0C, 0x401) + u32(7, 0) + b"\x01\0\0\0"

    assert codec.message(12, 0x401, 7, 1, b"abcd") == head + b"abcd"
    assert codec.message(16, 1, 9, 2) == u32(20) + u16(0xA10, 1) + u32(9, 0) + b"\x02\0\0\0"


@pytest.mark.parametrize(("kind", "number"), [(codec.BATCH_BEGIN, 0x10), (codec.BATCH_END, 0x11)])
def test_marks_open_and_close_a_transaction(kind: int, number: int) -> None:
    """For the subsystem nftables, whose number is the resource id."""
    assert codec.batch_mark(kind, 5) == u32(20) + u16(number, 1) + u32(5, 0) + b"\0\0\0\x0a"


@pytest.mark.parametrize("payload", [b"", b"a", b"ab", b"abc", b"abcd"])
def test_messages_begin_at_multiples_of_four(payload: bytes) -> None:
    """The padding between two is of neither, and each says who sent it."""
    first, second = struct.pack("=IHHII", 16 + len(payload), 1, 2, 3, 4) + payload, struct.pack("=IHHII", 16, 5, 6, 7, 8)

    assert list(codec.messages(first + bytes(-len(first) % 4) + second)) == [Message(1, 2, 3, 4, payload), Message(5, 6, 7, 8, b"")]


def test_text_of_the_kernel_is_read_whatever_it_holds() -> None:
    """Its zero at the end is no part of it; octets that are no text do not raise."""
    assert [codec.read_text(value) for value in (b"a\0", b"aX\0\0", b"\xff\0")] == ["a", "aX", "�"]


@pytest.mark.parametrize("size", [36, 37, 38, 39, 40, 3])
def test_notes_stand_behind_the_message_they_are_about(size: int) -> None:
    """That message is repeated, padded, and never shorter than its header."""
    about = u32(size) + bytes(max(size, 16) - 4)
    said = struct.pack("=i", -17) + about + bytes(-len(about) % 4) + attribute(1, b"why\0") + attribute(2, u32(24))

    assert codec.refusal(Message(2, codec.ACK_TLVS, 7, 0, said)) == Refusal(7, 17, 24, "why")


def test_no_notes_are_looked_for_where_none_are_promised() -> None:
    """Without the flag the rest of the message is its own."""
    assert codec.refusal(Message(2, codec.CAPPED, 7, 0, struct.pack("=i", -1) + bytes(16) + b"abc")) == Refusal(7, 1, None, "")


def test_shortest_answers_are_read() -> None:
    """An acknowledgement may be of 20 octets, the end of a dump of 4."""
    assert codec.is_ack(struct.pack("=IHHIIi", 20, 2, 0, 7, 0, 0), 7)
    assert codec.dump_errno(Message(3, 0, 7, 0, struct.pack("=i", -4))) == 4


# ---- batches


def parts(changes, features: nft.Features = NEW_KERNEL, **rest) -> list[batch.Part]:
    return batch.Planner(features, SetCoder).parts(changes, **rest)


def test_ends_of_intervals_go_along() -> None:
    """In an addition and in a deletion."""
    low, high = b"\x0a\0\0\0", b"\x0a\0\0\xff"
    packed, named = SetCoder(NETS).pack(low, None, None, high), SetCoder(NETS).pack_key(low, high)

    assert [part.elements for part in parts([Put(NETS, low, None, None, high)])] == [[named], [packed]]
    assert [part.elements for part in parts([Discard(NETS, low, high)])] == [[named]]
    assert [part.elements for part in parts([Discard(NETS, low, high)], OLD_KERNEL)] == [[named]]


def test_only_a_delete_in_a_destroys_place_may_miss() -> None:
    """Of an old kernel's renewal the delete comes second and finds what was just added."""
    add, put, discard = Add(MAP, KEY, 1, 10), Put(MAP, KEY, 1, 10), Discard(MAP, KEY)

    assert [part.may_miss for part in parts([add], OLD_KERNEL)] == [False, False, False]
    assert [part.may_miss for part in parts([put], OLD_KERNEL)] == [True, False]
    assert [part.may_miss for part in parts([discard, Discard(MAP, bytes(8))], OLD_KERNEL)] == [True, True]
    assert [part.may_miss for part in parts([put, Discard(MAP, bytes(8))])] == [False, False, False]


def test_full_message_is_followed_by_another() -> None:
    """A list of elements has room for 65,531 octets; what no longer fits begins the next message, with a count of its own."""
    found = parts([Add(ADDRESSES, number.to_bytes(16, "big")) for number in range(5000)])

    assert [len(part.owners) for part in found] == [2340, 2340, 320]
    assert [part.size for part in found] == [2340 * 28, 2340 * 28, 320 * 28]


def test_room_is_used_exactly() -> None:
    """An element that just fits goes along."""
    part = batch.Part(NEW, SetCoder(MAP), may_miss=False)
    size = len(SetCoder(MAP).pack(KEY, 7, None))
    part.elements, part.owners, part.size = [b""], [0], 65531 - size
    found: list[batch.Part] = []
    batch.Planner(NEW_KERNEL, SetCoder)._fill(found, part, [Add(MAP, KEY, 7)], [0], is_single=False)

    assert len(found) == 1


def test_refusal_finds_its_owner() -> None:
    """By the place the kernel names; the only element of a message needs none."""
    one, two = parts([Add(MAP, KEY, 7)])[0], parts([Add(MAP, bytes(8), 7), Add(MAP, KEY, 7)])[0]
    begin = two.coder.first_element

    assert one.owner(Refusal(1, 17, None, "")) == 0
    assert two.owner(Refusal(1, 17, None, "")) is None
    assert [
        two.owner(Refusal(1, 17, at, "")) for at in (begin - 1, begin, begin + len(two.elements[0]) - 1, begin + len(two.elements[0]))
    ] == [0, 0, 0, 1]
    assert [two.names_element(Refusal(1, 17, at, "")) for at in (begin - 1, begin)] == [False, True]


def test_transaction_lies_between_its_marks() -> None:
    """Numbered from the first mark on; only the last message is answered."""
    planned = parts([Put(MAP, KEY, 7)])
    coder = SetCoder(MAP)

    assert batch.encode(planned, 40) == b"".join(
        (
            codec.batch_mark(codec.BATCH_BEGIN, 40),
            coder.message(DESTROY, 41, coder.pack_key(KEY), is_last=False),
            coder.message(NEW, 42, coder.pack(KEY, 7, None), is_last=True),
            codec.batch_mark(codec.BATCH_END, 43),
        )
    )


def test_change_without_place_in_a_message_is_named() -> None:
    """A discard among additions is told from them even where both are of one set."""
    changes = [Discard(MAP, KEY), Add(MAP, KEY, 7), Discard(MAP, b"abc")]

    with pytest.raises(NftError) as caught:
        parts(changes)
    assert caught.value.index == 2
