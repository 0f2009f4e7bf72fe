"""Addresses that no name ever opens: built-in ones, the cluster's, the node's, the operator's, and IPv6 addresses that embed one of them.

Pure. Always true: `covers` and what is given to the kernel (`networks` and `masks`) mean the same set of addresses.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from itertools import chain
from typing import Final

from dnsfw.policy.model import IPNetwork, PolicySettings

_BUILT_IN: Final = (
    "0.0.0.0/8",  # "this host": connect() to 0.0.0.0 reaches loopback
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local, and with it the clouds' metadata
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::254/128",  # metadata of AWS over IPv6
    "::ffff:0:0/96",  # mapped: never a destination on the wire, and a second way to write any IPv4 address
)
_ZEROS: Final = IPv4Network("0.0.0.0/8")

# Prefixes right behind which an IPv4 address stands, so that an IPv4 network becomes an IPv6 network.
_PREFIXES: Final = (
    IPv6Network("::/96"),  # IPv4-compatible, RFC 4291 §2.5.5.1
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated, RFC 2765 §2.1
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052 §2.1
    IPv6Network("2002::/16"),  # 6to4, RFC 3056
    IPv6Network("2001::/32"),  # Teredo's server, RFC 4380 §4
)
_TEREDO: Final = IPv6Network("2001::/32")
# Local NAT64 (RFC 8215): the translator's prefix may be /48, /56, /64 or /96 (RFC 6052 §2.2), and only the operator knows which.
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
# Its addresses with nothing but zeros up to 0.0.0.0/8 at the very end: zero in each of these readings.
_LOCAL_NAT64_ZEROS: Final = IPv6Network("64:ff9b:1::/104")
_ALL_32: Final = (1 << 32) - 1
_MASKED: Final = frozenset(int(each.network_address) >> 96 for each in (_TEREDO, _LOCAL_NAT64))
"""The first 32 bits of whatever a mask matches."""


@dataclass(frozen=True, slots=True)
class Mask:
    """The IPv6 addresses with `address & mask == value`."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Ranges:
    """Disjoint stretches of one family's addresses, as sorted integers."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def hold(self, first: int, last: int) -> bool:
        """Do both lie in one stretch?"""
        index = bisect_right(self.starts, first) - 1
        return index >= 0 and last <= self.ends[index]


@dataclass(frozen=True, slots=True)
class Protection:
    """What is protected under one `PolicySettings`. networks: of both families, collapsed; masks: what no network can express."""

    networks: tuple[IPNetwork, ...]
    masks: tuple[Mask, ...]
    _ipv4: Ranges
    _ipv6: Ranges
    _near4: frozenset[bytes]  # the first two octets that protected addresses have
    _near6: frozenset[bytes]

    def covers(self, address: bytes) -> bool:
        """Is this packed address protected?"""
        if address[:2] not in (self._near4 if len(address) == 4 else self._near6):
            return False  # most are far from any such
        value = int.from_bytes(address)
        if len(address) == 4:
            return self._ipv4.hold(value, value)
        return self._ipv6.hold(value, value) or (value >> 96 in _MASKED and any(value & each.mask == each.value for each in self.masks))

    def among(self, addresses: Iterable[bytes]) -> tuple[bytes, ...]:
        """Those that are protected, each once."""
        found = [address for address in addresses if self.covers(address)]
        return tuple(dict.fromkeys(found)) if found else ()

    def encloses(self, network: IPNetwork) -> bool:
        """Is every address of the network protected?"""
        first, last = int(network.network_address), int(network.broadcast_address)
        if isinstance(network, IPv4Network):
            return self._ipv4.hold(first, last)
        return self._ipv6.hold(first, last) or any(self._is_within(network, each) for each in self.masks)

    @staticmethod
    def _is_within(network: IPv6Network, mask: Mask) -> bool:
        return int(network.network_address) & mask.mask == mask.value and not int(network.hostmask) & mask.mask


@lru_cache(maxsize=8)
def protection_of(settings: PolicySettings) -> Protection:
    plain = [
        *map(ip_network, _BUILT_IN),
        *settings.cluster_networks,
        *map(ip_network, settings.node_addresses),
        *settings.protected_networks,
    ]
    ipv4 = tuple(collapse_addresses(each for each in plain if isinstance(each, IPv4Network)))
    written = [each for each in plain if isinstance(each, IPv6Network)]
    ipv6 = tuple(collapse_addresses([*written, *_embedding(ipv4), _LOCAL_NAT64_ZEROS]))
    masks = tuple(chain.from_iterable(_masks(each) for each in ipv4))
    near = frozenset({_LOCAL_NAT64.network_address.packed[:2], _TEREDO.network_address.packed[:2]})
    return Protection((*ipv4, *ipv6), masks, _ranges(ipv4), _ranges(ipv6), _near(ipv4, 16), _near(ipv6, 112) | near)


def is_protected(settings: PolicySettings, address: bytes) -> bool:
    """Is this packed address protected? (Who asks often keeps `protection_of(settings)`: finding it costs more than the answer.)"""
    return protection_of(settings).covers(address)


def protected_networks(settings: PolicySettings) -> tuple[IPNetwork, ...]:
    """For the kernel's interval sets; `protected_masks` is the rest."""
    return protection_of(settings).networks


