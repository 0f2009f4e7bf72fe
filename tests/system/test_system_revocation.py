"""What is no longer allowed ends, for connections that live too; what is still allowed does not notice (issue: 200 ms, 0 payloads)."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from system_kit import Site, Watched, cidrs, cluster_rule, names, rule

from dnsfw.demo.lab import Pod

PORTS = ("443", "UDP/443")
FAMILIES = ((4, "A"), (6, "AAAA"))


def address(number: int, family: int) -> str:
    return f"192.0.2.{number}" if family == 4 else f"2001:db8::{number}"


def publish(site: Site, name: str, number: int, ttl: int = 60) -> None:
    site.lab.internet.set(name, f"{ttl} A {address(number, 4)}", f"{ttl} AAAA {address(number, 6)}")


def streams_to(site: Site, pod: Pod, name: str) -> list[Watched]:
    """TCP and UDP, IPv4 and IPv6, to what the name answers; one with both ends pushing, one with only the far end."""
    opened = []
    for _, qtype in FAMILIES:
        found = pod.resolve(name, qtype).address
        for protocol in ("tcp", "udp"):
            opened += [site.stream(pod, found, 443, protocol), site.stream(pod, found, 443, protocol, push_ms=0)]
    return opened


def streams_of_cidrs(site: Site, pod: Pod, number: int) -> list[Watched]:
    return [site.stream(pod, address(number, family), 443, protocol) for family, _ in FAMILIES for protocol in ("tcp", "udp")]


@contextmanager
def only_these_are_cut(site: Site, doomed: Sequence[Watched], spared: Sequence[Watched], figures: dict) -> Iterator[None]:
    """The body makes the change; from it being in force, the doomed are silent, and the spared go on."""
    with site.change() as change:
        yield
    late = {str(stream): round(stream.lateness(change.in_force_at) * 1000, 1) for stream in doomed}
    figures["last_payload_ms"] = max(late.values())

    assert {who: ms for who, ms in late.items() if ms > 200} == {}
    assert [str(stream) for stream in spared if not stream.lives()] == []
    assert all(stream.is_cut_by(change.in_force_at) for stream in doomed)


def test_rule_edited(site: Site, figures: dict) -> None:
    """A name taken out of a rule ends its connections, and those only."""
    publish(site, "gone.example.net", 10)
    publish(site, "stays.example.net", 11)
    site.allow("edited", names("gone.example.net", ports=PORTS), names("stays.example.net", ports=PORTS))
    site.allow("edited-too", cidrs("203.0.113.0/24", "2001:db8:9a::/64", ports=PORTS), app="edited")
    one, other = site.pods("edited", "edited")
    doomed = [*streams_to(site, one, "gone.example.net"), *streams_to(site, other, "gone.example.net")]
    spared = [*streams_to(site, one, "stays.example.net"), *streams_to(site, other, "stays.example.net")]
    spared += [site.stream(one, to, 443, protocol) for to in ("203.0.113.10", "2001:db8:9a::10") for protocol in ("tcp", "udp")]

    with only_these_are_cut(site, doomed, spared, figures):
        site.program.save_rule("edited.yaml", rule("edited", names("stays.example.net", ports=PORTS)))

    assert one.connect(address(10, 4)).what == "refused"
    assert one.connect(address(11, 6)).is_connected


def test_deny_of_one_name_below_a_wildcard(site: Site, figures: dict) -> None:
    """A part of what a rule's number stands for is taken away: the survivors of the same rule do not notice."""
    publish(site, "bad.wild.example.net", 20)
    publish(site, "good.wild.example.net", 21)
    site.allow("wild", names("*.wild.example.net", ports=PORTS), cidrs("203.0.113.20/32", ports=("443",)))
    pod, neighbour = site.pods("wild", "wild")
    doomed = streams_to(site, pod, "bad.wild.example.net")
    spared = [*streams_to(site, pod, "good.wild.example.net"), *streams_to(site, neighbour, "good.wild.example.net")]
    spared += [site.stream(pod, "203.0.113.20")]

    with only_these_are_cut(site, doomed, spared, figures):
        site.program.save_rule("wild-deny.yaml", cluster_rule("wild-deny", "Deny", names("bad.wild.example.net"), app="wild"))

    assert not pod.resolve("bad.wild.example.net").addresses
    assert pod.fetch("good.wild.example.net").is_connected


def test_deny_of_one_port(site: Site, figures: dict) -> None:
    """A port taken from a permission that has no end of ports ends that port's connections only."""
    publish(site, "ports.example.net", 30)
    site.allow("every-port", names("ports.example.net"))
    pod = site.pod("every-port")
    doomed = streams_to(site, pod, "ports.example.net")
    spared = [site.stream(pod, address(30, family), 8080) for family, _ in FAMILIES]

    with only_these_are_cut(site, doomed, spared, figures):
        denied = cluster_rule("every-port-deny", "Deny", names("ports.example.net", ports=PORTS), app="every-port")
        site.program.save_rule("every-port-deny.yaml", denied)

    assert pod.connect(address(30, 4), 8080).is_connected


