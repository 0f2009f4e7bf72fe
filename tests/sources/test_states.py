"""What is in force of each file: whole or its last good state, and no object twice."""

from pathlib import Path

from dnsfw.errors import Problem
from dnsfw.policy.model import Pod, PodUid, Rule, RuleRef, Selector
from dnsfw.policy.parse import Item, NamespaceLabels, Parsed
from dnsfw.sources.gather import world_of
from dnsfw.sources.states import FileState, adopt

A, B, C = Path("a.yaml"), Path("b.yaml"), Path("c.yaml")
NOTHING: frozenset[Path] = frozenset()


def rule(name: str, line: int = 1) -> Item:
    return Item("FQDNEgressRule", "shop", name, line, Rule(ref=RuleRef(namespace="shop", name=name), selector=Selector(), peers=()))


def pod(name: str, uid: str, node: str = "") -> Item:
    return Item("Pod", "shop", name, 1, Pod(uid=PodUid(uid), namespace="shop", name=name, node_name=node))


def says(*items: Item) -> Parsed:
    return Parsed(items)


def broken(path: Path) -> Parsed:
    return Parsed((), (Problem(file=str(path), line=1, path="spec", what="is missing"),))


def in_force(states: dict[Path, FileState]) -> dict[str, list[str]]:
    return {path.stem: [item.name for item in state.items] for path, state in states.items()}


def refused(states: dict[Path, FileState]) -> list[str]:
    return [str(problem) for state in states.values() for problem in state.problems]


def test_broken_file_keeps_its_last_good_state() -> None:
    """The others follow; once it is whole again, it follows too."""
    first = adopt({}, {A: says(rule("a")), B: says(rule("b"))}, NOTHING)
    second = adopt(first, {A: broken(A), B: says(rule("b2"))}, NOTHING)
    third = adopt(second, {A: says(rule("a3"))}, NOTHING)

    assert in_force(second) == {"a": ["a"], "b": ["b2"]}
    assert refused(second) == ["a.yaml:1: spec: is missing"]
    assert (in_force(third), refused(third)) == ({"a": ["a3"], "b": ["b2"]}, [])


def test_file_broken_from_the_start_has_nothing_in_force() -> None:
    """There is no good state to keep."""
    states = adopt({}, {A: broken(A)}, NOTHING)

    assert (in_force(states), len(refused(states))) == ({"a": []}, 1)


def test_vanished_file_takes_its_objects_along() -> None:
    """Its rules are gone, its problems too."""
    first = adopt({}, {A: says(rule("a")), B: broken(B)}, NOTHING)

    assert adopt(first, {}, frozenset({A, B})) == {}


def test_changed_file_loses_to_the_one_in_force() -> None:
    """Whoever brings an object that stands elsewhere is refused, wherever it sorts; the other is untouched."""
    first = adopt({}, {B: says(rule("x", 7))}, NOTHING)
    before = adopt(first, {A: says(rule("x", 3))}, NOTHING)
    after = adopt(first, {C: says(rule("x", 3))}, NOTHING)

    assert (in_force(before), refused(before)) == (
        {"a": [], "b": ["x"]},
        ["a.yaml:3: FQDNEgressRule shop/x stands in b.yaml:7 already; keep one of them"],
    )
    assert (in_force(after), refused(after)) == (
        {"b": ["x"], "c": []},
        ["c.yaml:3: FQDNEgressRule shop/x stands in b.yaml:7 already; keep one of them"],
    )


def test_refused_file_follows_once_its_way_is_free() -> None:
    """The clash ends in the other file; the refused one need not be saved again."""
    first = adopt({}, {A: says(rule("x")), B: says(rule("x"), rule("b"))}, NOTHING)
    freed = adopt(first, {A: says(rule("a"))}, NOTHING)
    gone = adopt(first, {}, frozenset({A}))

    assert in_force(first) == {"a": ["x"], "b": []}
    assert (in_force(freed), refused(freed)) == ({"a": ["a"], "b": ["x", "b"]}, [])
    assert (in_force(gone), refused(gone)) == ({"b": ["x", "b"]}, [])


def test_objects_may_change_places_in_one_save() -> None:
    """A rule moved from one file to another, in either direction or both, is no clash."""
    first = adopt({}, {A: says(rule("x")), B: says(rule("y"))}, NOTHING)
    swapped = adopt(first, {A: says(rule("y")), B: says(rule("x"))}, NOTHING)

    assert (in_force(swapped), refused(swapped)) == ({"a": ["y"], "b": ["x"]}, [])


def test_refusal_that_brings_back_an_old_object_refuses_who_took_it() -> None:
    """B may not come, so it keeps x; then A, which was to take x over, must wait, too."""
    first = adopt({}, {A: says(rule("a")), B: says(rule("x")), C: says(rule("c"))}, NOTHING)
    states = adopt(first, {A: says(rule("x")), B: says(rule("c"))}, NOTHING)

    assert in_force(states) == {"a": ["a"], "b": ["x"], "c": ["c"]}
    assert len(refused(states)) == 2


def test_object_twice_in_one_file_refuses_the_file() -> None:
    """Its last good state stays; the message has both lines."""
    first = adopt({}, {A: says(rule("a"))}, NOTHING)
    states = adopt(first, {A: says(rule("x", 1), rule("b", 5), rule("x", 9))}, NOTHING)

    assert in_force(states) == {"a": ["a"]}
    assert refused(states) == ["a.yaml:9: FQDNEgressRule shop/x stands in a.yaml:1 already; keep one of them"]


def test_pods_of_one_uid_clash() -> None:
    """Two pods cannot be the same one under two names."""
    states = adopt({}, {A: says(pod("p", "u1")), B: says(pod("q", "u1"))}, NOTHING)

    assert in_force(states) == {"a": ["p"], "b": []}
    assert refused(states) == ["b.yaml:1: a pod with uid u1 stands in a.yaml:1 already; keep one of them"]


def test_ended_pods_clash_with_nobody() -> None:
    """A completed pod may stand beside its successor of the same name."""
    ended = Item("Pod", "", "", 1, None)
    states = adopt({}, {A: says(ended, ended, pod("p", "u1"))}, NOTHING)

    assert refused(states) == []


def test_world_is_a_function_of_the_objects() -> None:
    """Neither the files' order nor the objects' within them shows."""
    namespace = Item("Namespace", "", "shop", 1, NamespaceLabels("shop", {"a": "b"}))
    items = [rule("b"), pod("q", "u2"), namespace, rule("a"), Item("Pod", "", "", 1, None), pod("p", "u1")]
    world = world_of(items)

    assert world == world_of(reversed(items))
    assert [each.ref.name for each in world.rules] == ["a", "b"]
    assert [each.name for each in world.pods] == ["p", "q"]
    assert world.namespace_labels == {"shop": {"a": "b"}}


def test_only_this_node_s_pods() -> None:
    """With a node's name, others' pods and those not placed yet are left out."""
    items = [pod("p", "u1", "n1"), pod("q", "u2", "n2"), pod("r", "u3")]

    assert [each.name for each in world_of(items, "n1").pods] == ["p"]
    assert len(world_of(items).pods) == 3
