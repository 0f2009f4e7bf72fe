"""Rules and pods from files: read once at start, watched, switched as one.

Reads files and their names; while watching, on a thread that lets the loop's run between pieces. Always true: a broken file leaves its last
good state in force while the others follow; a world is handed on only when something in it changed; nothing is taken that is being written.
"""

import asyncio
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from dnsfw.errors import DocumentsError, Problem
from dnsfw.policy.model import World
from dnsfw.policy.parse import Parsed
from dnsfw.sources.content import read_content
from dnsfw.sources.folders import Listing, Signature, list_files, signature_of, unreadable
from dnsfw.sources.gather import world_of
from dnsfw.sources.reading import Memory, read_text
from dnsfw.sources.settings import FilesSettings
from dnsfw.sources.states import FileState, adopt

POLL_S = 0.05
POLL_PER_FILE_S = 0.0001  # to look at a file takes about 5 µs
LONGEST_POLL_S = 0.3
SETTLE_S = 0.03  # longer than a tick of the kernel's file times (at most 10 ms), so that a later write shows in them
SETTLE_ROUNDS = 10
PIECES_BETWEEN_RESTS = 4  # about 2 ms of work
REST_S = 0.0005


class FileSource:
    """The one owner of what the files say. One round at a time changes it; what others may see is switched as one."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings
        self._roots = tuple(dict.fromkeys((settings.rules, settings.pods)))
        self._signatures: dict[Path, Signature] = {}
        self._memories: dict[Path, Memory] = {}
        self._states: dict[Path, FileState] = {}
        self._root_problems: tuple[Problem, ...] = ()
        self._problems: tuple[Problem, ...] = ()
        self._world = World()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is refused at present."""
        return self._problems

    def load(self) -> World:
        """The first reading. Raises DocumentsError with every problem there is."""
        self._first_rounds()
        if self._problems:
            raise DocumentsError(self._problems)
        return self._world

    async def watch(self, on_world: Callable[[World], None], on_problems: Callable[[tuple[Problem, ...]], None]) -> None:
        """Follow the files until cancelled; both are called on the loop, each only when there is something new to say."""
        rest = _rests()
        while True:
            world, problems = self._world, self._problems
            await asyncio.to_thread(self._round, rest)
            if self._problems != problems:
                on_problems(self._problems)
            if self._world is not world:
                on_world(self._world)
            await asyncio.sleep(min(POLL_S + POLL_PER_FILE_S * len(self._states), LONGEST_POLL_S))

    def _first_rounds(self) -> None:
        for _ in range(SETTLE_ROUNDS):
            self._round(_no_rest)
            if self._problems or not self._is_news(list_files(self._roots)):
                return
        moving = self._changed(list_files(self._roots))
        raise DocumentsError(tuple(Problem(file=str(path), line=None, path="", what="does not stop changing") for path in moving))

    def _round(self, rest: Callable[[], None]) -> None:
        """Look; if anything has changed, wait until it stands still, and take it in."""
        listing = list_files(self._roots)
        if not self._is_news(listing):
            return
        listing, moving = self._standing_still(listing)
        changed = [path for path in self._changed(listing) if path not in moving]
        read = {path: parsed for path in changed if (parsed := self._read(path, listing.files[path], rest)) is not None}
        self._states = adopt(self._states, read, self._vanished(listing) - moving)
        self._root_problems = tuple(listing.problems.values())
        self._forget_others()
        self._publish()

    def _is_news(self, listing: Listing) -> bool:
        return bool(self._changed(listing) or self._vanished(listing)) or self._root_problems != tuple(listing.problems.values())

    def _changed(self, listing: Listing) -> list[Path]:
        return [path for path, signature in listing.files.items() if self._signatures.get(path) != signature]

    def _vanished(self, listing: Listing) -> frozenset[Path]:
        """Files that are gone from a folder that can be looked at; a root that is gone itself says nothing about its files."""
        gone = (path for path in self._states if path not in listing.files)
        return frozenset(path for path in gone if path not in listing.problems and path.parent not in listing.problems)

    def _standing_still(self, listing: Listing) -> tuple[Listing, frozenset[Path]]:
        """The files once two looks agree, and those that still changed at the last."""
        moving: frozenset[Path] = frozenset()
        for _ in range(SETTLE_ROUNDS):
            time.sleep(SETTLE_S)
            before, listing = listing, list_files(self._roots)
            paths = before.files.keys() | listing.files.keys()
            moving = frozenset(path for path in paths if before.files.get(path) != listing.files.get(path))
            if not moving:
                break
        return listing, moving

    def _read(self, path: Path, signature: Signature, rest: Callable[[], None]) -> Parsed | None:
        """What the file says; None: it changed while it was read, so it is for the next round."""
        try:
            content = read_content(path)
        except OSError as error:
            return Parsed((), (unreadable(path, error),))  # without a signature: tried again each round
        if signature_of(path) != signature:
            return None
        self._signatures[path] = signature
        if isinstance(content, Problem):
            return Parsed((), (content,))
        parsed, self._memories[path] = read_text(content, str(path), self._memories.get(path, {}), rest)
        return parsed

    def _forget_others(self) -> None:
        self._signatures = {path: signature for path, signature in self._signatures.items() if path in self._states}
        self._memories = {path: memory for path, memory in self._memories.items() if path in self._states}

    def _publish(self) -> None:
        states = self._states.values()
        self._problems = (*self._root_problems, *(problem for state in states for problem in state.problems))
        world = world_of((item for state in states for item in state.items), self._settings.node_name)
        if world != self._world:
            self._world = world


def _no_rest() -> None:
    """At start nobody else wants to run."""


def _rests() -> Callable[[], None]:
    """Every few pieces, sleep: the loop's thread would otherwise wait out Python's switch interval (5 ms) each time it wants to run."""
    pieces = count(1)

    def rest() -> None:
        if next(pieces) % PIECES_BETWEEN_RESTS == 0:
            time.sleep(REST_S)

    return rest
