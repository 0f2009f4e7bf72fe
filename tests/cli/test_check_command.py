"""`dnsfw check` as people and hooks call it: exit codes, streams, formats."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dnsfw.cli.main import main

RULES = """apiVersion: dnsfw.io/v1alpha1
kind: FQDNEgressRule
metadata: {name: app1, namespace: shop}
spec:
  podSelector: {matchLabels: {app: app1}}
  egress:
  - toFQDNs: ["*.example.net"]
  - toCIDRs: [10.1.0.0/16]
"""
PODS = """apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop, labels: {app: other}}
status: {podIP: 192.0.2.1}
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]):
    """Runs `dnsfw check …`; gives exit code, stdout and stderr."""

    def run(*words: str | Path) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["check", *map(str, words)])
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def test_good_rules(call, rules: Path) -> None:
    """Exit 0, nothing on stderr, and a line that says what was looked at."""
    assert call(rules) == (0, "1 rule and 0 pods in 1 file: 0 errors, 0 warnings\n", "")


def test_errors_are_told_in_full(call, rules: Path) -> None:
    """Exit 1, each on stderr with file, line, path, what is wrong and what would be right."""
    rules.write_text(RULES.replace("*.example.net", "*.exa*mple.net").replace("10.1.0.0/16", "10.1.0.1/16"))

    assert call(rules) == (
        1,
        "0 rules and 0 pods in 1 file: 2 errors, 0 warnings\n",
        f'error: {rules}:7: spec.egress[0].toFQDNs[0]: pattern "*.exa*mple.net": "*" must be the whole first label\n'
        f'error: {rules}:8: spec.egress[1].toCIDRs[0]: "10.1.0.1/16" has host bits set; write "10.1.0.0/16"\n',
    )


def test_warnings_do_not_fail(call, rules: Path, tmp_path: Path) -> None:
    """A rule that selects no pod, and a network that is the cluster's, are told with the rule's place; exit 0."""
    pods = tmp_path / "pods.yaml"
    pods.write_text(PODS)
    code, out, err = call(rules, "--pods", pods, "--cluster-cidr", "10.0.0.0/8")

    assert code == 0
    assert out == "1 rule and 1 pod in 2 files: 0 errors, 2 warnings\n"
    assert err.splitlines()[0] == f"warning: {rules}:1: rule shop/app1: selects no pod"
    assert "10.1.0.0/16" in err.splitlines()[1]


@pytest.mark.parametrize(("form", "read"), [pytest.param("json", json.loads, id="json"), pytest.param("yaml", yaml.safe_load, id="yaml")])
def test_programs_get_values(call, rules: Path, form: str, read) -> None:
    """Everything on stdout, in the same exit codes."""
    rules.write_text(RULES.replace("toFQDNs", "toFQDN"))
    code, out, err = call(rules, "-o", form)

    assert (code, err) == (1, "")
    assert read(out)["errors"][0] == {
        "file": str(rules),
        "line": 7,
        "path": "spec.egress[0].toFQDN",
        "what": "unknown field",
        "right": 'did you mean "toFQDNs"?',
    }
    assert read(out)["warnings"] == []


def test_folders_files_and_standard_input(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is named is read, once; what stands twice is told with both places."""
    (tmp_path / "a.yaml").write_text(RULES)
    (tmp_path / "b.yml").write_text(PODS)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(RULES.encode())))
    code, out, err = call(tmp_path, tmp_path / "a.yaml", "-")

    assert code == 1
    assert out == "2 rules and 1 pod in 3 files: 1 error, 0 warnings\n"
    assert err == f"error: -:1: FQDNEgressRule shop/app1 stands in {tmp_path}/a.yaml:1 already; keep one of them\n"


def test_what_cannot_be_read(call, tmp_path: Path) -> None:
    """A missing file, one that is no text, and one that is a dangling link are errors with their names."""
    (tmp_path / "bad.yaml").write_bytes(b"\xff")
    (tmp_path / "link.yaml").symlink_to("nowhere")
    code, _, err = call(tmp_path, tmp_path / "none.yaml")

    assert code == 1
    assert sorted(err.splitlines()) == [
        f"error: {tmp_path}/bad.yaml:1: is not UTF-8",
        f"error: {tmp_path}/link.yaml: does not exist",
        f"error: {tmp_path}/none.yaml: does not exist",
    ]


def test_pods_that_will_not_be_served_are_told(call, rules: Path, tmp_path: Path) -> None:
    """Two live pods with one address, and pods in the node's network, before it is in force."""
    pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {0}, namespace: shop, uid: {0}, labels: {{app: app1}}}}\n{1}\n"
    path = tmp_path / "pods.yaml"
    path.write_text(
        pod.format("one", "status: {podIPs: [{ip: 10.1.0.5}, {ip: 10.1.0.6}]}")
        + pod.format("two", "status: {podIPs: [{ip: 10.1.0.5}]}")
        + pod.format("host", "spec: {hostNetwork: true}\nstatus: {podIPs: [{ip: 10.1.0.6}]}")
        + pod.format("old", "status: {phase: Succeeded, podIPs: [{ip: 10.1.0.6}]}")
    )
    code, _, err = call(rules, path)

    assert code == 0
    assert sorted(err.splitlines()) == [
        f"warning: {path}:12: pod shop/host: its rules are not enforceable, it shares the node's network (hostNetwork)",
        f"warning: {path}:2: pod shop/one: not served at 10.1.0.5, which shop/two has too; one of them has to go",
        f"warning: {path}:7: pod shop/two: not served at 10.1.0.5, which shop/one has too; one of them has to go",
    ]


def test_pipe_in_a_folder_is_not_waited_for(call, tmp_path: Path) -> None:
    """Nobody may ever write to it, and `dnsfw run` would refuse it too."""
    os.mkfifo(tmp_path / "pipe.yaml")

    assert call(tmp_path) == (
        1,
        "0 rules and 0 pods in 1 file: 1 error, 0 warnings\n",
        f"error: {tmp_path}/pipe.yaml: is not a regular file\n",
    )


def test_pipe_can_be_checked() -> None:
    """`dnsfw check <(kubectl get …)` works; only watching needs a file."""
    command = f"printf '%s' '{PODS}' | {sys.executable} -m dnsfw check /dev/stdin"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "0 rules and 1 pod in 1 file: 0 errors, 0 warnings\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param([], "Missing argument", id="nothing"),
        pytest.param(["x", "--nonsense"], "No such option", id="flag"),
        pytest.param(["x", "-o", "xml"], "xml", id="format"),
        pytest.param(
            ["x", "--cluster-cidr", "10.0.0.1/8"], '--cluster-cidr: "10.0.0.1/8" has host bits set; write "10.0.0.0/8"', id="cidr"
        ),
        pytest.param(["x", "--protected-cidr", "ten"], '--protected-cidr: "ten" is not a CIDR', id="protected"),
    ],
)
def test_wrong_call_exits_2(call, words: list[str], told: str) -> None:
    """The caller's mistake is not the documents'."""
    code, out, err = call(*words)

    assert (code, out) == (2, "")
    assert told in err
