"""Protected addresses: the built-in list, the cluster's, the operator's, and every way to embed them in IPv6."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import SETTINGS, packed

from dnsfw.names import parse_name
from dnsfw.policy.model import PolicySettings
from dnsfw.policy.protected import Mask, is_protected, protected_masks, protected_networks, protection_of

BARE = PolicySettings(cluster_domain=parse_name("cluster.example"))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 -- an address to judge, not to listen on
        *("0.255.255.255", "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.169.254", "169.254.255.255"),
        *("224.0.0.0", "239.255.255.255", "255.255.255.255"),
        *("::", "::1", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ff00::", "ff02::fb", "fd00:ec2::254"),
        *("::ffff:0.0.0.0", "::ffff:192.0.2.1", "::ffff:255.255.255.255"),
    ],
)  # fmt: skip
def test_u15_built_in(address: str) -> None:
    """Loopback, link-local with metadata, multicast, unspecified, broadcast, mapped; asked alone or among others."""
    assert is_protected(BARE, packed(address))
    assert protection_of(BARE).among([packed("192.0.2.1"), packed(address)]) == (packed(address),)


@pytest.mark.parametrize(
    "address",
    [
        *("1.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "223.255.255.255", "240.0.0.0", "255.255.255.254"),
        *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "192.0.2.1"),
        *("fe7f:ffff::", "fec0::", "feff::", "fd00:ec2::253", "fd00:ec2::255", "fc00::1", "2001:db8::1", "::fffe:192.0.2.1"),
        *("10.244.0.1", "192.0.2.250", "198.51.100.1"),
    ],
)  # fmt: skip
def test_u15_others_may_be_granted(address: str) -> None:
    """Neighbours of the built-in ranges, and private addresses."""
    assert not is_protected(BARE, packed(address))


@pytest.mark.parametrize("address", ["10.244.0.0", "10.244.255.255", "2001:db8:c1::1", "192.0.2.250", "198.51.100.0", "198.51.100.255"])
def test_u15_settings(address: str) -> None:
    """The cluster's networks, the node's addresses and `--protected-cidr`."""
    assert is_protected(SETTINGS, packed(address))


EMBEDDINGS = {
    "compatible": "::{v4}",
    "translated": "::ffff:0:{v4}",
    "nat64": "64:ff9b::{v4}",
    "6to4": "2002:{hi}:{lo}::1",
    "6to4-other-suffix": "2002:{hi}:{lo}:1:2:3:4:5",
    "teredo-server": "2001:0:{hi}:{lo}:1:2:3fff:fdfe",
    "teredo-client": "2001:0:c000:201:1:2:{nhi}:{nlo}",
    "local-nat64-96": "64:ff9b:1::{v4}",
    "local-nat64-96-elsewhere": "64:ff9b:1:8:8:9:{hi}:{lo}",
    "local-nat64-64": "64:ff9b:1:0:{b0}:{b1}{b2}:{b3}00:0",
    "local-nat64-56": "64:ff9b:1:{b0}:{b1}:{b2}{b3}::",
    "local-nat64-48": "64:ff9b:1:{hi}:{b2}:{b3}00::",
}


def embedded(how: str, ipv4: str) -> bytes:
    value = int(IPv4Address(ipv4))
    octets = {f"b{place}": f"{octet:02x}" for place, octet in enumerate(IPv4Address(ipv4).packed)}
    words = {"hi": f"{value >> 16:x}", "lo": f"{value & 0xFFFF:x}", "nhi": f"{~value >> 16 & 0xFFFF:x}", "nlo": f"{~value & 0xFFFF:x}"}
    return packed(EMBEDDINGS[how].format(v4=ipv4, **octets, **words))


@pytest.mark.parametrize("how", EMBEDDINGS)
@pytest.mark.parametrize(
    "ipv4", ["127.0.0.1", "169.254.169.254", "224.0.0.251", "255.255.255.255", "10.244.7.9", "192.0.2.250", "198.51.100.9"]
)
def test_a15_embedded_protected_addresses_are_protected(how: str, ipv4: str) -> None:
    """Mapped or translated, an address stays what it is; also where local NAT64's prefix length is unknown (RFC 6052 §2.2)."""
    assert is_protected(SETTINGS, embedded(how, ipv4))


@pytest.mark.parametrize("how", EMBEDDINGS)
@pytest.mark.parametrize("ipv4", ["203.0.113.77", "8.8.8.8", "192.0.2.249", "192.0.2.251"])
def test_a15_embedded_others_are_not(how: str, ipv4: str) -> None:
    """An embedded address that may be granted may be granted embedded; zeros in a reading of local NAT64 are no 0.0.0.0."""
    assert not is_protected(SETTINGS, embedded(how, ipv4))


@pytest.mark.parametrize("address", ["64:ff9b:1::", "64:ff9b:1::0.0.0.9", "64:ff9b::0.0.0.1", "2002::1", "::0.1.2.3"])
def test_a15_embedded_zeros(address: str) -> None:
    """0.0.0.0/8 embedded is protected where nothing else stands in the address."""
    assert is_protected(BARE, packed(address))


def test_teredo_of_two_public_addresses_is_not_protected() -> None:
    """Only what embeds a protected address is."""
    assert not is_protected(BARE, packed("2001:0:4136:e378:8000:63bf:3fff:fdd2"))


def in_kernel(settings: PolicySettings, address: bytes) -> bool:
    """What the kernel does with the networks and masks that it is given."""
    parsed = ip_address(address)
    if any(parsed in network for network in protected_networks(settings)):
        return True
    return len(address) == 16 and any(int(parsed) & each.mask == each.value for each in protected_masks(settings))


