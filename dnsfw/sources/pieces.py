"""A file's text -> pieces that can be read one by one, and read again only when they change.

Pure. A file of 10,000 rules takes seconds to read, its one changed document milliseconds. Cut are documents (at `---`, which YAML
allows nowhere else) and the items of a List in the form that kubectl prints. A cut is only kept if every piece can be read by itself:
a reader goes from left to right, so having come cleanly to the end of a piece it stands where it would stand in the whole text. Whoever
fails to read a piece reads the whole document instead (`whole`), so a wrong cut costs time and never meaning.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_BLANK_OR_END = ("", " ", "\t", "\r", "\n")
_ITEMS = re.compile(r"items:(?:[ \t]+(?:#.*)?)?\n")  # a comment needs the space: "items:#" is a word
_FIRST_ITEM = re.compile(r"(?:[ \t]*(?:#.*)?\n)*(?P<indent> *)-[ \n]")


# YAML 1.1 ends lines at these too; we do not, so such a text stays whole.
_OTHER_LINE_ENDS = ("\r", "\x85", "\u2028", "\u2029")


class Piece(NamedTuple):
    """Text and the line of the file it begins on."""

    text: str
    line: int


class Document(NamedTuple):
    """One document: as a whole, and, if it looks like a List, cut: `frame` is the List with `items: []`, on line `items_line`."""

    whole: Piece
    frame: Piece
    items: tuple[Piece, ...] = ()
    items_line: int = 0


def documents_of(text: str) -> Iterator[Document]:
    line = 1
    for start, end in pairwise((0, *_markers(text), len(text))):
        piece = Piece(text[start:end], line)
        line += piece.text.count("\n")
        if piece.text.strip():
            yield _cut(piece)


def _markers(text: str) -> Iterator[int]:
    """Where a line begins a new document. By `find`, since a pattern takes ten times as long over the megabytes between."""
    start = text.find("\n---")
    while start >= 0:
        if text[start + 4 : start + 5] in _BLANK_OR_END:
            yield start + 1
        start = text.find("\n---", start + 4)


def _cut(whole: Piece) -> Document:
    place = whole.text.find("\nitems:") + 1
    opening = _ITEMS.match(whole.text, place) if place and not any(end in whole.text for end in _OTHER_LINE_ENDS) else None
    first = _FIRST_ITEM.match(whole.text, opening.end()) if opening else None
    if opening is None or first is None:
        return Document(whole, whole)
    cuts = list(_cuts(whole.text, first.start("indent"), first["indent"]))
    items_line = whole.line + whole.text.count("\n", 0, opening.start())
    return Document(whole, _frame(whole, opening, cuts[-1]), tuple(_pieces(whole, cuts)), items_line)


def _cuts(text: str, start: int, indent: str) -> Iterator[int]:
    """Where each item begins, and where the last one ends: before a line that is less indented, and not empty or a comment.

    Item by item: a pattern does not let other threads run while it looks through megabytes.
    """
    ending = re.compile(rf"^(?!{indent}(?: |-[ \n])|[ \t]*(?:#|$))", re.MULTILINE)
    while True:
        yield start
        after = _next_item(text, start + 1, indent)
        if (found := ending.search(text, start, after)) is not None:
            yield found.start()
            return
        if after == len(text):
            yield after
            return
        start = after


def _next_item(text: str, start: int, indent: str) -> int:
    dash = f"\n{indent}-"
    while (found := text.find(dash, start)) >= 0:
        if text[found + len(dash) : found + len(dash) + 1] in (" ", "\n"):
            return found + 1
        start = found + 1
    return len(text)


def _frame(whole: Piece, opening: re.Match[str], end: int) -> Piece:
    """The List with no items, but with as many lines: what follows them keeps its place."""
    lines = whole.text.count("\n", opening.end(), end)
    return Piece(whole.text[: opening.start()] + "items: []\n" + "\n" * lines + whole.text[end:], whole.line)


def _pieces(whole: Piece, cuts: list[int]) -> Iterator[Piece]:
    line = whole.line + whole.text.count("\n", 0, cuts[0])
    for start, end in pairwise(cuts):
        yield Piece(whole.text[start:end], line)
        line += whole.text.count("\n", start, end)
