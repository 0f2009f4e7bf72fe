"""Below IP and beside the rules (A4, A23, A24): frames, tags, ARP and neighbour discovery, marks, loopback, other interfaces and tables."""

import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile import icmp, leaving, send_all, udp
from system_kit import Site, names, wait_for

from dnsfw.demo import packets, topology
from dnsfw.demo.lab import Lab, Pod
from dnsfw.demo.wires import Address, Link, Sysctl

FRAMES = str(Path(__file__).parent / "frames.py")
OTHER = "198.51.100.66"
IP, IP6, ARP, TAG, QINQ, MPLS, PPPOE = 0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x8847, 0x8864
BROADCAST = b"\xff" * 6
WATCH = """table inet watch {
  counter marked { }
  counter loopback { }
  chain before { type filter hook prerouting priority -400; iifname "veth*" meta mark != 0 counter name "marked"; }
  chain in { type filter hook input priority 0; ip daddr 127.0.0.0/8 iifname "veth*" counter name "loopback"; }
}"""


@dataclass(frozen=True)
class Scene:
    site: Site
    free: Pod
    held: Pod
    told: str

    def leaving(self):
        return leaving(self.site, self.held, self.told)


@pytest.fixture(scope="module")
def scene(site: Site) -> Scene:
    return made_scene(site)


def made_scene(site: Site) -> Scene:
    site.lab.internet.set("told.example.net", "3600 A 192.0.2.10", "3600 AAAA 2001:db8::10")
    site.allow("held", names("told.example.net"))
    free, held = site.pods("free", "held")
    return Scene(site, free, held, held.resolve("told.example.net").address)


def hardware(lab: Lab, place: str, interface: str) -> bytes:
    shown = lab.run("ip", "-br", "link", "show", interface, place=place).stdout.split()
    return bytes.fromhex(shown[2].replace(":", ""))


def put(lab: Lab, pod: Pod, frames: Sequence[bytes], interface: str = "eth0") -> None:
    done = lab.run(sys.executable, FRAMES, interface, place=pod.place, stdin="\n".join(frame.hex() for frame in frames))
    assert done.status == 0, done.stderr


# ---- frames

Frame = Callable[[bytes, bytes, bytes], bytes]


def tagged(*tags: tuple[int, int]) -> Frame:
    return lambda to, own, packet: to + own + b"".join(struct.pack(">HH", kind, number) for kind, number in tags) + IP.to_bytes(2) + packet


FRAMES_THAT_ARE_READ: dict[str, Frame] = {
    "plain": tagged(),
    "priority-tag": tagged((TAG, 0)),
    "strange-source": lambda to, _own, packet: to + b"\x02\0\0\0\0\x09" + IP.to_bytes(2) + packet,
}
FRAMES_THAT_ARE_NOT: dict[str, Frame] = {
    "tag-5": tagged((TAG, 5)),
    "two-tags": tagged((QINQ, 5), (TAG, 6)),
    "to-all": lambda _to, own, packet: BROADCAST + own + IP.to_bytes(2) + packet,
    "to-nobody": lambda _to, own, packet: b"\x02\0\0\0\0\x0a" + own + IP.to_bytes(2) + packet,
    "said-to-be-ipv6": lambda to, own, packet: to + own + IP6.to_bytes(2) + packet,
    "mpls": lambda to, own, packet: to + own + MPLS.to_bytes(2) + b"\x00\x01\x01\x40" + packet,
    "pppoe": lambda to, own, packet: to + own + PPPOE.to_bytes(2) + struct.pack(">BBHHH", 0x11, 0, 1, len(packet) + 2, 0x21) + packet,
    "802.3-snap": lambda to, own, packet: to + own + (len(packet) + 8).to_bytes(2) + b"\xaa\xaa\x03\0\0\0\x08\0" + packet,
}