NEAR = st.sampled_from(
    [0, 1, 0x7F000001, 0xA9FEA9FE, 0xE0000000, 0xFFFFFFFF, 0x0AF40001, 0x0AF50000, 0xC00002FA, 0xC6336401, 0xC0000201, 0x56010203]
)


@st.composite
def addresses(draw: st.DrawFn) -> bytes:
    """Addresses that look like embeddings, the four words drawn near the borders; or plain ones."""
    if draw(st.booleans()):
        return draw(NEAR | st.integers(0, 2**32 - 1)).to_bytes(4)
    prefix = draw(st.sampled_from([0, 0xFFFF, 0x0064FF9B, 0x2002A9FE, 0x20010000, 0x20010DB8, 0xFE800000, 0xFF020000]))
    words = [
        draw(NEAR | st.sampled_from([0x0001A9FE, 0x00010000, 0x000100A9, 0xFFFF, 0x5601FFFE]) | st.integers(0, 2**32 - 1)) for _ in range(3)
    ]
    return b"".join(word.to_bytes(4) for word in (prefix, *words))


@given(addresses())
def test_a1_kernel_and_program_mean_the_same_addresses(address: bytes) -> None:
    """The networks and masks for the kernel are what `is_protected` says."""
    assert is_protected(SETTINGS, address) == in_kernel(SETTINGS, address)


def test_networks_are_collapsed_and_disjoint() -> None:
    """As the kernel's interval sets want them."""
    settings = PolicySettings(
        cluster_domain=parse_name("cluster.example"),
        cluster_networks=(ip_network("10.0.0.0/9"), ip_network("10.128.0.0/9"), ip_network("127.0.0.0/16")),
    )
    ipv4 = [network for network in protected_networks(settings) if isinstance(network, IPv4Network)]

    assert ipv4 == [
        ip_network(text) for text in ("0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32")
    ]
    ipv6 = [network for network in protected_networks(settings) if isinstance(network, IPv6Network)]
    assert all(first.broadcast_address < second.network_address for first, second in pairwise(ipv6))


@pytest.mark.parametrize(
    ("network", "is_inside"),
    [
        pytest.param("169.254.169.254/32", True, id="metadata"),
        pytest.param("169.254.0.0/16", True, id="exactly"),
        pytest.param("169.254.0.0/15", False, id="wider"),
        pytest.param("0.0.0.0/0", False, id="everything"),
        pytest.param("192.0.2.0/24", False, id="elsewhere"),
        pytest.param("::/0", False, id="everything-ipv6"),
        pytest.param("fe80::/64", True, id="link-local"),
        pytest.param("64:ff9b::a9fe:0/112", True, id="embedded"),
        pytest.param("64:ff9b::a9fe:0/111", False, id="embedded-wider"),
        pytest.param("64:ff9b:1:2:3:4:a9fe:0/112", True, id="masked"),
        pytest.param("64:ff9b:1:2:3:4:a9fe:0/111", False, id="masked-wider"),
        pytest.param("10.244.0.0/15", False, id="half"),
    ],
)
def test_encloses(network: str, is_inside: bool) -> None:
    """Only a network that lies wholly inside what is protected."""
    assert protection_of(SETTINGS).encloses(ip_network(network)) is is_inside


def test_a_network_across_two_touching_ranges_is_enclosed() -> None:
    """How the operator cut the range in two does not matter."""
    halves = PolicySettings(
        cluster_domain=parse_name("cluster.example"), protected_networks=(ip_network("198.1.0.0/16"), ip_network("198.2.0.0/15"))
    )

    assert protection_of(halves).covers(packed("198.3.255.255"))
    assert protection_of(halves)._ipv4.hold(int(IPv4Address("198.1.0.0")), int(IPv4Address("198.3.255.255")))
    assert not protection_of(halves).covers(packed("198.4.0.0"))
    assert not protection_of(halves).covers(packed("198.0.255.255"))


def test_masks_are_canonical() -> None:
    """No bit of a value lies outside its mask, or the kernel would never match."""
    assert all(each.value & ~each.mask == 0 for each in protected_masks(SETTINGS))
    # The client 10.244.0.0/16 of a Teredo address, inverted: f50b.
    assert Mask(int(IPv6Address("2001:0::f50b:0")), int(IPv6Address("ffff:ffff::ffff:0"))) in protected_masks(SETTINGS)


def test_the_same_settings_are_compiled_once() -> None:
    """Whoever asks often does not pay often."""
    assert protection_of(SETTINGS) is protection_of(PolicySettings(**{field: getattr(SETTINGS, field) for field in SETTINGS.__slots__}))


TOUCHED = st.sampled_from(
    ["127.0.0.1", "10.244.1.2", "198.51.100.9", "192.0.2.1", "203.0.113.1", "64:ff9b:1::a9fe:a9fe", "2001:db8::1", "::1"]
)


@pytest.mark.parametrize("settings", [BARE, SETTINGS], ids=["bare", "settings"])
@given(st.lists(st.one_of(TOUCHED.map(packed), st.ip_addresses().map(lambda each: each.packed)), max_size=20))
def test_u15_many_at_once_as_one_by_one(settings: PolicySettings, addresses: list[bytes]) -> None:
    """Each protected one once, in order."""
    protection = protection_of(settings)

    assert protection.among(addresses) == tuple(dict.fromkeys(each for each in addresses if protection.covers(each)))
