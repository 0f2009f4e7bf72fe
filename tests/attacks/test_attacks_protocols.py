"""A21 and its like: what is not a plain new connection. Everything a selected pod sends is judged, whatever the protocol.

Each packet is sent three times: by a pod that no rule selects, and must arrive (else the test would test nothing); by a selected pod to
an address that nobody has told it; by that pod to an address that it may reach at TCP and UDP port 443 and nothing else.
"""

from dataclasses import dataclass

import pytest
from hostile import (
    ACK,
    AUTHENTICATION,
    FIN,
    FRAGMENT,
    HOP_BY_HOP,
    MOBILITY,
    NO_NEXT,
    PSH,
    ROUTING,
    RST,
    SYN,
    TO_DESTINATION,
    URG,
    Make,
    encapsulated,
    fragments,
    headers6,
    icmp,
    leaving,
    options4,
    raw,
    routing6,
    sctp,
    send_all,
    tcp,
    udp,
)
from system_kit import Site, names

from dnsfw.demo.lab import Pod

OTHER4, OTHER6 = "198.51.100.66", "2001:db8:66::66"


@dataclass(frozen=True)
class Scene:
    """free: no rule selects it. held: may reach `allowed` at 443 and the marker's port."""

    site: Site
    free: Pod
    held: Pod
    allowed4: str
    allowed6: str

    def address(self, pod: Pod, family: int) -> str:
        return pod.address4 if family == 4 else pod.address6

    def allowed(self, family: int) -> str:
        return self.allowed4 if family == 4 else self.allowed6


@pytest.fixture(scope="module")
def scene(site: Site) -> Scene:
    site.lab.internet.set("allowed.example.net", "3600 A 192.0.2.10", "3600 AAAA 2001:db8::10")
    site.allow("held", names("allowed.example.net", ports=["443", "UDP/443", "UDP/5000"]))
    free, held = site.pods("free", "held")
    return Scene(site, free, held, held.resolve("allowed.example.net").address, held.resolve("allowed.example.net", "AAAA").address)


EITHER = [
    # name, what it is, whether it may leave to the allowed address (it is a packet to an allowed port)
    ("tcp-syn", tcp(SYN), True),
    ("tcp-syn-to-another-port", tcp(SYN, 8080), False),
    ("tcp-syn-from-53", tcp(SYN, 8080, 53), False),
    ("tcp-middle-of-a-connection", tcp(ACK | PSH, 8080), False),
    ("tcp-answer-to-no-syn", tcp(SYN | ACK, 8080), False),
    ("tcp-rst", tcp(RST, 8080), False),
    ("tcp-fin", tcp(FIN | ACK, 8080), False),
    ("tcp-no-flags", tcp(0, 8080), False),
    ("tcp-all-flags", tcp(FIN | SYN | RST | PSH | ACK | URG, 8080), False),
    ("tcp-dot", tcp(SYN, 853), False),
    ("udp-one-way", udp(4443), False),
    ("udp-from-53", udp(4443, 53), False),
    ("udp-doq", udp(853), False),
    ("udp-port-0", udp(0), False),
    ("udp-empty", udp(4443, payload=b""), False),
    ("sctp", sctp(443), False),
    ("sctp-dns", sctp(53), False),
    ("ip-in-ip", encapsulated(4), False),
    ("6in4", encapsulated(41), False),
    ("gre", encapsulated(47, b"\0\0\x08\0"), False),
    ("gre-with-key", encapsulated(47, b"\x20\0\x08\0\0\0\0\x07"), False),
    ("esp", raw(50), False),
    ("ospf", raw(89), False),
    ("udp-lite", raw(136, bytes((0x9C, 0x43, 1, 187, 0, 8, 0, 0))), False),
    ("dccp", raw(33, bytes((0x9C, 0x43, 1, 187, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))), False),
    ("experiment", raw(253), False),
    ("protocol-255", raw(255), False),
    ("fragmented-udp", fragments(udp(4443, payload=bytes(1200)), 600), False),
    ("fragmented-tcp-header", fragments(tcp(SYN, 8080), 8, 16), False),
]
IPV4 = [
    ("ping", icmp(8), False),
    ("echo-reply", icmp(0), False),
    ("timestamp", icmp(13), False),
    ("igmp", raw(2, bytes((0x16, 0, 9, 4, 224, 0, 0, 9))), False),
    ("record-route", options4(b"\x07\x07\x04\0\0\0\0\0", udp(4443)), False),
    ("timestamp-option", options4(b"\x44\x08\x05\0\0\0\0\0", udp(4443)), False),
    ("router-alert", options4(b"\x94\x04\0\0", udp(4443)), False),
    ("unknown-option", options4(b"\x9e\x04\0\0", udp(4443)), False),
    ("ah", raw(51, bytes((17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x9C, 0x43, 17, 91, 0, 8, 0, 0))), False),
]
IPV6 = [
    ("ping6", icmp(128), False),
    ("echo-reply6", icmp(129), False),
    ("neighbour-solicitation", icmp(135, quoted=bytes(16)), False),
    ("neighbour-advertisement", icmp(136, quoted=bytes(16)), False),
    ("router-solicitation", icmp(133, quoted=b""), False),
    ("listener-report", icmp(143, quoted=b""), False),
    ("hop-by-hop", headers6(HOP_BY_HOP, inner=udp(4443)), False),
    ("destination-options", headers6(TO_DESTINATION, inner=udp(4443)), False),
    ("routing-header-0", headers6(ROUTING, inner=udp(4443)), False),
    ("routing-header-with-a-segment", routing6(4, OTHER6, udp(4443)), False),
    ("atomic-fragment", headers6(FRAGMENT, inner=udp(4443)), False),
    ("authenticated", headers6(AUTHENTICATION, inner=udp(4443)), False),
    ("all-headers", headers6(HOP_BY_HOP, TO_DESTINATION, ROUTING, FRAGMENT, TO_DESTINATION, inner=udp(4443)), False),
    ("many-headers", headers6(*[TO_DESTINATION] * 20, inner=udp(4443)), False),
    ("mobility", raw(MOBILITY, bytes((59, 0, 5, 0, 0, 0, 0, 0))), False),
    ("no-next-header", raw(NO_NEXT, b""), False),
]
CASES = [
    pytest.param(family, make, is_allowed, id=f"{name}-{family}")
    for family, cases in ((4, [*EITHER, *IPV4]), (6, [*EITHER, *IPV6]))
    for name, make, is_allowed in cases
]


