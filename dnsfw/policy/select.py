"""Label selectors, and finding those that may match without trying all.

Pure. The meaning is Kubernetes' own (apimachinery `labels.Requirement.Matches`): NotIn and DoesNotExist hold for an absent key.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from dnsfw.policy.model import Operator, Requirement, Selector

Labels = Mapping[str, str]
_Item = TypeVar("_Item")

NAMESPACE_NAME = "kubernetes.io/metadata.name"


def selects(selector: Selector, labels: Labels) -> bool:
    return all(labels.get(key) == value for key, value in selector.match_labels) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: Requirement, labels: Labels) -> bool:
    value = labels.get(requirement.key)
    if requirement.operator is Operator.IN:
        return value in requirement.values
    if requirement.operator is Operator.NOT_IN:
        return value not in requirement.values
    return (value is not None) is (requirement.operator is Operator.EXISTS)


def keys_of(selector: Selector) -> Iterator[str]:
    """The labels that the selector looks at."""
    yield from (key for key, _ in selector.match_labels)
    yield from (requirement.key for requirement in selector.match_expressions)


class SelectorIndex(Generic[_Item]):
    """Items by one label that their selector demands; those that demand none are tried for everybody."""

    def __init__(self, items: Sequence[tuple[Selector, _Item]]) -> None:
        # The rarest label tells most: "tier: prod" may stand in every selector.
        demand = Counter(pair for selector, _ in items for pair in selector.match_labels)
        self._by_label: dict[tuple[str, str], list[tuple[Selector, _Item]]] = {}
        self._others: list[tuple[Selector, _Item]] = []
        for selector, item in items:
            pair = min(selector.match_labels, key=demand.__getitem__, default=None)
            rows = self._others if pair is None else self._by_label.setdefault(pair, [])
            rows.append((selector, item))

    def find(self, labels: Labels) -> Iterator[_Item]:
        """The items whose selector matches, in no particular order."""
        groups = (self._by_label.get(pair, ()) for pair in labels.items())
        for rows in (self._others, *groups):
            yield from (item for selector, item in rows if selects(selector, labels))


def namespace_labels(given: Mapping[str, Labels], namespace: str) -> Labels:
    """A namespace's labels; the API server gives each one its own name, so that one is there even without a Namespace object."""
    return {NAMESPACE_NAME: namespace, **given.get(namespace, {})}
