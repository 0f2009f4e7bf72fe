"""The story as text: complete, and within the terminal's width."""

import io

import pytest
from rich.console import Console

from dnsfw.demo.show import Show
from dnsfw.demo.steps import Chapter, Step

GOOD = Step(tried="app1 opens www.example.net:443", expected="connected", happened="connected", is_as_expected=True, ms=1.25)
BAD = Step(tried="app2 opens [2001:db8:c0de::11]:443", expected="no connection", happened="connected", is_as_expected=False, ms=0.5)
GRANT = {"pod": "app1-a", "address": "2001:db8:c0de:1:2:3:4:11", "ports": "tcp/443", "names": ["www.example.net"], "remaining_s": 39.7}
QUERY = {
    "kind": "query",
    "pod": "app1-a",
    "source": "10.244.1.1",
    "name": "www.example.net",
    "type": "A",
    "decision": "refused",
    "reason": "no-rule",
    "rule": "",
    "addresses": [],
    "rcode": "NXDOMAIN",
}
GAP = {"kind": "gap", "lost": 3}


def shown(width: int, call) -> str:
    out = io.StringIO()
    call(Show(Console(file=out, width=width, highlight=False)))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_chapter_shows_each_part_of_each_step(width: int) -> None:
    """Tried, expected, happened and how fast, and no line past the edge."""
    text = shown(width, lambda show: show.chapter(1, Chapter(title="A title", says="What it shows.", steps=(GOOD, BAD))))

    assert all(len(line) <= width for line in text.splitlines())
    words = text.split()
    assert {"✓", "✗", "connected", "1.2", "0.5", "title"} <= set(words)


def test_same_questions_share_a_line_of_the_audit() -> None:
    """Repeated questions are counted, and gaps are said."""
    text = shown(100, lambda show: show.audit([QUERY, QUERY, GAP]))

    (line,) = [line for line in text.splitlines() if "www.example.net" in line]
    assert line.split()[-1] == "2"
    assert "2 queries on record, 1 gaps" in text


def test_no_reason_or_address_is_torn_apart_in_80_columns() -> None:
    """Half a word on the next line reads as another word."""
    protected = QUERY | {"reason": "protected-address", "rule": "shop/app1", "name": "metadata.github.com"}
    answered = QUERY | {"decision": "allowed", "reason": "allowed", "rule": "shop/app1", "addresses": ["2001:db8:c0de::14"]}
    text = shown(80, lambda show: show.audit([protected, answered]))

    assert {"protected-address", "2001:db8:c0de::14", "shop/app1"} <= set(text.split())
    assert all(len(line) <= 80 for line in text.splitlines())


def test_grants_say_when_they_end() -> None:
    """The remaining time stands beside each grant."""
    assert "40 s" in shown(100, lambda show: show.grants([GRANT]))


def test_verdict_names_what_went_wrong() -> None:
    """A failed step makes the verdict, with what was expected."""
    assert "KEPT: all 1 steps" in shown(80, lambda show: show.verdict([GOOD], 1.0))
    broken = " ".join(shown(80, lambda show: show.verdict([GOOD, BAD], 1.0)).split())
    assert "BROKEN: 1 of 2 steps" in broken
    assert "app2 opens [2001:db8:c0de::11]:443: no connection was expected, connected happened" in broken
