"""Names: text to wire form and back, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.names import ROOT, Name, NameError_, format_name, labels_of, parents, parse_name, printable

LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=10).filter(lambda labels: sum(len(label) + 1 for label in labels) <= 254)


def wire(*labels: bytes) -> Name:
    """A second encoder, for labels as bytes."""
    return Name(b"".join(bytes([len(label)]) + label for label in labels) + b"\0")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param(".", ROOT, id="root"),
        pytest.param("www.example.net", wire(b"www", b"example", b"net"), id="plain"),
        pytest.param("www.example.net.", wire(b"www", b"example", b"net"), id="final-dot"),
        pytest.param("net.", wire(b"net"), id="one-label-and-final-dot"),
        pytest.param("wWw.eXample.NET", wire(b"www", b"example", b"net"), id="case"),
        pytest.param("_dmarc.a-b.net", wire(b"_dmarc", b"a-b", b"net"), id="underscore-and-hyphen"),
        pytest.param(r"a\.b.net", wire(b"a.b", b"net"), id="escaped-dot"),
        pytest.param(r"a\.", wire(b"a."), id="escaped-dot-at-the-end"),
        pytest.param(r"a\046b.net", wire(b"a.b", b"net"), id="dot-by-number"),
        pytest.param(r"\000\255", wire(b"\0\xff"), id="octets-by-number"),
        pytest.param(r"a\\b\ c", wire(b"a\\b c"), id="backslash-and-space"),
        pytest.param(r"\065\Z", wire(b"az"), id="escaped-letters-are-lowered-too"),
        pytest.param('!"#$[]^`{|}~', wire(b'!"#$[]^`{|}~'), id="printable"),
        pytest.param("a" * 63, wire(b"a" * 63), id="label-of-63"),
        pytest.param(".".join(["a" * 63] * 3 + ["b" * 61]), wire(*[b"a" * 63] * 3, b"b" * 61), id="name-of-255"),
    ],
)
def test_parse_name(text: str, name: Name) -> None:
    """Presentation form becomes wire form, lower-cased in ASCII only."""
    assert parse_name(text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", 'name "": a label is empty', id="empty"),
        pytest.param("a..b", 'name "a..b": a label is empty', id="empty-label"),
        pytest.param("..", 'name "..": a label is empty', id="two-dots"),
        pytest.param(".a", 'name ".a": a label is empty', id="leading-dot"),
        pytest.param("a" * 64, f'name "{"a" * 64}": a label has more than 63 octets', id="b7-label-of-64"),
        pytest.param(
            ".".join(["a" * 63] * 3 + ["b" * 62]),
            f'name "{".".join(["a" * 63] * 3 + ["b" * 62])}": longer than 255 octets',
            id="b7-name-of-256",
        ),
        pytest.param("a\\", 'name "a\\": a backslash must be followed by three digits or a printable character', id="backslash-at-the-end"),
        pytest.param(r"a\12", 'name "a\\12": a backslash must be followed by three digits or a printable character', id="two-digits"),
        pytest.param(r"a\256", 'name "a\\256": \\256 is no octet, 255 is the largest', id="no-octet"),
        pytest.param("a b", 'name "a b": " " must be written as \\DDD', id="space"),
        pytest.param("b\xfc", 'name "b\xfc": write its A-label: "xn--b-eha"', id="u-label"),
        pytest.param("a\n", 'name "a\\n": "\\n" must be written as \\DDD', id="newline"),
    ],
)
def test_parse_name_refuses(text: str, message: str) -> None:
    """What is no name is refused, and the message says where and what would be right."""
    with pytest.raises(NameError_) as caught:
        parse_name(text)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(ROOT, ".", id="root"),
        pytest.param(wire(b"www", b"example"), "www.example", id="plain"),
        pytest.param(wire(b"a.b", b"c\\d"), r"a\.b.c\\d", id="b9-dot-and-backslash"),
        pytest.param(wire(b"a\0\n\x1b\x7f\xff b"), r"a\000\010\027\127\255\032b", id="a25-controls-and-space"),
        pytest.param(wire("ü".encode()), r"\195\188", id="b9-utf-8"),
        pytest.param(wire(b"!~ "), r"!~\032", id="printable-beside-escaped"),
        pytest.param(wire(b"!\"'~-_"), "!\"'~-_", id="printable"),
    ],
)
def test_format_name_b9_a25(name: Name, text: str) -> None:
    """Whatever could be mistaken in a log, or do harm there, is escaped."""
    assert format_name(name) == text


@given(LABELS)
def test_names_round_trip_a25(labels: list[bytes]) -> None:
    """Every name survives being written and read; its text is one line of printable ASCII without a space."""
    name = wire(*(label.lower() for label in labels))
    text = format_name(name)

    assert parse_name(text) == name
    assert all("!" <= char <= "~" for char in text)
    assert list(labels_of(name)) == [label.lower() for label in labels]


@given(LABELS)
def test_parents_walk_up_by_whole_labels(labels: list[bytes]) -> None:
    """The name itself comes first, then each suffix, the root last."""
    assert list(parents(wire(*labels))) == [wire(*labels[start:]) for start in range(len(labels) + 1)]


def test_b9_a_dot_inside_a_label_is_no_boundary() -> None:
    """`a\\.example.net` as one label is another name than a.example.net, and lies elsewhere."""
    tricky = parse_name(r"a\.example.net")

    assert tricky != parse_name("a.example.net")
    assert parse_name("example.net") not in list(parents(tricky))


def test_a25_printable_escapes_what_moves_a_cursor() -> None:
    """Text of others keeps its letters and loses its controls, line ends and bidirectional marks."""
    assert printable("bücher \x1b[2J\r\n\u202e") == "bücher \\x1b[2J\\r\\n\\u202e"
