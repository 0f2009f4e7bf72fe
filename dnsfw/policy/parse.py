"""One document -> the objects in it, or every problem it has.

Pure. What it takes is a tree (`policy.tree`) from a file or from the API server; what it gives was checked, once, here.
Always true: a document with a problem gives no object.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

from dnsfw.errors import Problem
from dnsfw.policy.model import Pod, Rule
from dnsfw.policy.parse_pods import parse_namespace, parse_pod
from dnsfw.policy.parse_rules import API_VERSION, parse_rule
from dnsfw.policy.reader import Field, Refused, guess
from dnsfw.policy.tree import Node, shorten

API_VERSIONS = {"FQDNEgressRule": API_VERSION, "ClusterFQDNEgressRule": API_VERSION, "Pod": "v1", "Namespace": "v1"}
LISTS = {"List": "", **{f"{kind}List": kind for kind in API_VERSIONS}}
_KINDS_RIGHT = f"one of {', '.join(API_VERSIONS)} or List"


class NamespaceLabels(NamedTuple):
    """A Namespace object, as far as selectors ask for it."""

    name: str
    labels: dict[str, str]


Value: TypeAlias = Rule | Pod | NamespaceLabels | None
"""None is a pod that has ended."""


class Item(NamedTuple):
    """One object and where it stands."""

    kind: str
    namespace: str
    name: str
    line: int | None
    value: Value

    @property
    def title(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a document came to: its objects, or its problems."""

    items: tuple[Item, ...] = ()
    problems: tuple[Problem, ...] = ()


def parse_document(node: Node, file: str) -> Parsed:
    """Read one object, or a List of them."""
    return _parsed(Field(node, "", file, []), _objects)


def parse_element(node: Node, file: str, *, path: str, kind: str) -> Parsed:
    """Read one element of a List; `kind` is what the List says its elements are ("" where each says it itself)."""
    return _parsed(Field(node, path, file, []), lambda field: (_element(field, kind=kind),))


def _parsed(field: Field, parse: Callable[[Field], tuple[Item, ...]]) -> Parsed:
    items: tuple[Item, ...] = ()
    try:
        items = parse(field)
    except Refused as refusal:
        field.problems.append(refusal.problem)
    return Parsed((), tuple(sorted(field.problems, key=lambda problem: problem.line or 0))) if field.problems else Parsed(items)


def element_kind(node: Node) -> str | None:
    """The kind that a List's elements have unless they say it ("" where each must say it); None: not a List."""
    kind = node.value.get("kind") if isinstance(node.value, dict) else None
    return LISTS.get(kind.value) if kind is not None and isinstance(kind.value, str) else None


def _objects(field: Field) -> tuple[Item, ...]:
    kind = _kind_of(field, "")
    if kind not in LISTS:
        return (_object(field, kind),)
    return field.required("items", lambda items: items.each(partial(_element, kind=LISTS[kind])), (), "items: [] holds nothing")


def _element(field: Field, *, kind: str) -> Item:
    kind = _kind_of(field, kind)
    if kind in LISTS:
        raise field.refused("a List inside a List", "put its items into one List")
    return _object(field, kind)


def _kind_of(field: Field, kind: str) -> str:
    """What the object says it is; refused unless it is of a kind and version that we read."""
    if kind and not field.has("kind"):
        return kind
    if not field.has("kind"):
        raise field.refused("has no kind", _KINDS_RIGHT)
    said = field.child("kind").text()
    if said not in API_VERSIONS and said not in LISTS:
        raise field.child("kind").refused(f'"{shorten(said)}" is not read here', guess(said, (*API_VERSIONS, *LISTS)) or _KINDS_RIGHT)
    _check_version(field, "v1" if said == "List" else API_VERSIONS[LISTS.get(said, said)])
    return said


def _check_version(field: Field, version: str) -> None:
    if not field.has("apiVersion"):
        raise field.refused("has no apiVersion", f"apiVersion: {version}")
    said = field.child("apiVersion").text()
    if said != version:
        raise field.child("apiVersion").refused(f'"{shorten(said)}" is not read here', version)


def _object(field: Field, kind: str) -> Item:
    value: Value
    match kind:
        case "Pod":
            value = parse_pod(field)
        case "Namespace":
            value = NamespaceLabels(*parse_namespace(field))
        case _:
            value = parse_rule(field, is_cluster=kind == "ClusterFQDNEgressRule")
    namespace, name = _identity(value)
    return Item(kind, namespace, name, field.node.line, value)


def _identity(value: Value) -> tuple[str, str]:
    match value:
        case Rule(ref=ref):
            return ref.namespace, ref.name
        case Pod(namespace=namespace, name=name):
            return namespace, name
        case NamespaceLabels(name=name):
            return "", name
    return "", ""
