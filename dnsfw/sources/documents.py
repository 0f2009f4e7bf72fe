"""YAML text -> trees of values with the lines they stand on.

Pure. Only what JSON could say too: no tags, no anchors or aliases (a few lines of them can stand for gigabytes), no key twice, keys
that are text.
Bounded in depth and in the number of values; the parser under it is libyaml's, event by event.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from dnsfw.errors import Problem
from dnsfw.policy.reader import Refused
from dnsfw.policy.tree import Node, shorten

_Event = Any  # the stubs leave out anchors, tags and that marks are there
DEEPEST = 64
MOST_VALUES = 1_000_000  # of one document; about 250 MB of Python objects

# YAML 1.1's words, as kubectl reads them: `on` and `yes` are no text unless quoted.
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{form: True for word in ("true", "yes", "on") for form in (word, word.capitalize(), word.upper())},
    **{form: False for word in ("false", "no", "off") for form in (word, word.capitalize(), word.upper())},
}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
# Everything else that some YAML reader takes for a number: octal, hexadecimal, underscores, fractions, exponents, .inf and .nan.
_ODD_NUMBER = re.compile(
    r"[-+]?(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))"
    r"|\.(nan|NaN|NAN)",
    re.ASCII,
)
_ESCAPES = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_END_OF_WORD = re.compile(r"[],}\s]")
_NUMBER_STARTS = frozenset("0123456789+-.")


def read_documents(text: str, file: str, first_line: int = 1) -> Iterator[Node]:
    """Every document that is not empty. Raises Refused with file and line; what follows a fault cannot be read."""
    events = _Events(_as_yaml(text), file, first_line)
    while (document := events.next_document()) is not None:
        if document.value is not None:
            yield document


def _as_yaml(text: str) -> str:
    """JSON is YAML but for one thing: it may escape a character beyond U+FFFF as two halves, which libyaml refuses."""
    return _ESCAPES.sub(_joined, text) if text.lstrip()[:1] in ("{", "[") else text


def _joined(escape: re.Match[str]) -> str:
    high, low = escape.groups()
    return escape[0] if high is None else (bytes.fromhex(high) + bytes.fromhex(low)).decode("utf-16-be")


class _Events:
    """libyaml's events, turned into nodes by descent; depth and number are bounded here, before anything is built."""

    def __init__(self, text: str, file: str, first_line: int) -> None:
        self.text, self.file, self.first_line = text, file, first_line
        self.values = 0
        self.loader: yaml.CSafeLoader | None = None

    def next_document(self) -> Node | None:
        while type(event := self._next()) is not yaml.StreamEndEvent:
            if type(event) is yaml.DocumentStartEvent:
                self.values = 0
                document = self._value(self._next(), 0, None)
                self._next()  # the document's end
                return document
        return None

    def _value(self, event: _Event, depth: int, key_line: int | None) -> Node:
        self._check(event, depth)
        line = key_line or self._line(event)
        if type(event) is yaml.ScalarEvent:
            return _scalar(event, line)
        if type(event) is yaml.MappingStartEvent:
            return Node(self._mapping(depth + 1), line)
        return Node(self._list(depth + 1), line)

    def _list(self, depth: int) -> list[Node]:
        nodes: list[Node] = []
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            nodes.append(self._value(event, depth, None))
        return nodes

    def _mapping(self, depth: int) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        while type(event := self._next()) is not yaml.MappingEndEvent:
            key = self._key(event, depth, nodes)
            nodes[key] = self._value(self._next(), depth, self._line(event))
        return nodes

    def _key(self, event: _Event, depth: int, nodes: dict[str, Node]) -> str:
        self._check(event, depth)
        if type(event) is not yaml.ScalarEvent:
            raise self._refused(event, "a list or a mapping as a key", "keys are text")
        key: str = event.value
        if key in nodes:
            raise self._refused(event, f'"{shorten(key)}" stands twice in one mapping', f"it is on line {nodes[key].line} already")
        return key

    def _check(self, event: _Event, depth: int) -> None:
        self.values += 1
        if self.values > MOST_VALUES:
            raise self._refused(event, f"more than {MOST_VALUES:,} values in one document", "split it with ---")
        if depth > DEEPEST:
            raise self._refused(event, f"nested more than {DEEPEST} deep")
        if type(event) is yaml.AliasEvent or event.anchor is not None:
            mark = "*" if type(event) is yaml.AliasEvent else "&"
            what = f"a YAML anchor or alias ({mark}{shorten(event.anchor)})"
            raise self._refused(event, what, "write the value out; quote text that begins with & or *")
        if event.tag is not None:
            raise self._refused(event, f"a YAML tag ({shorten(event.tag)})", "leave it out; quote text that begins with !")

    def _line(self, event: _Event) -> int:
        line: int = event.start_mark.line
        return self.first_line + line

    def _refused(self, event: _Event, what: str, right: str = "") -> Refused:
        return Refused(Problem(file=self.file, line=self._line(event), path="", what=what, right=right))

    def _next(self) -> _Event:
        try:
            self.loader = self.loader or yaml.CSafeLoader(self.text)
            return self.loader.get_event()
        except yaml.reader.ReaderError as error:
            before = self.text.encode()[: error.position]
            raise self._syntax(before.count(b"\n"), str(error.reason)) from error
        except yaml.MarkedYAMLError as error:
            raise self._syntax(*_explained(error, self.text)) from error

    def _syntax(self, line: int, what: str, right: str = "") -> Refused:
        return Refused(Problem(file=self.file, line=self.first_line + line, path="", what=f"not YAML: {what}", right=right))


def _explained(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str, str]:
    """Line, fault and advice. A quote left open is told where it opens, not where the file ends."""
    mark = error.context_mark if error.problem == "found unexpected end of stream" and error.context_mark else error.problem_mark
    what = f"{error.problem} {error.context}" if error.context else str(error.problem)
    return mark.line if mark else 0, what, _advice(error, text)


def _advice(error: yaml.MarkedYAMLError, text: str) -> str:
    if error.context == "while scanning an alias" and error.context_mark is not None:
        rest = text.splitlines()[error.context_mark.line][error.context_mark.column :]
        return f'a pattern that begins with * must stand in quotes: "{shorten(_END_OF_WORD.split(rest)[0])}"'
    if error.problem == "found character that cannot start any token":
        return "indent by spaces, not tabs; quote text that begins with @, ` or %"
    if error.problem == "mapping values are not allowed in this context":
        return "check the indentation; quote text that holds a colon and a space"
    return ""


def _scalar(event: yaml.ScalarEvent, line: int) -> Node:
    text: str = event.value
    if not event.implicit[0]:  # quoted, or a block of text
        return Node(text, line, text)
    if text in _WORDS:
        return Node(_WORDS[text], line, text)
    if text[0] in _NUMBER_STARTS:
        if _INTEGER.fullmatch(text):
            return Node(int(text), line, text)
        if _ODD_NUMBER.fullmatch(text):
            return Node(math.nan, line, text)
    return Node(text, line, text)
