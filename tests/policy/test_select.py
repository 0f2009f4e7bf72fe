"""Label selectors, with Kubernetes' meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.policy.model import Operator, Requirement, Selector
from dnsfw.policy.select import SelectorIndex, keys_of, namespace_labels, selects


@pytest.mark.parametrize(
    ("operator", "values", "when_present", "when_other", "when_absent"),
    [
        pytest.param(Operator.IN, ("a", "b"), True, False, False, id="In"),
        pytest.param(Operator.NOT_IN, ("a", "b"), False, True, True, id="NotIn"),
        pytest.param(Operator.EXISTS, (), True, True, False, id="Exists"),
        pytest.param(Operator.DOES_NOT_EXIST, (), False, False, True, id="DoesNotExist"),
    ],
)
def test_requirements(operator: Operator, values: tuple[str, ...], when_present: bool, when_other: bool, when_absent: bool) -> None:
    """NotIn and DoesNotExist hold for a label that is not there."""
    selector = Selector(match_expressions=(Requirement("key", operator, values),))

    assert selects(selector, {"key": "a", "else": "x"}) is when_present
    assert selects(selector, {"key": "c", "else": "a"}) is when_other
    assert selects(selector, {"else": "a"}) is when_absent


def test_all_conditions_must_hold() -> None:
    """Labels and expressions are ANDed; a selector without any selects everything."""
    selector = Selector(
        (("app", "a"), ("tier", "web")), (Requirement("zone", Operator.EXISTS), Requirement("app", Operator.NOT_IN, ("z",)))
    )

    assert selects(selector, {"app": "a", "tier": "web", "zone": ""})
    assert not selects(selector, {"app": "a", "tier": "web"})
    assert not selects(selector, {"app": "a", "tier": "db", "zone": ""})
    assert not selects(selector, {"tier": "web", "zone": ""})
    assert selects(Selector(), {})
    assert list(keys_of(selector)) == ["app", "tier", "zone", "app"]


KEY = st.sampled_from(["a", "b", "c"])
VALUE = st.sampled_from(["1", "2", ""])
LABELS = st.dictionaries(KEY, VALUE)
SELECTOR = st.builds(
    Selector,
    LABELS.map(lambda labels: tuple(labels.items())),
    st.lists(st.builds(Requirement, KEY, st.sampled_from(Operator), st.lists(VALUE).map(tuple)), max_size=2).map(tuple),
)


@given(st.lists(SELECTOR, max_size=8), LABELS)
def test_the_index_finds_what_trying_all_finds(selectors: list[Selector], labels: dict[str, str]) -> None:
    """Each once, however many labels fit."""
    index = SelectorIndex(list(zip(selectors, range(len(selectors)), strict=True)))

    assert sorted(index.find(labels)) == [place for place, selector in enumerate(selectors) if selects(selector, labels)]


def test_the_index_goes_by_the_rarest_label() -> None:
    """A label that every selector asks for says nothing."""
    selectors = [(Selector((("tier", "prod"), ("app", str(number)))), number) for number in range(9)]
    index = SelectorIndex(selectors)

    assert max(map(len, index._by_label.values())) == 1
    assert list(index.find({"tier": "prod", "app": "3"})) == [3]


def test_every_namespace_has_its_name_as_label() -> None:
    """With or without a Namespace object."""
    given_ = {"shop": {"pci": "true"}}

    assert namespace_labels(given_, "shop") == {"kubernetes.io/metadata.name": "shop", "pci": "true"}
    assert namespace_labels(given_, "bank") == {"kubernetes.io/metadata.name": "bank"}
