"""kill -9, restart, and other hands in the table: never wider than the rules, and what is allowed comes back."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from system_kit import Site, Watched, bar, cidrs, names, rule, wait_for

from dnsfw.demo.lab import Pod
from dnsfw.demo.results import Packet

ALLOWED4, ALLOWED6, STATIC4 = "192.0.2.10", "2001:db8::10", "203.0.113.10"
ONLY_FIRST4 = "192.0.2.11"
FORBIDDEN4, FORBIDDEN6 = "198.51.100.66", "2001:db8:bad::66"
WEB = rule("web", names("*.example.net", ports=("443", "UDP/443")), cidrs(f"{STATIC4}/32", ports=("443",)))
INTERVAL_S = 0.02


@pytest.fixture
def web(own_site: Site) -> list[Pod]:
    """Two pods under one rule; both have asked for one name, only the first for another."""
    lab = own_site.lab
    lab.internet.set("www.example.net", f"60 A {ALLOWED4}", f"60 AAAA {ALLOWED6}")
    lab.internet.set("mine.example.net", f"60 A {ONLY_FIRST4}", "60 AAAA 2001:db8::11")
    own_site.save("web", WEB)
    pods = own_site.pods("web", "web")
    for pod in pods:
        assert [pod.resolve("www.example.net", qtype).address for qtype in ("A", "AAAA")] == [ALLOWED4, ALLOWED6]
    assert pods[0].resolve("mine.example.net").address == ONLY_FIRST4
    return pods


@dataclass(slots=True)
class Probes:
    """Attempts every 20 ms from several pods. tries: what must not connect; allowed: what shall; trickles: UDP that nobody may hear."""

    tries: "dict[str, Future]" = field(default_factory=dict)
    allowed: "dict[str, Future]" = field(default_factory=dict)
    trickles: list[Any] = field(default_factory=list)
    streams: list[Watched] = field(default_factory=list)

    def failures(self) -> list[float]:
        """When an allowed attempt failed; the last of each kind must have worked."""
        found = {who: watch.result(60) for who, watch in self.allowed.items()}
        assert {who: results[-5:] for who, results in found.items() if results[-1][1] != "connected"} == {}
        return [at for results in found.values() for at, what in results if what != "connected"]


@contextmanager
def probing(site: Site, pods: list[Pod], seconds: float) -> Iterator[Probes]:
    """From before the body until some time after it: nothing forbidden gets out, and at the end every stream lives."""
    first, second = pods
    probes, count = Probes(), int(seconds / INTERVAL_S)
    with site.lab.internet.capture() as packets:
        for pod in pods:
            closed = [(FORBIDDEN4, 443), (FORBIDDEN6, 443), (ALLOWED4, 80), *([(ONLY_FIRST4, 443)] if pod is second else [])]
            for address, port in closed:
                watch = pod.begin_watch(address, port, interval=INTERVAL_S, count=count, timeout=0.1)
                probes.tries[f"{pod} {address} {port}"] = watch
            probes.trickles += [pod.open_stream(to, 443, "udp", push_ms=20, pull_ms=20) for to in (FORBIDDEN4, FORBIDDEN6)]
        for address in (ALLOWED4, ALLOWED6, STATIC4):
            probes.allowed[address] = first.begin_watch(address, interval=INTERVAL_S, count=count, timeout=0.3)
        probes.streams = [site.stream(first, to, 443, protocol) for to in (ALLOWED4, ALLOWED6) for protocol in ("tcp", "udp")]
        probes.streams += [site.stream(first, STATIC4), site.stream(second, ALLOWED4, 443, "udp", push_ms=0)]
        yield probes
        outcomes = {what for watch in probes.tries.values() for _, what in watch.result(60)}
        wait([*probes.allowed.values()], 60)
    for trickle in probes.trickles:
        trickle.close()

    assert "connected" not in outcomes
    assert [each for each in packets if is_forbidden(each, second)] == []
    assert [str(stream) for stream in probes.streams if not stream.lives()] == []


def is_forbidden(packet: Packet, second: Pod) -> bool:
    """A packet that reached the internet and should not have; ARP and neighbours are none of them."""
    if packet.destination in {FORBIDDEN4, FORBIDDEN6} or (packet.destination, packet.dport) == (ALLOWED4, 80):
        return True
    return (packet.source, packet.destination) == (second.address4, ONLY_FIRST4)


def test_kill_and_restart(own_site: Site, web: list[Pod], figures: dict) -> None:
    """Nothing opens while the program is away or comes back; grants, streams and DNS go on."""
    program = own_site.program
    with probing(own_site, web, 6.0) as probes:
        program.kill()
        time.sleep(0.5)
        program.start()
        program.wait_ready()
    failed = probes.failures()
    program.kill()
    started = time.monotonic()
    program.start()
    figures["dns_back_s"] = answered_since(web[0], "www.example.net", started)

    assert failed == [], "grants that stood must work throughout"
    assert figures["dns_back_s"] < bar(2.0)
    assert web[1].connect(ONLY_FIRST4).what == "refused"
    assert web[0].connect(ONLY_FIRST4).is_connected


def answered_since(pod: Pod, name: str, begun: float) -> float:
    while not pod.resolve(name, timeout=0.1).addresses:
        assert time.monotonic() < begun + 15
    return time.monotonic() - begun


HANDS: Mapping[str, str] = {
    "flush ruleset": "flush ruleset",
    "flush chain egress": "flush chain inet dnsfw egress",
    "flush set protected4": "flush set inet dnsfw protected4",
    "flush map pods4": "flush map inet dnsfw pods4",
}
MORE_HANDS: Mapping[str, str] = {
    "delete table": "delete table inet dnsfw",
    "flush table": "flush table inet dnsfw",
    "flush chain granted": "flush chain inet dnsfw granted",
    "flush chain refuse": "flush chain inet dnsfw refuse",
    "delete chain egress": "delete chain inet dnsfw egress",
    "insert accept": "insert rule inet dnsfw egress accept",
    "flush set selected4": "flush set inet dnsfw selected4",
    "flush set internal4": "flush set inet dnsfw internal4",
    "twice": "flush ruleset; add table inet other; flush ruleset",
}


@pytest.mark.parametrize("hands", [pytest.param(HANDS, id="few"), pytest.param(MORE_HANDS, id="more", marks=pytest.mark.long)])
def test_other_hands_in_the_table(own_site: Site, web: list[Pod], figures: dict, hands: Mapping[str, str]) -> None:
    """Whatever others flush or delete: nothing opens, the table is back within a second, streams live through it."""
    own_site.lab.internet.set("new.example.net", "60 A 192.0.2.12")
    hurt: dict[str, float] = {}
    with probing(own_site, web, 1.7 * len(hands) + 1) as probes:
        for what, text in hands.items():
            hurt[what] = time.monotonic()
            own_site.lab.nft(text)
            wait_for(lambda: is_whole(own_site), what=f"{what}: {own_site.program.log}")
            figures[what] = time.monotonic() - hurt[what]
            time.sleep(max(0.0, hurt[what] + 1.5 - time.monotonic()))
            assert web[0].fetch("new.example.net").is_connected, what

    failures = probes.failures()
    outages = {what: max((at - begun for at in failures if begun <= at < begun + 1.5), default=0.0) for what, begun in hurt.items()}
    figures["outages_s"] = outages
    assert {what: seconds for what, seconds in outages.items() if seconds > bar(1.0)} == {}


def is_whole(site: Site) -> bool:
    """The parts that were taken away stand again."""
    table = site.table()
    parts = ("@live goto pass", "saddr vmap @pods4", "reject with tcp reset", "map @any4 ", "10.244.1.1", "169.254.0.0/16", "10.244.0.0/16")
    return all(part in table for part in parts) and "\n\t\taccept" not in table


def test_element_of_pods_deleted(own_site: Site, web: list[Pod]) -> None:
    """A pod that is taken out of the table's map is not let out by that, and is put back."""
    with probing(own_site, web, 3.0):
        for of in ("pods4", "selected4"):
            own_site.lab.nft(f"delete element inet dnsfw {of} {{ {web[1].address4} }}")
        wait_for(lambda: web[1].address4 in own_site.elements("pods4") and web[1].address4 in own_site.elements("selected4"))


