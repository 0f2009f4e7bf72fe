"""`dnsfw audit` as a person and as a program call it."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from record_frames import frame_of

from dnsfw.audit import frames
from dnsfw.audit.frames import Frame
from dnsfw.audit.record import Gap, QueryRecord
from dnsfw.audit.settings import AuditSettings
from dnsfw.audit.store import Store
from dnsfw.cli.main import main

T0 = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
FIRST = QueryRecord(
    at=T0 + 0.25,
    namespace="shop",
    pod="app1-7d9f8b6c5d-x2x4z",
    pod_uid="uid-1",
    source="192.0.2.1",
    transport="udp",
    name="api.example.net",
    qtype=1,
    decision="allowed",
    reason="allowed",
    rule="shop/app1",
    rcode=0,
    addresses="198.51.100.7 198.51.100.8",
    removed="",
    chain="",
    ttl=30,
    grants=2,
    upstream_us=12_345,
    install_us=12,
)
REFUSED = FIRST._replace(
    at=T0 + 1,
    name="evil.example.net",
    decision="refused",
    reason="no-rule",
    rule="",
    rcode=3,
    addresses="",
    ttl=-1,
    upstream_us=0,
    install_us=0,
)
STRANGER = FIRST._replace(
    at=T0 + 3, namespace="", pod="", source="192.0.2.99", decision="failed", reason="unknown-pod", rcode=2, addresses=""
)
HOSTILE = FIRST._replace(
    at=T0 + 4, name="\\027[31m.example.net", pod="\x1b[2J\u202e\x9b31m\x7f", rule="[bold red]r[/]", addresses="\x1b]0;x\x07"
)
GAP = Gap(T0 + 2, T0 + 2.5, 1234, "queue full")
UNKNOWN = Gap(T0 + 5, T0 + 90_000, None, "unclean end")


class Audit:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Store(AuditSettings(path=path), "one", T0)

    def write(self, *entries: QueryRecord | Gap) -> None:
        for number, entry in enumerate(entries, self.store.last_batch + 1):
            is_gap = isinstance(entry, Gap)
            self.store.write([Frame(number, frames.GAP, tuple(entry)) if is_gap else frame_of([entry], number)], T0)


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audit]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    opened = Audit(tmp_path / "audit.db")
    yield opened
    opened.store.close()
    monkeypatch.undo()
    time.tzset()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["audit", *arguments])
    assert (ended.value.code or 0) == status
    captured = capsys.readouterr()
    return captured.out, captured.err


def in_terminal(columns: int, *arguments: str) -> str:
    """What a real terminal of that width would be sent."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}} | {
        "TERM": "xterm-256color"
    }
    process = subprocess.Popen(_command(*arguments), stdin=inner, stdout=inner, stderr=inner, env=environment)
    os.close(inner)
    received = b""
    try:
        while part := os.read(outer, 65536):
            received += part
    except OSError:  # how a terminal tells that its last user has gone
        pass
    os.close(outer)
    assert process.wait(10) == 0
    return received.decode().replace("\r\n", "\n")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from dnsfw.cli.main import main; main()", "audit", *arguments]


