"""Resolve, then connect at once: whoever has an answer can use it, and nobody has one before the kernel does."""

import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from system_kit import Site, names, rule, spread
from witness import Witness

from dnsfw.demo.lab import Lab, Pod
from dnsfw.demo.results import Cycles

PODS = 4
PART = 500
INSERTS = 2_000
SUFFIX = "many.example.net"
_fresh = itertools.count(1)

FOREIGN = """
table inet foreign {{}}
delete table inet foreign
add table inet foreign
add set inet foreign s {{ type ipv4_addr . inet_service; }}
add element inet foreign s {{ {elements} }}
"""


@pytest.fixture
def busy(lab: Lab) -> tuple[Site, list[Pod]]:
    """Pods that may reach 131,072 names, and others that come and go."""
    lab.internet.generate(SUFFIX, ttl=3600)
    site = Site(lab, lab.run_dnsfw({"many.yaml": rule("many", names(f"*.{SUFFIX}", ports=("443",)))}))
    return site, site.pods(*["many"] * PODS)


@contextmanager
def rules_and_pods_changing(site: Site) -> Iterator[list[int]]:
    """Meanwhile: this rule's own text, another rule, and pods that get new names, several times a second."""
    stop, changes = threading.Event(), [0]
    passers = site.pods("passer", "passer")

    def change() -> None:
        for number in itertools.count():
            if stop.wait(0.5):
                return
            extra = names(f"extra{number % 7}.example.net", ports=("443",))
            site.program.save_rule("many.yaml", rule("many", names(f"*.{SUFFIX}", ports=("443",)), extra))
            site.program.save_rule("passer.yaml", rule("passer", extra))
            passers[number % 2].become(f"shop/passer-{number}")
            changes[0] += 3

    worker = threading.Thread(target=change)
    worker.start()
    try:
        yield changes
    finally:
        stop.set()
        worker.join()


@contextmanager
def foreign_commits(lab: Lab) -> Iterator[None]:
    """Meanwhile somebody else loads 20,000 elements into a table of his own, again and again."""
    elements = ", ".join(f"10.0.{number >> 8}.{number & 255} . 80" for number in range(20_000))
    file, stop = lab.folder / "foreign.nft", threading.Event()
    file.write_text(FOREIGN.format(elements=elements))

    def load() -> None:
        while not stop.is_set():
            done = lab.run("nft", "-f", str(file))
            assert done.status == 0, done.stderr

    worker = threading.Thread(target=load)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()


def run_cycles(pods: list[Pod], count: int) -> list[Cycles]:
    """`count` cycles, each with a name and an address that nobody was granted before, from all pods at the same time."""
    done: list[Cycles] = []
    left = count
    while left > 0:
        running: list[Future[Cycles]] = []
        for index, pod in enumerate(pods):
            fresh = [f"h{next(_fresh)}.{SUFFIX}" for _ in range(min(PART, -(-left // PODS)))]
            running.append(pod.begin_cycle(fresh, qtype="AAAA" if index % 2 else "A"))
        done += [each.result(300) for each in running]
        left -= sum(cycles.count for cycles in done[-len(running) :])
    return done


def note(figures: dict[str, Any], done: list[Cycles]) -> None:
    figures["cycles"] = sum(cycles.count for cycles in done)
    figures["resolve_us"] = spread([us for cycles in done for us in cycles.resolve_us])
    figures["connect_us"] = spread([us for cycles in done for us in cycles.connect_us])


@pytest.mark.parametrize("count", [pytest.param(3_000, id="short"), pytest.param(100_000, id="full", marks=pytest.mark.long)])
def test_connect_follows_answer(busy: tuple[Site, list[Pod]], figures: dict, count: int) -> None:
    """Every name is answered, and every answer can be connected to at once, while rules and pods change."""
    site, pods = busy
    with rules_and_pods_changing(site) as changes:
        done = run_cycles(pods, count)
    note(figures, done)
    figures["changes"] = changes[0]
    figures |= insert_figures(site, pods[0])

    assert [failed for cycles in done for failed in cycles.failed] == []
    assert [unanswered for cycles in done for unanswered in cycles.unanswered] == []
    assert sum(cycles.connected for cycles in done) >= count
    assert figures["elements"] >= count


def insert_figures(site: Site, pod: Pod) -> dict[str, Any]:
    """What one more element costs in the table that the program made and filled, while its chain judges traffic."""
    busy = pod.begin_watch(pod.resolve(f"h1.{SUFFIX}").address, interval=0.005, count=400)
    script = str(Path(__file__).with_name("insert_many.py"))
    done = site.lab.run(sys.executable, script, pod.address4, str(INSERTS), timeout=120)
    assert done.status == 0, done.stderr
    assert {what for _, what in busy.result(60)} == {"connected"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("count", [pytest.param(600, id="short"), pytest.param(100_000, id="full", marks=pytest.mark.long)])
def test_no_answer_before_the_kernel(busy: tuple[Site, list[Pod]], figures: dict, count: int) -> None:
    """With a kernel kept busy by somebody else: an independent witness sees each element committed before it sees the answer."""
    site, pods = busy
    with Witness(site.lab, {pod.interface for pod in pods}, [pod.addresses for pod in pods]) as witness, foreign_commits(site.lab):
        done = run_cycles(pods, count)
    note(figures, done)
    figures["witnessed"] = witness.answers
    figures["lost"] = witness.lost

    assert [failed for cycles in done for failed in cycles.failed] == []
    assert witness.premature == []
    assert witness.answers >= 0.9 * sum(cycles.connected for cycles in done)


def test_witness_sees_a_premature_answer(lab: Lab, tmp_path: Path) -> None:
    """What cannot fail proves nothing: a resolver that answers without the kernel is found out."""
    lab.internet.generate(SUFFIX)
    pod = lab.pod("shop/web")
    with Witness(lab, {pod.interface}, [pod.addresses]) as witness:
        assert pod.resolve(f"h1.{SUFFIX}", server="192.0.2.53").address
        time.sleep(0.2)

    assert [address for _, address in witness.premature] == ["198.18.0.1"]
