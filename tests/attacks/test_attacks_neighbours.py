"""One pod against its neighbours: their addresses, their grants, their connections, their answers (A2, A3, A5, and what quotes others)."""

import re
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile import icmp, leaving, send_all, tcp, udp
from metrics import fetch_metrics, sum_of
from system_kit import Site, names, wait_for

from dnsfw.demo import packets, topology
from dnsfw.demo.lab import Pod
from dnsfw.demo.zone import Reply


@dataclass(frozen=True)
class Scene:
    """victim has a grant for `told4`, `told6`; liar has the same rule and no answer. Both may reach the marker."""

    site: Site
    liar: Pod
    victim: Pod
    told4: str
    told6: str
    marker: str

    def leaving(self):
        return leaving(self.site, self.liar, self.marker)


@pytest.fixture(scope="module")
def scene(site: Site) -> Scene:
    internet = site.lab.internet
    internet.set("told.example.net", "3600 A 192.0.2.10", "3600 AAAA 2001:db8::10")
    internet.set("marker.example.net", "3600 A 192.0.2.99")
    site.allow("web", names("told.example.net", "marker.example.net", "*.slow.example.net"))
    liar, victim = site.pods("web", "web")
    marker = liar.resolve("marker.example.net").address
    told4, told6 = victim.resolve("told.example.net").address, victim.resolve("told.example.net", "AAAA").address
    assert victim.connect(told4).is_connected
    return Scene(site, liar, victim, told4, told6, marker)


SPOOFED = {
    "neighbour": lambda scene: (scene.victim.address4, scene.victim.address6),
    "gateway": lambda _: (topology.GATEWAY4, topology.GATEWAY6),
    "node": lambda _: (topology.NODE4, topology.NODE6),
    "listener": lambda _: (topology.LISTEN4, topology.LISTEN6),
    "upstream": lambda _: (topology.RESOLVER4, topology.RESOLVER6),
    "loopback": lambda _: ("127.0.0.1", "::1"),
    "told-address": lambda scene: (scene.told4, scene.told6),
    "unspecified": lambda _: ("0.0.0.0", "::"),  # noqa: S104 -- a source, bound by nobody
    "mapped": lambda scene: ("169.254.1.1", f"::ffff:{scene.victim.address4}"),
    "link-local": lambda _: ("169.254.7.7", "fe80::7"),
    "group": lambda _: ("224.0.0.1", "ff02::1"),
}


FORGED_PORTS = (40001, 40002, 0)
"""What the forged packets come from; ICMP has none."""


@pytest.mark.parametrize("who", SPOOFED)
def test_a3_forged_sources_go_nowhere(scene: Scene, who: str) -> None:
    """Neither to what the neighbour may reach, nor anywhere else, nor to the neighbour itself (whose answer would be on its way there)."""
    source4, source6 = SPOOFED[who](scene)
    with scene.leaving() as gone:
        for make in (udp(443), tcp(2), icmp(8)):
            for source, targets in ((source4, (scene.told4, "198.51.100.1")), (source6, (scene.told6, "2001:db8:66::1"))):
                for to in targets:
                    for packet in make(source, to):
                        scene.liar.send_packet(packet)

    assert not [packet for packet in gone.packets if packet.sport in FORGED_PORTS], gone


def test_a3_spoofed_beginning_opens_no_way_back(scene: Scene) -> None:
    """A pod forges what an outsider would send it, to have its own packets count as answers: the source guard drops the beginning."""
    outsider = "198.51.100.9"
    with scene.leaving() as gone:
        send_all(scene.liar, udp(40002, 443)(outsider, scene.liar.address4))
        send_all(scene.liar, tcp(2, 40001, 443)(outsider, scene.liar.address4))
        send_all(scene.liar, udp(443, 40002)(scene.liar.address4, outsider))
        send_all(scene.liar, tcp(18, 443, 40001)(scene.liar.address4, outsider))

    assert not gone.to(outsider), gone