def protected_masks(settings: PolicySettings) -> tuple[Mask, ...]:
    """Embeddings that are no network: Teredo's clients, and local NAT64 whose prefix length we cannot know."""
    return protection_of(settings).masks


def _ranges(networks: Iterable[IPNetwork]) -> Ranges:
    # Collapsed networks may still touch; joined, a network across their border is seen to lie inside.
    starts: list[int] = []
    ends: list[int] = []
    for network in networks:
        first, last = int(network.network_address), int(network.broadcast_address)
        if ends and first == ends[-1] + 1:
            ends[-1] = last
        else:
            starts.append(first)
            ends.append(last)
    return Ranges(tuple(starts), tuple(ends))


def _near(networks: Iterable[IPNetwork], shift: int) -> frozenset[bytes]:
    spans = [range(int(each.network_address) >> shift, (int(each.broadcast_address) >> shift) + 1) for each in networks]
    return frozenset(octets.to_bytes(2) for octets in chain.from_iterable(spans))


def _embedding(networks: Iterable[IPv4Network]) -> Iterator[IPv6Network]:
    for network in networks:
        for prefix in _PREFIXES:
            shift = 128 - prefix.prefixlen - 32
            address = int(prefix.network_address) | int(network.network_address) << shift
            yield IPv6Network((address, prefix.prefixlen + network.prefixlen))


def _masks(network: IPv4Network) -> Iterator[Mask]:
    netmask = int(network.netmask)
    # Teredo's client stands at the end with every bit inverted.
    yield _mask(_TEREDO, (int(network.network_address) ^ _ALL_32) & netmask, netmask)
    if network.subnet_of(_ZEROS):
        return  # zeros in a reading mean that the address stands elsewhere, not that it is 0.0.0.0
    for length in (48, 56, 64, 96):
        yield _mask(_LOCAL_NAT64, _behind(length, int(network.network_address)), _behind(length, netmask))


def _mask(prefix: IPv6Network, value: int, mask: int) -> Mask:
    return Mask(int(prefix.network_address) | value, int(prefix.netmask) | mask)


def _behind(length: int, ipv4: int) -> int:
    """The 32 bits behind a prefix of that length; they step over bits 64 to 71 (RFC 6052 §2.2)."""
    if length == 96:
        return ipv4
    before = 64 - length  # bits that fit in front of the gap
    return (ipv4 >> (32 - before) << 64) | ((ipv4 << (24 + before)) & ((1 << 56) - 1))
