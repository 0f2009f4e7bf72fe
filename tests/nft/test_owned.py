"""A table of our socket's: what it says, who can touch it, when it goes, and what the guard lets through."""

import ctypes
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from three_nodes import apart, run

from nft import expressions as x
from nft.errors import AlreadyExistsError, NotFoundError, NotPermittedError, NotValidError, TableOwnedError
from nft.objects import Chain, Hook, Set, Table
from nft.owned import OwnedRule, OwnedTable, guard_program
from nft.socket import NetlinkSocket

FLAGS, SYN = ("fin", "syn", "rst", "ack"), ("syn",)
EXPECTED = """\
table inet guard {
	flags owner

	set selected4 {
		type ipv4_addr
	}

	set internal4 {
		type ipv4_addr
		flags interval
	}

	set selected6 {
		type ipv6_addr
	}

	set internal6 {
		type ipv6_addr
		flags interval
	}

	chain guard {
		type filter hook forward priority mangle + 1; policy accept;
		meta mark & 0x00000010 == 0x00000010 accept
		ip saddr @selected4 ip daddr != @internal4 ct state related counter packets 0 bytes 0 drop
		ip daddr @selected4 ip saddr != @internal4 ct direction reply counter packets 0 bytes 0 drop
		ct direction reply ip saddr @selected4 accept
		ip saddr @selected4 ip daddr != @internal4 counter packets 0 bytes 0 drop
		ip daddr @selected4 ip saddr != @internal4 ct state invalid counter packets 0 bytes 0 drop
		ip daddr @selected4 ip saddr != @internal4 ct state new tcp flags != syn / fin,syn,rst,ack counter packets 0 bytes 0 drop
		ip6 saddr @selected6 ip6 daddr != @internal6 ct state related counter packets 0 bytes 0 drop
		ip6 daddr @selected6 ip6 saddr != @internal6 ct direction reply counter packets 0 bytes 0 drop
		ct direction reply ip6 saddr @selected6 accept
		ip6 saddr @selected6 ip6 daddr != @internal6 counter packets 0 bytes 0 drop
		ip6 daddr @selected6 ip6 saddr != @internal6 ct state invalid counter packets 0 bytes 0 drop
		ip6 daddr @selected6 ip6 saddr != @internal6 ct state new tcp flags != syn / fin,syn,rst,ack counter packets 0 bytes 0 drop
	}
}
"""


def guard(name: str = "guard") -> OwnedTable:
    return guard_program(name, -149, 0x10)


def listing(command: str = "nft list ruleset") -> str:
    """What nft lists, without the owner's program name, which depends on how the tests were started."""
    return re.sub(r" # progname.*", "", run(command))


@contextmanager
def link() -> Iterator[NetlinkSocket]:
    opened = NetlinkSocket()
    try:
        yield opened
    finally:
        opened.close()


def in_namespace(body: Callable[[NetlinkSocket], None]) -> None:
    def child() -> None:
        with link() as opened:
            body(opened)

    apart(child)


def test_listing_says_what_was_meant() -> None:
    """The guard is read back by nft, whose words are the check on our expressions."""

    def body(ours: NetlinkSocket) -> None:
        guard().create(ours)

        assert listing() == EXPECTED

    in_namespace(body)


STEPS = {
    "meta mark & 0x00000003 == 0x00000003": (x.mark_has(3),),
    "ip saddr @a": (x.family("ip"), x.address_in("ip", "saddr", "a")),
    "ip daddr != @a": (x.family("ip"), x.address_in("ip", "daddr", "a", inverse=True)),
    "ip6 daddr @b": (x.family("ip6"), x.address_in("ip6", "daddr", "b")),
    "ct direction original": (x.direction("original"),),
    "ct state established,related": (x.state("established", "related"),),
    "tcp flags != syn / fin,syn,rst,ack": (x.tcp_flags_differ(FLAGS, SYN),),
    "counter packets 0 bytes 0 return": (x.counter(), x.verdict("return")),
}


