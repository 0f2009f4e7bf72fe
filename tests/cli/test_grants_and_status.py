"""`dnsfw grants` and `dnsfw status` against a real API on a real socket."""

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from dnsfw.api.server import ApiServer
from dnsfw.api.settings import ApiSettings, UnixAddress, parse_api_address
from dnsfw.api.sources import ApiSources
from dnsfw.api.views import (
    AuditView,
    CacheView,
    GrantView,
    GuardsView,
    KernelView,
    PodsView,
    RefusedView,
    SnapshotView,
    StatusView,
    SwitchView,
    UpstreamView,
    WorkerView,
)
from dnsfw.cli.main import main
from dnsfw.cli.spans import span
from dnsfw.cli.status_page import page

GRANT = GrantView(
    namespace="shop",
    pod="app1",
    address="198.51.100.7",
    ports="tcp/443",
    names=("www.example.net",),
    rule="shop/app1",
    number=3,
    remaining_s=39.5,
)
ADOPTED = replace(GRANT, pod="app2", address="2001:db8::7", names=(), is_adopted=True)
BARE = StatusView(version="0.1.0", ready=True, pid=7, started_at=1.5, uptime_s=7411.0, listen=("127.0.0.1:53",))
FULL = StatusView(
    version="0.1.0",
    ready=False,
    pid=7,
    started_at=1.5,
    uptime_s=2.0,
    not_ready=("the kernel does not answer",),
    upstreams=(UpstreamView(address="192.0.2.53:53", state="down", queries=1234, failures=12, rtt_us=350),),
    snapshot=SnapshotView(serial=4, age_s=12.0, rules=17, warnings=("policy shop/a: selects nothing",)),
    pods=PodsView(known=12, selected=9, untouched=3, conflicts=("192.0.2.7",), not_enforceable=("kube-system/proxy",)),
    problems=('rules/a.yaml:12: spec.egress[0]: "\x1b[31m"',),
    guards=GuardsView(source=SwitchView(is_on=False, why="no --interface was given"), redirect4=SwitchView(is_on=True)),
    kernel=KernelView(table="inet dnsfw", version="6.18", features=("owner",), structure_checked_s=3.0, commits=5, commit_p50_us=5.2),
    grants=100_000,
    numbers_used=4,
    numbers_total=65_535,
    refused=tuple(
        RefusedView(namespace="shop", pod=f"app{number}", refused_packets=number, would_refuse_packets=number % 2) for number in range(13)
    ),
    audit=AuditView(path="/var/lib/dnsfw/audit.db", written=5, lost=12, queued=3, trouble="database or disk is full"),
    cache=CacheView(entries=10, bytes=2_500_000, hits=9, misses=1),
    workers=(WorkerView(number=0, pid=8, ready=True, queries=1234), WorkerView(number=1, pid=0, ready=False, restarts=2)),
)


@contextmanager
def api(folder: Path, status: StatusView = BARE, grants: tuple[GrantView, ...] = (), token: str | None = None) -> Iterator[str]:
    """Serves in a thread of its own, as the commands block theirs; gives the address for --api."""
    address = parse_api_address("127.0.0.1:0") if token else UnixAddress(folder / "api.sock")
    sources = ApiSources(status=lambda: status, grants=lambda _wanted: grants, metrics=lambda: (), audit_path=None, now=lambda: 0.0)
    server = ApiServer(ApiSettings(address=address, token=token), sources)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{server.port}" if token else str(address)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert (ended.value.code or 0) == status
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_grants_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pod, address, ports, for which name and rule, and how long yet."""
    with api(tmp_path, grants=(GRANT, ADOPTED)) as address:
        out, err = printed(capsys, "grants", "--api", address)

    assert [line.split() for line in out.splitlines()] == [
        ["POD", "ADDRESS", "PORTS", "FOR", "RULE", "LEFT"],
        ["shop/app1", "198.51.100.7", "tcp/443", "www.example.net", "shop/app1", "39", "s"],
        ["shop/app2", "2001:db8::7", "tcp/443", "(from", "before", "the", "restart)", "shop/app1", "39", "s"],
    ]
    assert err == ""


def test_grants_beyond_the_limit_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody takes the first page for all there is."""
    with api(tmp_path, grants=(GRANT,) * 30) as address:
        _, few = printed(capsys, "grants", "--api", address, "--limit", "10")
        everything, quiet = printed(capsys, "grants", "--api", address, "--limit", "0")

    assert few == "10 of 30 grants; --limit 0 shows all\n"
    assert (len(everything.splitlines()), quiet) == (31, "")