@pytest.mark.parametrize("kind", [*FRAMES_THAT_ARE_READ, *FRAMES_THAT_ARE_NOT])
def test_a4_no_frame_is_a_way_out(scene: Scene, kind: str) -> None:
    """However an IP packet is wrapped, it is judged like any other or not read at all."""
    frame = {**FRAMES_THAT_ARE_READ, **FRAMES_THAT_ARE_NOT}[kind]
    lab = scene.site.lab
    with scene.leaving() as gone:
        for pod in (scene.free, scene.held):
            (packet,) = udp(4443)(pod.address4, OTHER)
            put(lab, pod, [frame(hardware(lab, topology.NODE, pod.interface), hardware(lab, pod.place, "eth0"), _summed(packet))])

    sources = {packet.source for packet in gone.to(OTHER)}
    assert sources == ({scene.free.address4} if kind in FRAMES_THAT_ARE_READ else set())


def _summed(packet: bytes) -> bytes:
    """With the checksum of the IPv4 header, which the kernel fills in for raw sockets alone."""
    return packets._with_sum(packet[:20], packets.checksum(packet[:20]), 10) + packet[20:]


def arp_reply(own: bytes, address: str, to: bytes) -> bytes:
    """`address` is at `own`: said to all, as an answer that nobody asked for."""
    said = own + packets.ip_address(address).packed
    return BROADCAST + own + ARP.to_bytes(2) + struct.pack(">HHBBH", 1, IP, 6, 4, 2) + said + to + said[6:]


def advertisement(own: bytes, address: str) -> bytes:
    """The same over IPv6, to all nodes (RFC 4861 §4.4, solicited and override set)."""
    target = packets.ip_address(address).packed
    body = struct.pack(">BBHI", 136, 0, 0, 0x60000000) + target + b"\x02\x01" + own
    packet = packets.packet(address, "ff02::1", 58, packets._summed(address, "ff02::1", 58, body, 2))
    return b"\x33\x33\0\0\0\1" + own + IP6.to_bytes(2) + packet[:7] + b"\xff" + packet[8:]


def test_a4_claims_by_arp_and_neighbour_discovery_change_nothing(scene: Scene) -> None:
    """A pod says that the node's gateway, the upstream, the listener and its neighbour are where it is: all of them stay reachable."""
    lab, liar, victim = scene.site.lab, scene.free, scene.held
    own, node = hardware(lab, liar.place, "eth0"), hardware(lab, topology.NODE, liar.interface)
    claimed4 = (topology.OUTSIDE4, topology.RESOLVER4, topology.NODE4, topology.LISTEN4, topology.GATEWAY4, victim.address4)
    claimed6 = (topology.OUTSIDE6, topology.RESOLVER6, topology.NODE6, topology.LISTEN6, topology.GATEWAY6, victim.address6)
    frames = [arp_reply(own, each, node) for each in claimed4] + [advertisement(own, each) for each in claimed6]
    put(lab, liar, frames * 5)

    neighbours = lab.run("ip", "neigh", "show", "dev", "uplink0").stdout
    assert own.hex(":") not in neighbours
    assert victim.resolve("told.example.net").addresses == [scene.told]
    assert victim.connect(scene.told).is_connected
    assert victim.resolve("absent.example.net", server=topology.LISTEN6).rcode == "NXDOMAIN"


# ---- words to the node about the network


def test_router_advertisements_and_redirects_of_pods_are_not_believed(lab: Lab) -> None:
    """Even where the node listens to them: no route of the node's leads to a pod that claims to be a router."""
    pod = lab.pod("shop/liar")
    lab.inside.lay([Sysctl(topology.NODE, f"ipv6/conf/{pod.interface}/accept_ra", "2")])
    own, source = hardware(lab, pod.place, "eth0"), "fe80::66"
    body = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"\x01\x01" + own
    packet = packets.packet(source, "ff02::1", 58, packets._summed(source, "ff02::1", 58, body, 2))
    frame = b"\x33\x33\0\0\0\1" + own + IP6.to_bytes(2) + packet[:7] + b"\xff" + packet[8:]

    def routes() -> list[str]:
        return [line for line in lab.run("ip", "-6", "route", "show", "default").stdout.splitlines() if pod.interface in line]

    put(lab, pod, [frame])
    wait_for(routes, what="without dnsfw the node believes it: else this would test nothing")
    lab.run("ip", "-6", "route", "del", "default", "dev", pod.interface)
    lab.run_dnsfw({})
    put(lab, pod, [frame] * 3)
    send_all(
        pod,
        icmp(5, 1, packets.ip_address(pod.address4).packed, packets.udp(topology.NODE4, topology.RESOLVER4, 1, 53, b""))(
            pod.address4, topology.NODE4
        ),
    )
    assert pod.resolve("x.example.net").rcode == "NXDOMAIN"

    assert routes() == []
    assert topology.OUTSIDE4 in lab.run("ip", "route", "get", topology.RESOLVER4).stdout


