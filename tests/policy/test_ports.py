"""Port sets: the algebra against plain sets, what rules' `ports` mean, and how a set lies in the kernel's maps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from port_models import ENTRIES, EVERY_PROBE, PORT_SETS, asked, model_of, model_of_entries, model_of_piece

from dnsfw.policy.ports import (
    ICMP,
    ICMPV6,
    MAX_PORT,
    SCTP,
    TCP,
    UDP,
    Cuts,
    Kind,
    Piece,
    PortEntry,
    PortSet,
    elementary,
    partial_protocols,
    ports_of,
    restricted,
    union,
)


def ports(*texts: str) -> PortSet:
    """tcp/443, udp/1-9, icmp, sctp."""
    return ports_of([entry(text) for text in texts])


def entry(text: str) -> PortEntry:
    protocol, _, numbers = text.partition("/")
    low, _, high = numbers.partition("-")
    return PortEntry(protocol.upper(), int(low) if low else None, int(high) if high else None)


@given(ENTRIES)
def test_ports_of_means_what_the_design_says(entries: list[PortEntry]) -> None:
    """No entries are all ports, an entry without port all of its protocol, and 853 belongs only to an entry that is exactly 853."""
    assert model_of(ports_of(entries)) == model_of_entries(entries)


@given(ENTRIES, ENTRIES)
def test_algebra_is_that_of_sets(one: list[PortEntry], other: list[PortEntry]) -> None:
    """Union, difference, intersection and inclusion, point by point."""
    a, b = ports_of(one), ports_of(other)
    plain_a, plain_b = model_of_entries(one), model_of_entries(other)

    assert model_of(a | b) == plain_a | plain_b
    assert model_of(a - b) == plain_a - plain_b
    assert model_of(a & b) == plain_a & plain_b
    assert bool(a - b) == bool(plain_a - plain_b)
    assert b.includes(a) == (plain_a <= plain_b)
    assert a - b | a & b == a
    assert a | b == b | a == union([b, a])


@given(PORT_SETS, PORT_SETS, PORT_SETS)
def test_equal_sets_are_equal_values(a: PortSet, b: PortSet, c: PortSet) -> None:
    """However a set came about, it is in normal form, so that it can be a key."""
    assert {(a | b) - c: 1} == {(a - c) | (b - c): 1}
    assert a - (b | c) == (a - b) - c
    assert all(low <= high for low, high in (a - b).ranges)
    assert all(first[1] + 1 < second[0] for first, second in zip((a | b).ranges, (a | b).ranges[1:], strict=False))


@given(st.lists(PORT_SETS, min_size=1, max_size=4), st.lists(PORT_SETS, max_size=3))
def test_pieces_add_up_to_the_set(allowed: list[PortSet], taken: list[PortSet]) -> None:
    """Whatever union and difference yield, the pieces never overlap and are together exactly that set."""
    result = union(allowed) - union(taken)
    pieces = result.pieces(Cuts.of(allowed, Cuts.of(taken).points))
    models = [model_of_piece(piece) for piece in pieces]

    assert frozenset().union(*models) == model_of(result)
    assert sum(map(len, models)) == len(model_of(result))


@given(st.lists(PORT_SETS, min_size=1, max_size=4), st.data())
def test_range_pieces_lie_between_neighbouring_cuts(rules: list[PortSet], data: st.DataObject) -> None:
    """A range piece is elementary: no rule's boundary lies within it, and neither does 853."""
    some = union(data.draw(st.lists(st.sampled_from(rules))))
    others = union(data.draw(st.lists(st.sampled_from(rules))))

    for piece in (some - others).pieces(Cuts.of(rules)):
        if piece.kind is Kind.RANGE:
            inside = [(protocol, port) for protocol, port in EVERY_PROBE if protocol == piece.protocol and piece.low <= port <= piece.high]
            assert all({rule.contains(*asked(*point)) for point in inside} != {True, False} for rule in rules)
            assert not piece.low <= 853 <= piece.high or piece.protocol == SCTP


