"""A grant is one pod's own, ends some time, and rests on rules that still stand when the answer leaves."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from system_kit import Site, Watched, cidrs, names, rule, wait_for

from dnsfw.demo.zone import Reply

FAMILIES = [pytest.param("A", id="ipv4"), pytest.param("AAAA", id="ipv6")]


def test_neighbour_needs_its_own_answer(site: Site) -> None:
    """A pod with the same labels cannot use what only its neighbour asked for; TCP, UDP, ICMP, IPv4 and IPv6."""
    site.lab.internet.set("mine.example.net", "60 A 192.0.2.10", "60 AAAA 2001:db8::10")
    site.allow("same", names("*.example.net"))
    asker, neighbour = site.pods("same", "same")
    for qtype in ("A", "AAAA"):
        address = asker.resolve("mine.example.net", qtype).address
        assert asker.connect(address).is_connected
        assert asker.connect(address, 443, "udp").is_connected
        assert asker.ping(address).is_connected

        assert neighbour.connect(address).what == "refused"
        assert neighbour.connect(address, 443, "udp").what == "unreachable"
        assert neighbour.ping(address).what == "unreachable"


def test_grant_of_the_other_family_is_none(site: Site) -> None:
    """An A record opens nothing over IPv6."""
    site.lab.internet.set("only4.example.net", "60 A 192.0.2.20", "60 AAAA 2001:db8::20")
    site.allow("only4", names("*.example.net"))
    pod = site.pod("only4")
    assert pod.fetch("only4.example.net").is_connected

    assert pod.connect("2001:db8::20").what == "refused"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("qtype", FAMILIES)
def test_lease_over_while_a_connection_lives(site: Site, qtype: str, protocol: str) -> None:
    """The connection lives on; a new one is refused fast."""
    app = f"lease-{qtype.lower()}-{protocol}"
    site.lab.internet.set(f"{app}.example.net", "1 A 192.0.2.30", "1 AAAA 2001:db8::30")
    limits = {"minSeconds": 1, "maxSeconds": 2, "graceSeconds": 0}
    site.allow(app, names(f"{app}.example.net", ports=("443", "UDP/443")), ttl=limits)
    pod = site.pod(app)
    address = pod.resolve(f"{app}.example.net", qtype).address
    streams = [site.stream(pod, address, 443, protocol), site.stream(pod, address, 443, protocol, push_ms=0)]

    refused = wait_for(lambda: not (outcome := pod.connect(address, 443, protocol)).is_connected and outcome)

    assert refused.what == ("refused" if protocol == "tcp" else "unreachable")
    assert [str(stream) for stream in streams if not stream.lives()] == []


@pytest.mark.parametrize("qtype", FAMILIES)
def test_rule_revoked_while_upstream_is_asked(site: Site, qtype: str) -> None:
    """The answer that comes too late brings no element, and no address to the pod."""
    app = f"late-{qtype.lower()}"
    name, address = f"{app}.example.net", "192.0.2.40" if qtype == "A" else "2001:db8::40"
    site.lab.internet.script(name, Reply(records=(f"60 {qtype} {address}",), delay=2.0))
    site.allow(app, names(name))
    pod = site.pod(app)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(pod.resolve, name, qtype)
        wait_for(lambda: site.lab.internet.count(name))
        site.allow(app, names("other.example.net"))
        answer = asked.result(10)

    assert answer.addresses == []
    assert address not in site.table()
    assert pod.connect(address).what == "refused"


def test_rule_given_while_upstream_is_asked(site: Site) -> None:
    """An exchange decides again when the rules change: it answers by the rules of now, with what they grant."""
    site.lab.internet.script("again.example.net", Reply(records=("60 A 192.0.2.50",), delay=2.0))
    site.allow("again", names("again.example.net", ports=("443",)))
    pod = site.pod("again")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(pod.resolve, "again.example.net")
        wait_for(lambda: site.lab.internet.count("again.example.net"))
        site.allow("again", names("*.example.net", ports=("80",)))
        answer = asked.result(10)

    assert answer.addresses == ["192.0.2.50"]
    assert pod.connect("192.0.2.50", 80).is_connected
    assert pod.connect("192.0.2.50", 443).what == "refused"


def test_pod_gone_while_upstream_is_asked(site: Site) -> None:
    """Its address stays without elements, for whoever has it next."""
    site.lab.internet.script("orphan.example.net", Reply(records=("60 A 192.0.2.60",), delay=2.0))
    site.save("orphan", rule("orphan", names("orphan.example.net")), rule("orphan-heir", names("heir.example.net")))
    pod = site.pod("orphan")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(pod.resolve, "orphan.example.net")
        wait_for(lambda: site.lab.internet.count("orphan.example.net"))
        with site.change():
            pod.become("shop/heir", labels={"app": "orphan-heir"})
        answer = asked.result(10)

    assert answer.addresses == []
    assert "192.0.2.60" not in site.table()
    assert pod.connect("192.0.2.60").what == "refused"


@pytest.mark.parametrize("count", [pytest.param(8, id="short"), pytest.param(200, id="full", marks=pytest.mark.long)])
def test_address_given_to_another_pod_in_the_same_save(site: Site, figures: dict, count: int) -> None:
    """Nothing is inherited: not a stream that is open, not a grant; what the next pod is granted works."""
    internet, ports = site.lab.internet, ("443", "UDP/443", "ICMP")
    app = f"reuse{count}"
    site.save(app, rule(f"{app}-a", names("a.reuse.net", ports=ports)), rule(f"{app}-b", names("b.reuse.net", ports=ports)))
    internet.set("a.reuse.net", "60 A 192.0.2.70", "60 AAAA 2001:db8::70")
    internet.set("b.reuse.net", "60 A 192.0.2.71", "60 AAAA 2001:db8::71")
    place = site.pod(f"{app}-a")
    last_ms: list[float] = []
    before: list[tuple[Watched, float]] = []
    for turn in range(count):
        mine, other = ("a", "b") if turn % 2 == 0 else ("b", "a")
        to4, to6 = (place.resolve(f"{mine}.reuse.net", qtype).address for qtype in ("A", "AAAA"))
        streams = [
            site.stream(place, to4),
            site.stream(place, to6),
            site.stream(place, to4, 443, "udp"),
            site.stream(place, to6, 443, "udp"),
        ]
        assert place.ping(to4).is_connected
        last_ms += ended(site, before)  # before this pod's permission comes back to its address
        with site.change() as change:
            place.become(f"shop/reuse-{turn}", labels={"app": f"{app}-{other}"})

        assert [place.connect(to).what for to in (to4, to6)] == ["refused"] * 2
        assert not place.ping(to4).is_connected
        assert place.fetch(f"{other}.reuse.net").is_connected
        assert place.fetch(f"{other}.reuse.net", 443, "AAAA", protocol="udp").is_connected
        before = [(stream, change.in_force_at) for stream in streams]
    time.sleep(0.5)
    last_ms += ended(site, before)
    figures["last_payload_ms"] = max(last_ms)

    assert max(last_ms) <= 200


def ended(site: Site, streams: list[tuple[Watched, float]]) -> list[float]:
    """How long after their revocation these streams had their last payloads, in ms; they are closed."""
    found = [(stream.last() - since) * 1000 for stream, since in streams]
    for stream, _ in streams:
        stream.opened.close()
        site.lab.internet.stop_push(stream.opened.token)
    return found


def test_grant_dies_with_the_cidr_beside_it(site: Site) -> None:
    """A name's grant and a CIDR of the same rule are two permissions: taking the one leaves the other."""
    site.lab.internet.set("double.example.net", "60 A 192.0.2.80")
    site.allow("double", names("double.example.net"), cidrs("192.0.2.80/32", ports=("80",)))
    pod = site.pod("double")
    assert pod.fetch("double.example.net").is_connected

    site.allow("double", cidrs("192.0.2.80/32", ports=("80",)))

    assert pod.connect("192.0.2.80", 443).what == "refused"
    assert pod.connect("192.0.2.80", 80).is_connected
