"""What upstreams answer: U1-U17 of the cases, as far as the bytes decide."""

from itertools import pairwise
from struct import pack

import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import ANSWERED, QNAME, TO_QUESTION, a, aaaa, cname, header, name, opt, packed, question, read, response, rr, soa

from dnsfw.forwarder.answer import MAX_CHAIN, NO_TTL, Answer, Malformed, parse_response
from dnsfw.forwarder.wire import AAAA, CNAME, NXDOMAIN, A, matches

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
        located=((33, packed(ONE)),),
        opt=(49, 60),
        question_end=33,
        end=60,
    )


# matches


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="u1-nothing"),
        pytest.param(response()[:11], id="u1-short"),
        pytest.param(b"\xff" * 64, id="u1-garbage"),
        pytest.param(response(ident=1), id="u2-wrong-id"),
        pytest.param(response(text="other.example.net"), id="u3-name"),
        pytest.param(response(text="www.example.ne"), id="u3-shorter-name"),
        pytest.param(response(qtype=28), id="u3-type"),
        pytest.param(header(0, ANSWERED) + question(qclass=3), id="u3-class"),
        pytest.param(header(0, ANSWERED, qd=2) + KEY + KEY, id="u3-two-questions"),
        pytest.param(header(0, ANSWERED) + KEY[:-1], id="u3-cut-question"),
        pytest.param(header(0, ANSWERED, qd=0), id="u4-no-question-noerror"),
        pytest.param(header(0, ANSWERED | NXDOMAIN, qd=0), id="u4-no-question-nxdomain"),
        pytest.param(header(0, ANSWERED | 1, qd=0, an=1) + a(ONE, owner=QNAME), id="u4-no-question-but-answers"),
        pytest.param(response(flags=0x0100), id="u5-echo"),
        pytest.param(response(flags=ANSWERED | 0x2800), id="opcode"),
    ],
)
def test_u1_to_u5_what_is_no_answer_does_not_match(data: bytes) -> None:
    """Garbage, strangers' guesses and echoes are not taken for the answer."""
    assert not matches(data, 0, KEY)


@pytest.mark.parametrize(
    "data", [response(a(ONE)), response().replace(b"www", b"wWw"), *[header(0, ANSWERED | rcode, qd=0) for rcode in (1, 2, 4)]]
)
def test_u1_the_answer_matches(data: bytes) -> None:
    """The question in any case; none at all if upstream could not read ours."""
    assert matches(data, 0, KEY)
    assert matches(data[:1] + b"\7" + data[2:], 7, KEY)


def test_u3_case_must_be_ours_where_it_is_a_secret() -> None:
    """With 0x20 an answer in other letters is a guess."""
    exact = KEY.replace(b"www", b"wWw")

    assert matches(response().replace(b"www", b"wWw"), 0, KEY, exact)
    assert not matches(response(), 0, KEY, exact)


def test_u3_type_is_compared_as_a_number() -> None:
    """Type 97 is not type 65, though as letters they are the same."""
    assert not matches(response(qtype=65), 0, question(qtype=97))
    assert not matches(response(qtype=97), 0, question(qtype=65))


# what grants


def test_u4_without_question_nothing_is_granted() -> None:
    """An error without question is read as one; anything else without question, or with another one, is malformed."""
    assert parse_response(header(0, ANSWERED | 1, qd=0), KEY) == Answer(1, False, True, (), (), NO_TTL, 0, 0, (), 0, (), (0, 0), 12, 12)
    assert malformed(header(0, ANSWERED, qd=0)) == "another question"
    assert malformed(header(0, ANSWERED | 1, qd=0, an=1) + a(ONE, owner=QNAME)) == "another question"
    assert malformed(header(0, ANSWERED, qd=2) + KEY + KEY) == "another question"
    assert malformed(response(qtype=28)) == "another question"


def test_u6_truncated_answer_grants_nothing() -> None:
    """TC: what is there may not be all, and is not kept."""
    answer = read(response(a(ONE), flags=ANSWERED | 0x0200))

    assert (answer.is_truncated, answer.addresses, answer.lifetime) == (True, (), 0)
    assert answer.located == ((33, packed(ONE)),)


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