@pytest.mark.parametrize("qtype", ["A", "AAAA"])
def test_a5_question_in_flight_is_shared_but_its_grant_is_not(scene: Scene, qtype: str) -> None:
    """Who asks a name that only the neighbour may have, while the neighbour's question is on its way, gets a refusal and no way there."""
    name = f"{qtype.lower()}.only.example.net"
    scene.site.lab.internet.script(name, Reply(records=("60 A 192.0.2.55", "60 AAAA 2001:db8::55"), delay=0.5))
    if not scene.site.program.rules.joinpath("only.yaml").exists():
        scene.site.allow("only", names("*.only.example.net"))
    owner = scene.site.pod("only")
    asked = owner.begin("resolve", name=name, qtype=qtype, server=topology.LISTEN4, port=53, is_tcp=False, timeout=5.0, has_edns=True)
    wait_for(lambda: scene.site.lab.internet.count(name))
    refused = scene.liar.resolve(name, qtype)
    granted = asked.result(10)["addresses"][0]

    assert (refused.rcode, refused.addresses) == ("NXDOMAIN", [])
    assert owner.connect(granted).is_connected
    assert not scene.liar.connect(granted).is_connected
    assert scene.site.lab.internet.count(name) == 1


# ---- ICMP errors count as part of the connection that they quote


def connection_of(scene: Scene, *options: str) -> tuple[str, str, int, int]:
    """The first connection that conntrack lists for these options: source, destination, ports."""
    listed = scene.site.lab.run("conntrack", "-L", *options).stdout
    found = re.search(r"src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)", listed)
    assert found, listed
    return found[1], found[2], int(found[3]), int(found[4])


def errors(pod: Pod, to: str, quoted: bytes) -> list[bytes]:
    """Every ICMP error, from the pod's own address, with more behind what it quotes."""
    if ":" in to:
        kinds = [icmp(kind, 0, struct.pack(">I", 1280), quoted + b"more") for kind in (1, 2, 3, 4)]
        return [packet for make in kinds for packet in make(pod.address6, to)]
    kinds = [icmp(kind, code, struct.pack(">I", 1000), quoted + b"more") for kind, code in ((3, 3), (3, 4), (4, 0), (11, 0), (12, 0))]
    return [packet for make in kinds for packet in make(pod.address4, to)]


def test_errors_about_a_neighbours_connection_reach_nobody(scene: Scene) -> None:
    """What the neighbour has opened: its peer hears nothing from the liar, and the neighbour goes on."""
    with scene.leaving() as gone:
        for family, told in ((4, scene.told4), (6, scene.told6)):
            stream = scene.site.stream(scene.victim, told, 443)
            own = scene.victim.address4 if family == 4 else scene.victim.address6
            where = ("-f", "ipv4" if family == 4 else "ipv6", "-s", own, "-d", told, "-p", "tcp", "--state", "ESTABLISHED")
            source, to, sport, dport = connection_of(scene, *where)
            forward, back = packets.tcp(source, to, sport, dport), packets.tcp(to, source, dport, sport)
            send_all(scene.liar, [*errors(scene.liar, told, forward), *errors(scene.liar, told, back)])
            assert stream.lives()
            stream.opened.close()

    assert not [packet for packet in gone.packets if packet.source in scene.liar.addresses], gone


def test_errors_about_a_neighbours_client_reach_nobody(scene: Scene) -> None:
    """What an outsider has opened to the neighbour counts as answered by whoever quotes it; yet nothing of it leaves."""
    scene.victim.listen(8000, "udp")
    outside4, outside6 = topology.OUTSIDE4, topology.OUTSIDE6
    for family, client, own in ((4, outside4, scene.victim.address4), (6, outside6, scene.victim.address6)):
        wait_for(lambda own=own: scene.site.lab.outside.connect(own, 8000, "udp").is_connected)
        source, to, sport, dport = connection_of(scene, "-f", f"ipv{family}", "-p", "udp", "-d", own, "--dport", "8000")
        quotes = [packets.udp(source, to, sport, dport, b""), packets.udp(to, source, dport, sport, b"")]
        with scene.leaving() as gone:
            for quoted in quotes:
                send_all(scene.liar, errors(scene.liar, client, quoted))
        assert not [packet for packet in gone.packets if packet.source in scene.liar.addresses], gone


