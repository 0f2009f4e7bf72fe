"""The ways out that are not a grant: other resolvers, DNS over TLS, protected addresses, the cluster, ingress; and who counts as a pod."""

import os
import signal
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from system_kit import CUT_S, Site, cidrs, cluster_rule, names, rule, wait_for

from dnsfw.demo import packets, topology
from dnsfw.demo.documents import replace_file
from dnsfw.demo.lab import Lab

ANYONE = ("8.8.8.8", "2001:4860:4860::8888", topology.OUTSIDE4, topology.RESOLVER4)


def test_unknown_pod_waits_and_is_answered_when_it_becomes_known(site: Site) -> None:
    """A query of a source on a pod's interface waits for the pod; without it: SERVFAIL within two seconds, and nothing reaches out."""
    site.lab.internet.set("early.example.net", "60 A 192.0.2.10")
    site.allow("early", names("early.example.net"))
    pod = site.pod("early")
    with site.change():
        pod.remove()
    pod.become("shop/early-again", is_saved=False)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(pod.resolve, "early.example.net")
        time.sleep(0.4)
        assert not pod.connect("192.0.2.10", timeout=0.2).is_connected
        site.lab.save_pods()
        answer = asked.result(10)

    assert answer.addresses == ["192.0.2.10"]
    assert pod.connect("192.0.2.10").is_connected


def test_unknown_pod_gets_servfail(site: Site) -> None:
    """In the end nobody knows it."""
    pod = site.pod("never")
    with site.change():
        pod.remove()

    answer = pod.resolve("any.example.net")

    assert answer.rcode == "SERVFAIL"
    assert answer.ms < 3500
    assert site.lab.internet.count("any.example.net") == 0
    for address in ("192.0.2.10", "2001:db8::10"):
        assert not pod.connect(address, timeout=0.3).is_connected
        assert not pod.connect(address, 443, "udp", timeout=0.3).is_connected
        assert not pod.ping(address, timeout=0.3).is_connected


def test_source_from_elsewhere_is_refused(site: Site) -> None:
    """No open resolver."""
    assert site.lab.outside.resolve("www.example.net", server=topology.LISTEN4).rcode in {"REFUSED", "ENETUNREACH", "TIMEOUT"}
    assert site.lab.node.resolve("www.example.net", server=topology.LISTEN4).rcode == "REFUSED"
    assert site.lab.node.resolve("www.example.net", server=topology.LISTEN6, is_tcp=True).rcode == "REFUSED"


def test_two_pods_with_one_address(site: Site) -> None:
    """Nobody can say whose packets these are: neither is served, what was granted is void, and it comes back with the conflict gone."""
    site.lab.internet.set("twins.example.net", "60 A 192.0.2.20")
    site.allow("twins", names("twins.example.net"), cidrs("203.0.113.20/32"))
    pod, double = site.pods("twins", "twins")
    assert pod.fetch("twins.example.net").is_connected
    mine = double.address4
    with site.change():
        double.address4 = pod.address4
        site.lab.save_pods()

    assert not pod.resolve("twins.example.net", timeout=3).addresses
    assert not pod.connect("192.0.2.20").is_connected
    assert not pod.connect("203.0.113.20").is_connected
    assert pod.address4 in str(site.status()["pods"]["conflicts"])

    with site.change():
        double.address4 = mine
        site.lab.save_pods()
    assert not pod.connect("192.0.2.20").is_connected
    assert pod.fetch("twins.example.net").is_connected


def test_finished_pod_is_closed(site: Site) -> None:
    """Succeeded and Failed pods hold no address."""
    site.allow("finished", cidrs("203.0.113.30/32"))
    pod = site.pod("finished")
    assert pod.connect("203.0.113.30").is_connected
    with site.change():
        pod.become(phase="Succeeded")

    assert not pod.connect("203.0.113.30").is_connected