def test_u13_other_sections_do_not_grant() -> None:
    """Addresses in authority and additional are seen, to be taken out, and grant nothing."""
    answer = read(response(authority=(a(ONE),), additional=(a(TWO),)))

    assert answer.addresses == ()
    assert [located.packed for located in answer.located] == [packed(ONE), packed(TWO)]


@pytest.mark.parametrize("qtype", [64, 65])
@pytest.mark.parametrize(
    "rdata", [b"\0\1\0\0\4\0\4\xc0\0\2\1", b"\0\0\1b\3net\0", b"\0\1\0\0\4\0\3\1", b"\0\1\0\0\5\0\4ech!\0\3\0\2\1\xbb"]
)
def test_u14_hints_do_not_grant(qtype: int, rdata: bytes) -> None:
    """HTTPS and SVCB with hints, alias mode, broken parameters, ech, port: passed on as they are."""
    answer = read(response(rr(TO_QUESTION, qtype, rdata), a(ONE), qtype=qtype), qtype=qtype)

    assert (answer.addresses, answer.is_negative) == ((), False)


@pytest.mark.parametrize(("qtype", "granted"), [(A, (packed(ONE),)), (AAAA, (b"\x20" * 16,)), (255, ()), (CNAME, ()), (16, ())])
def test_u16_only_the_type_asked_for_grants(qtype: int, granted: tuple[bytes, ...]) -> None:
    """A for A, AAAA for AAAA, and nothing for any other type, ANY with it."""
    assert grants(a(ONE), aaaa(b"\x20" * 16), qtype=qtype) == granted


# how long it may be kept


@pytest.mark.parametrize(
    ("data", "lifetime"),
    [
        pytest.param(response(a(ONE, 50), authority=(rr(b"\0", 2, b"\0", 40),), additional=(a(TWO, 30), opt())), 30, id="minimum-of-all"),
        pytest.param(response(a(ONE, 0)), 0, id="ttl-0"),
        pytest.param(response(), 0, id="empty"),
        pytest.param(response(a(ONE), flags=ANSWERED | 2), 0, id="servfail"),
        pytest.param(response(authority=(rr(b"\0", 2, b"\0", 40),)), 0, id="referral"),
        pytest.param(response(authority=(soa(9, 60),)), 9, id="nodata-soa-minimum"),
        pytest.param(response(authority=(soa(99, 60),)), 60, id="nodata-soa-ttl"),
        pytest.param(response(authority=(soa(2**31, 60),)), 0, id="nodata-high-bit"),
        pytest.param(response(authority=(soa(9),), flags=ANSWERED | 3), 9, id="nxdomain"),
        pytest.param(response(flags=ANSWERED | 3), 0, id="nxdomain-without-soa"),
        pytest.param(response(a(ONE), authority=(soa(9),), flags=ANSWERED | 3), 9, id="nxdomain-with-addresses"),
        pytest.param(response(cname(TO_QUESTION, "b.net", 50), authority=(soa(9),)), 9, id="alias-to-nodata"),
        pytest.param(response(cname(TO_QUESTION, "b.net", 5), authority=(soa(9),)), 5, id="short-alias-to-nodata"),
        pytest.param(response(authority=(rr(b"\0", 6, b"\0\0" + pack(">5I", 1, 1, 1, 1, 9)[:-1]),)), 0, id="cut-soa"),
        pytest.param(response(authority=(rr(b"\0", 2, b"\0", 40), soa(9))), 9, id="soa-behind-ns"),
    ],
)
def test_lifetime(data: bytes, lifetime: int) -> None:
    """The minimum of all TTLs; of negative answers the SOA's minimum too (RFC 2308); nothing for errors."""
    assert read(data).lifetime == lifetime


@pytest.mark.parametrize(
    ("data", "is_negative"),
    [
        (response(a(ONE)), False),
        (response(authority=(soa(1),)), True),
        (response(a(ONE), flags=ANSWERED | 3), True),
        (response(cname(TO_QUESTION, "b.net")), True),
    ],
)
def test_negative(data: bytes, is_negative: bool) -> None:
    """NXDOMAIN, and whatever has nothing of the type asked for."""
    assert read(data).is_negative is is_negative


# hostile bytes


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        pytest.param(response(a(ONE))[:-1], "a record ends behind the message", id="cut-address"),
        pytest.param(response(a(ONE))[:-6], "shorter than it says", id="cut-record"),
        pytest.param(header(0, ANSWERED, an=65535) + KEY + a(ONE), "more records than bytes", id="b5-count"),
        pytest.param(header(0, ANSWERED, an=1, ns=1) + KEY + a(ONE), "shorter than it says", id="one-too-many"),
        pytest.param(response(rr(b"\x40", A, packed(ONE))), "no proper name", id="b7-owner-0x40"),
        pytest.param(response(cname(TO_QUESTION, b"\x40")), "no proper name", id="b7-target-0x40"),
        pytest.param(response(cname(b"\xc0\x21", "b.net")), "a pointer that does not lead backwards", id="b8-to-itself"),
        pytest.param(response(cname(b"\xc0\x30", "b.net")), "a pointer that does not lead backwards", id="b8-forwards"),
        pytest.param(response(cname(b"\1a\xc0\x21", "b.net")), "a pointer that does not lead backwards", id="b8-loop"),
        pytest.param(response(cname(b"\xff\xff", "b.net")), "a pointer that does not lead backwards", id="b8-behind-the-end"),
        pytest.param(response(cname(b"\xc0\x14", "b.net")), "no proper name", id="b8-into-a-label"),
        pytest.param(response(opt()), "a second OPT, one of another section, or one that is not the root's", id="opt-in-answer"),
        pytest.param(
            response(authority=(opt(),)), "a second OPT, one of another section, or one that is not the root's", id="opt-in-authority"
        ),
        pytest.param(
            response(additional=(opt(), opt())), "a second OPT, one of another section, or one that is not the root's", id="two-opts"
        ),
        pytest.param(
            response(additional=(opt(owner=b"\1a\0"),)),
            "a second OPT, one of another section, or one that is not the root's",
            id="opt-owner",
        ),
        pytest.param(
            response(cname(TO_QUESTION, (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0")), "no proper name", id="b7-256-octets"
        ),
        pytest.param(
            response(cname(TO_QUESTION, (b"\x3f" + b"a" * 63) * 3 + b"\x2e" + b"a" * 46 + b"\xc0\x0c")),
            "a name of more than 255 octets",
            id="b8-long-by-pointer",
        ),
    ],
)
def test_b7_b8_broken_responses_are_malformed(data: bytes, detail: str) -> None:
    """Wrong counts, lengths, labels and pointers spoil the answer, never the walk."""
    assert malformed(data) == detail


def test_longest_names_are_read() -> None:
    """255 octets, in one piece or by a pointer, are not too long."""
    whole = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0"
    pointed = (b"\x3f" + b"a" * 63) * 3 + b"\x2d" + b"a" * 45 + b"\xc0\x0c"

    assert read(response(cname(TO_QUESTION, whole))).chain == (whole,)
    assert len(read(response(cname(TO_QUESTION, pointed))).chain[0]) == 255


class Counted(bytes):
    """Counts how often somebody looks into it."""

    looks = 0

    def __getitem__(self, place):
        type(self).looks += 1
        return super().__getitem__(place)


def pointers(count: int) -> bytes:
    """Aliases whose owners are pointers to pointers to pointers, as long a way as there can be."""
    ladder = response()[:12] + KEY
    rungs = b"\xc0\x0c" + b"".join(pack(">H", 0xC000 | len(ladder) + 11 + 2 * place) for place in range(count))
    holder = rr(b"\0", 16, rungs)
    top = len(ladder) + 11 + len(rungs) - 2
    return header(0, ANSWERED, an=count + 1) + KEY + holder + a(ONE, owner=pack(">H", 0xC000 | top)) * count


@pytest.mark.parametrize(
    "make", [pointers, lambda count: response(*[a(ONE)] * count), lambda count: response(*[cname(TO_QUESTION, "b.net")] * count)]
)
def test_b8_work_is_linear_in_the_message(make) -> None:
    """Ten times the records cost ten times the looks into the message, however the pointers lead."""
    looks = []
    for count in (40, 400):
        Counted.looks = 0
        parse_response(Counted(make(count)), KEY)
        looks.append(Counted.looks)

    assert looks[1] < 11 * looks[0]


def test_b8_chain_of_127_pointers_is_followed_once() -> None:
    """Pointers to pointers are legal as long as they lead backwards; they grant what they mean."""
    assert read(pointers(127)).addresses == (packed(ONE),)


def test_what_follows_the_message_is_noise() -> None:
    """Trailing octets are not part of the answer."""
    data = response(a(ONE))

    assert read(data + b"tail") == read(data)
    assert read(data).end == len(data)


@given(st.binary(max_size=200), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_no_bytes_raise(body: bytes, an: int, ns: int, ar: int) -> None:
    """Any bytes behind the question are an answer or malformed."""
    assert isinstance(parse_response(header(0, ANSWERED, an=an, ns=ns, ar=ar) + KEY + body, KEY), Answer | Malformed)
    assert isinstance(parse_response(body, KEY), Answer | Malformed)


# a second opinion


LABELS = st.sampled_from(["a", "b", "www", "x1"])
NAMES = st.one_of(st.just(QNAME), st.builds(".".join, st.lists(LABELS, min_size=1, max_size=3)))
ADDRESSES = st.integers(0, 255).map(lambda octet: f"192.0.2.{octet}")
TTLS = st.integers(0, 2**31 - 1)


@st.composite
def zone_lines(draw: st.DrawFn) -> str:
    owner, ttl = draw(NAMES), draw(TTLS)
    data = draw(
        st.one_of(
            ADDRESSES.map("A {}".format),
            st.integers(0, 65535).map("AAAA 2001:db8::{:x}".format),
            NAMES.map("CNAME {}.".format),
            NAMES.map("MX 10 {}.".format),
            NAMES.map("NS {}.".format),
            st.just('TXT "hello"'),
        )
    )
    return f"{owner}. {ttl} IN {data}"


SECTIONS = st.lists(zone_lines(), max_size=6)


def second_opinion(data: bytes) -> tuple[set[bytes], int]:
    """What grants, and its TTL, found with dnspython's objects in the most obvious way."""
    message = dns.message.from_wire(data)
    records = [(rrset.name, rrset.rdtype, item, ttl) for rrset, ttl in flat(message, data) for item in rrset]
    owner, ttl = message.question[0].name, 2**31 - 1
    for _ in range(MAX_CHAIN + 1):
        targets = [(item.target, seconds) for name_, rtype, item, seconds in records if name_ == owner and rtype == dns.rdatatype.CNAME]
        if len(targets) > 1:
            return set(), 0
        if not targets:
            mine = [
                (packed(item.address), seconds) for name_, rtype, item, seconds in records if name_ == owner and rtype == dns.rdatatype.A
            ]
            return {address for address, _ in mine}, min([ttl, *[seconds for _, seconds in mine]])
        owner, ttl = targets[0][0], min(ttl, targets[0][1])
    return set(), 0


def flat(message, data):
    """dnspython joins records into rrsets of one TTL; read one by one they keep their own."""
    return [(rrset, rrset.ttl) for rrset in dns.message.from_wire(data, one_rr_per_rrset=True).answer]


@given(SECTIONS, SECTIONS)
def test_chains_are_followed_as_dnspython_and_dnslib_read_them(answers: list[str], additional: list[str]) -> None:
    """Compressed messages of dnslib's making: the same addresses, chain by chain, and the same minimum."""
    message = dnslib.DNSRecord.question(QNAME).reply()
    for line in answers:
        message.add_answer(*dnslib.RR.fromZone(line))
    for line in additional:
        message.add_ar(*dnslib.RR.fromZone(line))
    data = bytes(message.pack())
    addresses, ttl = second_opinion(data)
    answer = read(data)

    assert set(answer.addresses) == addresses
    if addresses:
        assert answer.ttl == ttl
    assert answer.answer_count == len(answers)
    assert len(answer.ttl_offsets) == len(answers) + len(additional)
