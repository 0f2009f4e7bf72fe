"""What a pod with raw sockets sends: nobody else's name, nobody else's connections, no way around the rules."""

import struct
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address

import pytest
from system_kit import Site, cidrs, names, wait_for

from dnsfw.demo import packets, topology
from dnsfw.demo.lab import Lab, Pod

TARGET4, TARGET6 = "192.0.2.10", "2001:db8::10"
ODD_FLAGS = [pytest.param(flags, id=f"flags-{flags:#04x}") for flags in (0x00, 0x02, 0x04, 0x10, 0x29, 0x3F)]


def what_got_out(site: Site, sender: Pod, send: Callable[[], None], sources: Sequence[str]) -> list[tuple[str, str, int]]:
    """Packets with these sources that reached the internet; an honest pod's packet behind them shows that the capture works."""
    honest = next((pod for pod in site.lab.pods if pod.identity.labels.get("app") == "honest"), None) or site.pod("honest")
    with site.lab.internet.capture() as captured:
        send()
        sender.hello()
        assert honest.connect("203.0.113.1").is_connected
    assert any(packet.source == honest.address4 for packet in captured)
    return [(packet.source, packet.destination, packet.protocol) for packet in captured if packet.source in sources]


@pytest.fixture(scope="module")
def forgers(site: Site) -> tuple[Pod, Pod]:
    """(liar, victim) under the same rule; only the victim has asked, and so been granted."""
    site.lab.internet.set("victim.example.net", f"60 A {TARGET4}", f"60 AAAA {TARGET6}")
    site.allow("honest", cidrs("203.0.113.0/24"))
    site.allow("forger", names("*.example.net"))
    liar, victim = site.pods("forger", "forger")
    assert victim.fetch("victim.example.net").is_connected
    assert victim.fetch("victim.example.net", 443, "AAAA").is_connected
    return liar, victim


def test_neighbours_source(site: Site, forgers: tuple[Pod, Pod]) -> None:
    """A3: a pod cannot send as its neighbour, by TCP, UDP or ICMP."""
    liar, victim = forgers

    def send() -> None:
        for source, target in ((victim.address4, TARGET4), (victim.address6, TARGET6)):
            liar.send_syn(source, target, 443)
            liar.send_udp(source, target, 443, b"forged")
            liar.send_packet(packets.echo(source, target, 7))

    assert what_got_out(site, liar, send, victim.addresses) == []


@pytest.mark.parametrize(
    "source",
    [
        topology.NODE4,
        topology.GATEWAY4,
        topology.LISTEN4,
        "192.0.2.99",
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104  nothing is bound: a forged source
        topology.NODE6,
        "2001:db8::99",
        "::1",
        "::",
        "fe80::1",
    ],
)
def test_any_other_source(site: Site, forgers: tuple[Pod, Pod], source: str) -> None:
    """Nor as the node, an outsider, or nobody."""
    liar, _ = forgers
    target = TARGET6 if ":" in source else TARGET4

    def send() -> None:
        liar.send_syn(source, target, 443)
        liar.send_udp(source, target, 443, b"forged")

    assert what_got_out(site, liar, send, [source]) == []


def test_question_in_the_neighbours_name(site: Site, forgers: tuple[Pod, Pod]) -> None:
    """A forged question brings the neighbour no grant, and is not asked upstream."""
    liar, victim = forgers
    site.lab.internet.set("forged.example.net", "60 A 192.0.2.11")
    query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06forged\x07example\x03net\x00\x00\x01\x00\x01"
    for source, listener in ((victim.address4, topology.LISTEN4), (victim.address6, topology.LISTEN6)):
        liar.send_udp(source, listener, 53, query)
    liar.resolve("victim.example.net")

    assert site.lab.internet.count("forged.example.net") == 0
    assert victim.connect("192.0.2.11").what == "refused"


@pytest.mark.parametrize("family", [4, 6])
def test_icmp_error_about_a_neighbours_connection(site: Site, forgers: tuple[Pod, Pod], family: int) -> None:
    """To conntrack an ICMP error belongs to the connection it quotes: it must not carry another pod's data to that one's peer."""
    liar, victim = forgers
    mine, theirs, target = (liar.address4, victim.address4, TARGET4) if family == 4 else (liar.address6, victim.address6, TARGET6)
    victim.send_udp(theirs, target, 443, b"opens a flow", sport=40123)
    error = icmp_error(mine, target, packets.udp(target, theirs, 443, 40123, b"quoted"))

    assert what_got_out(site, liar, lambda: assert_sent(liar, error), [mine]) == []


def test_icmp_error_does_not_revive_a_neighbours_connection(site: Site) -> None:
    """A pod that may reach an address cannot lend its permission to a neighbour's revoked connection by quoting it."""
    site.lab.internet.set("lent.example.net", "60 A 192.0.2.60")
    site.allow("lender", names("lent.example.net"))
    site.allow("borrower", names("lent.example.net"))
    lender, borrower = site.pods("lender", "borrower")
    assert lender.fetch("lent.example.net").is_connected
    borrower.resolve("lent.example.net")
    stream = site.stream(borrower, "192.0.2.60", 5000, "udp")
    sport = next(flow for flow in connections(site.lab) if f"src={borrower.address4} " in flow and "dport=5000" in flow)
    port = int(sport.split("sport=")[1].split()[0])
    change = site.allow("borrower", names("none.example.net"))
    assert stream.is_cut_by(change.in_force_at)

    began = time.monotonic()
    for _ in range(20):
        assert_sent(lender, icmp_error(lender.address4, "192.0.2.60", packets.udp("192.0.2.60", borrower.address4, 5000, port, b"quoted")))
        time.sleep(0.02)

    assert stream.last() < began


