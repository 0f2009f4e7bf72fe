"""No message is dear: what 64 kB could make us do, and where that ends."""

import tracemalloc
from struct import pack

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import TO_QUESTION, a, aaaa, answered, ask, cname, name, opt, packed, parsed, query, question, read, response, rr

from dnsfw.forwarder import respond
from dnsfw.forwarder.aliases import MAX_ALIASES, MAX_LABELS
from dnsfw.forwarder.answer import MAX_RECORDS, Malformed, parse_response
from dnsfw.forwarder.edns import MAX_OPTIONS
from dnsfw.forwarder.respond import HIGHEST_LIMIT, make_response
from dnsfw.forwarder.rewrite import MAX_REWRITTEN, MAX_WITH_NAMES, without_records
from dnsfw.forwarder.wire import AAAA, FORMERR, MAX_ADDITIONAL, Rejected, WireError, parse_query

ONE, METADATA = "192.0.2.1", "169.254.169.254"
LONG = b"\1a" * 120
TARGET = b"\xc0\x2d"  # of an alias that stands first
FILLER = rr(TO_QUESTION, 16, b"\1x")
MX = rr(TO_QUESTION, 15, b"\0\1" + TO_QUESTION)


def addresses(count: int) -> list[str]:
    return [f"198.18.{number >> 8}.{number & 255}" for number in range(count)]


@pytest.mark.parametrize(
    ("most", "too_many"),
    [
        pytest.param(
            query(*[rr(b"\0", 16, b"")] * MAX_ADDITIONAL), query(*[rr(b"\0", 16, b"")] * (MAX_ADDITIONAL + 1)), id="b5-additional-records"
        ),
        pytest.param(query(opt(options=bytes(4 * MAX_OPTIONS))), query(opt(options=bytes(4 * MAX_OPTIONS + 4))), id="b13-options"),
    ],
)
def test_queries_have_an_end(most: bytes, too_many: bytes) -> None:
    """More than any client has to say is not read."""
    found = parse_query(too_many)

    assert parsed(most).name == name("www.example.net")
    assert isinstance(found, Rejected)
    assert found.rcode == FORMERR


LOOP = cname(TO_QUESTION, TO_QUESTION)
FULL = MAX_LABELS // 122  # owners of 122 labels, the root with them
OWNERS = [a(ONE, owner=bytes((1, place)) + LONG + b"\0") for place in range(FULL + 1)]
LAST = a(ONE, owner=b"\1b" * (MAX_LABELS - 1 - FULL * 122 - 1) + b"\0")  # with the question's name and its root, as many as may be


@pytest.mark.parametrize(
    ("records", "detail"),
    [
        pytest.param([FILLER] * (MAX_RECORDS + 1), "more records than an answer has", id="records"),
        pytest.param([LOOP] * (MAX_ALIASES + 1), "more aliases than an answer has", id="aliases"),
        pytest.param(OWNERS, "more labels than an answer has", id="labels"),
        pytest.param([*OWNERS[:FULL], LAST, a(ONE, owner=b"\1c\0")], "more labels than an answer has", id="one-label-too-many"),
    ],
)
def test_answers_have_an_end(records: list[bytes], detail: str) -> None:
    """More than any server has to say fails; one record less is read."""
    assert read(response(*records[:-1])).answer_count == len(records) - 1
    assert parse_response(response(*records), question()) == Malformed(detail)


@pytest.mark.parametrize(
    ("first", "owner", "last", "count"),
    [
        pytest.param([cname(TO_QUESTION, "b.net")], TARGET, [], 1000, id="behind-an-alias"),
        pytest.param([], TO_QUESTION, [rr(TO_QUESTION, 46, bytes(60))], 600, id="signed"),
    ],
)
def test_u11_many_addresses_need_not_be_plain(first: list[bytes], owner: bytes, last: list[bytes], count: int) -> None:
    """As many as one answer may have granted behind an alias; with signatures, hundreds. Behind 300, a protected one is taken out."""
    whole = response(*first, *(a(each, owner=owner) for each in addresses(count)), *last, additional=(opt(),))
    few = response(*first, *(a(each, owner=owner) for each in addresses(300)), a(METADATA, owner=owner), *last, additional=(opt(),))

    assert read(whole).addresses == tuple(map(packed, addresses(count)))
    assert packed(METADATA) not in read(answered(ask(), few, removed={packed(METADATA)}, limit=HIGHEST_LIMIT)).located


