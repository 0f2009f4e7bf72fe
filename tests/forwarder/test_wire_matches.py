"""Which datagrams are taken for the answer: U1-U5 of the cases."""

import pytest
from wire_messages import ANSWERED, QNAME, a, header, question, response

from dnsfw.forwarder.wire import NXDOMAIN, matches

KEY = question()
ONE = "192.0.2.1"
TWO = "192.0.2.2"


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
