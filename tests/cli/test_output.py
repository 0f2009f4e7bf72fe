"""Listings: a table that nobody's text can spoil, and values for programs."""

import json

import pytest
import yaml

from dnsfw.cli.output import Format, print_rows

ROWS = [
    {"pod": "shop/p", "name": "www.example.net\x1b[2J\n", "left_s": 12.5, "is_live": True, "ports": ["tcp/443", "icmp"], "extra": 1},
    {"pod": "shop/a-longer-name", "name": None, "left_s": 3, "is_live": False, "ports": ()},
]


def test_table_has_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns as asked for, nothing folded in a pipe, control characters escaped."""
    print_rows(ROWS, Format.TABLE, ["pod", "name", "left_s", "is_live", "ports"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert lines == [
        ["POD", "NAME", "LEFT", "S", "IS", "LIVE", "PORTS"],
        ["shop/p", "www.example.net\\x1b[2J\\n", "12.5", "yes", "tcp/443", "icmp"],
        ["shop/a-longer-name", "3", "no"],
    ]


def test_long_cells_are_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """A script must not read half a name."""
    print_rows([{"name": "a" * 500}], Format.TABLE, ["name"])

    assert "a" * 500 in capsys.readouterr().out


@pytest.mark.parametrize(
    ("form", "read"), [pytest.param(Format.JSON, json.loads, id="json"), pytest.param(Format.YAML, yaml.safe_load, id="yaml")]
)
def test_programs_get_every_field(capsys: pytest.CaptureFixture[str], form: Format, read) -> None:
    """Not only the columns of the table, and exactly as they are."""
    print_rows(ROWS[:1], form, ["pod"])

    assert read(capsys.readouterr().out) == ROWS[:1]


def test_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    """People are told so beside the output, programs get an empty list."""
    print_rows([], Format.TABLE, ["pod"], empty="no grants")
    people = capsys.readouterr()
    print_rows([], Format.JSON, ["pod"])

    assert (people.out, people.err) == ("", "no grants\n")
    assert json.loads(capsys.readouterr().out) == []
