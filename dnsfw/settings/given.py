"""What was said, and where: the flag wins over the environment, the environment over the file.

Reads the file of `--config`. Every value stays text here, with its place for messages.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dnsfw.errors import DnsfwError, Problem
from dnsfw.policy.reader import Field, Refused, guess
from dnsfw.policy.tree import shorten
from dnsfw.settings.table import SETTINGS, Setting
from dnsfw.sources.content import read_content
from dnsfw.sources.documents import read_documents
from dnsfw.sources.folders import unreadable


class SettingsError(DnsfwError):
    """Settings that cannot be; one line for each fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)

    exit_code = 2  # as for any other misuse of the command line


class Given(NamedTuple):
    """A value as it was written, and where: `--listen`, `DNSFW_LISTEN` or `dnsfw.yaml:3: listen`."""

    text: str
    place: str


# Kubernetes tells each pod of the services of its namespace in variables; one may be called "dnsfw" or "dnsfw-…".
_OF_A_SERVICE = re.compile(r"DNSFW_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_[0-9]+_(?:TCP|UDP|SCTP)\w*)")

Flags = Mapping[str, str | Sequence[str] | None]
Said = Mapping[str, tuple[Given, ...]]


def all_given(flags: Flags, environ: Mapping[str, str], config: Path | None) -> Said:
    """By setting; a repeatable one is taken from one place only, never mixed. Raises SettingsError for the file."""
    return {**(_from_file(config) if config else {}), **_from_environment(environ), **_from_flags(flags)}


def _from_flags(flags: Flags) -> dict[str, tuple[Given, ...]]:
    texts = {name: (value,) if isinstance(value, str) else tuple(value or ()) for name, value in flags.items()}
    return {name: tuple(Given(text, f"--{name}") for text in each) for name, each in texts.items() if each}


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[Given, ...]]:
    """An empty variable says nothing; of a repeatable setting, it holds several separated by spaces. Raises SettingsError for a variable
    that is no setting's: a mistyped DNSFW_PROTECTED_CIDR must not pass for one that is not there.
    """
    if unknown := sorted(filter(_is_mistyped, environ)):
        raise SettingsError([f"{name}: unknown setting; {_meant(name)}" for name in unknown])
    said = ((setting, environ.get(setting.variable, "")) for setting in SETTINGS)
    return {setting.name: tuple(_split(setting, text)) for setting, text in said if text}


def _is_mistyped(variable: str) -> bool:
    is_known = variable == "DNSFW_CONFIG" or any(variable == setting.variable for setting in SETTINGS)
    return variable.startswith("DNSFW_") and not is_known and not _OF_A_SERVICE.fullmatch(variable)


def _meant(variable: str) -> str:
    near = guess(variable.removeprefix("DNSFW_"), [setting.variable.removeprefix("DNSFW_") for setting in SETTINGS])
    return near.replace('"', '"DNSFW_', 1) or "`dnsfw run --help` lists all"


def _split(setting: Setting, text: str) -> Iterator[Given]:
    for part in text.split() if setting.is_many else (text,):
        yield Given(part, setting.variable)


def _from_file(path: Path) -> dict[str, tuple[Given, ...]]:
    problems: list[Problem] = []
    said = dict(_settings_of(_root(path, problems)))
    if problems:
        raise SettingsError([str(problem) for problem in problems])
    return said


def _root(path: Path, problems: list[Problem]) -> Field:
    try:
        content = read_content(path)
        documents = [] if isinstance(content, Problem) else list(read_documents(content, str(path)))
    except OSError as error:
        raise SettingsError([str(unreadable(path, error))]) from error
    except Refused as refusal:
        raise SettingsError([str(refusal.problem)]) from refusal
    if isinstance(content, Problem):
        raise SettingsError([str(content)])
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise SettingsError([f"{path}: must be one mapping of settings; such as `cluster-domain: cluster.local`"])
    return Field(documents[0], "", str(path), problems)


def _settings_of(root: Field) -> Iterator[tuple[str, tuple[Given, ...]]]:
    known = {setting.name: setting for setting in SETTINGS}
    for key in root.mapping():
        field = root.child(key)
        if key in known:
            yield key, root.optional(key, _many if known[key].is_many else _one, ())
        else:
            field.problems.append(field.problem("unknown setting", guess(key, known) or f"one of {', '.join(known)}"))


def _many(field: Field) -> tuple[Given, ...]:
    return tuple(each for (each,) in field.each(_one, 1)) if isinstance(field.node.value, list) else _one(field)


def _one(field: Field) -> tuple[Given, ...]:
    if field.node.value is None or isinstance(field.node.value, dict | list):
        raise field.refused("must be one value")
    return (Given(field.node.text, f"{field.file}:{field.node.line}: {shorten(field.path)}"),)
