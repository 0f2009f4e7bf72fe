"""How people write what they want to see."""

import pytest

from dnsfw.audit.filters import FilterError, parse_decision, parse_moment, parse_name_filter
from dnsfw.errors import DnsfwError

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("10m", NOW - 600, id="minutes"),
        pytest.param("2h", NOW - 7200, id="hours"),
        pytest.param("1d", NOW - 86_400, id="day"),
        pytest.param("1w", NOW - 604_800, id="week"),
        pytest.param("1.5s", NOW - 1.5, id="fraction"),
        pytest.param("250ms", NOW - 0.25, id="milliseconds"),
        pytest.param("2027-01-15T08:00:00Z", NOW, id="rfc3339-utc"),
        pytest.param("2027-01-15t08:00:00z", NOW, id="rfc3339-lower-case"),
        pytest.param("2027-01-15T09:30:00.250+01:30", NOW + 0.25, id="rfc3339-offset"),
        pytest.param("2027-01-15 08:00:00Z", NOW, id="space"),
    ],
)
def test_moment_is_read(text: str, expected: float) -> None:
    """Durations count back from now; times are RFC 3339."""
    assert parse_moment(text, NOW) == pytest.approx(expected)


def test_time_without_offset_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table shows local time, so what is copied from it must mean the same."""
    import time  # noqa: PLC0415 -- tzset is all it is here for

    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        assert parse_moment("2027-01-15T10:00:00", NOW) == NOW
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text", ["", "10", "m", "-10m", "10 m", "yesterday", "2027-13-01T00:00:00Z", "1e3s", "٣m", "9999999999d", "\x1b[31m"]
)
def test_senseless_moment_says_what_would_be_right(text: str) -> None:
    """The message shows both forms, and nothing of the text that moves a cursor."""
    with pytest.raises(FilterError) as caught:
        parse_moment(text, NOW)

    assert "10m" in str(caught.value)
    assert "2027-01-31T12:00:00Z" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("*", "None", id="everything"),
        pytest.param("*.Example.NET.", "*.example.net", id="below"),
        pytest.param("WWW.example.net", "www.example.net", id="exact"),
        pytest.param(r"a\.b.example.net", r"a\.b.example.net", id="escaped-dot"),
        pytest.param(r"\000.example.net", r"\000.example.net", id="escaped-octet"),
        pytest.param(r"a\*.example.net", "a*.example.net", id="escaped-star"),
        pytest.param(".", ".", id="root"),
    ],
)
def test_name_filter_is_read(text: str, expected: str) -> None:
    """A name is written as the audit shows it; a pattern as in a rule."""
    assert str(parse_name_filter(text)) == expected


@pytest.mark.parametrize("text", ["", "*foo.example.net", "foo*.example.net", "www.*", "a..b", "*.*.example.net"])
def test_senseless_name_is_refused(text: str) -> None:
    """A mistyped filter must not show everything, nor that there is nothing."""
    with pytest.raises(DnsfwError):
        parse_name_filter(text)


def test_decision_is_one_of_five() -> None:
    """An unknown decision names those that there are."""
    assert parse_decision("would-refuse") == "would-refuse"
    with pytest.raises(FilterError, match="allowed, refused, passed, failed, would-refuse"):
        parse_decision("denied")
