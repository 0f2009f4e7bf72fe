"""What a document is before it means anything: nested values, each with the line it stands on.

Pure. Rules and pods are read from this one form, whether it came out of a YAML file (with lines) or from the API server (without).
"""

from typing import NamedTuple, TypeAlias

Value: TypeAlias = "dict[str, Node] | list[Node] | str | int | float | bool | None"


class Node(NamedTuple):
    """One value. `line` is where its key stands (in a list: the value itself); `text` is a scalar as it was written.

    A number that is not a plain decimal integer (0x1bb, 0443, 1.10) is a float here: nothing we read is one, and `text` has what it was.
    """

    value: Value
    line: int | None = None
    text: str = ""


def from_plain(value: object) -> Node:
    """Take a JSON-like value, as the API server gives it."""
    if isinstance(value, dict):
        return Node({str(key): from_plain(item) for key, item in value.items()})
    if isinstance(value, list):
        return Node([from_plain(item) for item in value])
    if value is None or isinstance(value, str | int | float):
        return Node(value, None, str(value))
    raise TypeError(f"not a JSON value: {value!r}")


def describe(node: Node) -> str:
    """How a message calls what stands there."""
    match node.value:
        case None:
            return "empty"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f'the text "{shorten(node.text or node.value)}"'
        case bool():
            return f"the boolean {node.text}"
        case _:
            return f"the number {shorten(node.text)}"


def shorten(text: str, limit: int = 80) -> str:
    """Keep a message readable, whatever stood in the file."""
    shown = text if len(text) <= limit else f"{text[:limit]}…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
