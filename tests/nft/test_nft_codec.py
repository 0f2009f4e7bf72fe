"""Bytes of netlink: what is packed is read back, and what is malformed is refused, never looped over."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nft import batch, codec
from nft import objects as nft
from nft.changes import Add, Discard, Put
from nft.codec import CodecError, Message, Refusal
from nft.elements import DELETE, DESTROY, NEW, ROOM, SetCoder, spell_out
from nft.errors import NotValidError
from nft.listed import ELEMENTS
from nft.objects import pack_key

TABLE = nft.Table("t")
MAP = nft.Set(TABLE, "m", ("ipv4_addr", "inet_proto", "inet_service"), "mark", frozenset({"timeout"}))
PLAIN = nft.Set(TABLE, "s", ("ether_addr",), flags=frozenset({"timeout"}))
VERDICTS = nft.Set(TABLE, "v", ("ipv6_addr",), "verdict")
NETS = nft.Set(TABLE, "n", ("ipv4_addr",), flags=frozenset({"interval"}))
PORTS = nft.Set(TABLE, "p", ("ipv4_addr", "inet_service"), flags=frozenset({"interval"}))
timeouts = st.one_of(st.none(), st.integers(10, 1 << 49))


def listed(packed: bytes) -> list[Message]:
    """A dump's answer that lists these elements."""
    (found,) = codec.messages(codec.message(NEW, 0, 1, 1, codec.nested(ELEMENTS, packed)))
    return [found]


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=200), max_size=8))
def test_attributes_survive(values: dict[int, bytes]) -> None:
    """Attributes are read back as they were packed."""
    assert codec.attributes(b"".join(codec.attribute(kind, value) for kind, value in values.items())) == values


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF), st.binary(max_size=50))))
def test_messages_survive(values) -> None:
    """Messages of a datagram are read back as they were packed; padding is not part of them."""
    datagram = b"".join(codec.message(kind, flags, seq, 1, codec.attribute(1, body)) for kind, flags, seq, body in values)

    found = list(codec.messages(datagram))
    assert [(one.type, one.flags, one.seq) for one in found] == [(0xA00 | kind, flags, seq) for kind, flags, seq, _ in values]
    assert [codec.body(one) for one in found] == [{1: body} for _, _, _, body in values]


@given(st.binary(max_size=300))
def test_anything_is_read_or_refused(data: bytes) -> None:
    """Whatever bytes come, each reader ends, with values or with a CodecError."""
    answer = Message(0xA0C, 0, 1, 0, b"\0\0\0\0" + codec.nested(ELEMENTS, codec.nested(1, data)))
    readers = [
        lambda: list(codec.messages(data)),
        lambda: codec.attributes(data),
        lambda: codec.body(Message(0, 0, 0, 0, data)),
        lambda: codec.refusal(Message(2, 0x300, 0, 0, data)),
        lambda: codec.refusal(Message(2, 0x200, 0, 0, data)),
        lambda: codec.dump_errno(Message(3, 0, 0, 0, data)),
        lambda: codec.is_ack(data, 1),
        *(lambda of=of: SetCoder(of).read([answer]) for of in (MAP, PLAIN, VERDICTS, NETS, PORTS)),
    ]
    for read in readers:
        try:
            read()
        except CodecError:
            continue


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\3\0\1\0", "an attribute of 3 bytes where 4 are left"),
        (b"\0\0\0\0", "an attribute of 0 bytes where 4 are left"),
        (b"\xff\xff\1\0", "an attribute of 65535 bytes where 4 are left"),
        (b"\4\0\1", "3 bytes are no attribute"),
        (b"\10\0\1\0abc", "an attribute of 8 bytes where 7 are left"),
        (b"\4\0\1\0\6\0\2\0a", "an attribute of 6 bytes where 5 are left"),
        (b"\5\0\1\0abcd\4\0", "2 bytes are no attribute"),
    ],
)
def test_lengths_are_not_trusted(data: bytes, said: str) -> None:
    """An attribute shorter than its header or longer than what is left is refused, the second like the first."""
    with pytest.raises(CodecError) as caught:
        codec.attributes(data)
    assert str(caught.value) == said


