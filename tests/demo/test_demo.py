"""The demo as a user runs it, and its steps where there is no firewall: what cannot fail proves nothing."""

import json
import os
import subprocess
import sys

import pytest

from dnsfw.demo import steps
from dnsfw.demo.lab import Lab
from dnsfw.demo.namespaces import NEW_NETWORK, NEW_USERS
from dnsfw.demo.scene import example_rules
from dnsfw.demo.story import CHAPTERS, without_github

DEMO = [sys.executable, "-m", "dnsfw", "demo"]


@pytest.fixture(scope="module")
def played(shared_lab: Lab):
    """The whole demo, once. `shared_lab` says whether this machine can."""
    done = subprocess.run([*DEMO, "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_demo_keeps_its_promises(played) -> None:
    """Every step goes as it should, and the exit status says so."""
    status, document = played
    wrong = [step for chapter in document["chapters"] for step in chapter["steps"] if not step["is_as_expected"]]

    assert wrong == []
    assert (status, document["verdict"]) == (0, "kept")


@pytest.mark.parametrize("title", [title for title, _, _ in CHAPTERS])
def test_demo_plays_every_chapter(played, title: str) -> None:
    """No chapter is left out, none is empty."""
    (chapter,) = [chapter for chapter in played[1]["chapters"] if chapter["title"] == title]

    assert chapter["steps"]


def test_demo_gives_grants_and_audit(played) -> None:
    """Grants end some time, and the audit has what was refused as well as what was allowed."""
    _, document = played

    assert document["grants"]
    assert all(0 < grant["remaining_s"] <= 3610 for grant in document["grants"])
    assert {"allowed", "refused"} <= {entry.get("decision") for entry in document["audit"]}


def test_steps_fail_where_nothing_is_closed(shared_lab: Lab) -> None:
    """On a node without a firewall every step that wants a refusal is wrong."""
    pod = shared_lab.pod("shop/web")

    assert not steps.is_closed(pod, "a stranger", "192.0.2.1", 443).is_as_expected
    assert not steps.has_no_name(pod, "www.example.net", server="8.8.8.8").is_as_expected
    assert steps.reaches(pod, "a partner", "192.0.2.1", 22).is_as_expected


def test_steps_fail_where_nothing_answers(shared_lab: Lab) -> None:
    """Without a resolver nothing is fetched, and silence is no refusal."""
    pod = shared_lab.pod("shop/web")

    fetched = steps.fetches(pod, "www.example.net")
    assert (fetched.is_as_expected, fetched.happened) == (False, "ECONNREFUSED")
    assert not steps.reaches(pod, "an unused port", "192.0.2.1", 9).is_as_expected


def test_example_rules_are_shipped() -> None:
    """The files lie in the package, and the story's edit of one takes the names away and nothing else."""
    rules = example_rules()

    assert sorted(rules) == ["app1.yaml", "app2.yaml"]
    edited = without_github(rules["app1.yaml"])
    assert "toFQDNs" not in edited
    assert "toCIDRs" in edited


def test_example_rules_pass_the_check(shared_lab: Lab) -> None:
    """What the demo shows can be copied."""
    for name, text in example_rules().items():
        path = shared_lab.folder / name
        path.write_text(text)
        done = shared_lab.dnsfw("check", str(path))
        assert done.status == 0, done.stderr


def test_impossible_namespaces_are_explained(shared_lab: Lab) -> None:
    """Where the machine says no, the demo says which switch, and exits with 1."""
    script = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None)
assert libc.unshare({NEW_USERS | NEW_NETWORK}) == 0
open("/proc/sys/user/max_user_namespaces", "w").write("0")  # of this user namespace alone
for capability in range(41):
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, {DEMO!r})
"""
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)

    assert done.returncode == 1
    assert "cannot make namespaces" in done.stderr
    assert "user.max_user_namespaces" in done.stderr