@pytest.mark.parametrize("server", ANYONE)
@pytest.mark.parametrize("is_tcp", [False, True], ids=["udp", "tcp"])
def test_port_53_to_anyone_is_ours(site: Site, server: str, is_tcp: bool) -> None:
    """Whoever is asked, we answer; nobody outside hears of a refused name."""
    site.lab.internet.set("anyone.example.net", "60 A 192.0.2.40")
    site.allow("anyone", names("anyone.example.net"), cidrs("0.0.0.0/0", "::/0"))
    pod = next((pod for pod in site.lab.pods if pod.identity.labels.get("app") == "anyone"), None) or site.pod("anyone")
    name = f"no-{'tcp' if is_tcp else 'udp'}-{server.replace(':', '-').replace('.', '-')}.example.net"

    assert pod.resolve("anyone.example.net", server=server, is_tcp=is_tcp).addresses == ["192.0.2.40"]
    assert pod.resolve(name, server=server, is_tcp=is_tcp).rcode == "NXDOMAIN"
    assert site.lab.internet.count(name) == 0


def test_port_53_without_a_listener_of_the_family(lab: Lab) -> None:
    """It is rejected where we could not answer, whoever is asked: the outside, or another resolver on the node itself."""
    site = restarted_without(lab, f"[{topology.LISTEN6}]:53")
    pod = site.pod("a")
    with running(lab, topology.NODE, "answer", topology.NODE6, 53, 1):
        wait_for(lambda: float(ask(lab, topology.NODE, topology.NODE6, 53)))

        assert not float(ask(lab, pod.place, topology.NODE6, 53))
        assert pod.connect(topology.NODE6, 53).what == "refused"
    assert pod.resolve("www.example.net", server="2001:4860:4860::8888", is_tcp=True).rcode == "ECONNREFUSED"
    assert not pod.resolve("www.example.net", server="2001:4860:4860::8888", timeout=0.5).addresses
    assert lab.internet.queries() == []


def test_a19_selected_pod_at_the_far_end_does_not_push_on(lab: Lab) -> None:
    """Where pods are no part of any cluster CIDR they are outside for each other: what is revoked ends in both directions here, too."""
    site = restarted_without(lab, topology.PODS4, topology.PODS6)
    far = site.pod("b")
    site.allow("a", cidrs(f"{far.address4}/32"))
    site.allow("b", cidrs("203.0.113.1/32"))
    near = site.pod("a")
    with running(lab, far.place, "answer", far.address4, 8000, 1000), ThreadPoolExecutor() as pool:
        asked = pool.submit(ask, lab, near.place, far.address4, 8000, 5)
        time.sleep(1.5)  # it is under way by then, or the test fails
        change = site.allow("a", cidrs("203.0.113.1/32"))
        last = float(asked.result(10))

    assert 0 < last <= change.in_force_at + CUT_S


def restarted_without(lab: Lab, *values: str) -> Site:
    """The program with one rule, and without the settings that have these values."""
    program = lab.run_dnsfw({"a.yaml": rule("a", cidrs("0.0.0.0/0", "::/0"))})
    program.stop()
    for value in values:
        at = program.arguments.index(value)
        del program.arguments[at - 1 : at + 1]
    program.start()
    program.wait_ready()
    return Site(lab, program)


DATAGRAMS = (sys.executable, str(Path(__file__).with_name("datagrams.py")))


def ask(lab: Lab, place: str, address: str, port: int, seconds: int = 1) -> str:
    return lab.run(*DATAGRAMS, "ask", address, str(port), str(seconds), place=place).stdout


@contextmanager
def running(lab: Lab, place: str, *arguments: str | int) -> Iterator[None]:
    with Path(os.devnull).open("r+b") as null:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), null.fileno())
        process = lab.inside.start(place, [*DATAGRAMS, *map(str, arguments)], **streams)
    yield
    process.signal(signal.SIGKILL)
    process.wait(5)


