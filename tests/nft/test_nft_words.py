"""Keys and objects word by word: as text, as bytes, and what a refusal says."""

import struct

import pytest

from nft import objects as nft
from nft.errors import NotValidError
from nft.keys import TYPES, format_member, parse_member
from nft.transaction import Transaction

TABLE = nft.Table("t")
WORD = ": letters, digits and _ . - / only, a letter or _ first, at most 255"
DEFAULT_WRONG = "set s: a default timeout is positive and needs the flag timeout"
CHAIN = nft.Chain(TABLE, "c")
TIMED = frozenset({"timeout"})
INTERVAL = frozenset({"interval"})
NETS = nft.Set(TABLE, "n", ("ipv4_addr",), flags=INTERVAL)


def u32(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


# ---- keys


@pytest.mark.parametrize(
    ("name", "text", "low", "high", "canonical"),
    [
        ("ipv4_addr", "10.1.0.0/16", b"\x0a\1\0\0", b"\x0a\1\xff\xff", "10.1.0.0/16"),
        ("ipv4_addr", "10.1.0.1", b"\x0a\1\0\1", b"\x0a\1\0\1", "10.1.0.1"),
        ("ipv4_addr", "10.1.0.1-10.1.0.1", b"\x0a\1\0\1", b"\x0a\1\0\1", "10.1.0.1"),
        ("ipv4_addr", "10.1.0.1-10.1.0.2", b"\x0a\1\0\1", b"\x0a\1\0\2", "10.1.0.1-10.1.0.2"),
        ("ipv4_addr", "10.1.0.2-10.1.0.3", b"\x0a\1\0\2", b"\x0a\1\0\3", "10.1.0.2/31"),
        ("ipv4_addr", "10.1.0.0-10.1.0.4", b"\x0a\1\0\0", b"\x0a\1\0\4", "10.1.0.0-10.1.0.4"),
        ("ipv6_addr", "2001:db8::/127", b"\x20\1\x0d\xb8" + bytes(12), b"\x20\1\x0d\xb8" + bytes(11) + b"\1", "2001:db8::/127"),
        ("ipv6_addr", "::-::2", bytes(16), bytes(15) + b"\2", "::-::2"),
        ("ether_addr", "02:00:00:00:00:0A", b"\2\0\0\0\0\x0a", b"\2\0\0\0\0\x0a", "02:00:00:00:00:0a"),
        ("inet_proto", "17", b"\x11", b"\x11", "17"),
        ("inet_service", "443-0x200", b"\1\xbb", b"\2\0", "443-512"),
        ("inet_service", " 443 - 443 ", b"\1\xbb", b"\1\xbb", "443"),
        ("mark", "0x50000", u32(0x50000), u32(0x50000), "0x00050000"),
        ("iface_index", "258", u32(258), u32(258), "258"),
        ("ifname", '"eth0"', b"eth0".ljust(16, b"\0"), b"eth0".ljust(16, b"\0"), '"eth0"'),
        ("ifname", "ethX", b"ethX".ljust(16, b"\0"), b"ethX".ljust(16, b"\0"), '"ethX"'),
        ("ifname", "veth*", b"veth".ljust(16, b"\0"), b"veth".ljust(16, b"\xff"), '"veth*"'),
        ("ifname", "X" * 14 + "*", b"X" * 14 + b"\0\0", b"X" * 14 + b"\xff\xff", f'"{"X" * 14}*"'),
    ],
)
def test_key_as_bytes_and_as_text(name: str, text: str, low: bytes, high: bytes, canonical: str) -> None:
    """Both ends as the kernel keeps them, and how nft would write them."""
    assert parse_member((name,), text) == (low, high)
    assert format_member((name,), low, high) == canonical
    assert TYPES[name].size == len(low)


@pytest.mark.parametrize(
    ("types", "text", "said"),
    [
        (("ipv4_addr",), "fe80::1%eth0", "'fe80::1%eth0' is not a key of ipv4_addr: a key has no zone"),
        (("ipv4_addr",), "10.0.0.2-10.0.0.1", "'10.0.0.2-10.0.0.1' is not a key of ipv4_addr: the range ends before it begins"),
        (("inet_service",), "2-1", "'2-1' is not a key of inet_service: the range ends before it begins"),
        (("ether_addr",), "02:00", "'02:00' is not a key of ether_addr: not a hardware address"),
        (("ifname",), "a b", "'a b' is not a key of ifname: not the name of an interface"),
        (("ifname",), "XethX*X", "'XethX*X' is not a key of ifname: not the name of an interface"),
        (("mark", "mark"), "1", "'1' is not a key of mark . mark"),
        (("mark", "ifname"), "1 . /", "'1 . /' is not a key of mark . ifname: not the name of an interface"),
    ],
)
def test_refused_key_says_what_is_wrong(types: tuple[str, ...], text: str, said: str) -> None:
    """The text, the types and the fault."""
    with pytest.raises(NotValidError) as caught:
        parse_member(types, text)
    assert str(caught.value) == said


def test_refused_bytes_say_what_is_wrong() -> None:
    """The same on the way out."""
    with pytest.raises(NotValidError, match=r"^a key of mark \. mark has 8 bytes, not 3$"):
        format_member(("mark", "mark"), b"abc")
    with pytest.raises(NotValidError, match=r"^'a b' is not the name of an interface$"):
        format_member(("ifname",), b"a b".ljust(16, b"\0"))
    with pytest.raises(NotValidError, match=r"^'\ufffd' is not the name of an interface$"):
        format_member(("ifname",), b"\xe4".ljust(16, b"\0"))
    with pytest.raises(NotValidError, match=r"^set inet t s: 10\.0\.0\.0/8 needs the flag interval$"):
        Transaction().add_members(nft.Set(TABLE, "s", ("ipv4_addr",)), ["10.0.0.0/8"])


# ---- objects


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nft.Table("a b"), "table name 'a b'" + WORD),
        (lambda: nft.Table("t", "x"), "table t: no such family: 'x'"),
        (
            lambda: nft.Hook("a b", "forward", 0),
            "chain type name 'a b'" + WORD,
        ),
        (lambda: nft.Hook("filter", "a b", 0), "hook name 'a b'" + WORD),
        (lambda: nft.Hook("filter", "forward", 0, "x"), "a chain's policy is accept or drop, not 'x'"),
        (lambda: nft.Chain(TABLE, "a b"), "chain name 'a b'" + WORD),
        (lambda: nft.Verdict("goto", "a b"), "chain name 'a b'" + WORD),
        (lambda: nft.Verdict("queue"), "no such verdict: queue"),
        (lambda: nft.Verdict("accept", "c"), "no such verdict: accept c"),
        (lambda: nft.Rule(CHAIN, "a;b"), "rule 'a;b': one line, and neither ; nor #"),
        (lambda: nft.Rule(CHAIN, '"""'), 'rule \'"""\': a quote or a brace stands alone'),
        (lambda: nft.Rule(CHAIN, "{X}}"), "rule '{X}}': a quote or a brace stands alone"),
        (lambda: nft.Rule(CHAIN, "a", "\\"), "comment '\\\\': at most 120 printable characters, neither \" nor \\"),
        (lambda: nft.Set(TABLE, "a b", ("mark",)), "set name 'a b'" + WORD),
        (lambda: nft.Set(TABLE, "s", ()), "set s: no such key type: none given"),
        (lambda: nft.Set(TABLE, "s", ("a", "mark", "b")), "set s: no such key type: a, b"),
        (lambda: nft.Set(TABLE, "s", ("mark",) * 6), "set s: a key has at most 5 parts"),
        (lambda: nft.Set(TABLE, "s", ("mark",), "x"), "map s: data is mark or verdict, not 'x'"),
        (lambda: nft.Set(TABLE, "s", ("mark",), flags=frozenset({"b", "a", "timeout"})), "set s: no such flag: a, b"),
        (lambda: nft.Set(TABLE, "s", ("mark",), timeout_s=1), DEFAULT_WRONG),
        (
            lambda: nft.Set(TABLE, "s", ("mark",), flags=TIMED, timeout_s=0),
            DEFAULT_WRONG,
        ),
        (lambda: nft.Set(TABLE, "s", ("mark",), size=0), "set s: a size is positive"),
    ],
)
def test_refused_object_says_what_is_wrong(make, said: str) -> None:
    """Which object, and what would be right."""
    with pytest.raises(NotValidError) as caught:
        make()
    assert str(caught.value) == said


