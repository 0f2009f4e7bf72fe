"""Every fault of a rule is told with its line, its path, what is wrong and what would be right."""

import pytest
from bad_rules import BAD_RULES, Bad

from dnsfw.sources.reading import read_text


@pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in BAD_RULES.items()])
def test_fault_is_told_where_it_stands(bad: Bad) -> None:
    """One fault, one problem, at its line and path; and nothing of the file is taken."""
    parsed, _ = read_text(bad.text, "rules.yaml", {}, lambda: None)

    assert parsed.items == ()
    assert [(problem.file, problem.line, problem.path) for problem in parsed.problems] == [("rules.yaml", bad.line, bad.path)]
    assert bad.what in parsed.problems[0].what
    assert bad.right in parsed.problems[0].right
