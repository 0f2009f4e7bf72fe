"""Patterns: what they match, against a second implementation on text, and what is refused."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dnsfw.names import ROOT, Pattern, PatternError, format_name, parse_name, parse_pattern

LABEL = st.sampled_from(["a", "b", "ab", "xa", "A", "a-b", "_a", "net"])
NAME = st.lists(LABEL, max_size=5).map(lambda labels: ".".join(labels) or ".")
PATTERN = st.builds(
    lambda star, labels, dot: star + ".".join(labels) + dot,
    st.sampled_from(["", "*."]),
    st.lists(LABEL, min_size=1, max_size=4),
    st.sampled_from(["", "."]),
)


def matches_as_text(pattern: str, name: str) -> bool:
    """The second implementation: a regular expression over lower-cased text (as NPEP-133 words it, without its `A-z`)."""
    pattern = pattern.lower().rstrip(".")
    name = name.lower().rstrip(".")
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return re.fullmatch(r"[^.]+(\.[^.]+)*\." + re.escape(pattern[2:]), name) is not None
    return pattern == name


@given(PATTERN | st.just("*"), NAME)
@example("*.example.net", "example.net")
@example("*.example.com", "evil-example.com")
def test_patterns_match_as_a_second_implementation_does_a16(pattern: str, name: str) -> None:
    """Exact names, one or more whole labels for `*.`, every name for `*`; case and the final dot do not matter."""
    assert parse_pattern(pattern).matches(parse_name(name)) == matches_as_text(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        pytest.param("*.example.com", "www.example.com", True, id="one-label"),
        pytest.param("*.example.com", "a.b.c.example.com", True, id="more-labels"),
        pytest.param("*.example.com", "example.com", False, id="a16-apex"),
        pytest.param("*.example.com", "evil-example.com", False, id="a16-within-a-label"),
        pytest.param("*.example.com", r"www\.example.com", False, id="b9-dot-inside-a-label"),
        pytest.param("*.example.com", r"x\007example\003com", False, id="b9-the-suffix-octets-inside-a-label"),
        pytest.param("example.com", r"example\.com", False, id="b9-exact-with-a-dot-inside"),
        pytest.param("example.com", r"example.com\000", False, id="b9-nul"),
        pytest.param("www.example.com", "WWW.example.COM", True, id="a16-case"),
        pytest.param("www.example.com", "www.example.co", False, id="other-name"),
        pytest.param("*", ".", True, id="everything-has-the-root"),
        pytest.param("*", r"\255", True, id="everything"),
    ],
)
def test_pattern_matches(pattern: str, name: str, is_match: bool) -> None:
    """A pattern compares whole labels, as bytes."""
    assert parse_pattern(pattern).matches(parse_name(name)) is is_match


@given(PATTERN | st.just("*"), PATTERN | st.just("*"), NAME)
def test_covers_is_about_every_name(wide: str, narrow: str, name: str) -> None:
    """Whatever the covered pattern matches, the covering one matches."""
    one, other = parse_pattern(wide), parse_pattern(narrow)
    if one.covers(other) and other.matches(parse_name(name)):
        assert one.matches(parse_name(name))


@pytest.mark.parametrize(
    ("wide", "narrow", "is_covered"),
    [
        pytest.param("*", "*", True, id="everything-itself"),
        pytest.param("*", "*.a", True, id="everything-wildcard"),
        pytest.param("*", "a", True, id="everything-name"),
        pytest.param("*.a", "*", False, id="wildcard-everything"),
        pytest.param("*.a", "*.a", True, id="wildcard-itself"),
        pytest.param("*.a", "*.b.a", True, id="wildcard-below"),
        pytest.param("*.b.a", "*.a", False, id="wildcard-above"),
        pytest.param("*.a", "b.a", True, id="wildcard-name-below"),
        pytest.param("*.a", "a", False, id="wildcard-apex"),
        pytest.param("a", "a", True, id="name-itself"),
        pytest.param("b.a", "*.a", False, id="name-wildcard"),
        pytest.param("a", "*.a", False, id="apex-wildcard"),
    ],
)
def test_covers(wide: str, narrow: str, is_covered: bool) -> None:
    """Which patterns lie wholly within which."""
    assert parse_pattern(wide).covers(parse_pattern(narrow)) is is_covered


@given(PATTERN | st.just("*"))
def test_canonical_text_round_trips(text: str) -> None:
    """A pattern's text is what it was read from, lower-cased and without the final dot."""
    pattern = parse_pattern(text)

    assert str(pattern) == text.lower().rstrip(".")
    assert parse_pattern(str(pattern)) == pattern