def test_loopback_is_not_reached_where_route_localnet_is_set(lab: Lab) -> None:
    """kube-proxy sets it; what listens on the node's 127.0.0.1 stays its own."""
    pod = lab.pod("shop/liar")
    lab.nft(WATCH)
    lab.inside.lay([Sysctl(topology.NODE, "ipv4/conf/all/route_localnet", "1")])
    to, own = hardware(lab, topology.NODE, pod.interface), hardware(lab, pod.place, "eth0")
    (packet,) = udp(9)(pod.address4, "127.0.0.1")
    put(lab, pod, [to + own + IP.to_bytes(2) + _summed(packet)])
    wait_for(lambda: count(lab, "loopback") == 1, what="without dnsfw it gets there: else this would test nothing")
    lab.run_dnsfw({})

    put(lab, pod, [to + own + IP.to_bytes(2) + _summed(packet)] * 3)
    assert pod.resolve("x.example.net").rcode == "NXDOMAIN"

    assert count(lab, "loopback") == 1


def count(lab: Lab, counter: str) -> int:
    listed = lab.run("nft", "list", "counter", "inet", "watch", counter).stdout
    return int(listed.partition("packets ")[2].split()[0])


def test_a21_nodes_tunnels_unwrap_nothing_for_a_pod(lab: Lab) -> None:
    """An overlay's VXLAN port takes frames from anyone: a pod, with a plain UDP socket, could send as whomever to wherever."""
    pod = lab.pod("shop/liar")
    for command in ("link add vx0 type vxlan id 1 dev uplink0 dstport 8472", "link set vx0 up", "addr add 10.98.0.1/24 dev vx0"):
        assert lab.run("ip", *command.split()).status == 0
    (packet,) = udp(443)("10.98.0.9", OTHER)
    frame = hardware(lab, topology.NODE, "vx0") + b"\x02\0\0\0\0\x09" + IP.to_bytes(2) + _summed(packet)
    wrapped = b"\x08\0\0\0\0\0\x01\0" + frame

    def unwrapped() -> bool:
        with lab.internet.capture() as seen:
            pod.send_udp(pod.address4, topology.NODE4, 8472, wrapped)
            assert pod.connect("192.0.2.1", 443, "udp").is_connected
        return OTHER in {each.destination for each in seen}

    assert unwrapped(), "without dnsfw it gets out: else this would test nothing"
    lab.run_dnsfw({})

    assert not unwrapped()


def test_mark_of_a_pods_own_does_not_cross_its_interface(lab: Lab) -> None:
    """The bit that the guard table asks for, and the numbers of decisions, cannot be set from within."""
    pod = lab.pod("shop/liar")
    lab.nft(WATCH)
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(1, 36, 0x00110000); s.sendto(b'x', ('%s', 443))"
    )
    with lab.internet.capture() as seen:
        done = lab.run(sys.executable, "-c", code % OTHER, place=pod.place)
        assert pod.connect("192.0.2.1", 443, "udp").is_connected

    assert done.status == 0, done.stderr
    assert OTHER in {packet.destination for packet in seen}
    assert count(lab, "marked") == 0


def test_a3_an_interface_that_the_names_leave_out_is_no_way_round_the_source_guard(own_site: Site) -> None:
    """A pod with NET_ADMIN can make one on the node (rtnetlink's IFLA_TARGET_NETNSID): selected pods' addresses do not pass by it."""
    scene = made_scene(own_site)
    lab, liar = own_site.lab, scene.free
    lab.inside.lay([Link(topology.NODE, "other0", liar.place, "inner0"), Address(topology.NODE, "other0", "10.99.0.1/32")])
    to, own = hardware(lab, topology.NODE, "other0"), hardware(lab, liar.place, "inner0")

    def frames(source4: str, source6: str) -> list[bytes]:
        (packet4,), (packet6,) = udp(443)(source4, scene.told), udp(443)(source6, "2001:db8::10")
        return [to + own + IP.to_bytes(2) + _summed(packet4), to + own + IP6.to_bytes(2) + packet6]

    scene.held.resolve("told.example.net", "AAAA")
    with scene.leaving() as gone:
        put(lab, liar, frames(scene.held.address4, scene.held.address6), "inner0")
        put(lab, liar, frames("10.99.0.2", "fd00:99::2"), "inner0")

    assert {packet.source for packet in gone.packets if packet.sport == 40002} == {"10.99.0.2", "fd00:99::2"}