def test_errors_about_the_forwarders_questions_end_none(scene: Scene) -> None:
    """The kernel hands an ICMP error to whose packet it quotes, from whomever it comes: from a pod none gets that far."""
    lab = scene.site.lab
    for number in range(3):
        name = f"n{number}.slow.example.net"
        lab.internet.script(name, Reply(records=("60 A 192.0.2.70",), delay=0.3))
        asked = scene.victim.begin(
            "resolve", name=name, qtype="A", server=topology.LISTEN4, port=53, is_tcp=False, timeout=5.0, has_edns=True
        )
        wait_for(lambda name=name: lab.internet.count(name))
        sent = 0
        while not asked.done():
            for port in forwarder_ports(scene):
                quoted = packets.udp(topology.NODE4, topology.RESOLVER4, port, 53, b"")
                send_all(scene.liar, errors(scene.liar, topology.NODE4, quoted))
                sent += 1
        assert sent
        assert asked.result(10)["rcode"] == "NOERROR"

    assert [upstream["state"] for upstream in scene.site.status()["upstreams"]] == ["up"]


def forwarder_ports(scene: Scene) -> list[int]:
    """The ports of the connected sockets to the upstream: what an attacker could only guess."""
    lines = [line.split() for line in scene.site.lab.run("cat", "/proc/net/udp").stdout.splitlines()[1:]]
    return [int(line[1].partition(":")[2], 16) for line in lines if line[2].endswith(":0035")]


# ---- forged answers (A2)

FORGER = str(Path(__file__).parent / "forger.py")


@pytest.mark.parametrize(
    ("count", "is_guarded"),
    [
        pytest.param(50_000, True, id="behind-the-source-guard"),
        pytest.param(50_000, False, id="without-it"),
        pytest.param(1_000_000, False, id="a-million", marks=pytest.mark.long),
    ],
)
def test_a2_forged_answers_are_never_accepted(own_site: Site, count: int, is_guarded: bool) -> None:
    """A pod sends answers from the upstream's address to the forwarder's ports, half of them to ports that are really in use.

    None is accepted, each true answer comes, and the upstream is never taken for down; without the guards too, which drop all of them.
    """
    lab, program = own_site.lab, own_site.program
    if not is_guarded:
        program.stop()
        at = program.arguments.index("--interface")
        del program.arguments[at : at + 2]
        program.start()
        program.wait_ready()
    own_site.allow("web", names("*.example.net"))
    liar, victim = own_site.pods("web", "web")
    lab.internet.generate("many.example.net")
    victim.cycle([f"h{number}.many.example.net" for number in range(200)])  # so that most of the forwarder's sockets are open
    name = "victim.example.net"
    lab.internet.script(name, Reply(records=("0 A 192.0.2.1",), delay=0.05))
    question = b"\x06victim\x07example\x03net\0\0\1\0\1"
    ports = ",".join(map(str, forwarder_ports(Scene(own_site, liar, victim, "", "", ""))))
    forging = [sys.executable, FORGER, topology.RESOLVER4, topology.NODE4, question.hex(), ports, str(count)]
    with ThreadPoolExecutor(1) as pool:
        forger = pool.submit(lab.run, *forging, place=liar.place, timeout=600)
        answers = [victim.resolve(name)]
        while not forger.done():
            answers.append(victim.resolve(name))

    status = own_site.status()
    mismatches = sum_of(fetch_metrics(own_site.program.socket), "dnsfw_forwarder_upstream_mismatches_total")
    assert forger.result().status == 0, forger.result().stderr
    assert len(answers) > 3
    assert {(answer.rcode, *answer.addresses) for answer in answers} == {("NOERROR", "192.0.2.1")}
    assert [upstream["state"] for upstream in status["upstreams"]] == ["up"]
    assert (mismatches == 0) == is_guarded
    assert not victim.connect("192.0.2.66").is_connected
