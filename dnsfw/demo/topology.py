"""Which address is where in the laboratory, as wires to lay.

Pure. Pods hang at the node as a ptp CNI hangs them: one pair of interfaces a pod, a host route, a gateway address that all share.
Everything that is neither the node's nor a pod's is "internet", and every address of it answers (Linux takes a whole network as local).
"""

from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address

from dnsfw.demo.wires import Address, Link, Route, Sysctl, Up, Wire

NODE = "node"
INTERNET = "internet"

LISTEN4 = "169.254.20.53"
LISTEN6 = "fd00:53::53"
RESOLVER4 = "192.0.2.53"
RESOLVER6 = "2001:db8:53::53"
NODE4 = "172.18.0.2"
NODE6 = "fd00:18::2"
OUTSIDE4 = "172.18.0.1"
OUTSIDE6 = "fd00:18::1"
GATEWAY4 = "10.244.0.1"
GATEWAY6 = "fd00:244::1"
PODS4 = "10.244.0.0/16"
PODS6 = "fd00:244::/64"
METADATA4 = "169.254.169.254"
METADATA6 = "fd00:ec2::254"

_NOT_INTERNET4 = (PODS4, "172.18.0.0/24", "169.254.20.53/32", "127.0.0.0/8", "224.0.0.0/3", "0.0.0.0/8")
_INTERNET6 = ("2000::/3", "64:ff9b::/32", "fd00:ec2::/64")


def pod_addresses(number: int) -> tuple[str, str]:
    """The addresses of the `number`th interface, counted from 1."""
    return str(ip_address("10.244.1.0") + number), str(ip_address("fd00:244::1:0") + number)


def node_wires() -> Iterator[Wire]:
    """The node, the internet, and what is between them."""
    for place in (NODE, INTERNET):
        yield from _host(place)
    for address in (f"{LISTEN4}/32", f"{LISTEN6}/128"):
        yield Address(NODE, "lo", address)
    for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        yield Sysctl(NODE, key, "1")
    yield Link(NODE, "uplink0", INTERNET, "node0")
    for place, interface, address in (
        (NODE, "uplink0", f"{NODE4}/24"),
        (NODE, "uplink0", f"{NODE6}/64"),
        (INTERNET, "node0", f"{OUTSIDE4}/24"),
        (INTERNET, "node0", f"{OUTSIDE6}/64"),
    ):
        yield Address(place, interface, address)
    yield Route(NODE, "0.0.0.0/0", "uplink0", OUTSIDE4)
    yield Route(NODE, "::/0", "uplink0", OUTSIDE6)
    yield Route(INTERNET, PODS4, "node0", NODE4)
    yield Route(INTERNET, PODS6, "node0", NODE6)
    for network in _internet4():
        yield Route(INTERNET, str(network), "lo", kind="local")
    for name in _INTERNET6:
        yield Route(INTERNET, name, "lo", kind="local")


def pod_wires(place: str, interface: str, address4: str, address6: str) -> Iterator[Wire]:
    """One pod and its interface on the node."""
    yield from _host(place)
    yield Link(NODE, interface, place, "eth0")
    yield Address(place, "eth0", f"{address4}/32")
    yield Address(place, "eth0", f"{address6}/128")
    yield Address(NODE, interface, f"{GATEWAY4}/32")
    yield Address(NODE, interface, f"{GATEWAY6}/128")
    yield from node_routes(interface, address4, address6)
    yield Route(place, f"{GATEWAY4}/32", "eth0")
    yield Route(place, f"{GATEWAY6}/128", "eth0")
    yield Route(place, "0.0.0.0/0", "eth0", GATEWAY4)
    yield Route(place, "::/0", "eth0", GATEWAY6)


def node_routes(interface: str, address4: str, address6: str) -> Iterator[Wire]:
    yield Route(NODE, f"{address4}/32", interface)
    yield Route(NODE, f"{address6}/128", interface)


def _host(place: str) -> Iterator[Wire]:
    # No waiting for duplicate address detection. No reverse path filter: a spoofed source has to meet dnsfw, not the kernel's own guard.
    for key in ("ipv6/conf/all/accept_dad", "ipv6/conf/default/accept_dad", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"):
        yield Sysctl(place, key, "0")
    yield Up(place, "lo")


def _internet4() -> list[IPv4Network]:
    networks: list[IPv4Network] = [IPv4Network("0.0.0.0/0")]
    for name in _NOT_INTERNET4:
        networks = [part for network in networks for part in _without(network, IPv4Network(name))]
    return networks


def _without(network: IPv4Network, hole: IPv4Network) -> list[IPv4Network]:
    if hole.subnet_of(network):
        return list(network.address_exclude(hole))
    return [] if network.subnet_of(hole) else [network]