@pytest.mark.parametrize(
    ("set_", "text"),
    [
        pytest.param(PortSet.NONE, "none", id="none"),
        pytest.param(PortSet.ANY, "any", id="any"),
        pytest.param(PortSet.EVERY, "any tcp/853 udp/853", id="every"),
        pytest.param(ports("tcp/443"), "tcp/443", id="port"),
        pytest.param(ports("icmp", "udp/8000-9000", "tcp/443"), "tcp/443 udp/8000-9000 icmp", id="mixed"),
        pytest.param(ports("sctp", "udp", "tcp"), "tcp udp sctp", id="protocols"),
        pytest.param(ports("tcp", "tcp/853"), "tcp tcp/853", id="protocol-and-853"),
        pytest.param(ports("tcp/800-900"), "tcp/800-852 tcp/854-900", id="range-around-853"),
        pytest.param(PortSet.ANY - ports("tcp", "udp", "sctp", "icmp"), "other", id="other"),
    ],
)
def test_text_of_ports(set_: PortSet, text: str) -> None:
    """As people write them."""
    assert str(set_) == text


@pytest.mark.parametrize(
    ("set_", "expected"),
    [
        pytest.param(PortSet.NONE, (), id="none"),
        pytest.param(PortSet.ANY, (Piece(Kind.ANY, 0, 0, MAX_PORT),), id="any-is-one-element"),
        pytest.param(PortSet.ANY | ports("udp/853"), (Piece(Kind.ANY, 0, 0, MAX_PORT), Piece(Kind.PORT, UDP, 853, 853)), id="any-and-853"),
        pytest.param(ports("tcp"), (Piece(Kind.PROTOCOL, TCP, 0, MAX_PORT),), id="protocol"),
        pytest.param(ports("sctp"), (Piece(Kind.PROTOCOL, SCTP, 0, MAX_PORT),), id="sctp"),
        pytest.param(ports("icmp"), (Piece(Kind.PROTOCOL, ICMP, 0, 0),), id="icmp"),
        pytest.param(ports("tcp/443"), (Piece(Kind.PORT, TCP, 443, 443),), id="port"),
        pytest.param(ports("udp/853-854"), (Piece(Kind.PORT, UDP, 854, 854),), id="range-of-853-and-one-more"),
        pytest.param(ports("sctp/852-854"), (Piece(Kind.RANGE, SCTP, 852, 854),), id="853-is-nothing-special-for-sctp"),
        pytest.param(
            PortSet.ANY - ports("tcp/443", "udp", "sctp"),
            (
                Piece(Kind.PROTOCOL, ICMP, 0, 0),
                Piece(Kind.RANGE, TCP, 0, 442),
                Piece(Kind.RANGE, TCP, 444, 852),
                Piece(Kind.RANGE, TCP, 854, MAX_PORT),
                Piece(Kind.OTHER, 0, 0, 0),
            ),
            id="any-but",
        ),
    ],
)
def test_pieces(set_: PortSet, expected: tuple[Piece, ...]) -> None:
    """The fewest elements that express the set."""
    assert set_.pieces(Cuts.of([ports("tcp/443")])) == expected


def test_pieces_are_cut_where_another_rule_has_a_boundary() -> None:
    """A port of one rule within the range of another makes three pieces of it, shared cuts like own ones."""
    wide, port, later = ports("tcp/8000-9000"), ports("tcp/8443"), ports("tcp/8500-9500")

    assert wide.pieces(Cuts.of([wide, port], Cuts.of([later]).points)) == (
        Piece(Kind.RANGE, TCP, 8000, 8442),
        Piece(Kind.PORT, TCP, 8443, 8443),
        Piece(Kind.RANGE, TCP, 8444, 8499),
        Piece(Kind.RANGE, TCP, 8500, 9000),
    )


def test_elementary_folds_nothing() -> None:
    """The whole of a protocol, cut, is what may be left of it after a difference."""
    assert list(elementary(ports("udp", "icmp"), Cuts.of([ports("udp/53")]))) == [
        Piece(Kind.RANGE, UDP, 0, 52),
        Piece(Kind.PORT, UDP, 53, 53),
        Piece(Kind.RANGE, UDP, 54, 852),
        Piece(Kind.RANGE, UDP, 854, MAX_PORT),
        Piece(Kind.PROTOCOL, ICMP, 0, 0),
    ]


