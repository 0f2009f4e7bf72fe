"""The story that dnsfw was made for, as chapters: what the rules allow works, whatever else is tried does not.

Touches the scene: real packets between real namespaces. Each chapter returns its steps when it is over.
"""

import threading
from collections.abc import Callable, Iterator, Sequence

from dnsfw.clock import SystemClock
from dnsfw.demo import scene as on
from dnsfw.demo import topology
from dnsfw.demo.commands import grants
from dnsfw.demo.host import OpenedStream
from dnsfw.demo.lab import Pod
from dnsfw.demo.scene import Scene, example_rules
from dnsfw.demo.steps import Chapter, Step, fetches, has_no_name, holds, is_closed, reaches, said
from dnsfw.demo.zone import Reply

FAMILIES = ("A", "AAAA")
IN_FORCE_MS = 1000.0
QUIET_S = 0.6
PATIENCE_S = 3.0

now = SystemClock().now


def chapters(scene: Scene) -> Iterator[Chapter]:
    """In order; each is played when it is asked for."""
    for title, says, play in CHAPTERS:
        yield Chapter(title=title, says=says, steps=tuple(play(scene)))


def what_is_allowed(scene: Scene) -> Iterator[Step]:
    for qtype in FAMILIES:
        yield fetches(scene.app1, "www.github.com", 443, qtype)
    yield fetches(scene.app1, "api.github.com")
    for address in (on.PARTNER4, on.PARTNER6):
        yield reaches(scene.app1, "partner", address, 22)
    for qtype in FAMILIES:
        yield fetches(scene.app2, "api.weather.gov", 443, qtype)
    for address in (on.MAIL4, on.MAIL6):
        yield reaches(scene.app2, "mail server", address, 25)


def another_name(scene: Scene) -> Iterator[Step]:
    yield has_no_name(scene.app1, "www.example.net")
    yield has_no_name(scene.app1, "www.example.net", "AAAA")
    yield has_no_name(scene.app1, "github.com")
    yield has_no_name(scene.app1, "www.github.com.example.net")
    yield has_no_name(scene.app1, "api.weather.gov")
    yield has_no_name(scene.app2, "forecast.weather.gov", is_tcp=True)
    yield _never_asked(scene, ("www.example.net", "github.com", "forecast.weather.gov"))


def a_direct_address(scene: Scene) -> Iterator[Step]:
    yield is_closed(scene.app1, "stranger", on.STRANGER4, 443)
    yield is_closed(scene.app1, "stranger", on.STRANGER6, 443)
    yield is_closed(scene.app1, "www.github.com", on.WWW4, 80)
    yield is_closed(scene.app1, "www.github.com", on.WWW4, 443, "udp")
    yield is_closed(scene.app1, "partner", on.PARTNER6, 443)
    yield is_closed(scene.app2, "mail server", on.MAIL4, 443)


def another_resolver(scene: Scene) -> Iterator[Step]:
    for server in (on.MAIL4, on.MAIL6):
        yield has_no_name(scene.app1, "www.example.net", server=server)
    yield has_no_name(scene.app1, "www.example.net", server=on.MAIL4, is_tcp=True)
    answer = scene.app1.resolve("www.github.com", server=on.MAIL4)
    yield holds(f"app1-a asks {on.MAIL4} for www.github.com", on.WWW4, said(answer), is_so=answer.addresses == [on.WWW4], ms=answer.ms)
    strangers = [query for query in scene.lab.internet.queries() if query.asked != topology.RESOLVER4]
    yield holds("how many of these questions got there", "0", str(len(strangers)), is_so=not strangers)
    yield is_closed(scene.app1, "DNS over TLS", on.MAIL4, 853)
    yield is_closed(scene.app1, "DNS over TLS", on.WWW6, 853)
    yield is_closed(scene.app2, "DNS over QUIC", on.MAIL4, 853, "udp")


