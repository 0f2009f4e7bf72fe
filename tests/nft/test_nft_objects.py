"""Values of nftables: valid from birth, and nothing of a stranger's gets into nft text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nft import objects as nft
from nft.errors import NftError, NotValidError
from nft.keys import TYPES, format_member, key_length, parse_member
from nft.objects import Element, pack_key
from nft.transaction import Transaction

TABLE = nft.Table("t")
CHAIN = nft.Chain(TABLE, "c")


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a\nb", "1a", "a{", 'a"', "a#", "ä", "-a", "a" * 256, "a\\b"])
def test_names_cannot_end_a_command(name: str) -> None:
    """A name that nft would not read as one word is refused for every object."""
    for make in (nft.Table, lambda n: nft.Chain(TABLE, n), lambda n: nft.Set(TABLE, n, ("mark",)), lambda n: nft.Verdict("goto", n)):
        with pytest.raises(NotValidError):
            make(name)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: nft.Table("t", "inet6"), id="family"),
        pytest.param(lambda: nft.Hook("filter", "forward", 0, "reject"), id="policy"),
        pytest.param(lambda: nft.Hook("filter;", "forward", 0), id="chain type"),
        pytest.param(lambda: nft.Rule(CHAIN, "accept; flush ruleset"), id="second command"),
        pytest.param(lambda: nft.Rule(CHAIN, "accept\nflush ruleset"), id="second line"),
        pytest.param(lambda: nft.Rule(CHAIN, "accept # all"), id="nft comment"),
        pytest.param(lambda: nft.Rule(CHAIN, "ip saddr { 192.0.2.1"), id="open brace"),
        pytest.param(lambda: nft.Rule(CHAIN, 'log prefix "x'), id="open quote"),
        pytest.param(lambda: nft.Rule(CHAIN, " "), id="empty rule"),
        pytest.param(lambda: nft.Rule(CHAIN, "accept", 'say "no"'), id="quote in a comment"),
        pytest.param(lambda: nft.Rule(CHAIN, "accept", "x" * 121), id="long comment"),
        pytest.param(lambda: nft.Verdict("goto"), id="goto nowhere"),
        pytest.param(lambda: nft.Verdict("accept", "c"), id="accept somewhere"),
        pytest.param(lambda: nft.Verdict("queue"), id="unknown verdict"),
        pytest.param(lambda: nft.Set(TABLE, "s", ()), id="no key"),
        pytest.param(lambda: nft.Set(TABLE, "s", ("mark",) * 6), id="more parts than libnftables keeps apart"),
        pytest.param(lambda: nft.Set(TABLE, "s", ("ipv5_addr",)), id="unknown key type"),
        pytest.param(lambda: nft.Set(TABLE, "s", ("mark",), "counter"), id="unknown data"),
        pytest.param(lambda: nft.Set(TABLE, "s", ("mark",), flags=frozenset({"fast"})), id="unknown flag"),
        pytest.param(lambda: nft.Set(TABLE, "s", ("mark",), timeout_s=5), id="default without the flag"),
        pytest.param(lambda: nft.Set(TABLE, "s", ("mark",), flags=frozenset({"timeout"}), timeout_s=0), id="default of nothing"),
        pytest.param(lambda: nft.Set(TABLE, "s", ("mark",), size=0), id="no room"),
    ],
)
def test_what_nft_would_not_take_is_refused(make) -> None:
    """Values that cannot stand in the kernel cannot be made."""
    with pytest.raises(NotValidError):
        make()


def test_transaction_is_nft_text() -> None:
    """One line an operation, in order; keys and data in their canonical form."""
    grants = nft.Set(TABLE, "g", ("ipv4_addr", "inet_service"), "mark", frozenset({"timeout"}), timeout_s=1.5, size=9)
    nets = nft.Set(TABLE, "n", ("ipv6_addr",), flags=frozenset({"interval", "constant"}), has_counter=True)
    pods = nft.Set(TABLE, "p", ("ipv4_addr",), "verdict")
    base = nft.Chain(TABLE, "b", nft.Hook("filter", "forward", -150, "drop"))
    key = pack_key(bytes([192, 0, 2, 1]), b"\1\xbb")
    made = Transaction().add(TABLE).create(grants).add(nets).add(pods).add(base).add(CHAIN).add(nft.Rule(base, "accept", "all"))
    made.add_members(nets, ["2001:DB8::/32", "::1"]).add_element(Element(grants, key, 7, 5000, 200))
    made.add_element(Element(pods, bytes(4), nft.Verdict("goto", "c"))).delete_element(Element(grants, key))
    made.delete_members(nets, ["::1"]).flush(base).flush(grants).delete(base).delete(pods).delete(TABLE)

    assert str(made).splitlines() == [
        "add table inet t",
        "create map inet t g { type ipv4_addr . inet_service : mark; flags timeout; size 9; timeout 1500ms; }",
        "add set inet t n { type ipv6_addr; flags constant, interval; counter; }",
        "add map inet t p { type ipv4_addr : verdict; }",
        "add chain inet t b { type filter hook forward priority -150; policy drop; }",
        "add chain inet t c",
        'add rule inet t b accept comment "all"',
        "add element inet t n { 2001:db8::/32, ::1 }",
        "add element inet t g { 192.0.2.1 . 443 timeout 5000ms expires 200ms : 0x00000007 }",
        "add element inet t p { 0.0.0.0 : goto c }",
        "delete element inet t g { 192.0.2.1 . 443 }",
        "delete element inet t n { ::1 }",
        "flush chain inet t b",
        "flush map inet t g",
        "delete chain inet t b",
        "delete map inet t p",
        "delete table inet t",
    ]
    assert made and not Transaction().add_members(nets, [])


@pytest.mark.parametrize(
    ("types", "text"),
    [
        pytest.param(("ipv4_addr",), "10.0.0.1/8", id="host bits"),
        pytest.param(("ipv4_addr",), "192.0.2.9-192.0.2.1", id="backwards"),
        pytest.param(("ipv4_addr",), "192.0.2.1 }; flush ruleset", id="injection"),
        pytest.param(("ipv6_addr",), "fe80::1%eth0", id="zone"),
        pytest.param(("inet_service",), "65536", id="port too large"),
        pytest.param(("inet_service",), "9-1", id="ports backwards"),
        pytest.param(("inet_proto",), "tcp", id="protocol by name"),
        pytest.param(("ifname",), "eth0; drop", id="injection into an interface"),
        pytest.param(("ifname",), "a" * 16, id="long interface"),
        pytest.param(("ether_addr",), "00:11", id="short hardware address"),
        pytest.param(("ipv4_addr", "inet_service"), "192.0.2.1", id="part missing"),
    ],
)
def test_text_that_is_no_key_is_refused(types: tuple[str, ...], text: str) -> None:
    """What does not parse as the set's key gets no further."""
    with pytest.raises(NotValidError):
        parse_member(types, text)


