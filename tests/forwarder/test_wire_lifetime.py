"""How long an answer may be kept."""

from struct import pack

import pytest
from wire_messages import ANSWERED, TO_QUESTION, a, cname, opt, question, read, response, rr, soa

KEY = question()
ONE = "192.0.2.1"
TWO = "192.0.2.2"


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
