"""Names in wire form, and the patterns that rules write.

Pure. Always true: a `Name` is uncompressed, lower-cased (ASCII only) and ends with the root label; names are compared as bytes and
label by label, never as text, so a dot or a NUL inside a label cannot make one name look like another.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NewType

import idna

from dnsfw.errors import DnsfwError

Name = NewType("Name", bytes)
ROOT = Name(b"\x00")
MAX_LABEL = 63
MAX_NAME = 255  # octets of the wire form, RFC 1035 §2.3.4
_MOST_QUOTED = 300


class NameError_(DnsfwError):  # noqa: N801, N818 -- NameError is Python's own
    """Text that is no domain name."""


class PatternError(DnsfwError):
    """Text that is no pattern; the message says what would be right."""


# One character as written: \DDD, \X, or a plain one; `_labels` looks after the dots between labels.
_CHARACTER = re.compile(r"\\(?P<decimal>[0-9]{3})|\\(?P<quoted>[!-/:-~ ])|(?P<plain>[!-\[\]-~])")
_PLAIN_LABEL = re.compile(rb"[!-\-/-\[\]-~]*")
_PATTERN_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_IPV4 = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}")
# UTS 46 takes these for dots, so an IDN may be written with them.
_IDN_DOTS = re.compile("[.\u3002\uff0e\uff61]")


def parse_name(text: str) -> Name:
    """The name that `text` presents (RFC 1035 §5.1: `\\DDD` and `\\X` escapes); the final dot is optional."""
    if text == ".":
        return ROOT
    return _joined(_labels(text), text)


def _labels(text: str) -> list[bytes]:
    labels = [bytearray()]
    position = 0
    while position < len(text):
        if (match := _CHARACTER.match(text, position)) is None:
            raise NameError_(f"name {quoted(text)}: {_unreadable(text, position)}")
        if match["plain"] == ".":
            labels.append(bytearray())
        else:
            labels[-1].append(_octet(match, text))
        position = match.end()
    has_final_dot = len(labels) > 1 and not labels[-1]
    return [bytes(label) for label in (labels[:-1] if has_final_dot else labels)]


def _octet(match: re.Match[str], text: str) -> int:
    if match["decimal"] is None:
        return ord(match["quoted"] or match["plain"])
    if (octet := int(match["decimal"])) > 255:
        raise NameError_(f"name {quoted(text)}: \\{octet} is no octet, 255 is the largest")
    return octet


def _unreadable(text: str, position: int) -> str:
    if text[position] == "\\":
        return "a backslash must be followed by three digits or a printable character"
    if not text.isascii():
        return _a_label_advice(text)
    return f"{quoted(text[position])} must be written as \\DDD"


def _joined(labels: list[bytes], text: str) -> Name:
    if not all(labels):
        raise NameError_(f"name {quoted(text)}: a label is empty")
    if any(len(label) > MAX_LABEL for label in labels):
        raise NameError_(f"name {quoted(text)}: a label has more than {MAX_LABEL} octets")
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\x00"
    if len(name) > MAX_NAME:
        raise NameError_(f"name {quoted(text)}: longer than {MAX_NAME} octets")
    return Name(name.lower())  # length octets are at most 63, below "A"


def format_name(name: Name) -> str:
    """Presentation form without the final dot; whatever could be mistaken or do harm in a log is escaped."""
    if name == ROOT:
        return "."
    return ".".join(_format_label(label) for label in labels_of(name))


def _format_label(label: bytes) -> str:
    if _PLAIN_LABEL.fullmatch(label):
        return label.decode("ascii")
    return "".join(_format_octet(octet) for octet in label)


def _format_octet(octet: int) -> str:
    if octet in b".\\":
        return "\\" + chr(octet)
    return chr(octet) if 0x21 <= octet <= 0x7E else f"\\{octet:03d}"


def labels_of(name: Name) -> Iterator[bytes]:
    """The labels, leftmost first, without the root."""
    start = 0
    while length := name[start]:
        yield name[start + 1 : start + 1 + length]
        start += 1 + length


def parents(name: Name) -> Iterator[Name]:
    """The name itself, then each suffix of whole labels, the root last."""
    start = 0
    while length := name[start]:
        yield Name(name[start:])
        start += 1 + length
    yield ROOT


@dataclass(frozen=True, slots=True)
class Pattern:
    """An exact name, or every name below `name` (never `name` itself); the root's wildcard is every name, the root too."""

    name: Name
    is_wildcard: bool = False

    def matches(self, name: Name) -> bool:
        if not self.is_wildcard:
            return name == self.name
        # endswith() would not do: the octets of the suffix may lie inside one long label.
        return self.name == ROOT or (name != self.name and self.name in tuple(parents(name)))

    def covers(self, other: "Pattern") -> bool:
        """Does this one match every name that the other matches?"""
        return other == self or (self.is_wildcard and self.matches(other.name))

    def __str__(self) -> str:
        if not self.is_wildcard:
            return format_name(self.name)
        return "*" if self.name == ROOT else f"*.{format_name(self.name)}"


def parse_pattern(text: str) -> Pattern:
    """An exact name, `*.` and a suffix, or `*` alone; labels of letters, digits, hyphens and underscores."""
    if text == "*":
        return Pattern(ROOT, is_wildcard=True)
    bare = text.removesuffix(".")
    # "*." is what a template makes of "*." and a domain that is missing: it must not become every name.
    suffix = "" if bare == "*" else bare.removeprefix("*.")
    _check_labels(text, suffix)
    try:
        return Pattern(parse_name(suffix), is_wildcard=suffix != bare)
    except NameError_ as error:
        raise PatternError(str(error).replace("name", "pattern", 1)) from error


def _check_labels(text: str, suffix: str) -> None:
    if "*" in suffix:
        raise PatternError(f'pattern {quoted(text)}: "*" must be the whole first label')
    if not suffix:
        raise PatternError(f'pattern {quoted(text)}: empty; "*" is every name')
    if not suffix.isascii():
        raise PatternError(f"pattern {quoted(text)}: {_a_label_advice(text)}")
    if _IPV4.fullmatch(suffix):
        raise PatternError(f"pattern {quoted(text)}: an address, not a name; addresses stand in toCIDRs")
    for label in suffix.split("."):
        if not label:
            raise PatternError(f"pattern {quoted(text)}: a label is empty")
        if not _PATTERN_LABEL.fullmatch(label):
            raise PatternError(f"pattern {quoted(text)}: {quoted(label)} may have letters, digits, hyphens and underscores only")


def _a_label_advice(text: str) -> str:
    # Label by label, since IDNA refuses the "_" and "*" that are legal here.
    try:
        labels = [label if label.isascii() else idna.encode(label, uts46=True).decode("ascii") for label in _IDN_DOTS.split(text)]
    except idna.IDNAError as error:
        return f"not an international name: {printable(str(error))}"
    return f"write its A-label: {quoted('.'.join(labels))}"


def quoted(text: str) -> str:
    """Text of others for our messages: in quotes, one line, nothing that moves a cursor, and cut where it is longer than any name."""
    return f'"{printable(text if len(text) <= _MOST_QUOTED else text[:_MOST_QUOTED] + "…")}"'


def printable(text: str) -> str:
    """The text with whatever does not print (controls, line ends, bidirectional marks) escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