# ---- other tables, other topologies


@pytest.mark.parametrize("priority", [-300, -149, 10], ids=["before", "between", "after"])
@pytest.mark.parametrize("verdict", ["accept", "drop"])
def test_a24_no_other_table_accepts_past_us(scene: Scene, priority: int, verdict: str) -> None:
    """Another table's accept ends nothing of ours; its drop is its own affair. Either way nothing leaves that our rules do not allow."""
    with other_table(
        scene, f"table inet other {{ chain c {{ type filter hook forward priority {priority}; meta l4proto tcp {verdict}; }}; }}"
    ):
        assert scene.held.connect(scene.told, timeout=0.3).is_connected == (verdict == "accept")
        assert not scene.held.connect(OTHER, timeout=0.3).is_connected


def test_a24_dnat_of_others_is_judged_by_where_it_leads(scene: Scene) -> None:
    """A NAT of somebody else's turns an allowed address into another one: that one counts."""
    rules = f"ip daddr {scene.told} tcp dport 443 dnat to {OTHER}; ip daddr {OTHER} tcp dport 8080 dnat to {scene.told}"
    with other_table(
        scene, f"table inet other {{ chain c {{ type nat hook prerouting priority -100; {rules.replace('dnat', 'dnat ip')}; }}; }}"
    ):
        assert not scene.held.connect(scene.told).is_connected
        assert scene.held.connect(OTHER, 8080).is_connected


@contextmanager
def other_table(scene: Scene, text: str) -> Iterator[None]:
    scene.site.lab.nft(text)
    try:
        yield
    finally:
        scene.site.lab.nft("delete table inet other")


def test_a23_pods_behind_a_bridge_are_judged_towards_the_outside(lab: Lab) -> None:
    """With bridge-nf-call off too: what they send out crosses the forward hook; what they say to each other is the cluster's business."""
    held, free = lab.pods_at_once([("shop/held-1", {"app": "held"}), ("shop/free-1", {"app": "free"})])
    behind_a_bridge(lab, held, free)
    program = lab.run_dnsfw({}, "--interface", "cni0")
    site = Site(lab, program)
    lab.internet.set("told.example.net", "3600 A 192.0.2.10")
    site.allow("held", names("told.example.net"))
    told = held.resolve("told.example.net").address
    free.listen(8000, "udp")

    assert held.connect(told).is_connected
    assert not held.connect(OTHER).is_connected
    assert free.connect(OTHER).is_connected
    wait_for(lambda: held.connect(free.address4, 8000, "udp").is_connected)
    with leaving(site, held, told) as gone:
        for source in ("10.244.200.1", "192.0.2.7", topology.NODE4):
            send_all(free, udp(4443)(source, OTHER))
    # The end of what it had opened there itself may still be on its way.
    assert not [packet for packet in gone.to(OTHER) if packet.dport == 4443], gone


def behind_a_bridge(lab: Lab, *pods: Pod) -> None:
    """The ends of the pods' interfaces become ports of one bridge, which has the gateway's address."""
    commands = ["link add cni0 type bridge", "link set cni0 up", f"addr add {topology.GATEWAY4}/16 dev cni0"]
    for pod in pods:
        commands += [f"route del {pod.address4}/32", f"addr flush dev {pod.interface}", f"link set {pod.interface} master cni0"]
    for command in commands:
        done = lab.run("ip", *command.split())
        assert done.status == 0, f"{command}: {done.stderr}"
    lab.inside.lay([Sysctl(topology.NODE, "ipv6/conf/cni0/disable_ipv6", "1")])