def test_pipe_gets_one_line_a_record_with_full_dates(audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    """grep, sort and awk work: no colours, no folding, no empty column, every address."""
    audit.write(FIRST, REFUSED, GAP, STRANGER)

    out, err = printed(capsys, "--audit-db", str(audit.path))
    lines = [line.split() for line in out.splitlines()]
    assert err == ""
    assert lines[0] == [
        "2027-01-15T08:00:00.250+00:00",
        "shop/app1-7d9f8b6c5d-x2x4z",
        "api.example.net",
        "A",
        "allowed",
        "198.51.100.7,198.51.100.8",
        "30",
        "shop/app1",
        "12.3+0.01",
        "ms",
    ]
    assert lines[1][2:] == ["evil.example.net", "A", "refused", "no-rule", "NXDOMAIN", "-", "-", "-"]
    assert " ".join(lines[2]) == "gap: 1,234 records lost between 2027-01-15 08:00:02+00:00 and 2027-01-15 08:00:02+00:00 (queue full)"
    assert lines[3][1] == "192.0.2.99"


def test_wide_terminal_gets_a_table(audit: Audit) -> None:
    """One line a record under a heading, the date on a line of its own, the gap among the records."""
    audit.write(FIRST, REFUSED, GAP)

    plain = _without_colours(in_terminal(140, "--audit-db", str(audit.path)))
    lines = plain.splitlines()
    assert lines[0].split() == ["TIME", "POD", "NAME", "TYPE", "DECISION", "ANSWER", "TTL", "RULE", "TOOK"]
    assert lines[1] == "Friday 2027-01-15"
    assert lines[2].split()[:3] == ["08:00:00.250", "shop/app1-7d9f8b6c5d-x2x4z", "api.example.net"]
    assert "198.51.100.7 +1" in lines[2]
    assert lines[0].index("DECISION") == lines[2].index("allowed") == lines[3].index("refused no-rule")
    assert lines[4] == "gap: 1,234 records lost between 08:00:02 and 08:00:02 (queue full)"
    assert max(map(len, lines)) <= 140


def test_narrow_terminal_gets_two_lines_a_record(audit: Audit) -> None:
    """80 columns are enough to read everything without a torn word."""
    audit.write(FIRST, REFUSED, UNKNOWN)

    assert _without_colours(in_terminal(80, "--audit-db", str(audit.path))).splitlines() == [
        "Friday 2027-01-15",
        "08:00:00.250  api.example.net A",
        "              allowed  shop/app1-7d9f8b6c5d-x2x4z  198.51.100.7 +1  ttl 30",
        "              rule shop/app1  12.3+0.01 ms",
        "08:00:01.000  evil.example.net A",
        "              refused no-rule  shop/app1-7d9f8b6c5d-x2x4z  NXDOMAIN",
        "gap: an unknown number of records lost between 2027-01-15 08:00:05+00:00 and 2027-01-16 09:00:00+00:00 (unclean end)",
    ]


def test_decisions_are_coloured(audit: Audit) -> None:
    """What was refused is seen at a glance."""
    audit.write(FIRST, REFUSED)

    sent = in_terminal(140, "--audit-db", str(audit.path))
    assert "\x1b[32mallowed" in sent
    assert "\x1b[31mrefused no-rule" in sent


@pytest.mark.parametrize(("form", "columns"), [("table", 80), ("table", 200), ("json", 80), ("yaml", 80)])
def test_a25_nothing_in_a_record_reaches_the_terminal_as_a_command(audit: Audit, form: str, columns: int) -> None:
    """Escapes, title changes, C1 controls, DEL, bidirectional marks and rich's own markup are shown, not obeyed."""
    audit.write(HOSTILE)

    sent = _without_colours(in_terminal(columns, "--audit-db", str(audit.path), "-o", form))
    assert all(char.isprintable() or char == "\n" for char in sent)
    assert "[bold red]r[/]" in sent
    assert "\\x1b[2J" in sent or "\\u001b[2J" in sent or "\\e[2J" in sent


def _without_colours(text: str) -> str:
    """Takes out only what our own styles send: SGR sequences."""
    result = ""
    while text:
        before, mark, rest = text.partition("\x1b[")
        parameters, end, rest_after = rest.partition("m")
        if mark and end and all(char in "0123456789;" for char in parameters):
            result, text = result + before, rest_after
        else:
            result, text = result + before + mark, rest
    return result


def test_json_is_one_array(audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    """What `json.load` and jq expect, with gaps told from queries by `kind`."""
    audit.write(FIRST, GAP)

    out, _ = printed(capsys, "--audit-db", str(audit.path), "-o", "json")
    query, gap = json.loads(out)
    assert (query["kind"], query["time"], query["type"], query["rcode"]) == ("query", "2027-01-15T08:00:00.250Z", "A", "NOERROR")
    assert (query["addresses"], query["ttl"], query["upstreamMs"]) == (["198.51.100.7", "198.51.100.8"], 30, 12.345)
    assert gap == {
        "kind": "gap",
        "since": "2027-01-15T08:00:02.000Z",
        "until": "2027-01-15T08:00:02.500Z",
        "lost": 1234,
        "why": "queue full",
    }


def test_yaml_says_the_same(audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    """All three forms come from the same records."""
    audit.write(FIRST, REFUSED, UNKNOWN)

    as_json, _ = printed(capsys, "--audit-db", str(audit.path), "-o", "json")
    as_yaml, _ = printed(capsys, "--audit-db", str(audit.path), "-o", "yaml")
    assert yaml.safe_load(as_yaml) == json.loads(as_json)


@pytest.mark.parametrize(("form", "expected"), [("table", ""), ("json", "[]\n"), ("yaml", "[]\n")])
def test_nothing_is_nothing(audit: Audit, capsys: pytest.CaptureFixture[str], form: str, expected: str) -> None:
    """An empty answer is valid in each form; the words for people go to stderr."""
    out, err = printed(capsys, "--audit-db", str(audit.path), "-o", form)

    assert out == expected
    assert ("no records" in err) == (form == "table")


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        pytest.param(["-n", "shop"], 2, id="namespace"),
        pytest.param(["--pod", "nobody"], 0, id="pod"),
        pytest.param(["--name", "*.example.net"], 3, id="below"),
        pytest.param(["--name", "evil.example.net"], 1, id="name"),
        pytest.param(["--decision", "failed"], 1, id="decision"),
        pytest.param(["--since", "2027-01-15T08:00:01Z"], 2, id="since"),
        pytest.param(["--until", "2027-01-15T08:00:01Z"], 2, id="until"),
        pytest.param(["--limit", "1"], 1, id="limit"),
        pytest.param(["--limit", "0"], 3, id="all"),
    ],
)
def test_filters_reach_the_query(audit: Audit, capsys: pytest.CaptureFixture[str], flags: list[str], count: int) -> None:
    """Each flag does what it says."""
    audit.write(FIRST, REFUSED, STRANGER)

    out, _ = printed(capsys, "--audit-db", str(audit.path), "-o", "json", *flags)
    assert len(json.loads(out)) == count


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        pytest.param(["--since", "yesterday"], 2, 'error: time "yesterday": write a duration', id="time"),
        pytest.param(["--decision", "denied"], 2, 'error: decision "denied": one of allowed', id="decision"),
        pytest.param(["--name", "a..b"], 2, "error: name", id="name"),
        pytest.param(["-f", "--until", "1m"], 2, "error: --until: with -f there is no end", id="follow-until"),
        pytest.param(
            ["--audit-db", "/nonexistent/audit.db"], 1, "error: there is no audit database at /nonexistent/audit.db", id="missing"
        ),
    ],
)
def test_mistakes_are_told(capsys: pytest.CaptureFixture[str], flags: list[str], status: int, message: str) -> None:
    """On stderr, with what would be right; 2 for a wrong call, 1 for what cannot be done."""
    out, err = printed(capsys, *flags, status=status)

    assert out == ""
    assert err.startswith(message)


def test_follow_goes_on_until_interrupted(audit: Audit) -> None:
    """-f shows what comes as one JSON object a line, and ^C is a good end."""
    audit.write(FIRST)
    process = subprocess.Popen(
        _command("-f", "-o", "json", "--audit-db", str(audit.path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background job ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- this process has one thread
    )
    assert process.stdout is not None
    seen = [json.loads(process.stdout.readline())]
    audit.write(REFUSED, GAP)
    seen += [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=60)

    assert {each.get("name", each["kind"]) for each in seen} == {"api.example.net", "evil.example.net", "gap"}
    assert (process.returncode, complaints) == (0, b"")


@pytest.mark.parametrize("flags", [[], ["-f"], ["-o", "json"], ["-o", "yaml"]], ids=["table", "follow", "json", "yaml"])
def test_reader_that_has_seen_enough_is_no_error(audit: Audit, flags: list[str]) -> None:
    """`dnsfw audit | head -1` ends quietly."""
    audit.store.write([frame_of([FIRST] * 2_000)], T0)
    process = subprocess.Popen(
        _command("--limit", "0", "--audit-db", str(audit.path), *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    complaints = process.stderr.read()
    process.stderr.close()

    assert (process.wait(60), complaints) == (0, b"")
