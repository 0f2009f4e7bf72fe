"""A file's text -> the objects in it, reading again only what has changed since last time.

Pure. Always true: text with a problem anywhere gives no objects, and what the memory holds equals what reading again would give.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b

from dnsfw.errors import Problem
from dnsfw.policy.parse import Item, Parsed, element_kind, parse_document, parse_element
from dnsfw.policy.reader import Refused
from dnsfw.sources.documents import read_documents
from dnsfw.sources.pieces import Document, Piece, documents_of

Key = tuple[bytes, str | None]
Memory = Mapping[Key, tuple[int, tuple[Item, ...]]]
"""What pieces of text came to and on which line they stood, by the text and the kind that their List gives them."""


def read_text(text: str, file: str, memory: Memory, rest: Callable[[], None]) -> tuple[Parsed, Memory]:
    """The file's objects, or its problems; and the memory for the next time.

    `rest` is called after each piece that was really read: a thread lets others run there.
    """
    reading = _Reading(file, memory, rest)
    whole = _joined([reading.document(document) for document in documents_of(text)])
    problems = whole.problems or reading.missing()
    return Parsed((), problems) if problems else whole, reading.kept


def _joined(parts: Iterable[Parsed]) -> Parsed:
    parts = tuple(parts)
    return Parsed(tuple(item for part in parts for item in part.items), tuple(problem for part in parts for problem in part.problems))


@dataclass(slots=True)
class _Reading:
    """One pass over one text."""

    file: str
    memory: Memory
    rest: Callable[[], None]
    kept: dict[Key, tuple[int, tuple[Item, ...]]] = field(default_factory=dict)
    documents: int = 0

    def document(self, document: Document) -> Parsed:
        # A wrong cut cannot be read piece by piece, nor can a fault in one piece: the whole document then says what is right.
        with suppress(Refused):
            if document.items and (kind := self._kind_of_items(document)) is not None:
                return self._elements(document.items, kind)
        return self._remembered(document.whole, None, partial(self._whole, document.whole))

    def missing(self) -> tuple[Problem, ...]:
        if self.documents:
            return ()
        right = "an empty folder, or a List with items: [], says that there is nothing"
        return (Problem(file=self.file, line=None, path="", what="has no document, as if half saved", right=right),)

    def _whole(self, piece: Piece) -> Parsed:
        try:
            nodes = list(read_documents(piece.text, self.file, piece.line))
        except Refused as refusal:
            self.documents += 1
            return Parsed((), (refusal.problem,))
        self.documents += len(nodes)
        return _joined(parse_document(node, self.file) for node in nodes)

    def _kind_of_items(self, document: Document) -> str | None:
        """What a cut List says of its items; None: no List after all, or one with a fault of its own."""
        nodes = list(read_documents(document.frame.text, self.file, document.frame.line))
        if len(nodes) != 1 or not isinstance(nodes[0].value, dict) or parse_document(nodes[0], self.file).problems:
            return None
        items = nodes[0].value.get("items")
        return element_kind(nodes[0]) if items is not None and items.line == document.items_line else None

    def _elements(self, pieces: tuple[Piece, ...], kind: str) -> Parsed:
        parts = [self._remembered(piece, kind, partial(self._element, n, piece, kind)) for n, piece in enumerate(pieces)]
        self.documents += 1
        return _joined(parts)

    def _element(self, index: int, piece: Piece, kind: str) -> Parsed:
        nodes = list(read_documents(piece.text, self.file, piece.line))
        elements = nodes[0].value if len(nodes) == 1 else None
        if not isinstance(elements, list) or len(elements) != 1:
            raise Refused(Problem(file=self.file, line=piece.line, path="", what="not one item"))
        return parse_element(elements[0], self.file, path=f"items[{index}]", kind=kind)

    def _remembered(self, piece: Piece, kind: str | None, read: Callable[[], Parsed]) -> Parsed:
        key = (blake2b(piece.text.encode(), digest_size=16).digest(), kind)
        if (known := self.memory.get(key)) is not None:
            line, items = known
            self.kept[key] = known = (piece.line, _moved(items, piece.line - line))
            self.documents += kind is None
            return Parsed(known[1])
        parsed = read()
        self.rest()
        if parsed.items and not parsed.problems:  # one piece may be several documents, and one of them faulty
            self.kept[key] = (piece.line, parsed.items)
        return parsed


def _moved(items: tuple[Item, ...], lines: int) -> tuple[Item, ...]:
    return tuple(item._replace(line=(item.line or 0) + lines) for item in items) if lines else items