def test_icmp_error_from_outside_reaches_the_pod(site: Site) -> None:
    """Path MTU discovery and the like go on: what routers say about a pod's own connection arrives."""
    site.allow("mtu", cidrs("203.0.113.60/32"))
    pod = site.pod("mtu")
    stream = site.stream(pod, "203.0.113.60", 5000, "udp", push_ms=20, pull_ms=0)
    flow = next(flow for flow in connections(site.lab) if f"src={pod.address4} " in flow and "dport=5000" in flow)
    port = int(flow.split("sport=")[1].split()[0])
    quoted = packets.udp(pod.address4, "203.0.113.60", port, 5000, b"quoted")
    assert_sent(site.lab.outside, icmp_error(topology.OUTSIDE4, pod.address4, quoted))

    assert wait_for(lambda: stream.opened.report().ended) == "ECONNREFUSED"


@pytest.mark.parametrize("flags", ODD_FLAGS)
def test_unknown_source_with_odd_packets(site: Site, forgers: tuple[Pod, Pod], flags: int) -> None:
    """An address that is no known pod's gets nothing out, not even what conntrack calls invalid."""
    unknown = next((pod for pod in site.lab.pods if pod.identity.labels.get("app") == "nobody"), None) or nobody(site)

    def send() -> None:
        for source, target in ((unknown.address4, TARGET4), (unknown.address6, TARGET6)):
            unknown.send_packet(packets.tcp(source, target, 4000, 443, flags=flags))
            for protocol in (17, 47, 132, 136):
                unknown.send_packet(packets.packet(source, target, protocol, b"\0" * 4))
                unknown.send_packet(packets.packet(source, target, protocol, b"\0" * 40))
            unknown.send_packet(packets.echo(source, target, 9))

    assert what_got_out(site, unknown, send, unknown.addresses) == []


@pytest.mark.parametrize("flags", ODD_FLAGS)
def test_selected_pod_with_odd_packets(site: Site, forgers: tuple[Pod, Pod], flags: int) -> None:
    """No flags, protocol or malformed header lead out without a grant."""
    liar, _ = forgers

    def send() -> None:
        for source, target in ((liar.address4, "192.0.2.12"), (liar.address6, "2001:db8::12")):
            liar.send_packet(packets.tcp(source, target, 4000, 443, flags=flags))
            for protocol in (0, 4, 17, 33, 41, 43, 44, 47, 50, 51, 60, 132, 136, 255):
                liar.send_packet(packets.packet(source, target, protocol, b"\0" * 4))
                liar.send_packet(packets.packet(source, target, protocol, b"\0" * 40))

    assert what_got_out(site, liar, send, liar.addresses) == []


def test_fragments(site: Site, forgers: tuple[Pod, Pod]) -> None:
    """A port in a later fragment, or in none, opens nothing; the whole is judged."""
    liar, _ = forgers

    def send() -> None:
        segment = struct.pack(">HHHH", 4000, 443, 24, 0) + b"x" * 16
        for offset, more, part in ((0, True, segment[:8]), (1, False, segment[8:]), (64, True, segment), (8, False, segment)):
            liar.send_packet(fragment4(liar.address4, "192.0.2.12", offset, more, part))
            liar.send_packet(fragment6(liar.address6, "2001:db8::12", offset, more, part))

    assert what_got_out(site, liar, send, liar.addresses) == []


def test_source_route_to_the_outside(site: Site, forgers: tuple[Pod, Pod]) -> None:
    """A loose source route by the node, which passes, is not followed to an outsider."""
    liar, _ = forgers
    option = bytes((131, 7, 4)) + ip_address("192.0.2.12").packed + b"\x01"
    body = struct.pack(">HHHH", 4000, 443, 16, 0) + b"x" * 8
    head = struct.pack(">BBHHHBBH", 0x47, 0, 28 + len(body), 77, 0, 64, 17, 0)
    addresses = ip_address(liar.address4).packed + ip_address(topology.NODE4).packed

    assert what_got_out(site, liar, lambda: assert_sent(liar, head + addresses + option + body), liar.addresses) == []


def nobody(site: Site) -> Pod:
    """A pod with its interface, in no list."""
    pod = site.pod("nobody")
    with site.change():
        pod.remove()
    return pod


def assert_sent(host: object, packet: bytes) -> None:
    assert host.send_packet(packet) == ""  # type: ignore[attr-defined]


def connections(lab: Lab) -> list[str]:
    return lab.run("cat", "/proc/net/nf_conntrack").stdout.splitlines()


def icmp_error(source: str, destination: str, quoted: bytes) -> bytes:
    """Destination unreachable: port."""
    if ":" in source:
        body = struct.pack(">BBHI", 1, 4, 0, 0) + quoted
        return packets.packet(source, destination, 58, packets._summed(source, destination, 58, body, 2))
    whole = quoted[:2] + struct.pack(">H", len(quoted)) + quoted[4:10] + b"\0\0" + quoted[12:]
    whole = whole[:10] + packets.checksum(whole[:20]).to_bytes(2) + whole[12:]
    body = struct.pack(">BBHI", 3, 3, 0, 0) + whole
    return packets.packet(source, destination, 1, packets._with_sum(body, packets.checksum(body), 2))


def fragment4(source: str, destination: str, offset: int, is_more: bool, part: bytes) -> bytes:
    whole = packets.packet(source, destination, 17, part)
    return whole[:4] + b"\x07\x07" + struct.pack(">H", offset | (0x2000 if is_more else 0)) + whole[8:]


def fragment6(source: str, destination: str, offset: int, is_more: bool, part: bytes) -> bytes:
    return packets.packet(source, destination, 44, struct.pack(">BBHI", 17, 0, offset << 3 | is_more, 777) + part)