def another_pod(scene: Scene) -> Iterator[Step]:
    for address in (on.WWW4, on.WWW6):
        yield is_closed(scene.app2, "www.github.com", address, 443)
    yield is_closed(scene.app2, "partner", on.PARTNER4, 22)
    yield is_closed(scene.app1, "mail server", on.MAIL4, 25)
    asked = scene.neighbour.resolve(on.ONLY_NEIGHBOUR)
    yield holds(f"app1-b asks for {on.ONLY_NEIGHBOUR}", "an address", said(asked), is_so=bool(asked.addresses), ms=asked.ms)
    yield is_closed(scene.app1, "it too, unasked,", asked.address, 443)
    yield fetches(scene.app1, on.ONLY_NEIGHBOUR)


def rebinding(scene: Scene) -> Iterator[Step]:
    flips = (Reply(records=(f"0 A {on.WWW4}", f"0 AAAA {on.WWW6}")), Reply(records=(f"0 A {topology.METADATA4}",)))
    scene.lab.internet.script("rebind.github.com", *flips)
    scene.lab.internet.set("metadata.github.com", f"0 AAAA {topology.METADATA6}", "0 AAAA ::ffff:a9fe:a9fe")
    yield fetches(scene.app1, "rebind.github.com")
    for name, qtype in (("rebind.github.com", "A"), ("metadata.github.com", "AAAA")):
        answer = scene.app1.resolve(name, qtype)
        tried = f"app1-a asks for {name}, now metadata"
        yield holds(tried, "no address", said(answer), is_so=not answer.addresses and answer.rcode == "NOERROR", ms=answer.ms)
    yield is_closed(scene.app1, "metadata", topology.METADATA4, 80)
    yield is_closed(scene.app1, "metadata", topology.METADATA6, 443)


def a_ttl_of_zero(scene: Scene) -> Iterator[Step]:
    for qtype in FAMILIES:
        yield fetches(scene.app1, "zero.github.com", 443, qtype)
    leases = [grant["remaining_s"] for grant in grants(scene) if "zero.github.com" in grant["names"]]
    # nftables reads a timeout of 0 as "never": the lease's floor (30 s) and grace (10 s) must have become of it.
    is_so = len(leases) == len(FAMILIES) and all(0 < seconds <= 40 for seconds in leases)
    yield holds("how long these two grants last", "40 s", ", ".join(f"{seconds:.0f} s" for seconds in leases), is_so=is_so)


def a_spoofed_source(scene: Scene) -> Iterator[Step]:
    pairs = ((scene.app1.address4, on.WWW4), (scene.app1.address6, on.WWW6))
    for source, destination in pairs:
        with scene.lab.internet.capture() as packets:
            trouble = scene.app2.send_syn(source, destination, 443, sport=50505)
            scene.app1.connect(destination, 443)  # an honest packet behind it: once this came, the forged one would have
        forged = [packet for packet in packets if packet.sport == 50505]
        is_seen = any(packet.destination == destination for packet in packets)
        got = trouble or (f"{len(forged)} packets got out" if forged else "nothing got out")
        yield holds(f"app2-a sends as {source}", "nothing gets out", got, is_so=is_seen and not forged and not trouble)


def a_rule_removed(scene: Scene) -> Iterator[Step]:
    doomed = [_stream(scene.app1, address, 443, protocol) for address, protocol in ((on.WWW4, "tcp"), (on.WWW6, "tcp"))]
    others = [_stream(scene.app1, on.PARTNER4, 22, "tcp"), _stream(scene.app2, "198.51.100.20", 443, "tcp")]
    threading.Event().wait(0.1)
    saved = now()
    scene.program.save_rule("app1.yaml", without_github(example_rules()["app1.yaml"]))
    for stream in doomed:
        yield _cut(scene, stream, saved)
    for stream in others:
        yield _uncut(scene, stream)
    yield is_closed(scene.app1, "www.github.com, a new one,", on.WWW4, 443)
    yield has_no_name(scene.app1, "www.github.com")
    scene.program.save_rule("app1.yaml", example_rules()["app1.yaml"])
    yield _back(scene)
    for pod, name, qtype in (
        (scene.app1, "www.github.com", "AAAA"),
        (scene.app1, "api.github.com", "A"),
        (scene.neighbour, on.ONLY_NEIGHBOUR, "A"),
    ):
        yield fetches(pod, name, 443, qtype)


