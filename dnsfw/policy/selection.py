"""Which rules select which pods. Pure; looks at labels once per kind of pod, and at those rules only that can match."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from dnsfw.policy.model import Action, Pod, Rule, Selector
from dnsfw.policy.prepare import Prepared
from dnsfw.policy.select import Labels, SelectorIndex, namespace_labels, selects

# At one priority the more restrictive comes first: Deny wins (design §1), and Pass gives less than Allow.
_ACTION_ORDER = {Action.DENY: 0, Action.PASS: 1, Action.ALLOW: 2}


def in_order(rules: Sequence[Rule]) -> list[Rule]:
    """The order of judgement: cluster rules by priority, then namespaced ones; names settle the rest, for the same state the same order."""
    cluster = (rule for rule in rules if rule.is_cluster)
    first = sorted(cluster, key=lambda rule: (rule.priority, _ACTION_ORDER[rule.action], _identity(rule)))
    return first + sorted((rule for rule in rules if not rule.is_cluster), key=_identity)


def _identity(rule: Rule) -> tuple[str, str, str]:
    return rule.ref.namespace, rule.ref.name, rule.ref.uid


class Selection:
    """The rules of one world, asked pod by pod. Rules are given in order of judgement, and told by their place in it."""

    def __init__(self, rules: Sequence[Prepared], labels_of_namespaces: Mapping[str, Labels]) -> None:
        self._rules = [each.rule for each in rules]
        self._labels_of_namespaces = labels_of_namespaces
        self._keys = frozenset[str]().union(*{each.keys for each in rules})
        self._cluster: list[int] = []
        self._namespaced: dict[str, list[tuple[Selector, int]]] = defaultdict(list)
        for place, rule in enumerate(self._rules):
            if rule.is_cluster:
                self._cluster.append(place)
            else:
                self._namespaced[rule.ref.namespace].append((rule.selector, place))
        self._indexes: dict[str, SelectorIndex[int]] = {}

    def groups(self, pods: Iterable[Pod]) -> list[tuple[tuple[int, ...], list[Pod]]]:
        """The rules that select them, and the pods that are alike to every selector."""
        kinds: dict[tuple[str, str, frozenset[tuple[str, str]]], list[Pod]] = defaultdict(list)
        for pod in pods:
            kinds[pod.namespace, pod.service_account, frozenset(self._looked_at(pod).items())].append(pod)
        return [(self.places(alike[0]), alike) for alike in kinds.values()]

    def places(self, pod: Pod) -> tuple[int, ...]:
        """The rules that select this pod, in order of judgement."""
        return self._find(pod.namespace, pod.service_account, self._looked_at(pod))

    def _looked_at(self, pod: Pod) -> Labels:
        return {key: value for key, value in pod.labels.items() if key in self._keys}

    def _find(self, namespace: str, account: str, labels: Labels) -> tuple[int, ...]:
        if namespace not in self._indexes:
            self._indexes[namespace] = self._index(namespace)
        places = sorted(self._indexes[namespace].find(labels))
        return tuple(place for place in places if _takes_account(self._rules[place], account))

    def _index(self, namespace: str) -> SelectorIndex[int]:
        labels = namespace_labels(self._labels_of_namespaces, namespace)
        cluster = [(self._rules[place].selector, place) for place in self._cluster if _takes_namespace(self._rules[place], labels)]
        return SelectorIndex([*cluster, *self._namespaced.get(namespace, ())])


def _takes_account(rule: Rule, account: str) -> bool:
    return not rule.service_accounts or account in rule.service_accounts


def _takes_namespace(rule: Rule, labels: Labels) -> bool:
    return rule.namespace_selector is None or selects(rule.namespace_selector, labels)
