"""Chains and TTLs as other parsers find them."""

import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dnslib
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import QNAME, packed, question, read

from dnsfw.forwarder.aliases import MAX_CHAIN

KEY = question()
ONE = "192.0.2.1"
TWO = "192.0.2.2"


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
