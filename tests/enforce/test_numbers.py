"""Decision numbers: given to one holder at a time, and again only when nobody can bear them; and what an element lasts."""

import pytest

from dnsfw.enforce.elements import timeout_ms
from dnsfw.enforce.numbers import Holder, Numbers
from dnsfw.policy.model import PodUid, RuleRef


def holder(rule: str = "web", pod: str = "a") -> Holder:
    return Holder(PodUid(pod), RuleRef(namespace="shop", name=rule))


@pytest.fixture
def numbers() -> Numbers:
    """One number in all."""
    return Numbers(1, lambda _, __: None)


def test_number_that_left_behind_a_dump_is_not_free(numbers: Numbers) -> None:
    """The dump shows nobody who bears it, but it was begun when somebody still could begin to."""
    assert numbers.take(holder(), "basis") == 1
    numbers.leave(1)
    numbers.reclaim(frozenset(), set())
    assert numbers.take(holder("other"), "basis") is None

    numbers.reclaim(frozenset({1}), {1})
    assert numbers.take(holder("other"), "basis") is None

    numbers.reclaim(frozenset({1}), set())
    assert numbers.take(holder("other"), "basis") == 1


def test_holders_are_found_by_pod() -> None:
    """A pod's own, and nothing is left of one whose numbers have gone."""
    numbers = Numbers(9, lambda _, __: None)
    for each in (holder(), holder("other"), holder(pod="b")):
        numbers.take(each, "basis")
    assert numbers.holders_of(PodUid("a")) == [holder(), holder("other")]

    numbers.leave(1)
    numbers.leave(numbers.release(holder("other")))
    assert numbers.holders_of(PodUid("a")) == []
    assert (numbers.of(holder()), numbers.of(holder(pod="b"))) == (None, 3)


@pytest.mark.parametrize(("left", "ms"), [(0.0, 1), (0.0001, 1), (1.0, 1000), (1.0001, 1001)])
def test_timeout_is_never_nothing_nor_too_short(left: float, ms: int) -> None:
    """0 would be for ever; an element ends no earlier than what was answered."""
    assert timeout_ms(100.0 + left, 100.0) == ms
