"""What we send: relayed bytes, our own answers, questions to upstreams."""

from struct import pack

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import (
    ANSWERED,
    TO_QUESTION,
    a,
    answered,
    ask,
    cname,
    header,
    opt,
    packed,
    parsed,
    query,
    question,
    response,
    rr,
    soa,
    ttls,
)

from dnsfw.forwarder.edns import Ede
from dnsfw.forwarder.respond import NEGATIVE_TTL, make_any, make_error, make_upstream_query
from dnsfw.forwarder.wire import NXDOMAIN, REFUSED, SERVFAIL, Query, parse_query

ONE, TWO, METADATA = "192.0.2.1", "192.0.2.2", "169.254.169.254"
OUR_OPT = opt()


# to upstream


def test_upstream_is_asked_afresh() -> None:
    """Question in lower case, RD, AD, CD and DO as asked, our payload size; nothing else of the client's message (B12, B15, U17)."""
    subnet = pack(">HH", 8, 7) + b"\0\1\x18\0\xc0\0\2"
    asked = query(opt(4096, 0x8000, subnet), rr(b"\0", 250, b"x", rclass=255), flags=0x0170) + b"tail"
    data = make_upstream_query(parsed(asked.replace(b"www", b"WWW")))

    assert data == header(0, 0x0130, ar=1) + question() + opt(1232, 0x8000)


@pytest.mark.parametrize("additional", [(), (opt(),)])
def test_upstream_is_always_asked_with_edns(additional: tuple[bytes, ...]) -> None:
    """Large answers must fit between us and upstream, whatever the client can take; without DO unless asked for."""
    assert make_upstream_query(parsed(query(*additional, flags=0))) == header(0, 0, ar=1) + question() + opt(1232)


def test_upstream_query_is_a_query() -> None:
    """What we send is what we would take."""
    assert isinstance(parse_query(make_upstream_query(ask())), Query)


# relayed


def test_answer_is_relayed_byte_for_byte() -> None:
    """But for the id and the letters of the question."""
    data = response(cname(TO_QUESTION, "b.net"), a(ONE, owner="b.net"), authority=(soa(5),), flags=0x8583)
    asked = parsed(query(ident=4711).replace(b"www", b"wWw"))

    assert answered(asked, data) == (4711).to_bytes(2, "big") + data[2:].replace(b"www", b"wWw", 1)


def test_mbz_is_cleared() -> None:
    """The one flag that must be zero is (B13)."""
    assert answered(ask(), response(flags=0x81C0))[2:4] == b"\x81\x80"


def test_what_follows_the_answer_stays_behind() -> None:
    """Trailing octets of upstream's message are not relayed."""
    data = response(a(ONE))

    assert answered(ask(), data + b"tail") == answered(ask(), data)


@pytest.mark.parametrize(
    "upstreams", [(), (opt(4096, 0x8000),), (opt(4096, options=pack(">HH", 8, 4) + b"\0\1\0\0"),)], ids=["none", "do", "u17-subnet"]
)
def test_u17_opt_is_the_hops(upstreams: tuple[bytes, ...]) -> None:
    """A client that spoke EDNS gets our OPT with its own DO, another one none; upstream's goes no further."""
    data = response(a(ONE), additional=upstreams)
    plain = response(a(ONE), ident=7)

    assert answered(ask(), data) == plain
    assert answered(ask(edns=True), data) == response(a(ONE), additional=(OUR_OPT,), ident=7)
    assert answered(ask(do=True), data) == response(a(ONE), additional=(opt(ttl=0x8000),), ident=7)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_opt_is_found_wherever_it_stands(place: int) -> None:
    """An OPT before other additional records is taken out, and these keep their meaning."""
    extra = [rr(b"\2ns\xc0\x10", 1, packed(ONE)), rr(b"\2ns\xc0\x10", 1, packed(TWO))]
    data = response(additional=(*extra[:place], opt(4096), *extra[place:]))
    message = dns.message.from_wire(answered(ask(), data))

    assert message.edns == -1
    assert [item.address for rrset in message.additional for item in rrset] == [ONE, TWO]
    assert {str(rrset.name) for rrset in message.additional} == {"ns.example.net."}


# TTLs


MIXED = response(
    cname(TO_QUESTION, "b.net", 300), a(ONE, 50, "b.net"), authority=(rr(b"\0", 2, b"\0", 400),), additional=(a(TWO, 500, b"\0"), opt())
)


@pytest.mark.parametrize(
    ("age", "cap", "expected"),
    [
        pytest.param(0, 2**31 - 1, [300, 50, 400, 500], id="fresh"),
        pytest.param(0, 500, [300, 50, 400, 500], id="cap-at-the-highest"),
        pytest.param(0, 60, [60, 50, 400, 500], id="capped"),
        pytest.param(7, 2**31 - 1, [293, 43, 393, 493], id="aged"),
        pytest.param(7, 60, [60, 43, 393, 493], id="aged-and-capped"),
        pytest.param(60, 2**31 - 1, [240, 0, 340, 440], id="never-below-zero"),
        pytest.param(0, 0, [0, 0, 400, 500], id="cap-of-zero"),
    ],
)
def test_ttls_are_aged_and_capped(age: int, cap: int, expected: list[int]) -> None:
    """Age is taken off everywhere, the lease caps what grants: the answer section."""
    assert ttls(answered(ask(), MIXED, age=age, ttl_cap=cap)) == expected


