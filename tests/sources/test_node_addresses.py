"""The node's own addresses, of all interfaces and both families, as the kernel has them."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from netns import in_netns

from dnsfw.sources import node
from dnsfw.sources.node import NodeError, node_addresses

LINKS = (
    "link add va type veth peer vb",
    "link set va up",
    "link set vb up",
    "addr add 192.0.2.7/24 dev va",
    "addr add 192.0.2.8/24 dev va",
    "addr add 198.51.100.1 peer 198.51.100.2 dev vb",
    "addr add 169.254.20.53/32 dev lo",
    "route add local 203.0.113.0/24 dev lo",
    "addr add 2001:db8::7/64 dev vb nodad",
)


@in_netns
def test_addresses_of_every_interface() -> None:
    """Primary, secondary, point-to-point and IPv6; not the peer's, loopback, link-local, nor a whole local range."""
    for link in LINKS:
        subprocess.run(["ip", *link.split()], check=True)

    assert [str(address) for address in node_addresses()] == ["192.0.2.7", "192.0.2.8", "198.51.100.1", "2001:db8::7"]


async def test_addresses_can_be_asked_within_a_loop() -> None:
    """A running event loop is no hindrance."""
    assert node_addresses() == await asyncio.to_thread(node_addresses)


def test_kernel_without_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no table of it, and IPv4's addresses are all."""
    trie = tmp_path / "fib_trie"
    trie.write_text(
        "Local:\n  +-- 0.0.0.0/0 2 0 2\n     |-- 192.0.2.0\n        /24 link UNICAST\n     |-- 192.0.2.7\n        /32 host LOCAL\n"
    )
    monkeypatch.setattr(node, "_FIB", trie)
    monkeypatch.setattr(node, "_IF_INET6", tmp_path / "none")

    assert [str(address) for address in node_addresses()] == ["192.0.2.7"]


def test_unreadable_kernel_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its own addresses a node would grant them."""
    monkeypatch.setattr(node, "_FIB", tmp_path / "none")

    with pytest.raises(NodeError, match="this node's addresses cannot be read"):
        node_addresses()