def test_u11_plain_addresses_are_read_however_many() -> None:
    """4,090 addresses fill a message; they are read at once, not record by record."""
    assert read(response(*map(a, addresses(4090)))).addresses == tuple(map(packed, addresses(4090)))


def test_pointers_unfold_no_further_than_the_client_takes() -> None:
    """2 kB in which each record names 110 labels twice by pointers: 55 kB when spelled out, of which no more is written than goes out."""
    first = rr(TO_QUESTION, 2, LONG[:220] + TO_QUESTION)
    place = pack(">H", 0xC000 | len(response()) + 12)
    data = response(first, a(METADATA), *[rr(TO_QUESTION, 17, place + place)] * (MAX_WITH_NAMES - 1))
    answer, asked = read(data), ask(edns=True)
    whole = make_response(asked, data, answer, limit=HIGHEST_LIMIT, removed={packed(METADATA)})
    tracemalloc.start()
    try:
        kept = make_response(asked, data, answer, limit=1232, removed={packed(METADATA)})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(whole) > 50_000
    assert kept == respond.make_truncated(asked, data)
    assert peak < 50_000


@pytest.mark.parametrize(
    ("records", "detail"),
    [
        pytest.param([a(METADATA), *[FILLER] * MAX_REWRITTEN], "more records than are written anew", id="records"),
        pytest.param([a(METADATA), *[MX] * (MAX_WITH_NAMES + 1)], "more records with names than are written anew", id="names"),
        pytest.param(
            [a(METADATA), *[rr(TO_QUESTION, 2, LONG[:220] + bytes((1, octet)) + TO_QUESTION) for octet in range(10)]],
            "more labels than are written anew",
            id="labels",
        ),
    ],
)
def test_writing_anew_has_an_end(records: list[bytes], detail: str) -> None:
    """Where an address must go and more stands around it than is written in a millisecond, nothing is answered; one less is."""
    for count in (len(records) - 1, len(records)):
        data = response(*records[:count])
        answer = read(data)
        if count < len(records):
            assert make_response(ask(), data, answer, limit=HIGHEST_LIMIT, removed={packed(METADATA)})
        else:
            with pytest.raises(WireError, match=detail):
                make_response(ask(), data, answer, limit=HIGHEST_LIMIT, removed={packed(METADATA)})


@pytest.mark.parametrize("ttls", [range(60, 61), range(50, 3000)])
def test_u11_ttls_of_many_addresses_are_lowered(ttls: range) -> None:
    """Each by its age; where more than MAX_RECORDS of one name differ, to the lowest (RFC 2181 §5.2)."""
    count = MAX_RECORDS + 100
    given = [ttls[place % len(ttls)] for place in range(count)]
    data = response(*map(a, addresses(count), given))
    kept = read(make_response(ask(), data, read(data), limit=HIGHEST_LIMIT, age=7, removed={packed("198.18.0.1")}))

    assert kept.located == tuple(packed(each) for each in addresses(count) if each != "198.18.0.1")
    assert (kept.ttl, kept.max_ttl) == (ttls[0] - 7, ttls[0] - 7)


@given(st.lists(st.sampled_from((0, 1, 60, 2**31 - 1)), min_size=30, max_size=40), st.booleans(), st.booleans())
def test_aging_by_columns_is_what_aging_each_gives(ttls: list[int], is_equal: bool, has_opt: bool) -> None:
    """Whether they are of one TTL or not."""
    made = [a(f"192.0.2.{octet}", ttls[0] if is_equal else ttl) for octet, ttl in enumerate(ttls)]
    data = response(*made, additional=(opt(),) if has_opt else ())
    answer, aging = read(data), respond.Aging(age=3, cap=30)
    out, expected = bytearray(data), bytearray(data)
    respond.patch_ttls(out, data, answer, aging)
    respond._patch(expected, answer.ttl_offsets, aging)

    assert out == expected