def test_star_alone_is_the_wildcard_of_the_root() -> None:
    """Every name."""
    assert parse_pattern("*") == Pattern(ROOT, is_wildcard=True)
    assert Pattern(parse_name("a")) == Pattern(parse_name("a"), is_wildcard=False)
    assert str(Pattern(ROOT)) == format_name(ROOT)


STAR = '"*" must be the whole first label'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("*.exa*mple.net", STAR, id="star-within"),
        pytest.param("**.a", STAR, id="two-stars"),
        pytest.param("*.*", STAR, id="star-twice"),
        pytest.param("a.*", STAR, id="star-last"),
        pytest.param("*a.b", STAR, id="star-and-letters"),
        pytest.param("*b\xfccher.de", STAR, id="star-before-u-label"),
        pytest.param("", 'empty; "*" is every name', id="empty"),
        pytest.param(".", 'empty; "*" is every name', id="dot"),
        pytest.param("*.", 'empty; "*" is every name', id="star-of-a-template-without-its-domain"),
        pytest.param("*..", 'empty; "*" is every name', id="star-dot-dot"),
        pytest.param("a..b", "a label is empty", id="empty-label"),
        pytest.param("a..", "a label is empty", id="two-final-dots"),
        pytest.param("*.a b.net", '"a b" may have letters, digits, hyphens and underscores only', id="space"),
        pytest.param("a/b", '"a/b" may have letters, digits, hyphens and underscores only', id="slash"),
        pytest.param("192.0.2.1", "an address, not a name; addresses stand in toCIDRs", id="address"),
        pytest.param("*.b\xfccher.example", 'write its A-label: "*.xn--bcher-kva.example"', id="a16-u-label"),
        pytest.param("_x.B\xdcCHER\u3002example.", 'write its A-label: "_x.xn--bcher-kva.example."', id="a16-u-label-other-dot"),
        pytest.param("\u212aelvin.net", 'write its A-label: "kelvin.net"', id="a16-kelvin-sign-is-no-k"),
        pytest.param("name" * 16, "a label has more than 63 octets", id="b7-the-word-name-in-a-long-label"),
        pytest.param("a" * 64, "a label has more than 63 octets", id="b7-label-of-64"),
    ],
)
def test_pattern_refused_a16(text: str, why: str) -> None:
    """What is no pattern is refused, and the message says what would be right."""
    with pytest.raises(PatternError) as caught:
        parse_pattern(text)

    assert str(caught.value) == f'pattern "{text}": {why}'


def test_pattern_with_an_escape_is_refused_on_one_line_a25() -> None:
    """Rules are written in letters, digits, hyphens and underscores; a message never carries a control character."""
    with pytest.raises(PatternError) as caught:
        parse_pattern("a\\.b\n")

    assert str(caught.value) == 'pattern "a\\.b\\n": "a\\" may have letters, digits, hyphens and underscores only'


def test_pattern_that_idna_refuses() -> None:
    """An international name that has no A-label says why, without its marks."""
    with pytest.raises(PatternError, match=r"^pattern \"\u2603\\u202e.net\": not an international name: Codepoint U\+202E ") as caught:
        parse_pattern("\u2603\u202e.net")

    assert "\u202e" not in str(caught.value)


def test_a25_refusal_stays_one_short_line() -> None:
    """Neither a line end beside an international label nor a page of text gets into the message; found by fuzzing."""
    with pytest.raises(PatternError, match=re.escape(r'pattern "ü.a\nb": write its A-label: "xn--tda.a\nb"')):
        parse_pattern("ü.a\nb")
    with pytest.raises(PatternError) as caught:
        parse_pattern("é." * 3000)
    assert str(caught.value) == f'pattern "{"é." * 150}…": write its A-label: "{("xn--9ca." * 38)[:300]}…"'
    with pytest.raises(PatternError) as caught:
        parse_pattern("*" + "." * 299)
    assert str(caught.value) == f'pattern "*{"." * 299}": a label is empty'