def test_foreign_element_is_taken_out(own_site: Site, web: list[Pod], figures: dict) -> None:
    """A permission that somebody put into our maps does not stay."""
    live = own_site.elements("port4").split("10.244")[1].rpartition(": ")[2].split()[0]
    put = f"add element inet dnsfw any4 {{ {web[1].address4} . {FORBIDDEN4} timeout 1h : {live} }}"
    own_site.lab.nft(put)
    begun = time.monotonic()
    wait_for(lambda: FORBIDDEN4 not in own_site.elements("any4"))
    figures["taken_out_s"] = time.monotonic() - begun

    wait_for(lambda: web[1].connect(FORBIDDEN4).what == "refused")


def test_rules_changed_while_it_was_down(own_site: Site, web: list[Pod]) -> None:
    """At adoption the rules of now are enforced: what they do not allow is cut, what they do goes on."""
    own_site.save("more", rule("more", names("more.net", ports=("443",)), cidrs("203.0.113.20/32", "203.0.113.21/32"), app="web"))
    own_site.lab.internet.set("more.net", "60 A 192.0.2.30")
    assert web[0].fetch("more.net").is_connected
    doomed = [own_site.stream(web[0], to) for to in ("192.0.2.30", "203.0.113.21")]
    spared = [own_site.stream(web[0], to) for to in (ALLOWED4, "203.0.113.20")]
    gone = own_site.stream(web[1], ALLOWED4, push_ms=0)
    own_site.program.kill()
    own_site.program.save_rule("more.yaml", rule("more", cidrs("203.0.113.20/32"), app="web"))
    web[1].remove()
    own_site.program.start()
    own_site.program.wait_ready()
    ready = time.monotonic()

    assert [str(stream) for stream in (*doomed, gone) if not stream.is_cut_by(ready)] == []
    assert [str(stream) for stream in spared if not stream.lives()] == []
    assert web[0].connect("192.0.2.30").what == "refused"
    assert web[0].connect(ALLOWED4).is_connected
    assert not web[1].connect(ALLOWED4).is_connected