@pytest.mark.parametrize(("family", "make", "is_allowed"), CASES)
def test_a21_every_kind_of_packet_is_judged(scene: Scene, family: int, make: Make, is_allowed: bool) -> None:
    """It passes nobody's pod, is refused to an address that nobody has told the pod, and to a port that the rule does not name."""
    other, allowed = (OTHER4 if family == 4 else OTHER6), scene.allowed(family)
    with leaving(scene.site, scene.held, scene.allowed4) as unjudged:
        send_all(scene.free, make(scene.address(scene.free, family), other))
    with leaving(scene.site, scene.held, scene.allowed4) as judged:
        send_all(scene.held, make(scene.address(scene.held, family), other))
        send_all(scene.held, make(scene.address(scene.held, family), allowed))

    assert unjudged.to(other)
    assert not judged.to(other), judged
    assert bool(judged.to(allowed)) == is_allowed, judged


@pytest.mark.parametrize("source", ["10.244.77.7", "192.0.2.77", "fd00:244::77:7", "2001:db8::77"])
def test_a3_a21_nothing_passes_by_an_address_of_the_pods_own_choice(scene: Scene, source: str) -> None:
    """An address that the pod has given itself, of the pods' network or not, is nobody's: nothing leaves with it, of any kind."""
    family = 6 if ":" in source else 4
    with leaving(scene.site, scene.held, scene.allowed4) as gone:
        for case in CASES:
            if case.values[0] == family:
                send_all(scene.held, case.values[1](source, scene.allowed(family)))

    assert not gone, gone


@pytest.mark.parametrize("to", ["224.0.0.251", "239.1.2.3", "255.255.255.255", "172.18.0.255", "240.0.0.1"])
def test_a21_groups_and_broadcasts_go_nowhere(scene: Scene, to: str) -> None:
    """To a group, to all, to what is reserved: none of it leaves the node."""
    with leaving(scene.site, scene.held, scene.allowed4) as gone:
        for make in (udp(4443), icmp(8), raw(253)):
            for each in make(scene.held.address4, to):
                scene.held.send_packet(each)

    assert not gone.to(to), gone


def test_a8_dns_to_other_servers_is_answered_by_us(scene: Scene) -> None:
    """Port 53 to anyone, over UDP and TCP, IPv4 and IPv6, is our listener's; nothing of it leaves."""
    with leaving(scene.site, scene.held, scene.allowed4) as gone:
        answers = [
            scene.held.resolve(name, server=server, is_tcp=is_tcp).rcode
            for name in ("allowed.example.net", "refused.example.net")
            for server in ("8.8.8.8", "2001:4860:4860::8888", scene.allowed4)
            for is_tcp in (False, True)
        ]

    assert answers == ["NOERROR"] * 6 + ["NXDOMAIN"] * 6
    assert not [packet for packet in gone.packets if packet.source in scene.held.addresses], gone


def test_a8_dot_doh_and_doq_to_known_resolvers_are_closed(scene: Scene) -> None:
    """Encrypted DNS is a connection like any other: to an address that nobody has told the pod there is none."""
    outcomes = {
        (server, port, protocol): scene.held.connect(server, port, protocol, timeout=0.3).is_connected
        for server in ("1.1.1.1", "2606:4700:4700::1111")
        for port, protocol in ((853, "tcp"), (443, "tcp"), (853, "udp"), (443, "udp"))
    }

    assert not any(outcomes.values()), outcomes


def test_a8_port_853_of_an_allowed_address_needs_to_be_named(site: Site) -> None:
    """A rule without ports allows all of them but this one."""
    site.lab.internet.set("wide.example.net", "60 A 192.0.2.20")
    site.allow("wide", names("wide.example.net"))
    pod = site.pod("wide")
    address = pod.resolve("wide.example.net").address

    assert [pod.connect(address, port, protocol, timeout=0.3).is_connected for port, protocol in ((853, "tcp"), (853, "udp"))] == [
        False
    ] * 2
    assert [pod.connect(address, port, protocol).is_connected for port, protocol in ((8080, "tcp"), (4443, "udp"))] == [True] * 2
