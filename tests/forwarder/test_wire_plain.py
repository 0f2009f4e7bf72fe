"""The shortcut for plain answers gives what the long way gives, or leaves the message to it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import ANSWERED, TO_QUESTION, a, aaaa, cname, opt, question, response, rr, soa

from dnsfw.forwarder.answer import Answer, _parse, parse_aliased, parse_plain
from dnsfw.forwarder.wire import AAAA, PAST_THE_END, A, WireError

ONE, SIX = "192.0.2.1", bytes.fromhex("20010db8000000000000000000000001")
TTLS = st.sampled_from((0, 1, 60, 2**31 - 1, 2**31, 2**32 - 1))
RECORDS = st.one_of(
    st.builds(a, st.sampled_from((ONE, "192.0.2.2")), TTLS, st.sampled_from((TO_QUESTION, "www.example.net", "other.example.net"))),
    st.builds(aaaa, st.just(SIX), TTLS),
    st.builds(cname, st.just(TO_QUESTION), st.just("alias.example.net"), TTLS),
    st.builds(rr, st.just(TO_QUESTION), st.just(A), st.just(b"\xc0\0\2\1"), length=st.sampled_from((0, 3, 4, 5, 16))),
    st.builds(rr, st.just(TO_QUESTION), st.just(A), st.just(b"\xc0\0\2\1"), rclass=st.sampled_from((1, 3))),
)


def many(count: int, ttl: int, other: bytes, place: int) -> list[bytes]:
    """As many as are read by columns, one of them perhaps another."""
    made = [a(f"192.0.2.{octet}", ttl) for octet in range(count)]
    return [*made[:place], other, *made[place:]]


OPTS = st.builds(opt, ttl=st.sampled_from((0, 0x8000, 1 << 24, 1 << 16)), options=st.sampled_from((b"", bytes(12))), owner=st.just(b"\0"))
MESSAGES = st.builds(
    lambda answers, authority, additional, qtype, flags, cut, extra: (
        response(*answers, authority=tuple(authority), additional=tuple(additional), qtype=qtype, flags=flags)[: -cut or None]
        + bytes(extra),
        question(qtype=qtype),
    ),
    st.lists(RECORDS, max_size=4)
    | st.lists(st.builds(a, st.just(ONE), TTLS), min_size=1, max_size=20)
    | st.builds(many, st.integers(30, 40), st.sampled_from((0, 60, 2**31)), RECORDS, st.integers(0, 40)),
    st.lists(st.just(soa(60)), max_size=1),
    st.lists(OPTS | RECORDS, max_size=2),
    st.sampled_from((A, A, AAAA, 16)),
    st.sampled_from((ANSWERED, ANSWERED, ANSWERED | 0x0200, ANSWERED | 3)),
    st.sampled_from((0, 0, 1, 5, 11)),
    st.sampled_from((0, 0, 7)),
)


def the_long_way(data: bytes, key: bytes) -> Answer | None:
    try:
        return _parse(data, key)
    except (WireError, *PAST_THE_END):
        return None


@settings(max_examples=300)
@given(MESSAGES)
def test_shortcut_says_what_the_long_way_says(made: tuple[bytes, bytes]) -> None:
    """Whatever stands in the message, wherever it is cut."""
    data, key = made
    found = parse_plain(data, key) if len(data) >= 12 else None

    assert found is None or found == the_long_way(data, key)


TARGET = b"\xc0\x2d"  # of an alias that stands first
NEXT = b"\xc0\x46"  # of the one behind it: each has 12 octets and a target of 13
CHAINS = st.lists(
    st.builds(
        cname,
        st.sampled_from((TO_QUESTION, TARGET, NEXT, "www.example.net")),
        st.sampled_from(("aaa.bbb.net", "ccc.bbb.net", "www.example.net", TARGET)),
        TTLS,
    ),
    min_size=1,
    max_size=3,
)
BEHIND = st.builds(
    a, st.sampled_from((ONE, "192.0.2.2")), st.sampled_from((60, 60, 5)), st.sampled_from((TARGET, TARGET, NEXT, TO_QUESTION, b"\xc0\xff"))
)
ALIASED = st.builds(
    lambda chain, addresses, times, additional, cut, qtype: (
        response(*chain, *addresses * times, additional=tuple(additional), qtype=qtype)[: -cut or None],
        question(qtype=qtype),
    ),
    CHAINS,
    st.lists(BEHIND, min_size=1, max_size=3) | st.lists(st.builds(a, st.just(ONE), st.just(60), st.just(TARGET)), min_size=1, max_size=2),
    st.sampled_from((1, 1, 20)),
    st.lists(OPTS, max_size=2),
    st.sampled_from((0, 0, 0, 1, 14)),
    st.sampled_from((A, A, A, AAAA)),
)


@settings(max_examples=500)
@given(ALIASED)
def test_aliased_says_what_the_long_way_says(made: tuple[bytes, bytes]) -> None:
    """Chains, loops, owners that are nobody's, and whatever stands behind them."""
    data, key = made
    try:
        found = parse_aliased(data, key)
    except (WireError, *PAST_THE_END):
        assert the_long_way(data, key) is None
        return

    assert found is None or found == the_long_way(data, key)