@pytest.mark.parametrize("is_over", [pytest.param(True, id="lease-over"), pytest.param(False, id="lease-runs")])
def test_name_withdrawn_after_a_restart(own_site: Site, is_over: bool) -> None:
    """A connection from before a restart ends with its name, whether or not its lease was over when the program came back."""
    site, ttl = own_site, 1 if is_over else 60
    site.lab.internet.set("old.example.net", f"{ttl} A 192.0.2.40")
    site.lab.internet.set("kept.example.net", f"{ttl} A 192.0.2.41")
    limits = {"minSeconds": 1, "maxSeconds": 60, "graceSeconds": 0}
    site.allow("old", names("old.example.net", ports=("443",)), names("kept.example.net", ports=("443",)), ttl=limits)
    pod = site.pod("old")
    old, kept = (site.stream(pod, pod.resolve(name).address) for name in ("old.example.net", "kept.example.net"))
    time.sleep(2.5 if is_over else 0)
    site.program.kill()
    site.program.start()
    site.program.wait_ready()
    assert old.lives()
    assert kept.lives()

    pod.resolve("kept.example.net")
    change = site.allow("old", names("kept.example.net", ports=("443",)), ttl=limits)

    assert old.is_cut_by(change.in_force_at)
    assert kept.lives()


def test_crash_while_rules_change(own_site: Site, web: list[Pod]) -> None:
    """Killed in the middle of a change, it comes back to the rules of now."""
    site, allows = own_site, WEB
    denies = rule("web", names("mine.example.net", ports=("443", "UDP/443")))
    for pause in (0.0, 0.02, 0.05, 0.1):
        site.program.save_rule("web.yaml", denies)
        time.sleep(pause)
        site.program.kill()
        site.program.start()
        site.program.wait_ready()
        assert web[1].connect(ALLOWED4).what == "refused", pause
        assert web[0].connect(STATIC4).what == "refused", pause
        site.save("web", allows)
        assert web[1].fetch("www.example.net").is_connected, pause


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        pytest.param(("--api", "unix:{folder}/other.sock"), "cannot listen on 169.254.20.53:53 (udp): address already in use", id="dns"),
        pytest.param(("--listen", "169.254.20.53:5353"), "another dnsfw answers there", id="api"),
    ],
)
def test_program_that_cannot_listen_leaves_the_kernel_alone(own_site: Site, flags: tuple[str, str], told: str) -> None:
    """A table of its own, without anybody who grants in it, would close the pods that the first one serves."""
    folder = own_site.lab.folder
    arguments = [*own_site.program.arguments, "--table", "other", "--audit-db", f"{folder}/other.db"]
    if flags[0] == "--listen":
        arguments = arguments[arguments.index("--upstream") :]
    done = own_site.lab.dnsfw("run", *arguments, *(flag.format(folder=folder) for flag in flags), timeout=20)

    assert (done.status, told in done.stderr) == (1, True), done.stderr
    assert "table inet other" not in own_site.lab.run("nft", "list", "tables").stdout
    assert own_site.status()["ready"]


def test_second_program_is_refused(own_site: Site) -> None:
    """Two on one node would fight: the second says so and goes, the first does not notice."""
    folder = own_site.lab.folder
    elsewhere = ("--api", f"unix:{folder}/second.sock", "--audit-db", f"{folder}/second.db", "--listen", "169.254.20.53:5353")
    done = own_site.lab.dnsfw("run", *own_site.program.arguments, *elsewhere, timeout=20)

    assert done.status == 1
    assert "error:" in done.stderr
    assert "already" in done.stderr or "another" in done.stderr
    assert own_site.status()["ready"]
