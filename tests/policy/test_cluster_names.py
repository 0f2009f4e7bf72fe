"""Which names are the cluster's own."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import policy, rule

from dnsfw.names import format_name, parents, parse_name
from dnsfw.policy.cluster import cluster_suffixes, reverse_names
from dnsfw.policy.model import PolicySettings
from dnsfw.policy.reasons import Reason


@pytest.mark.parametrize(
    ("network", "names"),
    [
        pytest.param("10.244.0.0/16", ["244.10.in-addr.arpa"], id="whole-octets"),
        pytest.param("10.244.0.0/15", ["244.10.in-addr.arpa", "245.10.in-addr.arpa"], id="part-of-an-octet"),
        pytest.param("10.1.2.3/32", ["3.2.1.10.in-addr.arpa"], id="one-address"),
        pytest.param("0.0.0.0/0", ["in-addr.arpa"], id="all"),
        pytest.param("2001:db8::/32", ["8.b.d.0.1.0.0.2.ip6.arpa"], id="whole-nibbles"),
        pytest.param("2001:db8::/31", ["8.b.d.0.1.0.0.2.ip6.arpa", "9.b.d.0.1.0.0.2.ip6.arpa"], id="part-of-a-nibble"),
        pytest.param("::/0", ["ip6.arpa"], id="all-ipv6"),
    ],
)
def test_reverse_names(network: str, names: list[str]) -> None:
    """The fewest names below which all of the network's reverse names stand."""
    assert [format_name(name) for name in reverse_names(ip_network(network))] == names


@given(st.ip_addresses(), st.integers(0, 128))
def test_reverse_name_of_an_address_is_in_its_network(address: object, length: int) -> None:
    """Against the standard library's own reverse pointer, for addresses inside and outside."""
    inside = ip_address(str(address))
    network = ip_network((inside, min(length, inside.max_prefixlen)), strict=False)
    settings = PolicySettings(cluster_domain=parse_name("cluster.example"), cluster_networks=(network,))
    outside = type(inside)(int(inside) ^ (1 << (inside.max_prefixlen - 1)))

    def is_cluster(text: str) -> bool:
        return not cluster_suffixes(settings).isdisjoint(parents(parse_name(text)))

    assert is_cluster(inside.reverse_pointer)
    assert is_cluster(outside.reverse_pointer) is (outside in network)


@pytest.mark.parametrize(
    ("name", "is_cluster"),
    [
        pytest.param("cluster.example", True, id="itself"),
        pytest.param("a.b.cluster.example", True, id="below"),
        pytest.param("notcluster.example", False, id="a16-within-a-label"),
        pytest.param(r"a\.cluster.example", False, id="b9-dot-inside-a-label"),
        pytest.param("example", False, id="above"),
        pytest.param("1.0.244.10.in-addr.arpa", True, id="reverse"),
        pytest.param("1.0.245.10.in-addr.arpa", False, id="reverse-of-another"),
        pytest.param("10.in-addr.arpa", False, id="reverse-above"),
        pytest.param("250.2.0.192.in-addr.arpa", False, id="reverse-of-the-node"),
    ],
)
def test_cluster_names(name: str, is_cluster: bool) -> None:
    """At or below the cluster's domain, or the reverse name of one of its networks."""
    assert (policy(rule("r")).judge_name(parse_name(name)).reason is Reason.CLUSTER_NAME) is is_cluster
