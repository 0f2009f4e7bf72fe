"""Answers that addresses are taken out of."""

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
from wire_messages import ANSWERED, TO_QUESTION, a, answered, ask, cname, header, name, opt, packed, question, read, response, rr, ttls

from dnsfw.forwarder.answer import Answer
from dnsfw.forwarder.wire import WireError

ONE, TWO, METADATA = "192.0.2.1", "192.0.2.2", "169.254.169.254"
OUR_OPT = opt()


def test_u15_protected_addresses_are_taken_out() -> None:
    """Of every section; the others stay, in order."""
    data = response(a(ONE), a(METADATA), a(TWO), authority=(a(METADATA),), additional=(a(METADATA), a(ONE, 5), opt()))

    assert answered(ask(), data, removed={packed(METADATA)}) == response(a(ONE), a(TWO), additional=(a(ONE, 5),), ident=7)


def test_removal_keeps_ttl_rules() -> None:
    """Age and cap hold for what remains."""
    data = response(a(METADATA, 70), a(ONE, 70), additional=(a(TWO, 70), opt()))

    assert ttls(answered(ask(), data, removed={packed(METADATA)}, age=5, ttl_cap=30)) == [30, 65]


def compressed_everything() -> bytes:
    """All compressible types behind a record that will go, each pointing to a name that stands in that record or behind it."""
    gone = a(METADATA, owner=b"\4gone\xc0\x10")
    place = len(header() + question())
    to_gone = pack(">H", 0xC000 | place)
    records = [
        rr(TO_QUESTION, 2, b"\2ns" + to_gone),
        rr(TO_QUESTION, 6, b"\1m" + to_gone + b"\1r" + to_gone + pack(">5I", 1, 2, 3, 4, 5)),
        rr(TO_QUESTION, 12, to_gone),
        rr(TO_QUESTION, 15, b"\0\x0a" + to_gone),
        rr(TO_QUESTION, 16, b"\2hi"),
        rr(TO_QUESTION, 17, to_gone + to_gone),
        rr(TO_QUESTION, 18, b"\0\1" + to_gone),
        rr(TO_QUESTION, 21, b"\0\1" + to_gone),
        rr(TO_QUESTION, 26, b"\0\1" + to_gone + to_gone),
        rr(TO_QUESTION, 33, b"\0\1\0\2\0\3" + to_gone),
        rr(TO_QUESTION, 35, b"\0\1\0\2\1u\3E2U\0" + to_gone),
        rr(TO_QUESTION, 39, name("b.net")),
        rr(TO_QUESTION, 5, to_gone),
        rr(to_gone, 46, pack(">HBBIIIH", 1, 13, 3, 60, 2, 1, 9) + name("example.net") + b"signature"),
        rr(b"\3sub" + to_gone, 65, b"\0\1\0\0\1\0\3\2h2"),
        rr(b"\3sub" + to_gone, 257, b"\0\5issueca.example.net"),
        rr(to_gone, 65280, b"\xc0\x0c"),
    ]
    return response(gone, *records)


def rrsets(data: bytes) -> list[str]:
    message = dns.message.from_wire(data, one_rr_per_rrset=True)
    return [rrset.to_text() for section in message.sections for rrset in section]


def test_removal_keeps_every_name() -> None:
    """Pointers to and across what was cut out still mean the same names, in the data of every type that may hold one."""
    data = compressed_everything()
    kept = answered(ask(), data, removed={packed(METADATA)})

    assert rrsets(kept) == [text for text in rrsets(data) if METADATA not in text]
    assert b"\xa9\xfe\xa9\xfe" not in kept


@pytest.mark.parametrize(
    ("rtype", "before", "names", "behind"),
    [(3, 0, 1, 0), (4, 0, 1, 0), (7, 0, 1, 0), (8, 0, 1, 0), (9, 0, 1, 0), (14, 0, 2, 0), (24, 18, 1, 9), (30, 0, 1, 4), (2, 0, 1, 0)],
)
def test_removal_spells_out_names_of_old_types(rtype: int, before: int, names: int, behind: int) -> None:
    """MD, MF, MB, MG, MR, MINFO, SIG and NXT: dnspython does not read them, so here octet by octet."""
    head, tail = bytes(before), b"x" * behind
    data = response(a(METADATA), rr(TO_QUESTION, rtype, head + b"\1y\xc0\x10" * names + tail))
    spelled = head + name("y.example.net") * names + tail

    assert answered(ask(), data, removed={packed(METADATA)}) == response(rr(TO_QUESTION, rtype, spelled), ident=7)


def test_removal_keeps_letters() -> None:
    """0x20 and friends: the case of every name is kept."""
    data = response(a(METADATA), cname(TO_QUESTION, b"\1B\3Net\0"), a(ONE, owner=b"\1B\3Net\0"))

    assert answered(ask(), data, removed={packed(METADATA)}) == response(
        cname(TO_QUESTION, b"\1B\3Net\0"), a(ONE, owner=b"\1B\3Net\0"), ident=7
    )