@pytest.mark.parametrize("size", [0, 15, 21, 0xFFFF_FFFF])
@pytest.mark.parametrize("before", [b"", codec.batch_mark(codec.BATCH_BEGIN, 1)], ids=["first", "second"])
def test_message_lengths_are_not_trusted(size: int, before: bytes) -> None:
    """A message shorter than its header or longer than its datagram is refused, the second like the first."""
    with pytest.raises(CodecError) as caught:
        list(codec.messages(before + struct.pack("=IHHII", size, 0, 0, 0, 0) + bytes(4)))
    assert str(caught.value) == f"a message of {size} bytes in a datagram that has 20 left"


@pytest.mark.parametrize("data", [bytes(3), bytes(19)])
def test_short_answers_are_refused(data: bytes) -> None:
    """Cut answers are refused."""
    with pytest.raises(CodecError, match=r"^an error message that is cut short$"):
        codec.refusal(Message(2, 0, 0, 0, data))
    with pytest.raises(CodecError, match=rf"^a number of {len(data)} bytes instead of 8$"):
        codec.read_be64(data)
    with pytest.raises(CodecError, match=r"^a message without its nfnetlink header$"):
        codec.body(Message(0, 0, 0, 0, data[:3]))
    with pytest.raises(CodecError, match=rf"^{min(len(data), 15)} bytes are no netlink header$"):
        list(codec.messages(codec.batch_mark(codec.BATCH_BEGIN, 1) + data[:15]))


def test_attribute_that_does_not_fit_is_refused() -> None:
    """An attribute's length has 16 bits."""
    assert codec.attributes(codec.attribute(1, bytes(0xFFFB))) == {1: bytes(0xFFFB)}
    with pytest.raises(CodecError, match=r"^attribute 1: 65532 bytes do not fit$"):
        codec.attribute(1, bytes(0xFFFC))


def test_refusals_tell_what_the_kernel_says() -> None:
    """errno, offset and words of an error; none where the kernel gives none."""
    inner = struct.pack("=IHHII", 40, 0xA0C, 1, 7, 0)
    notes = codec.attribute(1, b"why\0") + codec.attribute(2, struct.pack("=I", 64))
    said = struct.pack("=i", -17) + inner

    assert codec.refusal(Message(2, 0x300, 7, 0, said + notes)) == Refusal(7, 17, 64, "why")
    assert codec.refusal(Message(2, 0x200, 7, 0, said + bytes(24) + notes)) == Refusal(7, 17, 64, "why")
    assert codec.refusal(Message(2, 0, 7, 0, said)) == Refusal(7, 17, None, "")
    assert codec.refusal(Message(2, 0x300, 7, 0, bytes(20))) == Refusal(7, 0, None, "")
    assert (codec.dump_errno(Message(3, 0, 7, 0, b"")), codec.dump_errno(Message(3, 0, 7, 0, said))) == (0, 17)


def test_only_the_awaited_acknowledgement_is_one() -> None:
    """Not another number's, not a refusal, not one with more behind it, not a stump."""
    good = struct.pack("=IHHIIi", 36, 2, 0x100, 7, 1, 0) + bytes(16)
    refused = struct.pack("=IHHIIi", 36, 2, 0x100, 7, 1, -1) + bytes(16)

    assert codec.is_ack(good, 7)
    assert not any((codec.is_ack(good, 8), codec.is_ack(refused, 7), codec.is_ack(good + good, 7), codec.is_ack(good[:19], 7)))


@given(st.binary(min_size=12, max_size=12), st.integers(0, 0xFFFF_FFFF), timeouts)
def test_template_equals_the_long_way(key: bytes, data: int, timeout_ms: int | None) -> None:
    """The packed template and the attributes one by one are the same bytes, for maps, sets and deletions."""
    assert SetCoder(MAP).pack(key, data, timeout_ms) == spell_out(MAP, key, data, timeout_ms, None)
    assert SetCoder(PLAIN).pack(key[:6], None, timeout_ms) == spell_out(PLAIN, key[:6], None, timeout_ms, None)
    assert SetCoder(MAP).pack_key(key) == spell_out(MAP, key, None, None, None, is_named_only=True)
    assert SetCoder(PLAIN).pack_key(key[:6]) == spell_out(PLAIN, key[:6], None, None, None, is_named_only=True)