def test_cidr_taken_out_of_a_rule(site: Site, figures: dict) -> None:
    """Connections that a rule's CIDRs allowed end with the CIDR; what its names allow lives."""
    publish(site, "named.example.net", 40)
    networks = ("203.0.113.40/32", "2001:db8:40::/64")
    site.allow("network", names("named.example.net", ports=PORTS), cidrs(*networks, ports=PORTS), cidrs("203.0.113.41/32"))
    pod = site.pod("network")
    doomed = [site.stream(pod, to, 443, protocol) for to in ("203.0.113.40", "2001:db8:40::1") for protocol in ("tcp", "udp")]
    spared = [*streams_to(site, pod, "named.example.net"), site.stream(pod, "203.0.113.41")]

    with only_these_are_cut(site, doomed, spared, figures):
        site.program.save_rule("network.yaml", rule("network", names("named.example.net", ports=PORTS), cidrs("203.0.113.41/32")))


def test_pod_removed(site: Site, figures: dict) -> None:
    """A pod that is gone from the list says and hears nothing more; its neighbour's connections to the same address live."""
    publish(site, "shared.example.net", 50)
    site.allow("removed", names("shared.example.net", ports=PORTS), cidrs("203.0.113.50/32"))
    gone, neighbour = site.pods("removed", "removed")
    doomed = [*streams_to(site, gone, "shared.example.net"), site.stream(gone, "203.0.113.50")]
    spared = [*streams_to(site, neighbour, "shared.example.net"), site.stream(neighbour, "203.0.113.50")]

    with only_these_are_cut(site, doomed, spared, figures):
        gone.remove()

    assert not gone.connect(address(50, 4)).is_connected
    assert not gone.resolve("shared.example.net", timeout=0.5).addresses


def test_labels_changed(site: Site, figures: dict) -> None:
    """A pod that no rule's selector takes in any more, but another's, keeps only what that one allows."""
    publish(site, "first.example.net", 60)
    publish(site, "both.example.net", 61)
    site.allow("label-one", names("first.example.net", "both.example.net", ports=PORTS))
    site.allow("label-two", names("both.example.net", ports=PORTS))
    pod = site.pod("label-one")
    doomed = streams_to(site, pod, "first.example.net")
    spared = streams_to(site, pod, "both.example.net")

    with only_these_are_cut(site, doomed, spared, figures):
        pod.become(labels={"app": "label-two"})


def test_stream_whose_lease_is_over(site: Site, figures: dict) -> None:
    """It lives through a revocation of something else, and ends with a revocation of its own name, though no element stands for it."""
    publish(site, "short.example.net", 70, ttl=1)
    publish(site, "other.example.net", 71, ttl=1)
    limits = {"minSeconds": 1, "maxSeconds": 1, "graceSeconds": 0}
    allowed = [names("short.example.net", ports=PORTS), names("other.example.net", ports=PORTS)]
    site.allow("leased", *allowed, names("third.example.net"), ttl=limits)
    pod = site.pod("leased")
    mine, others = streams_to(site, pod, "short.example.net"), streams_to(site, pod, "other.example.net")
    time.sleep(2.5)
    assert pod.connect(address(70, 4)).what == "refused"

    site.allow("leased", *allowed, ttl=limits)
    assert [str(stream) for stream in (*mine, *others) if not stream.lives()] == []

    with only_these_are_cut(site, mine, others, figures):
        site.program.save_rule("leased.yaml", rule("leased", allowed[1], ttl=limits))


def test_newly_selected_pod(site: Site, figures: dict) -> None:
    """When a pod becomes selected, its open connections are judged like new ones."""
    site.allow("begins", cidrs("203.0.113.80/32"))
    with site.change():
        (pod,) = site.lab.pods_at_once([("shop/begins", {"app": "nobody"})])
    doomed = streams_of_cidrs(site, pod, 80)
    spared = [site.stream(pod, "203.0.113.80"), site.stream(pod, "203.0.113.80", 443, "udp")]

    with only_these_are_cut(site, doomed, spared, figures):
        pod.become(labels={"app": "begins"})


def test_audit_becomes_enforce(site: Site, figures: dict) -> None:
    """What only Audit mode let live ends when the rule is enforced."""
    publish(site, "audited.example.net", 90)
    allowed = names("audited.example.net", ports=PORTS)
    site.allow("audited", allowed, mode="Audit")
    pod = site.pod("audited")
    doomed, spared = streams_of_cidrs(site, pod, 91), streams_to(site, pod, "audited.example.net")

    with only_these_are_cut(site, doomed, spared, figures):
        site.program.save_rule("audited.yaml", rule("audited", allowed))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_revoked_peer_does_not_come_back_as_ingress(site: Site, protocol: str) -> None:
    """After conntrack has forgotten a revoked connection, the far end's next packet is no new one towards the pod."""
    number = 100 if protocol == "tcp" else 101
    name, app = f"back-{protocol}.example.net", f"back-{protocol}"
    publish(site, name, number)
    site.allow(app, names(name, ports=PORTS))
    pod = site.pod(app)
    stream = site.stream(pod, pod.resolve(name).address, 443, protocol)
    change = site.allow(app, names("none.example.net"))
    assert stream.is_cut_by(change.in_force_at)

    site.forget_connections(pod.address4)
    forgotten_at = time.monotonic()

    assert stream.last() < forgotten_at
    assert stream.is_cut_by(forgotten_at)