def test_port_853_only_by_its_own_name(site: Site) -> None:
    """A rule without ports, or with all of a protocol, does not open DNS over TLS or QUIC; one that names it does."""
    site.lab.internet.set("dot.example.net", "60 A 192.0.2.50")
    site.allow("wide", names("dot.example.net"), cidrs("203.0.113.50/32"), cidrs("203.0.113.51/32", ports=("TCP", "UDP")))
    site.allow("named", names("dot.example.net", ports=("853", "UDP/853")))
    wide, named = site.pods("wide", "named")
    for pod in (wide, named):
        assert pod.resolve("dot.example.net").addresses

    for address in ("192.0.2.50", "203.0.113.50", "203.0.113.51"):
        assert wide.connect(address).is_connected
        assert wide.connect(address, 853).what == "refused"
        assert not wide.connect(address, 853, "udp", timeout=0.3).is_connected
    assert named.connect("192.0.2.50", 853).is_connected
    assert named.connect("192.0.2.50", 853, "udp").is_connected


def test_protected_addresses(site: Site) -> None:
    """No name and no wide network opens them; an entry wholly inside does."""
    site.lab.internet.set("meta.example.net", "60 A 169.254.169.254", "60 AAAA fd00:ec2::254", "60 AAAA 64:ff9b::a9fe:a9fe")
    site.allow("broad", names("*.example.net"), cidrs("0.0.0.0/0", "::/0"))
    site.allow("exact", cidrs("169.254.169.254/32", "fd00:ec2::254/128", ports=("80",)))
    broad, exact = site.pods("broad", "exact")
    for qtype in ("A", "AAAA"):
        assert broad.resolve("meta.example.net", qtype).addresses == []

    for address in (topology.METADATA4, topology.METADATA6, "64:ff9b::a9fe:a9fe"):
        assert broad.connect(address, 80).what == "refused"
    for address in (topology.METADATA4, topology.METADATA6):
        assert exact.connect(address, 80).is_connected
        assert exact.connect(address, 443).what == "refused"
    assert broad.connect("192.0.2.60").is_connected


def test_cluster_and_ingress_live(site: Site) -> None:
    """Inside the cluster both directions pass; who connects from outside to a selected pod is served, and that opens nothing outwards."""
    site.allow("server", names("none.example.net"))
    server, client = site.pods("server", "server")
    server.listen(8000)
    server.listen(8000, "udp")
    for address in (server.address4, server.address6):
        assert wait_for(lambda address=address: client.connect(address, 8000).is_connected)
        assert client.connect(address, 8000, "udp").is_connected
        assert site.lab.outside.connect(address, 8000).is_connected
        assert site.lab.outside.connect(address, 8000, "udp").is_connected
        assert site.lab.node.connect(address, 8000).is_connected

    assert not server.connect(topology.OUTSIDE4, 443).is_connected
    assert not server.connect(topology.OUTSIDE6, 443).is_connected


def test_deny_only_pod_is_open_but_for_that(site: Site) -> None:
    """A cluster Deny alone takes away from what is otherwise open, and answers the name no more."""
    site.lab.internet.set("bad.example.net", "60 A 192.0.2.70")
    site.lab.internet.set("fine.example.net", "60 A 192.0.2.71")
    site.save("taken", cluster_rule("taken", "Deny", names("bad.example.net"), cidrs("203.0.113.70/32", ports=("443",))))
    pod = site.pod("taken")

    assert pod.resolve("bad.example.net").rcode == "NXDOMAIN"
    assert pod.fetch("fine.example.net").is_connected
    assert pod.connect("203.0.113.70").what == "refused"
    assert pod.connect("203.0.113.70", 80).is_connected
    assert pod.connect("203.0.113.71").is_connected


def test_pass_leaves_it_to_the_namespace(site: Site) -> None:
    """Pass before a Deny of more: what the team's own rule allows is allowed, nothing else of it."""
    site.save(
        "passed",
        cluster_rule("passed", "Pass", cidrs("203.0.113.80/32"), priority=1),
        cluster_rule("passed-not", "Deny", cidrs("203.0.113.0/24"), priority=2, app="passed"),
        rule("passed", cidrs("203.0.113.80/32", "203.0.113.81/32", ports=("443",))),
    )
    pod = site.pod("passed")

    assert pod.connect("203.0.113.80").is_connected
    assert pod.connect("203.0.113.80", 80).what == "refused"
    assert pod.connect("203.0.113.81").what == "refused"