@given(st.sampled_from([NEW, DESTROY]), st.binary(min_size=6, max_size=6), st.integers(0, 0xFFFF_FFF0))
def test_single_equals_the_planned_batch(kind: int, key: bytes, first: int) -> None:
    """A transaction of one element is the same bytes whether planned or from the template."""
    coder = SetCoder(PLAIN)
    element = coder.pack(key, None, None) if kind == NEW else coder.pack_key(key)
    features = nft.Features(renews_by_add=True, has_destroy=True, has_owner=True, version="")
    change = Add(PLAIN, key) if kind == NEW else Discard(PLAIN, key)
    planned = batch.Planner(features, SetCoder).parts([change])

    assert coder.single(kind, element, first) == batch.encode(planned, first)


RUN = st.lists(
    st.tuples(st.binary(min_size=12, max_size=12), st.integers(0, 0xFFFF_FFFF), st.integers(10, 1 << 49)),
    min_size=2,
    unique_by=lambda element: element[0],
)


@given(RUN, st.integers(0, 0xFFFF_FFF0))
def test_run_equals_the_planned_batch(run: list[tuple[bytes, int, int]], first: int) -> None:
    """New elements of one set are the same bytes whether planned or packed in a row."""
    changes = [Add(MAP, *each) for each in run]
    features = nft.Features(renews_by_add=True, has_destroy=True, has_owner=True, version="")
    elements = SetCoder(MAP).pack_run(changes)

    assert elements is not None
    assert SetCoder(MAP).single(NEW, elements, first) == batch.encode(batch.Planner(features, SetCoder).parts(changes), first)


GOOD = Add(MAP, bytes(12), 1, 1000)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(Put(MAP, bytes(12), 1, 1000), id="put"),
        pytest.param(Discard(MAP, bytes(12)), id="discard"),
        pytest.param(GOOD, id="the-same-key-twice"),
        pytest.param(Add(nft.Set(TABLE, "other", MAP.key, "mark", MAP.flags), b"x" * 12, 1, 1000), id="another-set"),
        pytest.param(Add(MAP, b"x" * 12, 1, 1000, b"y" * 12), id="interval"),
        pytest.param(Add(MAP, b"x" * 11, 1, 1000), id="short-key"),
        pytest.param(Add(MAP, b"x" * 12, None, 1000), id="no-data"),
        pytest.param(Add(MAP, b"x" * 12, 1, None), id="no-timeout"),
        pytest.param(Add(MAP, b"x" * 12, 1, 9), id="timeout-that-is-raised"),
        pytest.param(Add(MAP, b"x" * 12, 1, 1 << 50), id="timeout-too-long"),
        pytest.param(Add(MAP, b"x" * 12, 1 << 32, 1000), id="mark-too-large"),
        pytest.param(Add(MAP, b"x" * 12, -1, 1000), id="mark-negative"),
    ],
)
def test_what_is_no_plain_run_is_planned(odd) -> None:
    """One odd change, and the whole run goes the long way."""
    assert SetCoder(MAP).pack_run([GOOD, odd]) is None


@pytest.mark.parametrize(
    "flags", [frozenset(), frozenset({"interval"}), frozenset({"interval", "timeout"})], ids=lambda flags: " ".join(sorted(flags))
)
def test_runs_are_of_plain_maps_whose_elements_end(flags: frozenset[str]) -> None:
    """An interval is two elements or has two keys, and what has no timeout has no place for one."""
    of = nft.Set(TABLE, "odd", MAP.key, "mark", flags)

    assert SetCoder(of).pack_run([Add(of, bytes(12), 1, 1000)]) is None


