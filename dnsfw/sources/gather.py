"""The objects of all files -> one `World`, or the names of those that stand in two places.

Pure. The world is a function of the objects alone: neither the files they stand in nor their order shows in it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dnsfw.errors import Problem
from dnsfw.policy.model import Pod, Rule, World
from dnsfw.policy.parse import Item, NamespaceLabels


class Place(NamedTuple):
    """An object in a file."""

    file: str
    item: Item


class Clash(NamedTuple):
    """Two objects that are to be the same one; `uid` where it is the pods' uid that says so."""

    first: Place
    second: Place
    uid: str = ""

    @property
    def title(self) -> str:
        return f"a pod with uid {self.uid}" if self.uid else self.second.item.title


def clashes(files: Mapping[str, Iterable[Item]]) -> Iterator[Clash]:
    """Objects of one kind, namespace and name, and pods of one uid, that stand twice; files in the order given."""
    seen: dict[tuple[str, ...], Place] = {}
    for file, items in files.items():
        for item in items:
            for key in _identities(item):
                first = seen.setdefault(key, place := Place(file, item))
                if first is not place:
                    yield Clash(first, place, uid=key[0] if len(key) == 1 else "")


def _identities(item: Item) -> tuple[tuple[str, ...], ...]:
    name = (item.kind, item.namespace, item.name)
    if isinstance(item.value, Pod):
        return name, (item.value.uid,)
    return () if item.value is None else (name,)


def second_is_refused(clash: Clash) -> Problem:
    first, second = clash.first, clash.second
    what = f"{clash.title} stands in {first.file}:{first.item.line} already"
    return Problem(file=second.file, line=second.item.line, path="", what=what, right="keep one of them")


def first_is_refused(clash: Clash) -> Problem:
    return second_is_refused(Clash(clash.second, clash.first, clash.uid))


def world_of(items: Iterable[Item], node_name: str = "") -> World:
    """All rules and namespaces, and the pods (of one node, if it is named); in one order, whatever the files' was."""
    values = [item.value for item in items]
    rules = (value for value in values if isinstance(value, Rule))
    pods = (value for value in values if isinstance(value, Pod) and node_name in ("", value.node_name))
    namespaces = (value for value in values if isinstance(value, NamespaceLabels))
    return World(
        rules=tuple(sorted(rules, key=lambda rule: (rule.ref.namespace, rule.ref.name))),
        pods=tuple(sorted(pods, key=lambda pod: (pod.namespace, pod.name))),
        namespace_labels={namespace.name: namespace.labels for namespace in sorted(namespaces, key=lambda namespace: namespace.name)},
    )