def test_audit_counts(site: Site) -> None:
    """Audit mode lets all through, and counts what it would have refused."""
    site.allow("audit", cidrs("203.0.113.90/32"), mode="Audit")
    pod = site.pod("audit")
    for address in ("203.0.113.90", "198.51.100.90", "2001:db8::90"):
        assert pod.connect(address).is_connected

    (counted,) = [row for row in site.status()["refused"] if row["pod"] == pod.identity.name]
    assert (counted["refused_packets"], counted["would_refuse_packets"]) == (0, 2)


def test_end_of_audit(site: Site) -> None:
    """On its date an Audit rule turns into Enforce, and ends what only it let live."""
    pod = site.pod("dated")
    until = datetime.now(UTC) + timedelta(seconds=4)
    site.allow("dated", cidrs("203.0.113.90/32"), mode="Audit", auditUntil=until.strftime("%Y-%m-%dT%H:%M:%SZ"))
    stream = site.stream(pod, "198.51.100.90", 443, "udp")

    wait_for(lambda: pod.connect("198.51.100.90").what == "refused")

    assert datetime.now(UTC) >= until.replace(microsecond=0)
    assert stream.is_cut_by(time.monotonic())
    assert pod.connect("203.0.113.90").is_connected


@pytest.mark.parametrize("family", [4, 6])
def test_other_protocols(site: Site, family: int) -> None:
    """A rule without ports lets every protocol through, one with ports none but those: SCTP, GRE and what nobody knows."""
    wide, narrow = f"anything{family}", f"something{family}"
    to = "203.0.113.95" if family == 4 else "2001:db8:95::1"
    site.save(wide, rule(wide, cidrs(f"{to}/{32 if family == 4 else 128}")), rule(narrow, cidrs("0.0.0.0/0", "::/0", ports=("443",))))
    pods = site.pods(wide, narrow)
    with site.lab.internet.capture() as captured:
        for pod in pods:
            source = pod.address4 if family == 4 else pod.address6
            for protocol in (47, 132, 253):
                assert pod.send_packet(packets.packet(source, to, protocol, sctp_init() if protocol == 132 else b"\0" * 20)) == ""
            assert pod.connect(to).is_connected

    got = {(packet.source, packet.protocol) for packet in captured if packet.destination == to}
    sources = [pod.address4 if family == 4 else pod.address6 for pod in pods]
    assert got == {(sources[0], protocol) for protocol in (6, 47, 132, 253)} | {(sources[1], 6)}


def test_host_network_pod_is_reported(site: Site) -> None:
    """A pod with the node's own network cannot be judged, and status says so."""
    pod = site.pod("on-the-node")
    name = f"name: {pod.identity.name}\n"
    head, _, tail = site.lab.pods_file.read_text().partition(name)
    with site.change():
        replace_file(site.lab.pods_file, head + name + tail.replace("spec:\n", "spec:\n    hostNetwork: true\n", 1))

    assert str(pod) in str(site.status()["pods"]["not_enforceable"])
    with site.change():
        pod.remove()


def test_ports_and_protocols(site: Site) -> None:
    """Ranges, UDP, ICMP: what is named, and nothing beside it."""
    site.lab.internet.set("ports.example.net", "60 A 192.0.2.95", "60 AAAA 2001:db8::95")
    site.allow("ranged", names("ports.example.net", ports=("400-500", "UDP/4000-5000", "ICMP")))
    pod = site.pod("ranged")
    for qtype in ("A", "AAAA"):
        to = pod.resolve("ports.example.net", qtype).address
        assert pod.connect(to, 443).is_connected
        assert [pod.connect(to, port).what for port in (80, 853, 8080)] == ["refused"] * 3
        assert pod.connect(to, 4443, "udp").is_connected
        assert pod.connect(to, 5000, "udp").is_connected
        assert not pod.connect(to, 443, "udp", timeout=0.3).is_connected
        assert pod.ping(to).is_connected


def sctp_init() -> bytes:
    """From port 4000 to 443, with its checksum (RFC 9260 §3.3.2, §6.8): conntrack looks at it."""
    head = struct.pack(">HHI", 4000, 443, 0)
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 7, 65536, 1, 1, 1)
    return head + crc32c(head + b"\0" * 4 + chunk).to_bytes(4, "little") + chunk


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF
