"""Every fault of a rule is told with its line, its path, what is wrong and what would be right."""

import pytest
from bad_rules import BAD_RULES, BAD_YAML, Bad

from dnsfw.errors import Problem
from dnsfw.sources.reading import read_text


@pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in BAD_RULES.items()])
def test_fault_is_told_where_it_stands(bad: Bad) -> None:
    """One fault, one problem, at its line and path, in these words; and nothing of the file is taken."""
    parsed, _ = read_text(bad.text, "rules.yaml", {}, lambda: None)

    assert parsed.items == ()
    assert parsed.problems == (Problem(file="rules.yaml", line=bad.line, path=bad.path, what=bad.what, right=bad.right),)


@pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in BAD_YAML.items()])
def test_what_is_no_yaml_of_ours_is_told_where_it_stands(bad: Bad) -> None:
    """At its line, with what would be right, as far as that is known; some of the words are the YAML library's."""
    parsed, _ = read_text(bad.text, "rules.yaml", {}, lambda: None)

    assert parsed.items == ()
    assert [(problem.file, problem.line, problem.path) for problem in parsed.problems] == [("rules.yaml", bad.line, bad.path)]
    assert bad.what in parsed.problems[0].what
    assert bad.right in parsed.problems[0].right
