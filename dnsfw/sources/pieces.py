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

_DOCUMENT = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)
_ITEMS = re.compile(r"^items:[ \t]*(?:#.*)?\n", re.MULTILINE)
_FIRST_ITEM = re.compile(r"(?:[ \t]*(?:#.*)?\n)*(?P<indent> *)-[ \n]")


# YAML 1.1 ends lines at these too; we do not, so such a text stays whole.
_OTHER_LINE_ENDS = re.compile("[\r\x85\u2028\u2029]")


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
    starts = [0, *(match.start() for match in _DOCUMENT.finditer(text)), len(text)]
    for start, end in pairwise(starts):
        piece = Piece(text[start:end], line)
        line += piece.text.count("\n")
        if piece.text.strip():
            yield _cut(piece)


def _cut(whole: Piece) -> Document:
    is_list = "\nitems:" in whole.text and not _OTHER_LINE_ENDS.search(whole.text)
    opening = _ITEMS.search(whole.text) if is_list else None
    first = _FIRST_ITEM.match(whole.text, opening.end()) if opening else None
    if opening is None or first is None:
        return Document(whole, whole)
    indent = first["indent"]
    # The block of items ends before the first line that is less indented, and not empty or a comment.
    ending = re.compile(rf"^(?!{indent}(?: |-[ \n])|[ \t]*(?:#|$))", re.MULTILINE).search(whole.text, opening.end())
    end = ending.start() if ending else len(whole.text)
    starts = [match.start() for match in re.compile(rf"^{indent}-(?=[ \n])", re.MULTILINE).finditer(whole.text, opening.end(), end)]
    items_line = whole.line + whole.text.count("\n", 0, opening.start())
    return Document(whole, _frame(whole, opening, end), tuple(_pieces(whole, [*starts, end])), items_line)


def _frame(whole: Piece, opening: re.Match[str], end: int) -> Piece:
    """The List with no items, but with as many lines: what follows them keeps its place."""
    lines = whole.text.count("\n", opening.end(), end)
    return Piece(whole.text[: opening.start()] + "items: []\n" + "\n" * lines + whole.text[end:], whole.line)


def _pieces(whole: Piece, cuts: list[int]) -> Iterator[Piece]:
    line = whole.line + whole.text.count("\n", 0, cuts[0])
    for start, end in pairwise(cuts):
        yield Piece(whole.text[start:end], line)
        line += whole.text.count("\n", start, end)
