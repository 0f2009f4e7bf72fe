"""YAML as JSON could say it: lines, scalars as they were meant, and no bombs."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.policy.reader import Refused
from dnsfw.policy.tree import Node
from dnsfw.sources import documents
from dnsfw.sources.documents import read_documents


def plain(node: Node) -> object:
    """The tree without its lines; numbers that are none of ours as their text."""
    if isinstance(node.value, dict):
        return {key: plain(value) for key, value in node.value.items()}
    if isinstance(node.value, list):
        return [plain(value) for value in node.value]
    return node.text if isinstance(node.value, float) else node.value


def read(text: str) -> list[object]:
    return [plain(node) for node in read_documents(text, "f")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("443", 443, id="integer"),
        pytest.param("-1", -1, id="negative"),
        pytest.param('"443"', "443", id="quoted"),
        pytest.param("'on'", "on", id="quoted-word"),
        pytest.param("on", True, id="on"),
        pytest.param("No", False, id="no"),
        pytest.param("~", None, id="tilde"),
        pytest.param("2027-01-31T00:00:00Z", "2027-01-31T00:00:00Z", id="moment"),
        pytest.param("192.0.2.1", "192.0.2.1", id="address"),
        pytest.param("2001:db8::/64", "2001:db8::/64", id="network"),
        pytest.param("1a2b", "1a2b", id="hash"),
        pytest.param(".", ".", id="dot"),
        pytest.param("|\n  443\n", "443\n", id="block"),
    ],
)
def test_scalars_are_what_kubectl_makes_of_them(text: str, value: object) -> None:
    """Plain words and decimal integers have their YAML meaning; quoted text is text."""
    assert read(f"a: {text}\n") == [{"a": value}]


@pytest.mark.parametrize("text", ["0443", "0x1bb", "0o17", "0b1", "1_000", "4.0", "1e3", ".5", ".inf", "-.Inf", ".nan", "9" * 19])
def test_odd_numbers_are_no_integers(text: str) -> None:
    """Whatever two readers may take for two numbers is none that we take."""
    (node,) = read_documents(f"a: {text}\n", "f")

    assert isinstance(node.value, dict)
    assert isinstance(node.value["a"].value, float)
    assert node.value["a"].text == text


def test_value_stands_on_the_line_of_its_key() -> None:
    """A problem with a block below a key is told at the key; an element's at the element."""
    (node,) = read_documents("a:\n  b:\n\n    - c\n    - d: 1\n", "f", first_line=10)

    assert isinstance(node.value, dict)
    b = node.value["a"].value
    assert isinstance(b, dict)
    assert (node.line, node.value["a"].line, b["b"].line) == (10, 10, 11)
    assert isinstance(b["b"].value, list)
    assert [element.line for element in b["b"].value] == [13, 14]


def test_empty_documents_are_passed_over() -> None:
    """Comments, markers and nothing at all are no documents."""
    assert read("# nothing\n---\n---\n# still\n...\n") == []
    assert read("---\na: 1\n---\n\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


def test_flood_of_values_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of values of one document is bounded while it is read."""
    monkeypatch.setattr(documents, "MOST_VALUES", 100)

    assert len(read("[" + "1," * 99 + "]")) == 1
    with pytest.raises(Refused, match="more than 100 values"):
        read("[" + "1," * 100 + "]")


def test_depth_is_refused_without_recursion_error() -> None:
    """A hundred thousand brackets cost as little as seventy."""
    with pytest.raises(Refused, match="nested more than 64 deep"):
        read("[" * 100_000)


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | TEXT,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text("abcé <&*!", max_size=8), values, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(value=JSON, indent=st.sampled_from([None, 2, 4]), is_ascii=st.booleans())
def test_json_is_read_as_json(value: object, indent: int | None, is_ascii: bool) -> None:
    """Whatever is JSON has JSON's meaning, escaped halves of characters included."""
    text = json.dumps({"a": value}, indent=indent, ensure_ascii=is_ascii)

    assert read(text) == [{"a": value}]
