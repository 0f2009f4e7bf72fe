"""`dnsfw check`: the code that `dnsfw run` reads files with, and what it would warn of.

Reads the files named and nothing else. Exit 1 if `dnsfw run` would refuse any of them; warnings alone are no failure.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from dnsfw.cli.output import Format, FormatOption, print_value
from dnsfw.clock import SystemClock, WallTime
from dnsfw.errors import DnsfwError, Problem
from dnsfw.names import parse_name
from dnsfw.policy.lint import lint_pods, lint_world
from dnsfw.policy.model import IPNetwork, Pod, PolicySettings, Rule, World
from dnsfw.policy.parse import Item, Parsed
from dnsfw.settings.values import Unfit, network
from dnsfw.sources.content import read_content, read_stream
from dnsfw.sources.folders import list_files, unreadable
from dnsfw.sources.gather import clashes, second_is_refused, world_of
from dnsfw.sources.reading import read_text

_STDIN = Path("-")


class CheckUsageError(DnsfwError):
    """A flag of `check` that cannot be."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: errors keep files from being taken, warnings do not."""

    files: int
    world: World
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    @property
    def summary(self) -> str:
        counts = (len(self.world.rules), "rule"), (len(self.world.pods), "pod"), (self.files, "file")
        what = f"{_count(*counts[0])} and {_count(*counts[1])} in {_count(*counts[2])}"
        return f"{what}: {_count(len(self.errors), 'error')}, {_count(len(self.warnings), 'warning')}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Files or folders of rules, pods and namespaces; - is standard input.")
    ],
    pods: Annotated[list[Path] | None, typer.Option("--pods", metavar="PATH", help="More files or folders, as for `dnsfw run`.")] = None,
    cluster_cidr: Annotated[
        list[str] | None, typer.Option("--cluster-cidr", metavar="CIDR", help="As for `dnsfw run`; repeatable.")
    ] = None,
    protected_cidr: Annotated[
        list[str] | None, typer.Option("--protected-cidr", metavar="CIDR", help="As for `dnsfw run`; repeatable.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check rules and pods without putting them into force.

    Errors name file, line, path to the field, what is wrong and what would be right. Exit 1 if there is any; warnings alone exit 0.
    """
    settings = _settings(cluster_cidr or (), protected_cidr or ())
    report = examine([*files, *(pods or ())], settings, SystemClock().wall())
    _print(report, output)
    sys.exit(1 if report.errors else 0)


def _settings(cluster: Sequence[str], protected: Sequence[str]) -> PolicySettings:
    return PolicySettings(
        cluster_networks=tuple(_networks("--cluster-cidr", cluster)),
        protected_networks=tuple(_networks("--protected-cidr", protected)),
        cluster_domain=parse_name("cluster.local"),
    )


def _networks(flag: str, texts: Sequence[str]) -> Iterator[IPNetwork]:
    for text in texts:
        try:
            yield network(text)
        except Unfit as unfit:
            raise CheckUsageError(f"{flag}: {unfit}") from unfit


def examine(paths: Sequence[Path], settings: PolicySettings, wall_now: WallTime) -> Report:
    """Read everything; rules are only looked at more closely once there is no error."""
    parsed, errors = _read_all(paths)
    files = {file: each.items for file, each in parsed.items()}
    errors += [problem for each in parsed.values() for problem in each.problems]
    errors += [second_is_refused(clash) for clash in clashes(files)]
    items = [item for each in files.values() for item in each]
    world = world_of(items)
    return Report(len(files), world, tuple(errors), () if errors else _warnings(world, files, settings, wall_now))


def _read_all(paths: Sequence[Path]) -> tuple[dict[str, Parsed], list[Problem]]:
    listing = list_files(path for path in dict.fromkeys(paths) if path != _STDIN)
    files = [*listing.files, *([_STDIN] if _STDIN in paths else [])]
    return {str(path): _read(path, is_named=path in paths) for path in files}, list(listing.problems.values())


def _read(path: Path, *, is_named: bool) -> Parsed:
    try:
        content = read_stream(sys.stdin.buffer, path) if path == _STDIN else _content(path) if is_named else read_content(path)
    except OSError as error:
        return Parsed((), (unreadable(path, error),))
    if isinstance(content, Problem):
        return Parsed((), (content,))
    return read_text(content, str(path), {}, lambda: None)[0]


def _content(path: Path) -> str | Problem:
    """A pipe that is named may be checked, too (`<(kubectl get …)`); one found in a folder might never end, nor may it be watched."""
    with path.open("rb") as file:
        return read_stream(file, path)


def _warnings(world: World, files: Mapping[str, Sequence[Item]], settings: PolicySettings, wall_now: WallTime) -> tuple[Problem, ...]:
    placed = [(item.value, (file, item.line)) for file, items in files.items() for item in items]
    rules = {value.ref: place for value, place in placed if isinstance(value, Rule)}
    pods = {value.uid: place for value, place in placed if isinstance(value, Pod)}
    found = [(*rules[finding.rule], str(finding)) for finding in lint_world(world, settings, wall_now)]
    found += [(*pods[finding.pod.uid], str(finding)) for finding in lint_pods(world)]
    return tuple(Problem(file=file, line=line, path="", what=what) for file, line, what in found)


def _print(report: Report, form: Format) -> None:
    if form is not Format.TABLE:
        kinds = {"errors": report.errors, "warnings": report.warnings}
        print_value(
            {kind: [asdict(problem) for problem in problems] for kind, problems in kinds.items()} | {"summary": report.summary}, form
        )
        return
    for problem in report.errors:
        sys.stderr.write(f"error: {problem}\n")
    for problem in report.warnings:
        sys.stderr.write(f"warning: {problem}\n")
    sys.stdout.write(f"{report.summary}\n")
