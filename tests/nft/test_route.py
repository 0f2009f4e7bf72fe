"""Which interface leads to an address, as a real kernel says."""

import pytest
from ct_entries import packed
from three_nodes import OUT4, OUT6, POD4, POD6, Nodes, apart, run

from nft.route import local_addresses, output_interface


def test_interface_of_an_address() -> None:
    """Neighbours and what lies behind them by their interface, our own by lo, the unreachable by none."""

    def body() -> None:
        Nodes()
        run("ip route add 192.0.2.192/26 via 192.0.2.66; ip route add blackhole 192.0.2.128/26")
        run("ip -6 route add unreachable 2001:db8:3::/64")
        wanted = {POD4: "pod0", OUT4: "out0", "192.0.2.200": "out0", POD6: "pod0", OUT6: "out0", "192.0.2.1": "lo", "2001:db8:1::1": "lo"}
        nowhere = ("192.0.2.130", "203.0.113.1", "2001:db8:3::1", "2001:db8:4::1")

        assert {address: output_interface(packed(address)) for address in wanted} == wanted
        assert [output_interface(packed(address)) for address in nowhere] == [None] * 4
        run("ip link del pod0")
        assert output_interface(packed(POD4)) is None

    apart(body)


def test_local_addresses() -> None:
    """Ours, not those of the far end of a point-to-point link."""

    def body() -> None:
        Nodes()
        run("ip addr add 192.0.2.193 peer 192.0.2.194 dev pod0")

        ours = ("127.0.0.1", "::1", "192.0.2.1", "192.0.2.65", "192.0.2.193", "2001:db8:1::1")
        assert set(map(packed, ours)) <= local_addresses()
        assert not {packed(POD4), packed("192.0.2.194")} & local_addresses()

    apart(body)


def test_address_is_packed() -> None:
    """A textual address is a mistake of the caller's."""
    with pytest.raises(ValueError, match="no packed address"):
        output_interface(b"192.0.2.1")