def test_removal_compresses_owners() -> None:
    """A hundred addresses do not grow to a hundred full names; the root is shorter than a pointer."""
    owner = "a-rather-long-name.example.net"
    data = response(
        a(METADATA), *[a(f"192.0.2.{octet}", owner=owner) for octet in range(100)], additional=(a(ONE, owner=b"\0"), a(TWO, owner=b"\0"))
    )
    kept = answered(ask(), data, removed={packed(METADATA)})

    assert len(kept) == 33 + len(name(owner)) + 14 + 99 * 16 + 2 * 15
    assert rrsets(kept) == [text for text in rrsets(data) if METADATA not in text]


def test_removal_fills_what_the_client_takes() -> None:
    """To the last octet; one less, and it is told to come back over TCP."""
    data = response(a(METADATA), cname(TO_QUESTION, "b.net"), a(ONE, owner="b.net"))
    kept = answered(ask(), data, removed={packed(METADATA)})

    assert answered(ask(), data, removed={packed(METADATA)}, limit=len(kept)) == kept
    assert answered(ask(), data, removed={packed(METADATA)}, limit=len(kept) - 1) == header(7, ANSWERED | 0x0200) + question()


def test_owner_at_the_last_place_is_pointed_to() -> None:
    """At 16,383, all 14 bits of the pointer are set."""
    filler = [*[rr(TO_QUESTION, 16, b"\xff" + b"x" * 255)] * 60, rr(TO_QUESTION, 16, b"\xff" + b"x" * 255 + b"\1x")]
    data = response(a(METADATA), *filler, a(ONE, owner="far.example.org"), a(TWO, owner="far.example.org"))
    kept = answered(ask(), data, removed={packed(METADATA)})

    assert kept == response(*filler, a(ONE, owner="far.example.org"), a(TWO, owner=b"\xff\xff"), ident=7)
    assert kept.index(name("far.example.org")) == 16_383


def test_owners_far_behind_are_written_out() -> None:
    """A pointer has 14 bits: a name beyond 16,383 is not pointed to."""
    filler = [rr(TO_QUESTION, 16, b"\xff" + b"x" * 255)] * 62
    data = response(a(METADATA), *filler, a(ONE, owner="far.example.org"), a(TWO, owner="far.example.org"))
    kept = answered(ask(), data, removed={packed(METADATA)})

    assert kept == response(*filler, a(ONE, owner="far.example.org"), a(TWO, owner="far.example.org"), ident=7)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        pytest.param(rr(TO_QUESTION, 15, b"\0"), "data shorter than its type's", id="mx-of-one-octet"),
        pytest.param(rr(TO_QUESTION, 15, b"\0\1\1a") + b"", "shorter than it says", id="mx-name-into-the-next-record"),
        pytest.param(rr(TO_QUESTION, 33, b"\0\1\0\2\0\3"), "shorter than it says", id="srv-without-name"),
        pytest.param(rr(TO_QUESTION, 35, b"\0\1\0\2\xff"), "data shorter than its type's", id="naptr-string-behind-the-end"),
        pytest.param(rr(TO_QUESTION, 2, b"\xff\xff"), "a pointer that does not lead backwards", id="ns-pointer-behind-the-end"),
    ],
)
def test_what_cannot_be_rewritten_is_an_error(bad: bytes, said: str) -> None:
    """An answer with protected addresses and broken data: nothing of it is relayed."""
    with pytest.raises(WireError) as caught:
        answered(ask(), response(a(METADATA), bad), removed={packed(METADATA)})
    assert str(caught.value) == said


def test_broken_data_is_relayed_where_nothing_is_taken_out() -> None:
    """Data of types that we do not read are none of our business."""
    data = response(rr(TO_QUESTION, 15, b"\0"))

    assert answered(ask(), data)[2:] == data[2:]


ADDRESS = st.sampled_from([ONE, TWO, METADATA])
RECORD = st.one_of(
    st.builds(a, ADDRESS, st.integers(0, 2**31 - 1), st.sampled_from([TO_QUESTION, b"\1x\xc0\x10", b"\3net\0"])),
    st.builds(cname, st.sampled_from([TO_QUESTION, b"\1x\xc0\x10"]), st.sampled_from([b"\1y\xc0\x10", TO_QUESTION, b"\3org\0"])),
    st.builds(lambda target: rr(TO_QUESTION, 15, b"\0\1" + target), st.sampled_from([b"\1y\xc0\x10", TO_QUESTION])),
)
RECORDS = st.lists(RECORD, max_size=4).map(tuple)


@given(RECORDS, RECORDS, RECORDS, st.booleans())
def test_removal_is_what_dnspython_would_do(answers, authority, additional, edns) -> None:
    """Taking out addresses equals reading all records and leaving out the protected ones."""
    data = response(*answers, authority=authority, additional=(*additional, opt()))
    kept = answered(ask(edns=edns), data, removed={packed(METADATA)})

    assert rrsets(kept) == [text for text in rrsets(data) if METADATA not in text]
    assert isinstance(read(kept), Answer)
