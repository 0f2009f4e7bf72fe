"""How messages call what stands in a document."""

import pytest

from dnsfw.policy.tree import Node, Value, describe, shorten


@pytest.mark.parametrize(
    ("value", "text", "called"),
    [
        pytest.param(None, "~", "empty", id="null"),
        pytest.param({}, "", "a mapping", id="mapping"),
        pytest.param([], "", "a list", id="list"),
        pytest.param("a", "a", 'the text "a"', id="text"),
        pytest.param("a", "", 'the text "a"', id="text-not-known-as-written"),
        pytest.param(True, "yes", "the boolean yes", id="boolean"),
        pytest.param(443, "443", "the number 443", id="number"),
        pytest.param(1.1, "1.10", "the number 1.10", id="number-as-written"),
    ],
)
def test_what_stands_there_is_called(value: Value, text: str, called: str) -> None:
    """By its kind, and a scalar as it was written."""
    assert describe(Node(value, 1, text)) == called


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("x" * 80, "x" * 80, id="fits"),
        pytest.param("x" * 81, "x" * 80 + "…", id="one-too-long"),
        pytest.param("größer \\ 1", "größer \\ 1", id="printable"),
        pytest.param("a\tb\x1b[1m\u202e", "a\\tb\\x1b[1m\\u202e", id="not-printable"),
    ],
)
def test_text_is_shown_readably(text: str, shown: str) -> None:
    """Cut short, and with nothing that a terminal would obey."""
    assert shorten(text) == shown
