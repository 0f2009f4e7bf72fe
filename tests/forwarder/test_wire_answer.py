"""What upstreams answer: U1-U17 of the cases, as far as the bytes decide."""

from itertools import pairwise

import pytest
from wire_messages import ANSWERED, QNAME, TO_QUESTION, a, aaaa, cname, header, name, opt, packed, question, read, response, rr, soa

from dnsfw.forwarder.aliases import MAX_CHAIN
from dnsfw.forwarder.answer import NO_TTL, Answer, Malformed, parse_response
from dnsfw.forwarder.wire import AAAA, CNAME, A

KEY = question()
ONE = "192.0.2.1"
TWO = "192.0.2.2"


def malformed(data: bytes, key: bytes = KEY) -> str:
    found = parse_response(data, key)
    assert isinstance(found, Malformed), found
    return found.detail


def grants(*answers: bytes, flags: int = ANSWERED, qtype: int = A) -> tuple[bytes, ...]:
    return read(response(*answers, flags=flags, qtype=qtype), qtype=qtype).addresses


def test_answer_is_read() -> None:
    """Address, TTL, and the places of what will be changed."""
    data = response(a(ONE, 300), additional=(opt(),))

    assert read(data) == Answer(
        rcode=0,
        is_truncated=False,
        is_negative=False,
        addresses=(packed(ONE),),
        chain=(),
        ttl=300,
        lifetime=300,
        max_ttl=300,
        ttl_offsets=(39,),
        answer_count=1,
        located=(packed(ONE),),
        located_at=(33,),
        opt=(49, 60),
        question_end=33,
        end=60,
    )


def test_u4_without_question_nothing_is_granted() -> None:
    """An error without question is read as one; anything else without question, or with another one, is malformed."""
    assert parse_response(header(0, ANSWERED | 1, qd=0), KEY) == Answer(1, False, True, (), (), NO_TTL, 0, 0, (), 0, (), (), (0, 0), 12, 12)
    assert malformed(header(0, ANSWERED, qd=0)) == "another question"
    assert malformed(header(0, ANSWERED | 1, qd=0, an=1) + a(ONE, owner=QNAME)) == "another question"
    assert malformed(header(0, ANSWERED, qd=2) + KEY + KEY) == "another question"
    assert malformed(response(qtype=28)) == "another question"


def test_u6_truncated_answer_grants_nothing() -> None:
    """TC: what is there may not be all, and is not kept."""
    answer = read(response(a(ONE), flags=ANSWERED | 0x0200))

    assert (answer.is_truncated, answer.addresses, answer.lifetime) == (True, (), 0)
    assert (answer.located, answer.located_at) == ((packed(ONE),), (33,))


@pytest.mark.parametrize("rcode", [1, 2, 3, 4, 5, 15])
def test_u7_errors_grant_nothing(rcode: int) -> None:
    """NXDOMAIN and its like with addresses."""
    answer = read(response(a(ONE), flags=ANSWERED | rcode))

    assert (answer.rcode, answer.addresses) == (rcode, ())


def test_u7_extended_rcode_grants_nothing() -> None:
    """The OPT holds the upper eight bits of the rcode (BADVERS: 16)."""
    answer = read(response(a(ONE), additional=(opt(ttl=1 << 24),)))

    assert (answer.rcode, answer.addresses, answer.lifetime) == (16, (), 0)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([a(ONE, owner="other.example.net")], id="other-owner"),
        pytest.param([cname(TO_QUESTION, "a.example.net"), a(ONE)], id="beside-an-alias"),
        pytest.param([cname("x.example.net", "a.example.net"), a(ONE, owner="a.example.net")], id="alias-of-another"),
        pytest.param([cname(TO_QUESTION, TO_QUESTION), a(ONE)], id="u9-loop-of-one"),
        pytest.param([cname(TO_QUESTION, "b.net"), cname("b.net", TO_QUESTION), a(ONE), a(ONE, owner="b.net")], id="u9-loop-of-two"),
        pytest.param([cname(TO_QUESTION, "b.net"), cname(TO_QUESTION, "c.net"), a(ONE, owner="b.net")], id="u9-two-targets"),
        pytest.param([cname(TO_QUESTION, "b.net"), cname(TO_QUESTION, "c.net"), a(ONE, owner="c.net")], id="u9-two-targets-the-other"),
        pytest.param([rr(TO_QUESTION, A, packed(ONE), rclass=3)], id="class"),
        pytest.param([rr(TO_QUESTION, CNAME, name("b.net"), rclass=3), a(ONE, owner="b.net")], id="alias-of-another-class"),
        pytest.param([rr(TO_QUESTION, 39, name("b.net")), a(ONE, owner="b.net")], id="u9-dname-alone"),
    ],
)
def test_u8_addresses_off_the_chain_do_not_grant(answers: list[bytes]) -> None:
    """Only CNAMEs of class IN lead from the question to an address; what does not lie on that way is passed on and grants nothing."""
    answer = read(response(*answers))

    assert answer.addresses == ()
    assert answer.answer_count == len(answers)


def chain_of(length: int) -> list[bytes]:
    owners = [QNAME, *[f"c{place}.example.net" for place in range(length)]]
    return [
        *[cname(owner, target, 100 + place) for place, (owner, target) in enumerate(pairwise(owners))],
        a(ONE, owner=owners[-1]),
    ]


