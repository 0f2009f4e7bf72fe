"""The real program with three workers: a pod's two addresses are at two of them, and everything is as with one."""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from system_kit import Site, bar, names, rule, wait_for

from dnsfw.audit.filters import AuditFilter
from dnsfw.audit.query import read_records
from dnsfw.audit.record import Gap, QueryRecord
from dnsfw.demo.lab import Lab, Pod
from dnsfw.demo.topology import LISTEN4, LISTEN6

WORKERS = 3
WAYS = [(server, is_tcp) for server in (LISTEN4, LISTEN6) for is_tcp in (False, True)]


@pytest.fixture(scope="module")
def shared_site(shared_lab: Lab) -> Site:
    return Site(shared_lab, shared_lab.run_dnsfw({}, "--workers", str(WORKERS)))


@pytest.fixture
def site(shared_site: Site) -> Site:
    """It runs, whatever a test before has done to it."""
    if shared_site.program.running.poll() is not None:
        shared_site.program.start()
        shared_site.program.wait_ready()
    return shared_site


def workers(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.status()["workers"]
    return found


def signal(site: Site, pid: int, number: int) -> None:
    done = site.lab.run(sys.executable, "-c", "import os, sys; os.kill(int(sys.argv[1]), int(sys.argv[2]))", str(pid), str(number))
    assert done.status == 0, done.stderr


def is_alive(site: Site, pid: int) -> bool:
    """Not as a zombie."""
    found = site.lab.run("cat", f"/proc/{pid}/stat")
    return found.status == 0 and found.stdout.rpartition(")")[2].split()[0] != "Z"


def pods_of_each_worker(site: Site, app: str) -> list[Pod]:
    """Addresses are counted up, so that of so many each worker has one."""
    return site.pods(*[app] * WORKERS)


def records(site: Site) -> list[QueryRecord | Gap]:
    return list(read_records(site.program.audit_db, AuditFilter()))


@contextmanager
def asking(pods: list[Pod], name: str) -> Iterator[list[tuple[float, list[str]]]]:
    """Every pod asks all the time, by all ways: when it began to ask, and the addresses that it was told."""
    told: list[tuple[float, list[str]]] = []
    is_over: list[bool] = []

    def ask(pod: Pod) -> None:
        while not is_over:
            for server, is_tcp in WAYS:
                begun = time.monotonic()
                told.append((begun, pod.resolve(name, server=server, is_tcp=is_tcp).addresses))

    with ThreadPoolExecutor(len(pods)) as pool:
        asked = [pool.submit(ask, pod) for pod in pods]
        try:
            yield told
        finally:
            is_over.append(True)
    for each in asked:
        each.result()


def test_every_pod_at_every_worker(site: Site) -> None:
    """By all ways to ask, each is answered and may connect; what a neighbour at another worker has asked for opens nothing."""
    site.lab.internet.set("www.example.net", "60 A 192.0.2.10", "60 AAAA 2001:db8::10")
    site.lab.internet.set("mine.example.net", "60 A 192.0.2.11")
    site.allow("all", names("*.example.net"))
    pods = pods_of_each_worker(site, "all")
    for pod in pods:
        for server, is_tcp in WAYS:
            for qtype, address in (("A", "192.0.2.10"), ("AAAA", "2001:db8::10")):
                assert pod.resolve("www.example.net", qtype, server=server, is_tcp=is_tcp).addresses == [address]
                assert pod.connect(address).is_connected
        assert pod.resolve("www.example.org").rcode == "NXDOMAIN"
        assert pod.resolve("www.example.org", server=LISTEN6).rcode == "NXDOMAIN"

    assert pods[0].resolve("mine.example.net").addresses == ["192.0.2.11"]
    assert [pod.connect("192.0.2.11").what for pod in pods] == ["connected", "refused", "refused"]
    taken = wait_for(lambda: (found := [each["queries"] for each in workers(site)]) and min(found) >= 2 and found)
    assert len(taken) == WORKERS


def test_figures_are_sums(site: Site) -> None:
    """The API shows one program: what the workers count is added up, and only who has taken how much stands by worker."""
    site.allow("figures", names("*.example.net"))
    pods = pods_of_each_worker(site, "figures")
    before = metrics(site)
    for pod in pods:
        assert pod.resolve("refused.example.com").rcode == "NXDOMAIN"

    name = 'dnsfw_forwarder_queries_total{decision="refused"}'
    found = wait_for(lambda: (now := metrics(site))[name] == before.get(name, 0) + WORKERS and now)
    by_worker = [found[f'dnsfw_workers_queries_total{{worker="{number}"}}'] for number in range(WORKERS)]
    assert sum(by_worker) == sum(value for series, value in found.items() if series.startswith("dnsfw_forwarder_queries_total"))
    assert [found[f'dnsfw_workers_restarts_total{{worker="{number}"}}'] for number in range(WORKERS)] == [
        each["restarts"] for each in workers(site)
    ]


def metrics(site: Site) -> dict[str, float]:
    code = (
        "import http.client, socket, sys; c = http.client.HTTPConnection('localhost'); "
        "c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1]); c.request('GET', '/metrics'); "
        "print(c.getresponse().read().decode())"
    )
    done = site.lab.run(sys.executable, "-c", code, str(site.program.socket))
    assert done.status == 0, done.stderr
    lines = [line.rpartition(" ") for line in done.stdout.splitlines() if line and not line.startswith("#")]
    return {series: float(value) for series, _, value in lines}


def test_dual_stack_pod_has_one_owner(site: Site) -> None:
    """Asked at two workers, its grants are one list under one decision number; a quota or a revocation knows them all."""
    site.lab.internet.set("both.example.net", "60 A 192.0.2.20", "60 AAAA 2001:db8::20")
    site.allow("dual", names("both.example.net", ports=("443",)))
    pod = site.pod("dual")
    before = {each["number"]: each["queries"] for each in workers(site)}
    for qtype, server in (("A", LISTEN4), ("A", LISTEN6), ("AAAA", LISTEN6), ("AAAA", LISTEN4)):
        assert pod.resolve("both.example.net", qtype, server=server).addresses

    wait_for(lambda: sum(each["queries"] > before[each["number"]] for each in workers(site)) == 2, what=str(workers(site)))
    mine = [grant for grant in site.grants() if grant["pod"] == pod.identity.name]
    assert sorted(grant["address"] for grant in mine) == ["192.0.2.20", "2001:db8::20"]
    assert len({grant["number"] for grant in mine}) == 1


def test_revoked_at_every_worker(site: Site) -> None:
    """From the moment that it is in force nobody is told an address any more, and streams are silent."""
    site.lab.internet.set("gone.example.net", "60 A 192.0.2.30", "60 AAAA 2001:db8::30")
    site.allow("revoked", names("gone.example.net"))
    pods = pods_of_each_worker(site, "revoked")
    streams = [site.stream(pod, pod.resolve("gone.example.net", qtype).address) for pod in pods for qtype in ("A", "AAAA")]
    with asking(pods, "gone.example.net") as told:
        wait_for(lambda: len(told) > 20)
        change = site.allow("revoked", names("other.example.net"))
        time.sleep(0.3)

    assert {tuple(addresses) for begun, addresses in told if begun < change.saved_at} == {("192.0.2.30",)}
    assert [addresses for begun, addresses in told if begun > change.in_force_at and addresses] == []
    assert [str(stream) for stream in streams if not stream.is_cut_by(change.in_force_at)] == []
    assert [pod.connect("192.0.2.30").what for pod in pods] == ["refused"] * WORKERS


def test_rules_that_change_all_the_time(site: Site) -> None:
    """An answer with an address is never early: the pod can connect at once, however the rules change meanwhile."""
    site.lab.internet.set("stays.example.net", "60 A 192.0.2.40")
    stays, now_and_then = names("stays.example.net", ports=("443",)), names("*.example.net", ports=("80",))
    site.allow("busy", stays)
    pods = pods_of_each_worker(site, "busy")
    failures: list[str] = []

    def use(pod: Pod) -> None:
        for _ in range(40):
            outcome = pod.fetch("stays.example.net")
            failures.extend([] if outcome.is_connected else [f"{pod}: {outcome}"])

    with ThreadPoolExecutor(WORKERS) as pool:
        asked = [pool.submit(use, pod) for pod in pods]
        for number in range(6):
            site.allow("busy", stays, *([now_and_then] if number % 2 == 0 else []))
        for each in asked:
            each.result()

    assert failures == []


def test_killed_worker_is_replaced(site: Site) -> None:
    """Its pods wait for the next one; the others notice nothing, nothing opens, and the audit says that records may be missing."""
    site.lab.internet.set("www.killed.net", "60 A 192.0.2.50")
    site.allow("killed", names("www.killed.net"))
    pods = pods_of_each_worker(site, "killed")
    streams = [site.stream(pod, pod.resolve("www.killed.net").address) for pod in pods]
    closed = [pod.begin_watch("198.51.100.50", interval=0.02, count=100, timeout=0.1) for pod in pods]
    earlier = len([each for each in records(site) if isinstance(each, Gap)])
    before = workers(site)
    signal(site, before[0]["pid"], 9)

    after = wait_for(lambda: (found := workers(site)) and all(each["ready"] for each in found) and found[0]["restarts"] and found)

    assert [new["pid"] == old["pid"] for old, new in zip(before, after, strict=True)] == [False, True, True]
    assert all(new["queries"] >= old["queries"] for old, new in zip(before, after, strict=True))
    assert [pod.fetch("www.killed.net").what for pod in pods] == ["connected"] * WORKERS
    assert {what for watch in closed for _, what in watch.result(30)} <= {"refused", "timeout"}
    assert [str(stream) for stream in streams if not stream.lives()] == []
    gaps = [each for each in records(site) if isinstance(each, Gap)][earlier:]
    assert [(gap.lost, gap.why) for gap in gaps] == [(None, "worker ended")]


def test_hung_worker_does_not_hold_up_new_rules(site: Site) -> None:
    """It is killed before the kernel is narrowed: had it answered later, it would have been by the old rules."""
    site.lab.internet.set("www.hung.net", "60 A 192.0.2.60")
    site.allow("hung", names("www.hung.net"))
    pods = pods_of_each_worker(site, "hung")
    assert [pod.fetch("www.hung.net").what for pod in pods] == ["connected"] * WORKERS
    hung = workers(site)[1]
    signal(site, hung["pid"], 19)

    site.allow("hung", names("www.other.net"))

    assert not is_alive(site, hung["pid"])
    assert [pod.connect("192.0.2.60").what for pod in pods] == ["refused"] * WORKERS
    assert [pod.resolve("www.hung.net").rcode for pod in pods] == ["NXDOMAIN"] * WORKERS


def test_flushed_table_is_answered_by_no_worker(site: Site) -> None:
    """While it is away answers are held back everywhere; when it is back, what was granted works again."""
    site.lab.internet.set("www.flushed.net", "60 A 192.0.2.70")
    site.allow("flushed", names("www.flushed.net"))
    pods = pods_of_each_worker(site, "flushed")
    assert [pod.fetch("www.flushed.net").what for pod in pods] == ["connected"] * WORKERS
    site.lab.nft("flush ruleset")

    wait_for(lambda: site.status()["kernel"]["structure_repairs"])

    wait_for(lambda: [pod.fetch("www.flushed.net").what for pod in pods] == ["connected"] * WORKERS)
    assert [pod.connect("198.51.100.70").what for pod in pods] == ["refused"] * WORKERS


def test_killed_main_process_takes_its_workers_along(site: Site) -> None:
    """Nobody answers without the ledger's owner; a successor finds the address free and the grants standing."""
    site.lab.internet.set("www.orphans.net", "60 A 192.0.2.80")
    site.allow("orphans", names("www.orphans.net"))
    pods = pods_of_each_worker(site, "orphans")
    assert [pod.fetch("www.orphans.net").what for pod in pods] == ["connected"] * WORKERS
    pids = [each["pid"] for each in workers(site)]
    site.program.kill()

    wait_for(lambda: not any(is_alive(site, pid) for pid in pids))
    assert {pod.resolve("www.orphans.net", timeout=0.2).rcode for pod in pods} <= {"TIMEOUT", "ECONNREFUSED"}
    assert [pod.connect("192.0.2.80").what for pod in pods] == ["connected"] * WORKERS
    site.program.start()
    site.program.wait_ready()
    assert [pod.fetch("www.orphans.net").what for pod in pods] == ["connected"] * WORKERS


def test_address_that_is_taken(site: Site) -> None:
    """Exit 1 with the same words as with one worker."""
    folder = site.lab.folder
    (folder / "other.yaml").write_text(rule("web", names("*.example.net")))
    files = ("--rules", f"{folder}/other.yaml", "--pods", str(site.lab.pods_file), "--audit-db", f"{folder}/other.db")
    elsewhere = ("--api", f"unix:{folder}/other.sock", "--table", "other", "--upstream", "192.0.2.53")

    done = site.lab.dnsfw("run", "--listen", f"{LISTEN4}:53", "--workers", "2", *files, *elsewhere)

    assert done.status == 1
    assert f"error: cannot listen on {LISTEN4}:53 (udp): address already in use" in done.stderr
    assert "table inet other" not in site.lab.run("nft", "list", "tables").stdout


def test_stop_and_audit(site: Site) -> None:
    """One record a query, whichever worker took it; the workers heed no signal but main's word; the table stays."""
    site.lab.internet.set("www.counted.net", "60 A 192.0.2.90")
    site.allow("counted", names("www.counted.net"))
    pods = pods_of_each_worker(site, "counted")
    gaps = [each for each in records(site) if isinstance(each, Gap)]
    for number in range(10):
        for pod in pods:
            pod.resolve("www.counted.net", server=LISTEN4 if number % 2 else LISTEN6, is_tcp=number % 3 == 0)
            pod.resolve(f"n{number}.counted.org")
    before = workers(site)
    for each in before:
        signal(site, each["pid"], 2)
        signal(site, each["pid"], 15)
    assert pods[0].fetch("www.counted.net").is_connected
    assert [each["pid"] for each in workers(site)] == [each["pid"] for each in before]
    begun = time.monotonic()

    assert site.program.stop(timeout=bar(5.0)) == 0

    assert time.monotonic() - begun < bar(5.0)
    assert not any(is_alive(site, each["pid"]) for each in before)
    assert pods[0].connect("192.0.2.90").is_connected
    assert pods[0].connect("198.51.100.10").what == "refused"
    found = records(site)
    assert [each for each in found if isinstance(each, Gap)] == gaps
    assert count(found, lambda each: each.name == "www.counted.net" and each.decision == "allowed") == 10 * WORKERS + 1
    assert count(found, lambda each: each.name.endswith(".counted.org") and each.decision == "refused") == 10 * WORKERS


def count(found: list[Any], takes: Callable[[QueryRecord], bool]) -> int:
    return sum(takes(each) for each in found if isinstance(each, QueryRecord))