def test_largest_and_smallest_objects_can_be() -> None:
    """Five parts, every flag, one element, a lease of a millisecond, two pairs of quotes, a pair of braces."""
    flags = frozenset({"interval", "timeout", "dynamic", "constant"})
    of = nft.Set(TABLE, "s", ("mark",) * 5, flags=flags, timeout_s=0.001, size=1)

    assert (of.key_length, of.default_timeout_ms, of.size, of.flags) == (20, 1, 1, flags)
    assert str(nft.Rule(CHAIN, 'log prefix "a" comment "b"')) == 'log prefix "a" comment "b"'
    assert str(nft.Rule(CHAIN, "ip saddr { 192.0.2.1 } drop")) == "ip saddr { 192.0.2.1 } drop"
    assert str(nft.Rule(CHAIN, "accept", "why")) == 'accept comment "why"'
    assert hash(of) != hash(nft.Set(TABLE, "other", of.key))
    assert [str(nft.Verdict("drop")), str(nft.Verdict("jump", "c"))] == ["drop", "jump c"]


def test_interval_prints_both_ends() -> None:
    """An element of an interval set has its end in the text."""
    made = Transaction().add_element(nft.Element(NETS, b"\x0a\0\0\0", key_end=b"\x0a\0\0\xff"))

    assert str(made) == "add element inet t n { 10.0.0.0/24 }\n"
