"""What is in force of each file, and what is refused.

Pure. Always true: a file is in force whole or in its last good state, and no object is in force from two files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dnsfw.errors import Problem
from dnsfw.policy.parse import Item, Parsed
from dnsfw.sources.gather import Clash, clashes, first_is_refused, second_is_refused


@dataclass(frozen=True, slots=True)
class FileState:
    """One file. `items` are in force; `fresh` is what it says now, kept while another file's objects stand in its way."""

    items: tuple[Item, ...] = ()
    fresh: tuple[Item, ...] | None = None
    problems: tuple[Problem, ...] = ()


States = Mapping[Path, FileState]


def adopt(states: States, read: Mapping[Path, Parsed], vanished: frozenset[Path]) -> dict[Path, FileState]:
    """Take in what was read, all of it at once; what cannot stand beside the others is refused, the newly read first."""
    after = {path: state for path, state in states.items() if path not in vanished}
    after |= {path: _read(after.get(path, FileState()), parsed) for path, parsed in read.items()}
    fresh = {path: state.fresh for path, state in after.items() if state.fresh is not None}
    refused: dict[Path, tuple[Problem, ...]] = {}
    while losers := _losers(_in_force(after, fresh), fresh):
        refused |= losers
        fresh = {path: items for path, items in fresh.items() if path not in losers}
    return {path: _settled(state, fresh.get(path), refused.get(path)) for path, state in sorted(after.items())}


def _read(state: FileState, parsed: Parsed) -> FileState:
    if parsed.problems:
        return FileState(state.items, None, parsed.problems)
    return FileState(state.items, parsed.items)


def _in_force(states: States, fresh: Mapping[Path, tuple[Item, ...]]) -> dict[Path, tuple[Item, ...]]:
    return {path: fresh.get(path, states[path].items) for path in sorted(states)}


def _losers(in_force: Mapping[Path, tuple[Item, ...]], fresh: Mapping[Path, tuple[Item, ...]]) -> dict[Path, tuple[Problem, ...]]:
    losers: dict[Path, tuple[Problem, ...]] = {}
    for clash in clashes({str(path): items for path, items in in_force.items()}):
        path, problem = _loser(clash, fresh)
        losers[path] = (*losers.get(path, ()), problem)
    return losers


def _loser(clash: Clash, fresh: Mapping[Path, tuple[Item, ...]]) -> tuple[Path, Problem]:
    second = Path(clash.second.file)
    if second in fresh:
        return second, second_is_refused(clash)
    return Path(clash.first.file), first_is_refused(clash)


def _settled(state: FileState, fresh: tuple[Item, ...] | None, refused: tuple[Problem, ...] | None) -> FileState:
    if refused is not None:
        return replace(state, problems=refused)
    return state if fresh is None else FileState(fresh)