def test_marks_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound all are forgotten, and a run is the same bytes as before."""
    monkeypatch.setattr("nft.elements._MOST_VALUES", 3)
    coder = SetCoder(MAP)
    changes = [Add(MAP, number.to_bytes(12, "big"), number, 1000) for number in range(8)]

    assert coder.pack_run(changes) == b"".join(coder.pack(change.key, change.data, change.timeout_ms) for change in changes)
    assert len(coder._values) <= 3


def test_runs_that_no_message_holds_are_planned() -> None:
    """64 KiB of elements at most; and only maps of marks whose elements end."""
    coder = SetCoder(MAP)
    most = ROOM // len(coder.pack(bytes(12), 1, 1000))
    many = [Add(MAP, number.to_bytes(12, "big"), 1, 1000) for number in range(most + 1)]

    assert coder.pack_run(many[:most]) is not None
    assert coder.pack_run(many) is None
    assert SetCoder(PLAIN).pack_run([Add(PLAIN, bytes(6), None, 1000)]) is None


@given(st.binary(min_size=12, max_size=12), st.integers(0, 0xFFFF_FFFF), timeouts)
def test_elements_survive(key: bytes, data: int, timeout_ms: int | None) -> None:
    """An element is read as it was packed."""
    (found,) = SetCoder(MAP).read(listed(SetCoder(MAP).pack(key, data, timeout_ms)))

    assert found == (MAP, key, data, timeout_ms, timeout_ms, None, 0, 0)


@pytest.mark.parametrize(
    "verdict", [nft.Verdict("goto", "c"), nft.Verdict("jump", "c"), *map(nft.Verdict, ("accept", "drop", "return", "continue"))]
)
def test_verdicts_survive(verdict: nft.Verdict) -> None:
    """Every verdict is read as it was packed."""
    (found,) = SetCoder(VERDICTS).read(listed(SetCoder(VERDICTS).pack(bytes(16), verdict, None)))

    assert found.data == verdict


@given(st.lists(st.integers(0, 0xFFFF_FFFF), min_size=2, max_size=12, unique=True))
def test_intervals_survive(bounds: list[int]) -> None:
    """Intervals, which the kernel holds as starts and ends, are put together again, in whatever order they come."""
    bounds.sort()
    pairs = [(low.to_bytes(4, "big"), high.to_bytes(4, "big")) for low, high in zip(bounds[::2], bounds[1::2], strict=False)]
    packed = b"".join(SetCoder(NETS).pack(low, None, None, high) for low, high in reversed(pairs))

    assert sorted((one.key, one.key_end) for one in SetCoder(NETS).read(listed(packed))) == pairs


def test_concatenated_intervals_survive() -> None:
    """In a concatenation an interval is one element; a single key is its own end."""
    low, high = pack_key(bytes([10, 0, 0, 1]), b"\0\x50"), pack_key(bytes([10, 0, 0, 9]), b"\0\x60")
    packed = SetCoder(PORTS).pack(low, None, None, high) + SetCoder(PORTS).pack(high, None, None)

    assert [(one.key, one.key_end) for one in SetCoder(PORTS).read(listed(packed))] == [(low, high), (high, high)]


def test_counters_and_odd_elements_are_read() -> None:
    """A counter is read from either place; expired and catch-all elements are left out."""
    counter = codec.nested(2, codec.be64(1, 999), codec.be64(2, 7))
    counting = codec.text(1, "counter") + counter
    key = codec.nested(1, codec.attribute(1, bytes(6)))
    packed = [
        codec.nested(1, key, codec.nested(7, counting)),
        codec.nested(1, key, codec.nested(11, codec.nested(1, codec.text(1, "limit")), codec.nested(1, counting))),
        codec.nested(1, key, codec.be64(4, 5000), codec.be64(5, 0)),
        codec.nested(1, codec.be32(3, 2)),
    ]

    assert [(one.packets, one.bytes) for one in SetCoder(PLAIN).read(listed(b"".join(packed)))] == [(7, 999), (7, 999)]


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(codec.nested(1, codec.be32(3, 0)), id="no key"),
        pytest.param(codec.nested(1, codec.nested(1, codec.attribute(1, bytes(5)))), id="short key"),
        pytest.param(
            codec.nested(1, codec.nested(1, codec.attribute(1, bytes(6))), codec.nested(2, codec.nested(2, codec.be32(1, 77)))),
            id="verdict",
        ),
        pytest.param(
            codec.nested(1, codec.nested(1, codec.attribute(1, bytes(6))), codec.nested(2, codec.attribute(1, bytes(3)))), id="short mark"
        ),
        pytest.param(
            codec.nested(
                1,
                codec.nested(1, codec.attribute(1, bytes(6))),
                codec.nested(2, codec.nested(2, codec.be32(1, 0xFFFF_FFFC), codec.text(2, "polic}_1"))),
            ),
            id="a chain's name that nobody can write",  # found by fuzzing
        ),
        pytest.param(
            codec.nested(
                1, codec.nested(1, codec.attribute(1, bytes(6))), codec.nested(2, codec.nested(2, codec.be32(1, 0), codec.text(2, "c")))
            ),
            id="accepting into a chain",
        ),
    ],
)
def test_odd_answers_are_refused(packed: bytes) -> None:
    """An element that cannot be of this set is an error, not a guess."""
    with pytest.raises(CodecError):
        SetCoder(PLAIN).read(listed(packed))


def plan(changes, *, is_new: bool, missing=frozenset(), is_single: bool = False) -> list[tuple[int, list[int]]]:
    features = nft.Features(renews_by_add=is_new, has_destroy=is_new, has_owner=is_new, version="")
    return [(part.kind, part.owners) for part in batch.Planner(features, SetCoder).parts(changes, missing, is_single=is_single)]


KEYS = [pack_key(number.to_bytes(4, "big"), b"\6", b"\1\xbb") for number in range(2000)]


def test_neighbours_share_messages() -> None:
    """Changes of one set and kind share a message; a key that comes twice, another set or kind begins a new one."""
    adds = [Add(MAP, KEYS[0], 1), Add(MAP, KEYS[1], 1), Add(MAP, KEYS[0], 1), Add(PLAIN, bytes(6))]
    assert plan(adds, is_new=True) == [(NEW, [0, 1]), (NEW, [2]), (NEW, [3])]

    others = [Put(MAP, KEYS[0], 1), Put(MAP, KEYS[1], 1), Discard(MAP, KEYS[2])]
    assert plan(others, is_new=True) == [(DESTROY, [0, 1]), (NEW, [0, 1]), (DESTROY, [2])]
    assert plan([others[2], *others[:2]], is_new=True) == [(DESTROY, [0]), (DESTROY, [1, 2]), (NEW, [1, 2])]
    assert plan(others[:2], is_new=True, is_single=True) == [(DESTROY, [0]), (DESTROY, [1]), (NEW, [0]), (NEW, [1])]


def test_old_kernels_take_more_steps() -> None:
    """Without renewal an add is three steps; without destroy what is missing is left out."""
    changes = [Add(MAP, KEYS[0], 1), Put(MAP, KEYS[1], 1), Discard(MAP, KEYS[2]), Discard(MAP, KEYS[3])]

    assert plan(changes, is_new=False) == [(NEW, [0]), (DELETE, [0]), (NEW, [0]), (DELETE, [1]), (NEW, [1]), (DELETE, [2]), (DELETE, [3])]
    assert plan(changes, is_new=False, missing={1, 3}) == [(NEW, [0]), (DELETE, [0]), (NEW, [0]), (NEW, [1]), (DELETE, [2])]
    assert plan([Add(VERDICTS, bytes(16), nft.Verdict("drop"))], is_new=False) == [(NEW, [0])]


def test_messages_stay_within_64_kib() -> None:
    """A list of elements has a 16-bit length; what is more goes into the next message, and offsets find their change."""
    features = nft.Features(renews_by_add=True, has_destroy=True, has_owner=True, version="")
    parts = batch.Planner(features, SetCoder).parts([Add(MAP, key, 1, 5000) for key in KEYS])

    assert [len(part.owners) for part in parts] == [1092, 908]
    encoded = parts[1].encode(9, is_last=False)
    for at in (0, 1, 500, 907):
        offset = parts[1].coder.first_element + 60 * at
        assert struct.unpack_from("=H", encoded, offset) == (60,)
        assert parts[1].owner(Refusal(9, 17, offset, "")) == 1092 + at
        assert parts[1].owner(Refusal(9, 17, offset + 12, "")) == 1092 + at
    assert parts[1].owner(Refusal(9, 17, None, "")) is None
    assert parts[1].owner(Refusal(9, 2, 20, "")) == 1092
    assert [parts[1].names_element(Refusal(9, 2, offset, "")) for offset in (None, 20, 100)] == [None, False, True]


def test_wrong_change_is_named() -> None:
    """What cannot be packed tells which change it was."""
    features = nft.Features(renews_by_add=True, has_destroy=True, has_owner=True, version="")

    with pytest.raises(NotValidError) as caught:
        batch.Planner(features, SetCoder).parts([Add(MAP, KEYS[0], 1), Add(MAP, KEYS[1], None)])
    assert caught.value.index == 1