def test_each_step_says_what_was_meant() -> None:
    """The same for steps and sets that the guard has no use for; comments are shown."""

    def body(ours: NetlinkSocket) -> None:
        table = Table("t")
        chain = Chain(table, "c")
        sets = (Set(table, "a", ("ipv4_addr",), size=9), Set(table, "b", ("ipv6_addr",), flags=frozenset({"timeout"}), timeout_s=60))
        pair = Set(table, "pair", ("ipv4_addr", "inet_service"))
        rules = tuple(OwnedRule(chain, steps, f"rule {number}") for number, steps in enumerate(STEPS.values()))
        OwnedTable(table, (*sets, pair), (chain, Chain(table, "base", Hook("filter", "input", 0, "drop"))), rules).create(ours)

        lines = [line.strip() for line in listing("nft list table inet t").splitlines()]
        assert [line for line in lines if "comment" in line] == [f'{text} comment "rule {at}"' for at, text in enumerate(STEPS)]
        assert {"size 9", "timeout 1m", "type ipv4_addr . inet_service"} <= set(lines)
        assert "type filter hook input priority filter; policy drop;" in lines

    in_namespace(body)


def test_no_other_process_can_touch_it() -> None:
    """Flush, delete and change by others leave it, and everything else stays theirs to change."""

    def body(ours: NetlinkSocket) -> None:
        run("nft add table inet theirs")
        guard().create(ours)

        assert "not permitted" in run("nft delete table inet guard", accept_failure=True)
        assert "not permitted" in run("nft flush chain inet guard guard", accept_failure=True)
        assert "not permitted" in run("nft add element inet guard internal4 '{ 0.0.0.0/0 }'", accept_failure=True)
        run("nft add chain inet theirs c; nft add rule inet theirs c accept")
        assert "theirs" in run("nft list tables")
        run("nft flush ruleset")
        assert listing() == EXPECTED

    in_namespace(body)


def test_goes_with_its_socket() -> None:
    """A process that dies leaves nothing behind."""

    def body(ours: NetlinkSocket) -> None:
        guard().create(ours)
        ours.close()

        assert run("nft list tables") == ""

    in_namespace(body)


def test_destroyed() -> None:
    """The owner may remove it, and make it again."""

    def body(ours: NetlinkSocket) -> None:
        guard().create(ours)
        guard().destroy(ours)
        assert run("nft list tables") == ""
        with pytest.raises(NotFoundError):
            guard().destroy(ours)

        guard().create(ours)
        assert listing() == EXPECTED

    in_namespace(body)


def test_two_owners_side_by_side() -> None:
    """During an upgrade two processes have a guard each; the name of the other's cannot be taken."""

    def body(ours: NetlinkSocket) -> None:
        guard("old").create(ours)
        with link() as other:
            with pytest.raises(TableOwnedError, match="another process"):
                guard("old").create(other)
            with pytest.raises(TableOwnedError, match="another process"):
                guard("old").destroy(other)
            guard("new").create(other)

            ours.close()
            assert run("nft list tables") == "table inet new\n"

    in_namespace(body)


def test_name_of_a_table_that_nobody_owns() -> None:
    """It is not taken over, for it may be another program's."""

    def body(ours: NetlinkSocket) -> None:
        run("nft add table inet guard")
        with pytest.raises(AlreadyExistsError, match="stands already"):
            guard().create(ours)

    in_namespace(body)


def test_without_privilege() -> None:
    """Whoever lacks CAP_NET_ADMIN is not told that another process owns the table."""

    def body(ours: NetlinkSocket) -> None:
        header = struct.pack("=Ii", 0x2008_0522, 0)
        assert ctypes.CDLL(None).capset(header, bytes(24)) == 0
        with pytest.raises(NotPermittedError) as caught:
            guard().create(ours)
        assert not isinstance(caught.value, TableOwnedError)

    in_namespace(body)


TABLE = Table("t")


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Set(TABLE, "s", ("ipv4_addr",), "mark"), id="map"),
        pytest.param(Set(TABLE, "s", ("ipv4_addr", "inet_service"), flags=frozenset({"interval"})), id="interval-of-two-keys"),
        pytest.param(Set(TABLE, "s", ("ipv4_addr",), has_counter=True), id="counters"),
    ],
)
def test_set_that_cannot_be_made(wrong: Set) -> None:
    """What we do not encode is refused before anything is sent."""
    with pytest.raises(NotValidError, match="plain sets"):
        OwnedTable(TABLE, (wrong,), (), ()).requests()


def test_verdict_that_cannot_be_made() -> None:
    """A jump needs a chain; the guard has none."""
    with pytest.raises(NotValidError, match="accept, drop or return"):
        x.verdict("jump")
