"""Fields of a document, for other readers than the rules'."""

import pytest

from dnsfw.errors import Problem
from dnsfw.policy.reader import Field, Refused
from dnsfw.policy.tree import from_plain


def test_list_without_a_bound_above_says_how_many_it_needs() -> None:
    """At least so many, where no number is too many."""
    with pytest.raises(Refused) as caught:
        Field(from_plain([]), "listen", "f", []).each(Field.text, 1)

    assert caught.value.problem == Problem(file="f", line=None, path="listen", what="has 0 entries", right="at least 1")
