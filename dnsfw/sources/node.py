"""This node's own addresses: they are passed like the cluster's, and never granted.

Reads /proc, so that it works within a running loop too (pyroute2's IPRoute brings a loop of its own and does not).
Loopback and link-local addresses are left out: they are protected anyway.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from dnsfw.errors import DnsfwError
from dnsfw.policy.model import IPAddress

_FIB = Path("/proc/net/fib_trie")
_IF_INET6 = Path("/proc/net/if_inet6")


class NodeError(DnsfwError):
    """The node's own addresses cannot be read."""


def node_addresses() -> tuple[IPAddress, ...]:
    """The addresses of all interfaces of this network namespace; IPv4 first, sorted."""
    try:
        addresses: set[IPAddress] = {*_ipv4(_FIB.read_text("ascii")), *_ipv6(_IF_INET6.read_text("ascii") if _IF_INET6.exists() else "")}
    except OSError as error:
        raise NodeError(f"this node's addresses cannot be read: {error}") from error
    outward = (address for address in addresses if not address.is_loopback and not address.is_link_local)
    return tuple(sorted(outward, key=lambda address: (address.version, address.packed)))


def _ipv4(trie: str) -> Iterator[IPv4Address]:
    """The trie's leaves (`|-- ADDRESS`) that hold a host's local route."""
    leaf = ""
    for line in map(str.strip, trie.splitlines()):
        if line.startswith("|-- "):
            leaf = line.removeprefix("|-- ")
        elif line == "/32 host LOCAL":
            yield IPv4Address(leaf)


def _ipv6(table: str) -> Iterator[IPv6Address]:
    """One line an address: 32 hexadecimal digits, then the interface, prefix length, scope and flags."""
    for line in table.splitlines():
        yield IPv6Address(bytes.fromhex(line.split(maxsplit=1)[0]))
