"""What the documents show is true: their YAML passes the check, their commands and flags exist, their links lead somewhere."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dnsfw.cli.main import COMMANDS
from dnsfw.policy.reasons import Reason
from dnsfw.settings import settings_from
from dnsfw.settings.table import SETTINGS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


def blocks(document: Path, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", document.read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for _, text in found]


def commands(document: Path) -> list[list[str]]:
    """The words of each command in the document's shell blocks, comments and line ends joined away."""
    lines = "\n".join(blocks(document, "sh")).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].split() for line in lines if line.strip()]


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if blocks(document, "yaml")], ids=lambda path: path.name)
def test_yaml_of_the_documents_passes_the_check(document: Path, tmp_path: Path) -> None:
    """Who copies an example gets no error and no warning."""
    for number, text in enumerate(blocks(document, "yaml")):
        (tmp_path / f"{number}.yaml").write_text(text)

    done = subprocess.run([sys.executable, "-m", "dnsfw", "check", str(tmp_path)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_settings_file_of_the_documents_says_what_the_command_says(tmp_path: Path) -> None:
    """`dnsfw run --config` of the operations page is the README's `dnsfw run`, flag by flag."""
    (config,) = blocks(ROOT / "docs" / "operations.md", "yaml settings")
    (tmp_path / "dnsfw.yaml").write_text(config)
    (words,) = [words for words in commands(ROOT / "README.md") if words[:2] == ["dnsfw", "run"]]
    flags: dict[str, list[str]] = {}
    for flag, value in zip(words[2::2], words[3::2], strict=True):
        flags.setdefault(flag.removeprefix("--"), []).append(value.strip("'"))
    single = {name: value[-1] if name in {"rules", "pods"} else value for name, value in flags.items()}

    assert settings_from({}, {}, tmp_path / "dnsfw.yaml") == settings_from(single, {})


def test_every_reason_is_explained() -> None:
    """Each word that the audit may give as a reason stands in the page for rule writers, or among the limits."""
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("writing-rules.md", "limits.md", "operations.md"))
    ours = {Reason.ALLOWED, Reason.NOT_READY, Reason.RULES_CHANGED, Reason.MALFORMED_QUERY, Reason.STOPPING}  # dnsfw's own affair, or plain

    assert {reason.value for reason in set(Reason) - ours if f"`{reason.value}`" not in pages and f'"{reason.value}"' not in pages} == set()


def test_the_first_rule_selects_the_example_pod(tmp_path: Path) -> None:
    """The README's rule and its pod belong together: with both there is nothing to warn of."""
    for number, text in enumerate(blocks(ROOT / "README.md", "yaml")):
        (tmp_path / f"{number}.yaml").write_text(text)

    done = subprocess.run([sys.executable, "-m", "dnsfw", "check", str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.stdout == "1 rule and 1 pod in 2 files: 0 errors, 0 warnings\n"


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_commands_of_the_documents_exist(document: Path) -> None:
    """Every `make` target, every `dnsfw` command and every flag of `dnsfw run` that is shown is there."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    flags = {f"--{setting.name}" for setting in SETTINGS} | {"--config"}
    for words in commands(document):
        match words:
            case ["make", target, *_]:
                assert target in targets
            case ["dnsfw", "run", *rest]:
                assert {word for word in rest if word.startswith("--")} <= flags
            case ["dnsfw", command, *_]:
                assert command in COMMANDS


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_between_the_documents_lead_somewhere(document: Path) -> None:
    """No link to a file that is not there."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_lock_files_name_no_index() -> None:
    """A lock says which bytes, never from where."""
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()

        assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text), name


def test_lock_files_hold_what_the_project_asks_for() -> None:
    """Each dependency of pyproject.toml stands in the lock."""
    for name in re.findall(
        r'^  "([A-Za-z0-9-]+)[>=]', (ROOT / "pyproject.toml").read_text().split("[project]")[1].split("[project.optional")[0], re.MULTILINE
    ):
        assert re.search(rf"^{name}==", (ROOT / "requirements.lock").read_text(), re.MULTILINE), name