@pytest.mark.parametrize(
    ("set_", "protocol", "port", "is_in"),
    [
        pytest.param(PortSet.ANY, TCP, None, True, id="any-all-of-tcp"),
        pytest.param(PortSet.ANY, TCP, 853, False, id="any-dot"),
        pytest.param(PortSet.ANY, UDP, 853, False, id="any-doq"),
        pytest.param(PortSet.ANY, SCTP, 853, True, id="any-sctp-853"),
        pytest.param(PortSet.ANY, TCP, 0, True, id="any-port-0"),
        pytest.param(PortSet.ANY, 47, None, True, id="any-gre"),
        pytest.param(ports("tcp"), 47, None, False, id="tcp-gre"),
        pytest.param(ports("tcp/1-65535"), TCP, None, False, id="without-port-0"),
        pytest.param(ports("tcp/443"), TCP, None, False, id="one-port-is-not-all"),
        pytest.param(ports("tcp/443"), UDP, 443, False, id="other-protocol"),
        pytest.param(ports("icmp"), ICMPV6, None, True, id="icmp-is-icmpv6-too"),
        pytest.param(ports("icmp"), ICMP, 8, True, id="icmp-with-a-number"),
        pytest.param(PortSet.NONE, TCP, 1, False, id="none"),
    ],
)
def test_contains(set_: PortSet, protocol: int, port: int | None, is_in: bool) -> None:
    """Protocols by their number; without a port: all of the protocol."""
    assert set_.contains(protocol, port) is is_in


@pytest.mark.parametrize(
    ("set_", "closed"),
    [
        pytest.param(PortSet.ANY, PortSet.EVERY, id="any"),
        pytest.param(ports("tcp"), ports("tcp", "tcp/853"), id="tcp-alone"),
        pytest.param(ports("udp/800-900"), ports("udp/800-900", "udp/853"), id="range-around"),
        pytest.param(ports("tcp/853-900"), ports("tcp/853-900"), id="range-from-853-is-as-it-was"),
        pytest.param(ports("tcp/800-852"), ports("tcp/800-852"), id="range-up-to-852-is-as-it-was"),
        pytest.param(ports("tcp/852-854"), ports("tcp/852-854", "tcp/853"), id="its-neighbours-alone"),
        pytest.param(ports("tcp/443"), ports("tcp/443"), id="elsewhere"),
    ],
)
def test_closing_gaps(set_: PortSet, closed: PortSet) -> None:
    """A Deny around 853 is a Deny of 853, or a rule that names 853 would slip through."""
    assert set_.closing_gaps() == closed


def test_elementary_icmp_and_other_protocols() -> None:
    """One piece each."""
    assert list(elementary(PortSet.ANY - ports("tcp", "udp", "sctp"), Cuts())) == [Piece(Kind.PROTOCOL, ICMP, 0, 0), Piece(Kind.OTHER)]


def test_numbers_and_words_are_those_of_others() -> None:
    """IANA's protocol numbers, and what a rule's port means without a protocol."""
    assert (ICMP, TCP, UDP, ICMPV6, SCTP) == (1, 6, 17, 58, 132)
    assert [kind.value for kind in Kind] == ["port", "range", "protocol", "other", "any"]
    assert PortEntry(port=443) == PortEntry("TCP", 443, None)
    assert ports_of([PortEntry("ICMP", 8)]) == ports("icmp")
    assert Piece(Kind.OTHER) == Piece(Kind.OTHER, 0, 0, 0)


def test_partial_protocols_and_restriction() -> None:
    """Partly held protocols are those that may need ranges; 853 alone says nothing, since it is always a piece of its own."""
    assert partial_protocols(ports("tcp/443", "udp", "sctp/1-2")) == {TCP, SCTP}
    assert partial_protocols(ports("tcp/853", "icmp")) == frozenset()
    assert restricted(ports("tcp/443", "udp", "icmp"), [UDP, SCTP]) == ports("udp")
    assert restricted(PortSet.ANY, []) == PortSet.NONE


def test_spans_are_per_protocol() -> None:
    """What a listing or a kernel rule needs."""
    assert list(ports("tcp/443", "udp/1-9", "icmp").spans()) == [(TCP, 443, 443), (UDP, 1, 9)]
