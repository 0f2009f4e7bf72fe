"""Reading a tree field by field, noting every problem with file, line and path.

Pure. A parser takes a `Field` and returns a value or raises `Refused`; `required`, `optional` and `each` note the refusal and read on,
so that one run names all faults of a document. Values read beside a noted problem are placeholders: whoever sees a problem takes nothing.
"""

import difflib
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from dnsfw.errors import Problem
from dnsfw.policy.tree import Node, describe, shorten

T = TypeVar("T")
D = TypeVar("D")


class Refused(Exception):  # noqa: N818 - never leaves the parsers; it is a way back to the reader, not an error of the program
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class Field(NamedTuple):
    """One place in a document; a NamedTuple since a file of 10,000 rules makes 300,000 (0.3 µs each, a frozen dataclass 1 µs)."""

    node: Node
    path: str
    file: str
    problems: list[Problem]

    def problem(self, what: str, right: str) -> Problem:
        return Problem(file=self.file, line=self.node.line, path=self.path, what=what, right=right)

    def note(self, what: str, right: str) -> None:
        self.problems.append(self.problem(what, right))

    def refused(self, what: str, right: str = "") -> Refused:
        return Refused(self.problem(what, right))

    # -- what stands here -----------------------------------------------------------------------------------------

    def mapping(self) -> dict[str, Node]:
        if isinstance(self.node.value, dict):
            return self.node.value
        raise self.refused(f"must be a mapping, is {describe(self.node)}")

    def text(self) -> str:
        if isinstance(self.node.value, str):
            return self.node.value
        hint = f'write it in quotes: "{shorten(self.node.text)}"' if isinstance(self.node.value, bool | int | float) else ""
        raise self.refused(f"must be text, is {describe(self.node)}", hint)

    def integer(self, low: int, high: int) -> int:
        value = self.node.value
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refused(f"must be an integer, is {describe(self.node)}", f"a plain decimal number from {low} to {high}")
        if not low <= value <= high:
            raise self.refused(f"{value} is out of range", f"{low} to {high}")
        return value

    def choice(self, words: Iterable[str]) -> str:
        known = tuple(words)
        value = self.text()
        if value not in known:
            raise self.refused(f'"{shorten(value)}" is not known', guess(value, known) or f"one of {', '.join(known)}")
        return value

    def each(self, parse: Callable[["Field"], T], low: int = 0, high: int | None = None) -> tuple[T, ...]:
        """The list's elements; those that are refused are noted and left out."""
        if not isinstance(self.node.value, list):
            raise self.refused(f"must be a list, is {describe(self.node)}")
        count = len(self.node.value)
        if count < low or (high is not None and count > high):
            raise self.refused(f"has {count} entries", f"at least {low}" if high is None else f"{low} to {high}")
        return tuple(value for index in range(count) for value in self._element(index, parse))

    def _element(self, index: int, parse: Callable[["Field"], T]) -> tuple[T, ...]:
        assert isinstance(self.node.value, list)  # noqa: S101 - tells mypy what `each` has just refused otherwise
        try:
            return (parse(Field(self.node.value[index], f"{self.path}[{index}]", self.file, self.problems)),)
        except Refused as refusal:
            self.problems.append(refusal.problem)
            return ()

    # -- what stands below ----------------------------------------------------------------------------------------

    def has(self, key: str) -> bool:
        return key in self.mapping()

    def child(self, key: str) -> "Field":
        return self._below(key, self.mapping()[key])

    def _below(self, key: str, node: Node) -> "Field":
        shown = shorten(key)  # a label's key is whatever stood there: an escape sequence, a page of text
        return Field(node, f"{self.path}.{shown}" if self.path else shown, self.file, self.problems)

    def optional(self, key: str, parse: Callable[["Field"], T], default: D) -> T | D:
        if (node := self.mapping().get(key)) is None:
            return default
        try:
            return parse(self._below(key, node))
        except Refused as refusal:
            self.problems.append(refusal.problem)
            return default

    def required(self, key: str, parse: Callable[["Field"], T], placeholder: D, right: str = "") -> T | D:
        if self.has(key):
            return self.optional(key, parse, placeholder)
        self._below(key, self.node).note("is missing", right)
        return placeholder

    def allow_only(self, *known: str) -> None:
        """Note each unknown field: a misspelt field that is skipped is a rule that does something else."""
        for key, node in self.mapping().items():
            if key not in known:
                self._below(key, node).note("unknown field", guess(key, known) or f"known here: {', '.join(known)}")


def guess(word: str, known: Iterable[str]) -> str:
    """The likeliest of the known words, as a hint; "" where none is near."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(shorten(word).casefold(), by_folded, n=1, cutoff=0.6)
    return f'did you mean "{by_folded[near[0]]}"?' if near else ""