@given(
    st.lists(st.tuples(st.sampled_from([ONE, "192.0.2.2", METADATA]), st.sampled_from([0, 1, 60, 2**31, 2**32 - 1])), min_size=1),
    st.booleans(),
    st.booleans(),
)
def test_cutting_plain_answers_is_what_rewriting_them_gives(made: list[tuple[str, int]], is_ipv6: bool, has_opt: bool) -> None:
    """The shortcut equals the long way, byte for byte, where it is taken; it is not taken where names or other sections are about."""
    records = [aaaa(packed(address) * 4, ttl) if is_ipv6 else a(address, ttl) for address, ttl in made]
    data = response(*records, additional=(opt(),) if has_opt else (), qtype=AAAA if is_ipv6 else 1)
    answer = read(data, qtype=AAAA if is_ipv6 else 1)
    gone = packed(METADATA) * 4 if is_ipv6 else packed(METADATA)
    taken = [place for place, each in zip(answer.located_at, answer.located, strict=True) if each == gone]
    starts = frozenset((*taken, answer.opt[0]))
    out = bytearray(data)
    aging = respond.Aging(age=3, cap=30)
    respond.patch_ttls(out, data, answer, aging)
    size = respond._tail_size(data, answer)

    assert size == (28 if is_ipv6 else 16)
    assert respond._spliced(data, answer, taken, size, aging) == without_records(bytes(out), answer.question_end, starts, HIGHEST_LIMIT)


@given(
    st.lists(st.tuples(st.sampled_from([ONE, "192.0.2.2", METADATA]), st.sampled_from([60, 60, 5])), min_size=1, max_size=8),
    st.sampled_from([1, 10]),
    st.sampled_from(["b.net", TO_QUESTION, b"\1b" + TO_QUESTION]),
    st.booleans(),
)
def test_cutting_behind_an_alias_loses_nothing(made: list[tuple[str, int]], times: int, target: str | bytes, has_opt: bool) -> None:
    """The same records as the long way gives, whatever the alias' name is made of; TTLs, too."""
    records = [cname(TO_QUESTION, target, 90), *[a(address, ttl, owner=TARGET) for address, ttl in made * times]]
    data = response(*records, additional=(opt(),) if has_opt else ())
    answer = read(data)
    taken = [place for place, each in zip(answer.located_at, answer.located, strict=True) if each == packed(METADATA)]
    aging = respond.Aging(age=3, cap=70)
    out = bytearray(data)
    respond._patch(out, answer.ttl_offsets, aging)
    whole = without_records(bytes(out), answer.question_end, frozenset((*taken, answer.opt[0])), HIGHEST_LIMIT)
    size = respond._tail_size(data, answer)

    assert whole is not None
    assert size == (16 if target != TO_QUESTION else 0)  # an alias to itself leads nowhere
    if size:
        short = respond._spliced(data, answer, taken, size, aging)
        assert dns.message.from_wire(short).answer == dns.message.from_wire(whole).answer
        assert read(short).located == read(whole).located
        assert (read(short).ttl, read(short).max_ttl) == (read(whole).ttl, read(whole).max_ttl)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(response(a(METADATA), aaaa(bytes(15) + b"\1")), id="both-families"),
        pytest.param(response(a(METADATA), a(ONE, owner="www.example.net")), id="another-owner"),
        pytest.param(response(a(METADATA, owner="www.example.net"), a(ONE)), id="another-owner-first"),
        pytest.param(response(a(METADATA), FILLER), id="another-type"),
        pytest.param(response(FILLER, a(METADATA)), id="another-type-first"),
        pytest.param(response(cname(TO_QUESTION, "b.net"), a(METADATA, owner=TARGET), a(ONE, owner=b"\xc0\x38")), id="two-owners"),
        pytest.param(response(cname(TO_QUESTION, "b.net"), a(METADATA, owner="b.net")), id="spelled-out"),
        pytest.param(response(a(METADATA), authority=(a(ONE),)), id="another-section"),
        pytest.param(response(a(METADATA), additional=(opt(), a(ONE))), id="an-opt-in-between"),
        pytest.param(response(a(METADATA), additional=(opt(), FILLER)), id="an-opt-before-others"),
    ],
)
def test_other_answers_are_rewritten(other: bytes) -> None:
    """All but what is plain goes the long way, to the same end."""
    answer, gone = read(other), packed(METADATA)

    assert not respond._tail_size(other, answer)
    assert read(answered(ask(), other, removed={gone})).located == tuple(each for each in answer.located if each != gone)
