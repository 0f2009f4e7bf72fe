"""Which rules select which pods. Pure; looks at labels once per kind of pod, and at those rules only that can match."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

from dnsfw.policy.model import Action, Pod, Rule, Selector, World
from dnsfw.policy.select import Labels, SelectorIndex, keys_of, namespace_labels, selects

# At one priority the more restrictive comes first: Deny wins (design §1), and Pass gives less than Allow.
_ACTION_ORDER = {Action.DENY: 0, Action.PASS: 1, Action.ALLOW: 2}


def in_order(rules: Sequence[Rule]) -> list[Rule]:
    """The order of judgement: cluster rules by priority, then namespaced ones; names settle the rest, for the same state the same order."""
    cluster = sorted((rule for rule in rules if rule.is_cluster), key=lambda rule: (rule.priority, _ACTION_ORDER[rule.action], rule.ref))
    return cluster + sorted((rule for rule in rules if not rule.is_cluster), key=lambda rule: rule.ref)


class Selection:
    """The rules of one world, asked pod by pod. Places are those of `rules`, which are in order of judgement."""

    def __init__(self, world: World) -> None:
        self.rules = tuple(in_order(world.rules))
        self._namespace_labels = world.namespace_labels
        self._keys = frozenset(chain.from_iterable(keys_of(rule.selector) for rule in self.rules))
        self._cluster: list[int] = []
        namespaced: dict[str, list[tuple[Selector, int]]] = defaultdict(list)
        for place, rule in enumerate(self.rules):
            if rule.is_cluster:
                self._cluster.append(place)
            else:
                namespaced[rule.ref.namespace].append((rule.selector, place))
        self._namespaced = namespaced
        self._indexes: dict[str, SelectorIndex[int]] = {}
        self._by_kind: dict[tuple[str, str, frozenset[tuple[str, str]]], tuple[int, ...]] = {}

    def places(self, pod: Pod) -> tuple[int, ...]:
        """The rules that select this pod, in order of judgement."""
        looked_at = {key: value for key, value in pod.labels.items() if key in self._keys}
        kind = (pod.namespace, pod.service_account, frozenset(looked_at.items()))
        if kind not in self._by_kind:
            self._by_kind[kind] = self._find(pod.namespace, pod.service_account, looked_at)
        return self._by_kind[kind]

    def _find(self, namespace: str, account: str, labels: Labels) -> tuple[int, ...]:
        if namespace not in self._indexes:
            self._indexes[namespace] = self._index(namespace)
        places = sorted(self._indexes[namespace].find(labels))
        return tuple(place for place in places if _takes_account(self.rules[place], account))

    def _index(self, namespace: str) -> SelectorIndex[int]:
        labels = namespace_labels(self._namespace_labels, namespace)
        cluster = [(self.rules[place].selector, place) for place in self._cluster if _takes_namespace(self.rules[place], labels)]
        return SelectorIndex([*cluster, *self._namespaced.get(namespace, ())])


def _takes_account(rule: Rule, account: str) -> bool:
    return not rule.service_accounts or account in rule.service_accounts


def _takes_namespace(rule: Rule, labels: Labels) -> bool:
    return rule.namespace_selector is None or selects(rule.namespace_selector, labels)