def test_u9_chain_up_to_the_limit_grants() -> None:
    """16 aliases lead to an address, 17 to none."""
    longest = read(response(*chain_of(MAX_CHAIN)))
    too_long = read(response(*chain_of(MAX_CHAIN + 1)))

    assert longest.addresses == (packed(ONE),)
    assert longest.chain == tuple(name(f"c{place}.example.net") for place in range(MAX_CHAIN))
    assert (too_long.addresses, len(too_long.chain)) == ((), MAX_CHAIN)


def test_u9_order_does_not_matter() -> None:
    """A chain is found in whatever order it is written, letters of any case."""
    records = [*chain_of(3), rr(name("example.net"), 39, name("b.net"))]

    assert read(response(*reversed(records))).addresses == (packed(ONE),)
    assert read(response(cname(TO_QUESTION, name("B.net")), a(ONE, owner=b"\1b\3NET\0"))).chain == (name("b.net"),)


@pytest.mark.parametrize(("rtype", "length"), [*[(A, size) for size in (0, 3, 5, 16)], *[(AAAA, size) for size in (4, 15, 17)]], ids=str)
@pytest.mark.parametrize("section", ["answers", "authority", "additional"])
def test_u10_address_of_wrong_length_spoils_the_answer(rtype: int, length: int, section: str) -> None:
    """A record that lies about its length makes all of the message suspect."""
    bad = rr(TO_QUESTION, rtype, b"\1" * length)
    data = response(bad) if section == "answers" else response(a(ONE), **{section: (bad,)})

    assert malformed(data) == "an address of the wrong length"


def test_u10_alias_of_wrong_length_spoils_the_answer() -> None:
    """A CNAME's data is a name and nothing else."""
    assert malformed(response(rr(TO_QUESTION, CNAME, name("b.net") + b"x"))) == "an alias of the wrong length"


@pytest.mark.parametrize("count", [1, 100, 4000])
def test_u11_many_addresses(count: int) -> None:
    """All of a large answer's addresses are found, each once."""
    addresses = [f"10.1.{place // 256}.{place % 256}" for place in range(count)]

    assert grants(*[a(address) for address in addresses], a(addresses[0])) == tuple(map(packed, addresses))


@pytest.mark.parametrize(("ttl", "effective"), [(0, 0), (1, 1), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0)])
def test_u12_ttl_with_high_bit_is_zero(ttl: int, effective: int) -> None:
    """RFC 2181 §8."""
    answer = read(response(a(ONE, ttl)))

    assert (answer.ttl, answer.lifetime, answer.max_ttl) == (effective, effective, ttl)


def test_u12_minimum_of_the_chain_counts() -> None:
    """Aliases and addresses alike; what lies off the chain shortens only how long the message is kept."""
    off_chain = a(TWO, 7, owner="other.example.net")

    assert read(response(*chain_of(3))).ttl == 60
    assert read(response(cname(TO_QUESTION, "b.net", 20), a(ONE, 90, "b.net"), a(TWO, 80, "b.net"))).ttl == 20
    answer = read(response(a(ONE, 90), a(TWO, 80), off_chain))
    assert (answer.ttl, answer.lifetime) == (80, 7)


def test_u12_ttl_without_addresses_is_that_of_the_answer_section() -> None:
    """For the record; NO_TTL where there is nothing."""
    text = rr(TO_QUESTION, 16, b"\1a", 30)

    assert read(response(text, rr(TO_QUESTION, 16, b"\1b", 20), qtype=16), qtype=16).ttl == 20
    assert read(response(authority=(soa(5),))).ttl == NO_TTL


@pytest.mark.parametrize("answered", [257, 1, 513])
def test_types_above_255_are_told_apart(answered: int) -> None:
    """An answer to CAA is one only if CAA is in it; otherwise it is negative, and kept as such."""
    assert read(response(rr(TO_QUESTION, answered, b"abcd"), qtype=257), qtype=257).is_negative is (answered != 257)


def test_u13_other_sections_do_not_grant() -> None:
    """Addresses in authority and additional are seen, to be taken out, and grant nothing."""
    answer = read(response(authority=(a(ONE),), additional=(a(TWO),)))

    assert answer.addresses == ()
    assert list(answer.located) == [packed(ONE), packed(TWO)]


@pytest.mark.parametrize("qtype", [64, 65])
@pytest.mark.parametrize(
    "rdata", [b"\0\1\0\0\4\0\4\xc0\0\2\1", b"\0\0\1b\3net\0", b"\0\1\0\0\4\0\3\1", b"\0\1\0\0\5\0\4ech!\0\3\0\2\1\xbb"]
)
def test_u14_hints_do_not_grant(qtype: int, rdata: bytes) -> None:
    """HTTPS and SVCB with hints, alias mode, broken parameters, ech, port: passed on as they are."""
    answer = read(response(rr(TO_QUESTION, qtype, rdata), a(ONE), qtype=qtype), qtype=qtype)

    assert (answer.addresses, answer.is_negative) == ((), False)


@pytest.mark.parametrize(
    ("qtype", "granted"), [(A, (packed(ONE),)), (AAAA, (b"\x20" * 16,)), (255, ()), (CNAME, ()), (16, ()), (257, ()), (256 + AAAA, ())]
)
def test_u16_only_the_type_asked_for_grants(qtype: int, granted: tuple[bytes, ...]) -> None:
    """A for A, AAAA for AAAA, and nothing for any other type, ANY with it."""
    assert grants(a(ONE), aaaa(b"\x20" * 16), qtype=qtype) == granted