def test_longest_ttl_is_aged_as_others_are() -> None:
    """31 bits are a TTL."""
    assert ttls(answered(ask(), response(a(ONE, 2**31 - 1)), age=5)) == [2**31 - 6]


@pytest.mark.parametrize("ttl", [2**31, 2**32 - 1])
def test_u12_high_bit_is_answered_as_zero(ttl: int) -> None:
    """Clients that read TTLs as unsigned must not keep the address for a century."""
    assert answered(ask(), response(a(ONE, ttl)))[-10:-6] == b"\0\0\0\0"
    assert answered(ask(), response(a(ONE, ttl)), age=5, ttl_cap=9)[-10:-6] == b"\0\0\0\0"


# size


@pytest.mark.parametrize("edns", [False, True])
def test_b14_too_large_for_the_client_is_truncated(edns: bool) -> None:
    """One octet more than the limit: TC, the question, our OPT; the client comes back over TCP."""
    asked = ask(edns=edns)
    data = response(*[a(f"192.0.2.{octet}") for octet in range(40)])
    whole = answered(asked, data)
    cut = answered(asked, data, limit=len(whole) - 1)

    assert answered(asked, data, limit=len(whole)) == whole
    assert cut == header(7, ANSWERED | 0x0200, ar=int(edns)) + question() + (OUR_OPT if edns else b"")


def test_truncated_answer_keeps_rcode_and_flags() -> None:
    """AA, AD and the rcode are upstream's."""
    data = response(a(ONE), flags=0x85A3)

    assert answered(ask(), data, limit=40) == header(7, 0x87A3) + question()


def test_u4_error_without_question_becomes_one_with() -> None:
    """Upstream could not read our query: the client gets the rcode with its own question."""
    data = header(0, ANSWERED | 1, qd=0)

    assert answered(ask(), data) == header(7, 0x8181) + question()


def test_counts_beyond_an_octet() -> None:
    """300 additional records, with upstream's OPT taken off and ours put on."""
    extra = tuple(a(f"10.0.{place // 256}.{place % 256}") for place in range(300))
    data = response(additional=(*extra, opt(4096)))

    assert answered(ask(), data) == response(additional=extra, ident=7)
    assert answered(ask(edns=True), data) == response(additional=(*extra, OUR_OPT), ident=7)


# our own


def test_refusal() -> None:
    """NXDOMAIN with an SOA, so that it is kept for a moment, and EDE 15 without a word more."""
    message = dns.message.from_wire(make_error(ask(edns=True), NXDOMAIN, Ede(15)))

    assert message.rcode() == dns.rcode.NXDOMAIN
    assert dns.flags.to_text(message.flags) == "QR RD RA"
    assert [rrset.to_text() for rrset in message.authority] == [f". {NEGATIVE_TTL} IN SOA . . 1 3600 600 86400 {NEGATIVE_TTL}"]
    assert [(option.code, option.text) for option in message.options] == [(15, None)]
    assert [rrset.to_text() for rrset in message.question] == ["www.example.net. IN A"]
    assert not message.answer


def test_ede_has_text_where_given() -> None:
    """RFC 8914: the code, then UTF-8."""
    message = dns.message.from_wire(make_error(ask(edns=True), SERVFAIL, Ede(22, "upstream-timeout")))

    assert [(option.code, option.text) for option in message.options] == [(22, "upstream-timeout")]
    assert not message.authority


def test_clients_without_edns_get_none() -> None:
    """No OPT, no EDE for who did not say that it understands them (RFC 6891 §7)."""
    assert make_error(ask(), REFUSED, Ede(15)) == header(7, 0x8185) + question()


def test_nodata_has_an_soa() -> None:
    """rcode 0 without answer, so that it may be kept."""
    message = dns.message.from_wire(make_error(ask(edns=True), 0, Ede(15)))

    assert (message.rcode(), len(message.answer), len(message.authority)) == (0, 0, 1)


def test_own_answers_echo_rd_and_cd_alone() -> None:
    """Of the query's flags nothing else comes back."""
    asked = parsed(query(flags=0x0770))

    assert make_error(asked, REFUSED)[2:4] == b"\x81\x95"
    assert make_any(asked)[2:4] == b"\x81\x90"


def test_any_gets_hinfo() -> None:
    """RFC 8482 §4.2."""
    message = dns.message.from_wire(make_any(ask(qtype=255, edns=True)))

    assert [rrset.to_text() for rrset in message.answer] == ['www.example.net. 3600 IN HINFO "RFC8482" ""']
    assert message.edns == 0


@given(
    st.sampled_from([0, 2, 3, 5, 16]),
    st.booleans(),
    st.text(max_size=50),
    st.sampled_from(["a", "www.example.net", ".".join(["a" * 61] * 4)]),
)
def test_own_answers_fit_everywhere(rcode: int, edns: bool, text: str, asked: str) -> None:
    """They are whole messages of at most 512 octets, the longest name with it."""
    data = make_error(ask(asked, edns=edns), rcode, Ede(0, text))
    message = dns.message.from_wire(data)

    assert len(data) <= 512 + len(text.encode())
    assert message.rcode() == (rcode if edns else rcode & 15)
