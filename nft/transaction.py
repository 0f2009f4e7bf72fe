"""A change of structure: operations in order, printed as nft text, one line each.

Pure; collects and prints. Nothing reaches the text but validated names, canonical keys and rules that cannot end themselves.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from nft.errors import NotValidError
from nft.keys import Span, format_member, parse_member
from nft.objects import Chain, Element, Rule, Set, Table

Verb = Literal["add", "create", "delete", "flush"]


class Members(NamedTuple):
    """Elements given as text, for sets of the structure ("10.0.0.0/8", "192.0.2.1-192.0.2.9")."""

    set: Set
    spans: tuple[Span, ...]


Target = Table | Chain | Rule | Set | Element | Members


@dataclass(frozen=True, slots=True)
class Operation:
    verb: Verb
    target: Target

    def __str__(self) -> str:
        return f"{self.verb} {_print(self.verb, self.target)}"


class Transaction:
    """Operations that happen together or not at all. Each method returns the transaction itself."""

    __slots__ = ("operations",)

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def __str__(self) -> str:
        return "".join(f"{operation}\n" for operation in self.operations)

    def __bool__(self) -> bool:
        return bool(self.operations)

    def add(self, target: Table | Chain | Rule | Set) -> Self:
        """Add; what stands already in the same form is left as it is (a rule is added once more)."""
        return self._append("add", target)

    def create(self, target: Table | Chain | Set) -> Self:
        """Add; what stands already is an error."""
        return self._append("create", target)

    def delete(self, target: Table | Chain | Set) -> Self:
        return self._append("delete", target)

    def flush(self, target: Table | Chain | Set) -> Self:
        """Empty: a table or chain of its rules, a set of its elements."""
        return self._append("flush", target)

    def add_element(self, element: Element) -> Self:
        return self._append("add", element)

    def delete_element(self, element: Element) -> Self:
        return self._append("delete", element)

    def add_members(self, to: Set, texts: Iterable[str]) -> Self:
        """Add elements given as text; no text, no operation."""
        return self._members("add", to, texts)

    def delete_members(self, of: Set, texts: Iterable[str]) -> Self:
        return self._members("delete", of, texts)

    def _members(self, verb: Verb, of: Set, texts: Iterable[str]) -> Self:
        spans = tuple(parse_member(of.key, text) for text in texts)
        if not of.is_interval and (wide := [span for span in spans if span[0] != span[1]]):
            raise NotValidError(f"set {of}: {format_member(of.key, *wide[0])} needs the flag interval")
        return self._append(verb, Members(of, spans)) if spans else self

    def _append(self, verb: Verb, target: Target) -> Self:
        operation = Operation(verb, target)
        str(operation)  # what cannot be printed is refused here, where it came from
        self.operations.append(operation)
        return self


def _print(verb: Verb, target: Target) -> str:
    match target:
        case Table():
            return f"table {target}"
        case Chain():
            return _print_chain(verb, target)
        case Rule():
            return f"rule {target.chain} {target}"
        case Set():
            return _print_set(verb, target)
        case Element():
            return f"element {target.set} {{ {_print_element(target)} }}"
        case _:
            keys = ", ".join(format_member(target.set.key, *span) for span in target.spans)
            return f"element {target.set} {{ {keys} }}"


def _print_chain(verb: Verb, chain: Chain) -> str:
    if verb in ("delete", "flush") or chain.hook is None:
        return f"chain {chain}"
    return f"chain {chain} {{ {chain.hook} }}"


def _print_set(verb: Verb, of: Set) -> str:
    if verb in ("delete", "flush"):
        return f"{of.kind} {of}"
    data = f" : {of.data}" if of.data else ""
    flags = f" flags {', '.join(sorted(of.flags))};" if of.flags else ""
    timeout = f" timeout {of.default_timeout_ms}ms;" if of.timeout_s else ""
    size = f" size {of.size};" if of.size else ""
    counter = " counter;" if of.has_counter else ""
    return f"{of.kind} {of} {{ type {' . '.join(of.key)}{data};{flags}{size}{timeout}{counter} }}"


def _print_element(element: Element) -> str:
    text = format_member(element.set.key, element.key, element.key_end)
    if element.timeout_ms:
        text += f" timeout {element.timeout_ms}ms"
    if element.expires_ms:
        text += f" expires {element.expires_ms}ms"
    if isinstance(element.data, int):
        return f"{text} : {element.data:#010x}"
    return text if element.data is None else f"{text} : {element.data}"
