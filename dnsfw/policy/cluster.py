"""Which names are the cluster's own: those at or below its domain, and the reverse names of its networks. Pure."""

from functools import lru_cache
from ipaddress import IPv4Network

from dnsfw.names import Name, parse_name
from dnsfw.policy.model import IPNetwork, PolicySettings


@lru_cache(maxsize=8)
def cluster_suffixes(settings: PolicySettings) -> frozenset[Name]:
    """A name is the cluster's if one of its `parents` is among these."""
    reverse = (name for network in settings.cluster_networks for name in reverse_names(network))
    return frozenset((settings.cluster_domain, *reverse))


def reverse_names(network: IPNetwork) -> list[Name]:
    """The names below which the network's addresses stand in reverse (RFC 1035 §3.5, RFC 3596 §2.5), as few as whole labels allow."""
    bits, zone = (8, "in-addr.arpa") if isinstance(network, IPv4Network) else (4, "ip6.arpa")
    length = -(-network.prefixlen // bits) * bits
    return [_reverse_name(subnet, bits, zone) for subnet in network.subnets(new_prefix=length)]


def _reverse_name(network: IPNetwork, bits: int, zone: str) -> Name:
    value = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
    labels = []
    for _ in range(network.prefixlen // bits):
        label = value & ((1 << bits) - 1)
        labels.append(str(label) if bits == 8 else f"{label:x}")
        value >>= bits
    return parse_name(".".join((*labels, zone)))
