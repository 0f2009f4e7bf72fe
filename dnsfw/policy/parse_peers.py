"""What a rule lets pods reach: names, networks and ports.

Pure. Nothing is guessed: a network with host bits set, an empty list and a port range that runs backwards are refused with what
would be right.
"""

from ipaddress import ip_interface, ip_network

from dnsfw.names import Pattern, PatternError, parse_pattern
from dnsfw.policy.model import IPNetwork, Peer
from dnsfw.policy.ports import PortEntry, PortSet, ports_of
from dnsfw.policy.reader import Field
from dnsfw.policy.tree import shorten

MOST_NAMES = 25
MOST_NETWORKS = 1000
MOST_PORTS = 100
PROTOCOLS = ("TCP", "UDP", "SCTP", "ICMP")


def parse_peer(field: Field) -> Peer:
    field.allow_only("toFQDNs", "toCIDRs", "ports")
    if not field.has("toFQDNs") and not field.has("toCIDRs"):
        raise field.refused("names no destination", "toFQDNs, toCIDRs or both")
    patterns = field.optional("toFQDNs", lambda names: names.each(_pattern, 1, MOST_NAMES), ())
    networks = field.optional("toCIDRs", lambda cidrs: cidrs.each(parse_network, 1, MOST_NETWORKS), ())
    return Peer(patterns=patterns, networks=networks, ports=field.optional("ports", _ports, PortSet.ANY))


def _pattern(field: Field) -> Pattern:
    try:
        return parse_pattern(field.text())
    except PatternError as error:
        raise field.refused(str(error)) from error


def parse_network(field: Field) -> IPNetwork:
    """A CIDR in canonical form: one network has one way to be written, so that what is shown is what was meant."""
    text = field.text()
    network = _lenient_network(field, text)
    if text != str(network):
        is_inside = "/" in text and ip_interface(text).ip != network.network_address
        what = "has host bits set" if is_inside else "is not in canonical form"
        raise field.refused(f'"{shorten(text)}" {what}', f'write "{network}"')
    return network


def _lenient_network(field: Field, text: str) -> IPNetwork:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise field.refused(f'"{shorten(text)}" is not a CIDR', "such as 203.0.113.0/24, 192.0.2.1/32 or 2001:db8::/64") from error


def _ports(field: Field) -> PortSet:
    if field.node.value == []:
        raise field.refused("is an empty list", "leave `ports` out to allow every port")
    return ports_of(field.each(_port, 1, MOST_PORTS))


def _port(field: Field) -> PortEntry:
    field.allow_only("protocol", "port", "endPort")
    if not field.mapping():
        raise field.refused("is empty", "a port, a protocol or both")
    protocol = field.optional("protocol", lambda word: word.choice(PROTOCOLS), "TCP")
    port = field.optional("port", _number, None)
    end = field.optional("endPort", _number, None)
    if protocol == "ICMP" and (field.has("port") or field.has("endPort")):
        raise field.refused("ICMP has no ports", "leave `port` and `endPort` out")
    if field.has("endPort") and not field.has("port"):
        raise field.refused("endPort without port", "`port` says where the range begins")
    if port is not None and end is not None and end < port:
        raise field.child("endPort").refused(f"{end} is below port {port}", f"{port} to 65535")
    return PortEntry(protocol, port, end)


def _number(field: Field) -> int:
    return field.integer(1, 65535)
