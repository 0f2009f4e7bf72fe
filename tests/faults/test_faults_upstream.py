"""F1 and F2: what is wrong with an upstream is made on its own side, by packet filters in the internet's namespace.

A client hears something before it gives up (glibc: 5 s), another upstream is used where there is one, nothing is asked without bound,
and all is well again when the upstream is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from system_kit import Site, names, wait_for

from dnsfw.demo import topology
from dnsfw.demo.lab import Lab, Pod
from dnsfw.demo.results import Answer
from dnsfw.demo.zone import Reply

FIRST, SECOND = topology.RESOLVER4, "192.0.2.54"
GIVES_UP_MS = 5000.0
"""glibc's patience."""
FAULTS = {
    "black-hole": "drop",
    "icmp-refused": "reject with icmp port-unreachable",
    "host-unreachable": "reject with icmp host-unreachable",
    "prohibited": "reject with icmp admin-prohibited",
}


@dataclass(frozen=True)
class Scene:
    site: Site
    pod: Pod

    def resolve(self, number: int) -> Answer:
        return self.pod.resolve(f"h{number}.many.example.net", timeout=8.0)


@pytest.fixture(scope="module")
def lone(shared_lab: Lab) -> Scene:
    """With one upstream."""
    return made(shared_lab)


@pytest.fixture(scope="module")
def pair() -> Iterator[Scene]:
    """With two."""
    with Lab() as lab:
        yield made(lab, "--upstream", f"{SECOND}:53")


def made(lab: Lab, *arguments: str) -> Scene:
    lab.internet.generate("many.example.net")
    site = Site(lab, lab.run_dnsfw({}, *arguments))
    site.allow("web", names("*.example.net"))
    scene = Scene(site, site.pod("web"))
    assert scene.resolve(0).rcode == "NOERROR"
    return scene


@contextmanager
def fault(scene: Scene, verdict: str, match: str = "", server: str = FIRST) -> Iterator[None]:
    """Queries to `server` meet this verdict, over UDP and TCP."""
    rule = f"ip daddr {server} meta l4proto {{ 6, 17 }} th dport 53 {match} counter {verdict}"
    filtering(scene, f"table inet fault {{ chain c {{ type filter hook input priority 0; {rule}; }}; }}")
    try:
        yield
    finally:
        filtering(scene, "delete table inet fault")


def filtering(scene: Scene, text: str) -> None:
    done = scene.site.lab.run("nft", "-f", "-", place=topology.INTERNET, stdin=text)
    assert done.status == 0, done.stderr


def met(scene: Scene) -> int:
    """How many packets met the fault."""
    listed = scene.site.lab.run("nft", "list", "table", "inet", "fault", place=topology.INTERNET).stdout
    return int(listed.partition("packets ")[2].split()[0])


@pytest.mark.parametrize("verdict", FAULTS.values(), ids=FAULTS)
def test_f1_without_any_upstream_the_answer_is_servfail_in_time(lone: Scene, verdict: str) -> None:
    """Before stubs give up, with an error that says why; a bounded number of tries; and then well again by itself (F2)."""
    with fault(lone, verdict):
        answers = [asked.result(20) for asked in [begin(lone, 10 + number) for number in range(10)]]
        packets = met(lone)

    assert {answer["rcode"] for answer in answers} == {"SERVFAIL"}
    assert all(set(answer["ede"]) <= {22, 23} and answer["ede"] for answer in answers)
    assert max(answer["ms"] for answer in answers) < GIVES_UP_MS
    assert packets <= 10 * 12 + 30, "no busy loop: some tries a question, some probes"
    assert wait_for(lambda: lone.resolve(30).rcode == "NOERROR")


def begin(scene: Scene, number: int):
    return scene.pod.begin(
        "resolve",
        name=f"h{number}.many.example.net",
        qtype="A",
        server=topology.LISTEN4,
        port=53,
        is_tcp=False,
        timeout=8.0,
        has_edns=True,
    )


def test_f1_every_second_packet_lost(lone: Scene) -> None:
    """Questions are asked again until they get through; what does not is SERVFAIL in time."""
    with fault(lone, "drop", "numgen random mod 2 == 0"):
        answers = [asked.result(20) for asked in [begin(lone, 100 + number) for number in range(40)]]

    rcodes = [answer["rcode"] for answer in answers]
    assert set(rcodes) <= {"NOERROR", "SERVFAIL"}
    assert rcodes.count("NOERROR") >= 30
    assert max(answer["ms"] for answer in answers) < GIVES_UP_MS


def test_f1_two_seconds_of_latency(lone: Scene) -> None:
    """Slow is not dead: the late answer counts, and the upstream is not given up."""
    lone.site.lab.internet.script("slow.example.net", Reply(records=("60 A 192.0.2.77",), delay=2.0))

    assert lone.pod.resolve("slow.example.net", timeout=8.0).addresses == ["192.0.2.77"]
    assert lone.pod.connect("192.0.2.77").is_connected


def test_f1_answer_after_the_deadline_grants_nothing(lone: Scene) -> None:
    """What comes when SERVFAIL has been said opens nothing."""
    lone.site.lab.internet.script("late.example.net", Reply(records=("60 A 192.0.2.78",), delay=4.5))

    assert lone.pod.resolve("late.example.net", timeout=8.0).rcode == "SERVFAIL"
    assert not lone.pod.connect("192.0.2.78").is_connected


@pytest.mark.parametrize("verdict", FAULTS.values(), ids=FAULTS)
def test_f1_the_other_upstream_is_used(pair: Scene, verdict: str) -> None:
    """Every question is answered, by the one that is left; when the first returns it is asked again."""
    with fault(pair, verdict):
        answers = [pair.resolve(next_number()) for number in range(8)]
    before = asked_of(pair, FIRST)

    assert {answer.rcode for answer in answers} == {"NOERROR"}
    assert max(answer.ms for answer in answers) < GIVES_UP_MS
    assert wait_for(lambda: pair.resolve(next_number()).rcode == "NOERROR" and asked_of(pair, FIRST) > before)


def test_f1_f2_flapping_upstreams_lose_no_question(pair: Scene) -> None:
    """Now the one, now the other is away, as when the cluster's resolvers are restarted one by one."""
    answers = []
    for turn in range(4):
        with fault(pair, "drop" if turn % 2 else "reject", server=(FIRST, SECOND)[turn % 2]):
            answers += [asked.result(20) for asked in [begin(pair, 400 + 10 * turn + number) for number in range(5)]]

    assert {answer["rcode"] for answer in answers} == {"NOERROR"}
    assert max(answer["ms"] for answer in answers) < GIVES_UP_MS


def asked_of(scene: Scene, server: str) -> int:
    return sum(query.asked == server and "many" in query.name for query in scene.site.lab.internet.queries())


_numbers = iter(range(1000, 100_000))


def next_number() -> int:
    return next(_numbers)