@pytest.mark.parametrize(
    ("types", "text", "canonical"),
    [
        (("ipv4_addr",), " 192.0.2.1/32 ", "192.0.2.1"),
        (("ipv4_addr",), "192.0.2.0-192.0.2.255", "192.0.2.0/24"),
        (("ipv4_addr",), "192.0.2.1 - 192.0.2.4", "192.0.2.1-192.0.2.4"),
        (("inet_service",), "0x50-90", "80-90"),
        (("mark",), "0x80000", "0x00080000"),
        (("ether_addr",), "00:11:22:AA:BB:CC", "00:11:22:aa:bb:cc"),
        (("ifname",), "eth0", '"eth0"'),
        (("ifname",), '"veth*"', '"veth*"'),
        (("iface_index", "inet_proto"), "3 . 6", "3 . 6"),
    ],
)
def test_members_are_printed_anew(types: tuple[str, ...], text: str, canonical: str) -> None:
    """What reaches nft is printed from the key's bytes, never the text that came in."""
    assert format_member(types, *parse_member(types, text)) == canonical


def test_interval_needs_its_flag() -> None:
    """A range in a set of single keys is refused before nft sees it."""
    with pytest.raises(NotValidError):
        Transaction().add_members(nft.Set(TABLE, "s", ("ipv4_addr",)), ["10.0.0.0/8"])


@pytest.mark.parametrize("key", [b"", b"123", b"12345"])
def test_key_of_the_wrong_length_is_not_printed(key: bytes) -> None:
    """An element whose key does not fit its set cannot enter a transaction."""
    with pytest.raises(NotValidError):
        Transaction().add_element(Element(nft.Set(TABLE, "s", ("ipv4_addr",)), key))


def test_interface_that_is_none_is_not_printed() -> None:
    """A key is checked on its way out as well."""
    with pytest.raises(NotValidError):
        format_member(("ifname",), b'eth0"'.ljust(16, b"\0"))


def test_errors_are_one_family() -> None:
    """Whoever catches NftError misses none, and a bad value is a ValueError too."""
    assert issubclass(NotValidError, NftError) and issubclass(NotValidError, ValueError)


def test_same_set_is_one_key() -> None:
    """Equal sets are equal keys, however they were made."""
    one, two = (nft.Set(nft.Table("t"), "s", ("mark",), flags=frozenset({"timeout"})) for _ in range(2))
    assert {one: 1}[two] == 1
    assert one != nft.Set(TABLE, "s", ("ipv4_addr",))
    assert (one.kind, one.is_interval, one.default_timeout_ms) == ("set", False, None)


spans = st.sampled_from(["ipv4_addr", "ipv6_addr", "inet_service", "inet_proto"]).flatmap(
    lambda name: st.tuples(st.just(name), st.binary(min_size=TYPES[name].size, max_size=TYPES[name].size).flatmap(
        lambda low: st.tuples(st.just(low), st.binary(min_size=len(low), max_size=len(low)).filter(lambda high: high >= low))
    ))
)  # fmt: skip


@given(st.lists(spans, min_size=1, max_size=4))
def test_members_survive_text(parts) -> None:
    """Any interval, printed and parsed, is the same interval."""
    types = tuple(name for name, _ in parts)
    low, high = pack_key(*(span[0] for _, span in parts)), pack_key(*(span[1] for _, span in parts))

    assert parse_member(types, format_member(types, low, high)) == (low, high)
    assert len(low) == key_length(types)
