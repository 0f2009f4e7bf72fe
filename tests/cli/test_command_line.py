"""`dnsfw` itself: finds its commands, loads only the one that is called, and says what went wrong."""

import asyncio
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from netns import in_netns

from dnsfw.audit.pipeline import AuditPipeline
from dnsfw.audit.settings import AuditSettings
from dnsfw.cli.main import COMMANDS, main


def ended(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as end:
        main(words)
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, for scripts and reports."""
    assert ended(capsys, "--version") == (0, f"dnsfw {version('dnsfw')}\n", "")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without loading any."""
    code, out, _ = ended(capsys, "--help")

    assert code == 0
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each can be loaded and says what it does."""
    code, out, _ = ended(capsys, name, "--help")

    assert code == 0
    assert f"dnsfw {name}" in out
    # What Python calls a value's type tells people nothing, and beside a switch it is wrong.
    assert re.findall(r"--(?!help).*<(?:bool|str|int).*>", out) == []


def test_help_is_wrapped_by_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a docstring's lines end in the source does not show."""
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 300)
    _, out, _ = ended(capsys, "run", "--help")

    assert "or in the environment (DNSFW_CLUSTER_DOMAIN; several values separated by spaces)." in out


def test_unknown_command_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    """With a guess."""
    code, _, err = ended(capsys, "chek")

    assert code == 2
    assert "check" in err


def test_wrong_settings_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Each fault on a line of its own, before anything is touched."""
    code, _, err = ended(capsys, "run", "--listen", "nowhere", "--rules", "r", "--pods", "p")

    assert code == 2
    assert err.splitlines() == [
        "error: --upstream: is missing; ADDR[:PORT], DNSFW_UPSTREAM or `upstream:` in the file of --config",
        'error: --listen: "nowhere" has no IP address; such as 192.0.2.1:53 or [2001:db8::1]:53; a name cannot be resolved here',
    ]


@in_netns
@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        pytest.param("--table", "a/../../b", '--table: "a/../../b" is not a table\'s name; a letter, then letters, digits', id="table"),
        pytest.param("--mark-mask", "7", '--mark-mask: "7" is not a run of bits; at least 8 bits', id="mask"),
    ],
)
def test_wrong_flags_of_uninstall_exit_2(capsys: pytest.CaptureFixture[str], flag: str, value: str, told: str) -> None:
    """As those of `run`, before anything is touched: a table's name is also that of the journal which is removed."""
    code, _, err = ended(capsys, "uninstall", flag, value)

    assert code == 2
    assert err.startswith(f"error: {told}")


@in_netns
def test_purge_takes_no_file_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped --audit-db costs nobody a file; a database of ours goes, with its log."""
    diary, ours = tmp_path / "diary", tmp_path / "audit.db"
    diary.write_text("Dear diary")
    asyncio.run(_written(ours))
    refused = ended(capsys, "uninstall", "--purge-audit", "--audit-db", str(diary))
    done = ended(capsys, "uninstall", "--purge-audit", "--audit-db", str(ours))

    assert refused == (1, "", f"error: {diary} is not an audit database of dnsfw and was left alone; name another file with --audit-db\n")
    assert diary.exists()
    assert (done[0], ours.exists()) == (0, False)


async def _written(path: Path) -> None:
    pipeline = AuditPipeline(AuditSettings(path=path))
    await pipeline.start()
    await pipeline.stop(5.0)


def test_broken_documents_at_start_exit_1(tmp_path: Path) -> None:
    """With the same words as `dnsfw check`; what is said on the way there is said about them alone."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("apiVersion: dnsfw.io/v1alpha1\nkind: FQDNEgressrule\n")
    words = ["--listen", "127.0.0.1:5353", "--upstream", "192.0.2.1", "--rules", rules, "--pods", rules, "--audit-db", tmp_path / "a.db"]
    command = [sys.executable, "-m", "dnsfw", "run", *words, "--api", f"unix:{tmp_path}/api"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert f'error: {rules}:2: kind: "FQDNEgressrule" is not read here; did you mean "FQDNEgressRule"?' in done.stderr.splitlines()


def test_check_does_not_load_what_it_does_not_need() -> None:
    """A hook must not wait for event loop, web server and kernel."""
    script = "import sys; import dnsfw.cli.main, dnsfw.cli.check; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert set(done.stdout.split()).isdisjoint({"asyncio", "uvloop", "aiohttp", "rich", "nftables", "pyroute2", "dnsfw.agent"})