def test_no_grants_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing on stdout, the words on stderr."""
    with api(tmp_path) as address:
        assert printed(capsys, "grants", "--api", address) == ("", "no grants\n")


@pytest.mark.parametrize("flags", [["-n", "shop", "--pod", "app2"], ["--pod", "app2"]])
def test_grants_filters_are_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    """JSON has every field, and only what was asked for."""
    with api(tmp_path, grants=(GRANT, ADOPTED)) as address:
        out, _ = printed(capsys, "grants", "--api", address, "-o", "json", *flags)

    (item,) = json.loads(out)
    assert (item["pod"], item["is_adopted"], item["number"]) == ("app2", True, 3)


def test_grants_filter_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The process's own message reaches the person."""
    with api(tmp_path) as address:
        _, err = printed(capsys, "grants", "--api", address, "--name", "a..b", status=1)

    assert err == f'error: {address}: name "a..b": a label is empty\n'


def test_status_page_of_a_healthy_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Short when all is well."""
    with api(tmp_path) as address:
        out, _ = printed(capsys, "status", "--api", address)

    lines = out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []  # not filled up: `| head` on a terminal would fold them
    assert lines[0] == "dnsfw 0.1.0  ready  pid 7, up 2h 03m"
    assert [line.split()[0] for line in lines[1:] if line[0] != " "] == [
        "listening",
        "rules",
        "pods",
        "grants",
        "guards",
        "kernel",
        "cache",
        "audit",
    ]


def test_status_page_of_a_process_in_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that needs a person stands there in words, and nothing of it moves the cursor."""
    with api(tmp_path, FULL) as address:
        out, _ = printed(capsys, "status", "--api", address)

    for expected in (
        "not ready  pid 7, up 2.0 s",
        "not ready  the kernel does not answer",
        'spec.egress[0]: "\\x1b[31m"',
        "policy shop/a: selects nothing",
        "nowhere",
        "workers    0: pid 8, 1,234 queries",
        "1: away, 0 queries, restarted 2 times",
        "192.0.2.53:53  down  1,234 queries, 12 failures, 0.3 ms",
        "17 rules, snapshot 4, in force for 12 s",
        "12 known: 9 selected by rules, 3 untouched",
        "served to neither, two pods have it: 192.0.2.7",
        "not enforceable (host network): kube-system/proxy",
        "100,000 addresses granted, 4 of 65,535 decision numbers in use",
        "shop/app12  12 packets",
        "shop/app11  11 packets, 1 would be",
        "and 3 more pods; -o json has all",
        "source address: off (no --interface was given)",
        "port 53 over IPv4: on",
        "table inet dnsfw, Linux 6.18, owner",
        "5 commits, p50 5 µs, p99 0 µs, 0 failed",
        "structure compared 3.0 s ago",
        "10 answers, 2.5 MB, 90% of 10 from it",
        "5 written, 12 lost, 3 waiting",
        "database or disk is full",
    ):
        assert expected in out
    assert all(char.isprintable() or char == "\n" for char in out)


def test_status_page_fits_80_columns() -> None:
    """Long texts are folded inside their column."""
    console = Console(width=80, file=(paper := io.StringIO()))
    console.print(page(FULL))

    assert max(map(len, paper.getvalue().splitlines())) <= 80


def test_status_as_json_and_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get what the API says."""
    with api(tmp_path, FULL) as address:
        as_json = json.loads(printed(capsys, "status", "--api", address, "-o", "json")[0])
        as_yaml = yaml.safe_load(printed(capsys, "status", "--api", address, "-o", "yaml")[0])

    assert as_json["audit"]["trouble"] == as_yaml["audit"]["trouble"] == "database or disk is full"


@pytest.mark.parametrize("command", ["status", "grants"])
def test_process_that_does_not_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """The path that was tried and what to do, exit 1."""
    out, err = printed(capsys, command, "--api", f"unix:{tmp_path}/api.sock", status=1)

    assert out == ""
    assert err == f"error: nothing listens at unix:{tmp_path}/api.sock: is dnsfw running here? --api names another address\n"


def test_token_comes_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the right file it answers, with another it says so, with none at all it says that too."""
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("secret\n")
    wrong.write_text("guess\n")
    with api(tmp_path, token="secret") as address:  # noqa: S106 -- a test's
        out, _ = printed(capsys, "status", "--api", address, "--api-token-file", str(right))
        _, refused = printed(capsys, "status", "--api", address, "--api-token-file", str(wrong), status=1)
    _, missing = printed(capsys, "status", "--api", address, "--api-token-file", str(tmp_path / "none"), status=2)

    assert out.startswith("dnsfw 0.1.0  ready")
    assert "the token was refused; give the right one with --api-token-file" in refused
    assert "No such file" in missing


def test_senseless_address_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, and both forms in the message."""
    _, err = printed(capsys, "status", "--api", "localhost", status=2)

    assert err.startswith('error: api "localhost": write unix:PATH or ADDRESS:PORT')


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1.0, "0.0 s"),
        (0.84, "0.8 s"),
        (39.9, "39 s"),
        (60, "1m 00s"),
        (725, "12m 05s"),
        (3600, "1h 00m"),
        (11_220, "3h 07m"),
        (187_200, "2d 04h"),
    ],
)
def test_spans_are_read_at_a_glance(seconds: float, expected: str) -> None:
    """Two units at most."""
    assert span(seconds) == expected
