"""Attacks on the answering itself: connections held half-open, names that would poison what people read, probing (A1, A18, A25, A27)."""

import json
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hostile import leaving
from metrics import fetch_metrics
from system_kit import Site, cidrs, names, wait_for

from dnsfw.demo import topology
from dnsfw.demo.asking import query

CLIENTS = str(Path(__file__).parent / "clients.py")


def protected_addresses() -> list[str]:
    return [
        topology.METADATA4,
        topology.METADATA6,
        topology.NODE4,
        topology.NODE6,
        topology.LISTEN4,
        "10.244.1.250",
        "fd00:244::250",
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104 -- an answer, bound by nobody
        "::1",
        "fe80::1",
        "224.0.0.1",
        "::ffff:a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ]


def test_a1_rebinding_opens_nothing(site: Site) -> None:
    """An allowed name that answers protected addresses, alone or beside a good one, first or the second time, gets no way to them."""
    bad = protected_addresses()
    records = [f"0 {'AAAA' if ':' in each else 'A'} {each}" for each in bad]
    site.lab.internet.set("rebind.example.net", "0 A 192.0.2.30", "0 AAAA 2001:db8::30", *records)
    site.allow("rebind", names("rebind.example.net"), ttl={"minSeconds": 1, "maxSeconds": 1, "graceSeconds": 0})
    pod = site.pod("rebind")
    answers = [pod.resolve("rebind.example.net", qtype).addresses for _ in range(3) for qtype in ("A", "AAAA")]
    granted = {grant["address"] for grant in site.grants() if grant["pod"] == str(pod).partition("/")[2]}
    with leaving(site, pod, pod.resolve("rebind.example.net").address) as gone:
        for each in (topology.METADATA4, topology.METADATA6, "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"):
            assert not pod.connect(each, 80, timeout=0.2).is_connected, each

    assert answers == [["192.0.2.30"], ["2001:db8::30"]] * 3
    assert granted <= {"192.0.2.30", "2001:db8::30"}
    assert not gone.to(*bad), gone


def test_a1_a_wide_network_in_a_rule_opens_nothing_protected(site: Site) -> None:
    """Only a network wholly inside a protected range opens it; all of the internet does not."""
    site.allow("wide-cidr", cidrs("0.0.0.0/0", "::/0"))
    pod = site.pod("wide-cidr")

    assert pod.connect("198.51.100.1").is_connected
    assert not pod.connect(topology.METADATA4, 80, timeout=0.3).is_connected
    assert not pod.connect(topology.METADATA6, 80, timeout=0.3).is_connected


def test_a10_alias_to_a_strangers_address_is_granted_and_on_record(site: Site) -> None:
    """The name decides, not where its owner points it: by design. The record has the final address."""
    site.lab.internet.set("shop.alias.example.net", "60 CNAME cdn.elsewhere.example")
    site.lab.internet.set("cdn.elsewhere.example", "60 A 192.0.2.40")
    site.allow("alias", names("shop.alias.example.net"))
    pod = site.pod("alias")
    address = pod.resolve("shop.alias.example.net").address

    assert pod.connect(address).is_connected
    assert pod.resolve("cdn.elsewhere.example").rcode == "NXDOMAIN"
    wait_for(lambda: [each for each in audit(site, "shop.alias.example.net") if "192.0.2.40" in json.dumps(each)])


def test_a18_half_open_connections_of_one_pod_harm_no_other(site: Site) -> None:
    """500 connections with a length and nothing behind it; meanwhile 100 pipelined questions of another pod get their own answers."""
    site.lab.internet.generate("piped.example.net")
    site.allow("piped", names("*.piped.example.net"))
    attacker, other = site.pods("piped", "piped")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(site.lab.run, sys.executable, CLIENTS, "hold", topology.LISTEN4, "500", place=attacker.place)
        wait_for(lambda: open_connections(site) >= 50)
        piped = site.lab.run(sys.executable, CLIENTS, "pipeline", topology.LISTEN4, "100", place=other.place)
        is_attacked = not held.done() and open_connections(site) >= 50

    assert is_attacked
    assert held.result().status == 0, held.result().stderr
    assert json.loads(piped.stdout) == {"answered": 100, "matched": 100}
    assert other.connect("198.18.0.99").is_connected


def open_connections(site: Site) -> int:
    return len(site.lab.run("ss", "-Htn", "state", "established", "sport", "=", ":53").stdout.splitlines())


HOSTILE_LABELS = {
    "newline": b"a\nERROR root logged in",
    "quote": b'"},{"name":"x',
    "escape": b"\x1b[2J\x1b]0;title\x07",
    "nul": b"a\0b",
    "slash": b"../../etc/passwd",
    "html": b"<script>alert(1)</script>",
    "label-value": b'x"} 1\ndnsfw_fake_total{a="b',
    "long": b"\xff" * 63,
    "utf-8": "b\u202ec\u00fc".encode(),
}


def test_a25_hostile_names_poison_neither_audit_nor_metrics_nor_log(site: Site) -> None:
    """Whatever a pod asks for, listings stay one record a line, JSON stays JSON, metrics have no names in them, the log says nothing."""
    pod = site.pod("web")
    site.allow("web", names("*.example.net"))
    for label in HOSTILE_LABELS.values():
        wire = bytes((len(label),)) + label + b"\x06poison\x07example\x03org\x00"
        message = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + wire + b"\x00\x01\x00\x01"
        assert pod.exchange(message)[3] & 0xF == 3
    recorded = wait_for(lambda: len(found := audit(site, "*.poison.example.org")) == len(HOSTILE_LABELS) and found)
    table = site.lab.dnsfw("audit", "--audit-db", str(site.program.audit_db), "--name", "*.poison.example.org")
    metrics = fetch_metrics(site.program.socket)

    assert len({entry["name"] for entry in recorded}) == len(HOSTILE_LABELS)
    assert len(table.stdout.splitlines()) == len(HOSTILE_LABELS)
    assert all(" " <= character <= "~" for line in table.stdout.splitlines() for character in line)
    assert "poison" not in metrics
    assert "fake" not in metrics
    assert "poison" not in site.program.log


def test_a25_distinct_names_make_no_more_metrics(site: Site) -> None:
    """The number of series does not depend on what is asked."""
    pod = site.pod("series")
    site.allow("series", names("*.example.net"))

    def series() -> int:
        return len(fetch_metrics(site.program.socket).splitlines())

    pod.resolve("first.example.org")
    before = series()
    pod.cycle([f"n{number}.denied.example.org" for number in range(1000)], timeout=1.0)

    assert series() == before


def test_a27_refusals_tell_nothing_apart(site: Site) -> None:
    """What another pod may ask, what nobody may, and what does not exist: one answer, and none of them is asked upstream."""
    site.lab.internet.set("theirs.example.com", "60 A 192.0.2.60")
    site.allow("theirs", names("theirs.example.com"))
    site.allow("prober", names("own.example.net"))
    owner, prober = site.pods("theirs", "prober")
    assert owner.resolve("theirs.example.com").addresses
    asked = site.lab.internet.count("theirs.example.com")
    answers = []
    for name in ("theirs.example.com", "nobody.example.com", "absent.example.com"):
        message = query(name, "A", has_edns=True)
        answers.append(prober.exchange(message).replace(message[:2], b"", 1).replace(message[12 : 13 + message[12]], b"?"))

    assert len(set(answers)) == 1
    assert site.lab.internet.count("theirs.example.com") == asked
    assert site.lab.internet.count("nobody.example.com") == 0


@pytest.mark.parametrize("port", [22, 80, 443, 8080, 9080])
def test_listener_address_offers_a_pod_nothing_but_dns(site: Site, port: int) -> None:
    """The API and all else of the program lie on Unix sockets and loopback: at the listener's address there is port 53 alone."""
    pod = site.lab.pods[0] if site.lab.pods else site.pod("web")

    assert pod.connect(topology.LISTEN4, port).detail == "ECONNREFUSED"
    assert pod.connect(topology.LISTEN6, port).detail == "ECONNREFUSED"


def test_pods_reach_no_unix_socket_of_the_program(site: Site) -> None:
    """Abstract sockets belong to a network namespace, the API's to a folder that pods do not have; asked from a pod there is none."""
    pod = site.lab.pods[0] if site.lab.pods else site.pod("web")
    listed = site.lab.run("cat", "/proc/net/unix", place=pod.place).stdout

    assert "dnsfw/dnsfw" in site.lab.run("cat", "/proc/net/unix").stdout
    assert "dnsfw/" not in listed


def audit(site: Site, name: str) -> list[dict]:
    done = site.lab.dnsfw("audit", "--audit-db", str(site.program.audit_db), "--name", name, "-o", "json")
    found: list[dict] = json.loads(done.stdout)
    return found


def test_a9_host_network_pods_are_said_to_be_beyond_us(own_site: Site) -> None:
    """A pod with the node's address is listed as not enforceable; it is given nothing, nor is anything granted for that address."""
    identity = {"metadata": {"name": "host", "namespace": "shop", "uid": "h", "labels": {"app": "web"}}}
    pod = {"apiVersion": "v1", "kind": "Pod", **identity, "spec": {"hostNetwork": True}, "status": {"podIPs": [{"ip": topology.NODE4}]}}
    own_site.lab.internet.set("www.example.net", "60 A 192.0.2.10")
    own_site.allow("web", names("*.example.net"))
    with own_site.change():
        own_site.lab.pods_file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod]}))
    answer = own_site.lab.node.resolve("www.example.net")

    assert own_site.status()["pods"]["not_enforceable"] == ["shop/host"]
    assert (answer.rcode, own_site.grants()) == ("REFUSED", [])


def test_a13_the_longest_ttl_is_a_bounded_lease(site: Site) -> None:
    """2^31 - 1 seconds are an hour and the grace, in the kernel too."""
    site.lab.internet.set("forever.example.net", "2147483647 A 192.0.2.90")
    site.allow("forever", names("forever.example.net", ports=["443"]))
    pod = site.pod("forever")
    answer = pod.resolve("forever.example.net")
    (line,) = [line for line in site.elements("port4").split(",") if "192.0.2.90" in line]

    assert answer.ttl is not None
    assert answer.ttl <= 3600
    assert "timeout 1h10s" in line


def test_a20_who_connects_at_once_is_let_through(site: Site) -> None:
    """No answer is seen before its element: of many names, each resolved and connected to in the same breath, none fails."""
    site.lab.internet.generate("breath.example.net")
    site.allow("breath", names("*.breath.example.net"))
    cycles = site.pod("breath").cycle([f"h{number}.breath.example.net" for number in range(500)])

    assert (cycles.connected, cycles.failed, cycles.unanswered) == (500, [], [])
