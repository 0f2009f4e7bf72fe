"""Answers that lie about counts, lengths and pointers: B5, B7, B8 of the cases as upstreams do it."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import ANSWERED, TO_QUESTION, a, cname, header, opt, packed, question, read, response, rr

from dnsfw.forwarder.answer import Answer, Malformed, parse_response
from dnsfw.forwarder.wire import A

KEY = question()
ONE = "192.0.2.1"
TWO = "192.0.2.2"


def malformed(data: bytes, key: bytes = KEY) -> str:
    found = parse_response(data, key)
    assert isinstance(found, Malformed), found
    return found.detail


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        pytest.param(response(a(ONE))[:-1], "a record ends behind the message", id="cut-address"),
        pytest.param(response(a(ONE))[:-6], "shorter than it says", id="cut-record"),
        pytest.param(header(0, ANSWERED, an=65535) + KEY + a(ONE), "more records than bytes", id="b5-count"),
        pytest.param(header(0, ANSWERED, an=4) + KEY, "more records than bytes", id="b5-count-of-few"),
        pytest.param(header(0, ANSWERED, an=3) + KEY, "shorter than it says", id="b5-count-of-no-more-than-bytes"),
        pytest.param(header(0, ANSWERED, an=1, ns=1) + KEY + a(ONE), "shorter than it says", id="one-too-many"),
        pytest.param(response(rr(b"\x40", A, packed(ONE))), "no proper name", id="b7-owner-0x40"),
        pytest.param(response(cname(TO_QUESTION, b"\x40")), "no proper name", id="b7-target-0x40"),
        pytest.param(response(cname(b"\xc0\x21", "b.net")), "a pointer that does not lead backwards", id="b8-to-itself"),
        pytest.param(response(cname(b"\xc0\x30", "b.net")), "a pointer that does not lead backwards", id="b8-forwards"),
        pytest.param(response(cname(b"\1a\xc0\x21", "b.net")), "a pointer that does not lead backwards", id="b8-loop"),
        pytest.param(
            response(a(ONE, owner=b"\xc0\x3d"), cname(TO_QUESTION, "b.net"), cname(b"\xc0\x3d", "c.net")),
            "a pointer that does not lead backwards",
            id="b8-forwards-where-a-later-owner-leads-backwards",
        ),
        pytest.param(response(cname(b"\xff\xff", "b.net")), "a pointer that does not lead backwards", id="b8-behind-the-end"),
        pytest.param(response(cname(b"\xc0\x14", "b.net")), "no proper name", id="b8-into-a-label"),
        pytest.param(response(cname(b"\xc0\x0b", "b.net")), "a pointer that does not lead backwards", id="b8-into-the-header"),
        # The first record's TTL stands at 0x27: its class ends before, its length begins behind it.
        pytest.param(response(a(ONE, 0x01610000), cname(TO_QUESTION, b"\xc0\x27")), "a name that lies in a TTL", id="b8-into-a-ttl"),
        pytest.param(response(a(ONE, 0x61), cname(TO_QUESTION, b"\xc0\x2a")), "no proper name", id="b8-into-a-ttls-end"),
        pytest.param(response(a(ONE, 0), cname(TO_QUESTION, b"\xc0\x2a")), "a name that lies in a TTL", id="b8-into-a-ttls-last-octet"),
        pytest.param(response(a(ONE, 0x61000000), cname(TO_QUESTION, b"\xc0\x26")), "a name that lies in a TTL", id="b8-across-a-ttl"),
        pytest.param(response(a(ONE, 0x0161C00C), a(TWO, owner=b"\xc0\x27")), "a name that lies in a TTL", id="b8-owner-in-a-ttl"),
        pytest.param(
            response(a(ONE, 0xC00C), cname(TO_QUESTION, b"\xc0\x29")), "a name that lies in a TTL", id="b8-by-a-pointer-that-is-a-ttl"
        ),
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


def test_b8_name_that_begins_in_the_question_and_reaches_a_ttl() -> None:
    """A pointer into a label of the question, whose octet, read as a length, spans the record behind."""
    odd = b"\4\1a\x20\x10\0" + pack(">HH", A, 1)
    data = header(0, ANSWERED, an=1) + odd + cname(TO_QUESTION, b"\xc0\x0f", ttl=0) + bytes(40)

    assert malformed(data, odd) == "a name that lies in a TTL"


def test_b8_name_behind_a_ttl_stays_what_it_is() -> None:
    """The first octet of a record's length, which nobody changes, is the root's name."""
    assert read(response(a(ONE, 0), cname(TO_QUESTION, b"\xc0\x2b"))).chain == (b"\0",)


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