def without_github(text: str) -> str:
    """The rule without its first peer."""
    head, _, rest = text.partition('    - toFQDNs: ["*.github.com"]\n      ports: [{port: 443}]\n')
    return head + rest


def _stream(pod: Pod, address: str, port: int, protocol: str) -> tuple[Pod, str, OpenedStream]:
    return pod, address, pod.open_stream(address, port, protocol, push_ms=10, pull_ms=10)


def _cut(scene: Scene, opened: tuple[Pod, str, OpenedStream], saved: float) -> Step:
    _, address, stream = opened
    last = _last_payload(scene, stream)
    while now() - last < QUIET_S and now() - saved < PATIENCE_S:
        threading.Event().wait(0.05)
        last = _last_payload(scene, stream)
    ms = (last - saved) * 1000
    is_quiet = now() - last >= QUIET_S
    happened = f"last payload after {ms:.0f} ms" if is_quiet else "payloads still pass"
    is_so = stream.outcome.is_connected and is_quiet and ms <= IN_FORCE_MS
    return holds(f"app1-a's open stream to {address}", "cut within 1 s", happened, is_so=is_so, ms=ms)


def _uncut(scene: Scene, opened: tuple[Pod, str, OpenedStream]) -> Step:
    pod, address, stream = opened
    asked = now()
    while (last := _last_payload(scene, stream)) < asked and now() - asked < PATIENCE_S:
        threading.Event().wait(0.01)
    is_so = stream.outcome.is_connected and last >= asked and not stream.close().ended
    happened = "payloads pass" if is_so else f"silent for {(now() - last) * 1000:.0f} ms"
    return holds(f"{pod.identity.name}'s open stream to {address}", "not cut", happened, is_so=is_so)


def _last_payload(scene: Scene, stream: OpenedStream) -> float:
    return max(stream.report().arrived_at + scene.lab.internet.arrivals(stream.token), default=0.0)


def _back(scene: Scene) -> Step:
    saved = now()
    while not (answer := scene.app1.resolve("www.github.com")).addresses and now() - saved < PATIENCE_S:
        threading.Event().wait(0.01)
    ms = (now() - saved) * 1000
    return holds(
        "the rule back: app1-a asks again", "back within 1 s", said(answer), is_so=bool(answer.addresses) and ms <= IN_FORCE_MS, ms=ms
    )


def _never_asked(scene: Scene, names: Sequence[str]) -> Step:
    count = sum(scene.lab.internet.count(name) for name in names)
    return holds("how many of these questions got upstream", "0", str(count), is_so=count == 0)


CHAPTERS: tuple[tuple[str, str, Callable[[Scene], Iterator[Step]]], ...] = (
    ("What the rules allow", "app1: *.github.com on 443, a partner on 22. app2: api.weather.gov, 8.8.8.8 on 25.", what_is_allowed),
    ("Another name", "It is refused, and nobody outside hears of it.", another_name),
    ("A direct address", "Without a question and its answer there is no way out, nor on another port.", a_direct_address),
    ("Another resolver", "Whoever is asked on port 53, dnsfw answers. Encrypted DNS is closed.", another_resolver),
    ("The other app's address", "A grant is one pod's own, even among pods with the same labels.", another_pod),
    ("Rebinding", "No name opens the metadata service, even if it was harmless before.", rebinding),
    ("A TTL of 0", "To the kernel a timeout of 0 means for ever. It must not come to that.", a_ttl_of_zero),
    ("A spoofed source", "A pod cannot use another one's grants by its address.", a_spoofed_source),
    ("A rule removed", "Connections that live from it end with it, both ways; others do not notice.", a_rule_removed),
)
