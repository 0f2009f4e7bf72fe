"""No message is dear: what 64 kB could make us do, and where that ends."""

import tracemalloc
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import TO_QUESTION, a, aaaa, answered, ask, cname, name, opt, packed, parsed, query, question, read, response, rr

from dnsfw.forwarder import respond
from dnsfw.forwarder.answer import MAX_ALIASES, MAX_LABELS, MAX_RECORDS, Malformed, parse_response
from dnsfw.forwarder.edns import MAX_OPTIONS
from dnsfw.forwarder.respond import HIGHEST_LIMIT, make_response
from dnsfw.forwarder.rewrite import without_records
from dnsfw.forwarder.wire import AAAA, FORMERR, MAX_ADDITIONAL, Rejected, parse_query

ONE, METADATA = "192.0.2.1", "169.254.169.254"
LONG = b"\1a" * 120
FILLER = rr(TO_QUESTION, 16, b"\1x")


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
LAST = a(
    ONE, owner=b"\1b" * (MAX_LABELS - 1 - 16 * 122 - 1) + b"\0"
)  # with sixteen such, the question's name and its root, as many as may be
OWNERS = [a(ONE, owner=bytes((1, place)) + LONG + b"\0") for place in range(MAX_LABELS // 122 + 1)]  # of 122 labels, the root with them


@pytest.mark.parametrize(
    ("records", "detail"),
    [
        pytest.param([FILLER] * (MAX_RECORDS + 1), "more records than an answer has", id="records"),
        pytest.param([LOOP] * (MAX_ALIASES + 1), "more aliases than an answer has", id="aliases"),
        pytest.param(OWNERS, "more labels than an answer has", id="labels"),
        pytest.param([*OWNERS[:16], LAST, a(ONE, owner=b"\1c\0")], "more labels than an answer has", id="one-label-too-many"),
    ],
)
def test_answers_have_an_end(records: list[bytes], detail: str) -> None:
    """More than any server has to say fails; one record less is read."""
    assert read(response(*records[:-1])).answer_count == len(records) - 1
    assert parse_response(response(*records), question()) == Malformed(detail)


def test_u11_plain_addresses_are_read_however_many() -> None:
    """4,090 addresses fill a message; they are read at once, not record by record."""
    assert read(response(*map(a, addresses(4090)))).addresses == tuple(map(packed, addresses(4090)))


def test_pointers_unfold_no_further_than_the_client_takes() -> None:
    """32 kB in which each record names 110 labels twice by pointers: 900 kB when spelled out, of which no more is written than goes out."""
    first = rr(TO_QUESTION, 2, LONG[:220] + TO_QUESTION)
    place = pack(">H", 0xC000 | len(response()) + 12)
    data = response(first, a(METADATA), *[rr(TO_QUESTION, 17, place + place)] * 2000)
    answer, asked = read(data), ask(edns=True)
    tracemalloc.start()
    try:
        kept = make_response(asked, data, answer, limit=HIGHEST_LIMIT, removed={packed(METADATA)})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept == respond.make_truncated(asked, data)
    assert peak < 900_000


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
    starts = frozenset(place for place, each in zip(answer.located_at, answer.located, strict=True) if each == gone) | {answer.opt[0]}
    out = bytearray(data)
    aging = respond.Aging(age=3, cap=30)
    respond.patch_ttls(out, data, answer, aging)

    assert respond._is_plain(data, answer)
    assert respond._spliced(data, answer, starts, aging) == without_records(bytes(out), answer.question_end, starts, HIGHEST_LIMIT)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(response(a(METADATA), aaaa(bytes(15) + b"\1")), id="both-families"),
        pytest.param(response(a(METADATA), a(ONE, owner="www.example.net")), id="another-owner"),
        pytest.param(response(a(METADATA), FILLER), id="another-type"),
        pytest.param(response(a(METADATA), authority=(a(ONE),)), id="another-section"),
        pytest.param(response(a(METADATA), additional=(opt(), a(ONE))), id="an-opt-in-between"),
        pytest.param(response(a(METADATA), additional=(opt(), FILLER)), id="an-opt-before-others"),
    ],
)
def test_other_answers_are_rewritten(other: bytes) -> None:
    """All but what is plain goes the long way, to the same end."""
    answer, gone = read(other), packed(METADATA)

    assert not respond._is_plain(other, answer)
    assert read(answered(ask(), other, removed={gone})).located == tuple(each for each in answer.located if each != gone)