def test_aliased_is_taken_by_what_content_networks_say() -> None:
    """One alias or several, few addresses or a thousand; not where another owner, another type or nothing follows."""
    chain = [cname(TO_QUESTION, "aaa.bbb.net"), cname(TARGET, "ccc.bbb.net", 5)]
    many = [a(f"198.18.{number >> 8}.{number & 255}", owner=NEXT) for number in range(1000)]
    found = parse_aliased(response(*chain, *many, additional=(opt(),)), question())

    assert found is not None and len(found.addresses) == 1000
    assert (found.ttl, found.lifetime, len(found.chain)) == (5, 5, 2)
    assert parse_aliased(response(chain[0], a(ONE, owner=TARGET)), question()) is not None
    for other in (
        response(*chain, a(ONE, owner=TARGET)),
        response(*chain, a(ONE, owner="ccc.bbb.net")),
        response(*chain, a(ONE, 2**31, owner=NEXT)),
        response(*chain, aaaa(SIX)),
        response(*chain),
        response(*chain * 9, a(ONE, owner=NEXT)),
        response(a(ONE)),
        response(*chain, a(ONE, owner=NEXT), text="other.example.net"),
        response(*chain, a(ONE, owner=NEXT), flags=ANSWERED | 3),
    ):
        assert parse_aliased(other, question()) is None


def test_shortcut_steps_over_a_long_opt() -> None:
    """The length of its options has two octets."""
    data = response(a(ONE), additional=(opt(options=bytes(300)),))
    found = parse_plain(data, question())

    assert found is not None
    assert (found.opt, found.end) == ((len(data) - 311, len(data)), len(data))


def test_shortcut_is_taken_by_plain_answers() -> None:
    """With or without an OPT, one address or as many as there can be; not by aliases, by errors, nor by an extended rcode."""
    key = question()

    assert parse_plain(response(a(ONE)), key) is not None
    assert parse_plain(response(a(ONE, 2**31 - 1), additional=(opt(),)), key) is not None
    assert parse_plain(response(*[a(ONE)] * 16, additional=(opt(ttl=0x8000, options=bytes(12)),)), key) is not None
    assert parse_plain(response(*[a(ONE)] * 4090), key) is not None
    assert parse_plain(response(aaaa(SIX), qtype=AAAA), question(qtype=AAAA)) is not None
    for other in (
        response(cname(TO_QUESTION, "alias.example.net"), a(ONE, owner="alias.example.net")),
        response(a(ONE), flags=ANSWERED | 3),
        response(a(ONE), additional=(opt(ttl=1 << 24),)),
        response(a(ONE), additional=(opt(),))[:-1],
        response(a(ONE), additional=(opt(options=bytes(12)),))[:-1],
        response(a(ONE))[:-1],
        response(a(ONE), text="other.example.net"),
    ):
        assert parse_plain(other, key) is None
