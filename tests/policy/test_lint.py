"""What `dnsfw check` warns of."""

from dataclasses import replace

import pytest
from worlds import EVERYBODY, SETTINGS, WEB, allow, cluster, deny, having, leave, peer, pod, rule, where

from dnsfw.policy.lint import Finding, lint_pods, lint_world
from dnsfw.policy.model import Action, LeaseLimits, Mode, Operator, Pod, Rule, RuleRef, World

A = rule("a", peer("a.example.net", on=[WEB]))


def lint(*rules: Rule, pods: tuple[Pod, ...] = (), namespaces: dict[str, dict[str, str]] | None = None, now: float = 0.0) -> list[str]:
    world = World(rules=rules, pods=pods, namespace_labels=namespaces or {})
    return [str(finding) for finding in lint_world(world, SETTINGS, now)]


def test_good_rules_are_not_warned_of() -> None:
    """Nothing to say."""
    assert lint(A, deny("d", peer("evil.example")), pods=(pod(),)) == []


def test_pods_that_are_not_served() -> None:
    """Of two live pods with one address neither is; a pod in the node's network matters only where a rule selects it."""
    one, two = pod("one", "10.244.0.5"), pod("two", "10.244.0.5", "10.244.0.6")
    host, other = pod("host", "10.244.0.6", is_host_network=True), pod("other")

    def found(*pods: Pod, rules: tuple[Rule, ...] = (A,)) -> list[str]:
        return [str(finding) for finding in lint_pods(World(rules=rules, pods=pods))]

    assert found(one, host, other, rules=()) == []
    assert found(one, host, other) == ["pod shop/host: its rules are not enforceable, it shares the node's network (hostNetwork)"]
    assert found(one, two) == [
        "pod shop/one: not served at 10.244.0.5, which shop/two has too; one of them has to go",
        "pod shop/two: not served at 10.244.0.5, which shop/one has too; one of them has to go",
    ]
    assert found(one, two, pod("three", "10.244.0.5"))[0] == (
        "pod shop/one: not served at 10.244.0.5, which shop/two, shop/three has too; one of them has to go"
    )


def test_a_finding_names_its_rule() -> None:
    """For people as text, for programs as a value."""
    world = World(rules=(rule("a", selector=where(app="x")),), pods=(pod(),))

    assert lint_world(world, SETTINGS, 0.0) == (Finding(RuleRef(namespace="shop", name="a"), "selects no pod"),)


def test_rules_that_select_nothing() -> None:
    """Among the pods given, hostNetwork ones too; without any pod the question is not asked."""
    idle = rule("idle", selector=where(app="x"))

    assert lint(A, idle, pods=(pod(),)) == ["rule shop/idle: selects no pod"]
    assert lint(idle, pods=(pod(labels={"app": "x"}, is_host_network=True),)) == []
    assert lint(idle) == []


@pytest.mark.parametrize(
    ("one", "other", "is_copy"),
    [
        pytest.param(A, replace(A, ref=RuleRef(namespace="shop", name="b")), True, id="copy"),
        pytest.param(A, replace(A, ref=RuleRef(namespace="else", name="b")), False, id="other-namespace"),
        pytest.param(A, replace(A, ref=RuleRef(namespace="shop", name="b"), selector=where(app="x")), False, id="other-pods"),
        pytest.param(A, replace(A, ref=RuleRef(namespace="shop", name="b"), service_accounts=("s",)), False, id="other-accounts"),
        pytest.param(A, replace(A, ref=RuleRef(namespace="shop", name="b"), limits=LeaseLimits(grace_seconds=1)), False, id="other-ttl"),
        pytest.param(A, replace(A, ref=RuleRef(namespace="shop", name="b"), mode=Mode.AUDIT), False, id="other-mode"),
        pytest.param(A, replace(A, ref=RuleRef(namespace="shop", name="b"), mode=Mode.AUDIT, audit_until=0.0), True, id="audit-is-over"),
        pytest.param(A, rule("b", peer("b.example.net", on=[WEB])), False, id="other-names"),
        pytest.param(
            rule("a", selector=EVERYBODY, accounts=("s", "t")),
            rule("b", selector=EVERYBODY, accounts=("t", "s")),
            True,
            id="accounts-in-any-order",
        ),
    ],
)
def test_rules_that_repeat(one: Rule, other: Rule, is_copy: bool) -> None:
    """Same content for the same pods: the later one in order is the copy."""
    assert lint(one, other) == (["rule shop/b: repeats shop/a"] if is_copy else [])


def test_cluster_rules_for_other_namespaces_are_no_copies() -> None:
    """The namespaceSelector is part of whom a rule selects."""
    one, other = (deny(name, peer("x.net"), namespaces=where(**{"kubernetes.io/metadata.name": name})) for name in ("a", "b"))

    assert lint(one, other) == []


def test_three_copies_repeat_the_first() -> None:
    """A repeated cluster rule is not called shadowed on top."""
    copies = [deny(name, peer("x.example.net")) for name in ("c", "b", "a")]

    assert lint(*copies) == ["rule b: repeats a", "rule c: repeats a"]


SHADOWED = "rule shop/a: shadowed: all that it says is decided before, by "


@pytest.mark.parametrize(
    ("before", "by"),
    [
        pytest.param([deny("d", peer("*.example.net"))], "d", id="denied"),
        pytest.param([allow("c", peer("*"))], "c", id="allowed"),
        pytest.param([allow("c", peer("a.example.net", on=["tcp/400-500"]))], "c", id="wider-ports"),
        pytest.param([deny("d", peer("a.example.net", on=["tcp/444"]))], None, id="other-ports"),
        pytest.param([deny("d", peer("b.example.net"))], None, id="other-name"),
        pytest.param([deny("d", peer("0.0.0.0/0"))], None, id="networks-decide-no-names"),
        pytest.param([leave("p", peer("*"))], None, id="pass-leaves-it"),
        pytest.param([leave("p", peer("x.net"), priority=1), deny("d", peer("*"), priority=2)], None, id="behind-a-pass-nothing-is-said"),
        pytest.param([deny("d", peer("*"), priority=1), leave("p", peer("*"), priority=2)], "d", id="before-a-pass"),
        pytest.param([deny("d", peer("*"), mode=Mode.AUDIT)], None, id="audit-decides-nothing"),
        pytest.param([deny("d", peer("*"), mode=Mode.AUDIT, until=0.0)], "d", id="audit-is-over"),
        pytest.param([deny("d", peer("*"), selector=where(app="x"))], None, id="other-pods"),
        pytest.param([deny("d", peer("*"), accounts=("s",))], None, id="some-accounts"),
        pytest.param([deny("d", peer("*"), namespaces=where(pci="true"))], None, id="other-namespaces"),
        pytest.param([deny("d", peer("*"), namespaces=where(**{"kubernetes.io/metadata.name": "shop"}))], "d", id="this-namespace"),
        pytest.param([deny("d", peer("*"), namespaces=None)], "d", id="all-namespaces"),
    ],
)
def test_namespaced_rules_that_are_shadowed(before: list[Rule], by: str | None) -> None:
    """A cluster rule for at least the same pods decides all that it says, with Allow or Deny."""
    assert [line for line in lint(A, *before, namespaces={"shop": {}}) if line.startswith(SHADOWED)] == ([SHADOWED + by] if by else [])


def test_what_selects_everything_shadows_what_selects_some() -> None:
    """All pods, all namespaces and all accounts are at least those of any rule."""
    wide = deny("d", peer("*"), priority=1)
    narrow = allow("z", peer("x.net"), selector=where(app="x"), namespaces=where(pci="true"), accounts=("s",), priority=2)
    text = "shadowed: all that it says is decided before, by d"

    assert lint(wide, replace(A, selector=where(app="x"))) == [f"rule shop/a: {text}"]
    assert lint(wide, narrow, namespaces={"shop": {}}) == [f"rule z: {text}"]


def test_shadowed_by_several_together() -> None:
    """Name by name and port by port; those that took something are named, in order."""
    both = rule("a", peer("a.example.net", "203.0.113.0/25", on=["tcp/1-9"]))
    first = deny("d1", peer("*", on=["tcp/1-4"]))
    second = deny("d2", peer("*.example.net", on=["tcp/5-9"]), peer("203.0.113.0/24", on=["tcp/1-9"]))
    idle = deny("d3", peer("*"))

    assert lint(both, first, second, idle) == [SHADOWED + "d1, d2"]
    assert lint(both, first, replace(second, peers=second.peers[:1])) == []


def test_shadowed_networks_are_of_the_same_family() -> None:
    """0.0.0.0/0 says nothing of IPv6, and the other way round."""
    four, six = rule("a", peer("203.0.113.0/24")), rule("a", peer("2001:db8::/32"))

    assert lint(four, deny("d", peer("0.0.0.0/0"))) == [SHADOWED + "d"]
    assert lint(six, deny("d", peer("::/0"))) == [SHADOWED + "d"]
    assert lint(four, deny("d", peer("::/0"))) == lint(six, deny("d", peer("0.0.0.0/0"))) == []
    assert lint(four, deny("d", peer("203.0.113.0/25"))) == lint(four, deny("d", peer("*"))) == []


def test_a_rule_that_says_nothing_is_not_shadowed() -> None:
    """`egress: []` makes the pod default-deny, whatever was said before."""
    assert lint(rule("a"), deny("d", peer("*"))) == []


SOME = {"selector": where(app="x"), "namespaces": where(pci="true"), "accounts": ("s", "t"), "priority": 200}


@pytest.mark.parametrize(
    ("later", "is_shadowed"),
    [
        pytest.param(SOME, True, id="same-pods"),
        pytest.param(SOME | {"priority": 50}, False, id="earlier"),
        pytest.param(SOME | {"selector": where(app="y")}, False, id="other-pods"),
        pytest.param(SOME | {"namespaces": where(a="b")}, False, id="other-namespaces"),
        pytest.param(SOME | {"namespaces": EVERYBODY}, False, id="all-namespaces"),
        pytest.param(SOME | {"accounts": ("t",)}, True, id="one-of-the-accounts"),
        pytest.param(SOME | {"accounts": ("t", "u")}, False, id="more-accounts"),
        pytest.param(SOME | {"accounts": ()}, False, id="all-accounts"),
    ],
)
@pytest.mark.parametrize("action", [Action.ALLOW, Action.PASS])
def test_cluster_rules_that_are_shadowed(later: dict[str, object], action: Action, is_shadowed: bool) -> None:
    """By one that comes before and selects at least the same pods; among cluster rules a Pass decides, too."""
    earlier = leave("p", peer("*"), **SOME | {"priority": 100})
    lines = lint(earlier, cluster("z", action, peer("x.net"), **later), namespaces={"shop": {}})

    assert lines == (["rule z: shadowed: all that it says is decided before, by p"] if is_shadowed else [])


def test_a_date_for_a_rule_that_is_enforced_already() -> None:
    """It is taken, for a mode may be switched back and forth; that it does nothing now is said."""
    enforced = rule("web", peer("www.example.net"), until=2e9)
    audited = rule("web", peer("www.example.net"), mode=Mode.AUDIT, until=2e9)

    assert lint(enforced) == ["rule shop/web: auditUntil has no effect: the mode is Enforce"]
    assert not lint(audited)


def test_labels_of_namespaces_that_nobody_gave() -> None:
    """A namespace without a Namespace object has but its name; whoever asks for more is told."""
    asks = deny("d", peer("*"), namespaces=where(pci="true", **{"kubernetes.io/metadata.name": "shop"}))
    more = deny("e", peer("x"), namespaces=having("zone", Operator.EXISTS))
    text = "namespaceSelector asks for {}, but no Namespace object is given{}; only kubernetes.io/metadata.name is known"

    shop = {"shop": {"pci": "true", "zone": "1"}}
    assert lint(asks, more) == ["rule d: " + text.format("pci", ""), "rule e: " + text.format("zone", "")]
    assert lint(asks, pods=(pod(), pod(namespace="bank")), namespaces=shop) == ["rule d: " + text.format("pci", " for bank")]
    assert lint(asks, rule("r", namespace="bank"), namespaces=shop) == ["rule d: " + text.format("pci", " for bank")]
    both = deny("f", peer("*"), namespaces=where(pci="true", app="x"))
    assert lint(both, pods=(pod(), pod(namespace="zoo"), pod(namespace="bank")), namespaces={"shop": {"pci": "true", "app": "x"}}) == [
        "rule f: " + text.format("app, pci", " for bank, zoo")
    ]
    assert lint(asks, more, pods=(pod(),), namespaces=shop) == []
    assert lint(deny("n", peer("*"), namespaces=where(**{"kubernetes.io/metadata.name": "shop"}))) == []


@pytest.mark.parametrize(
    ("network", "has_effect"),
    [
        pytest.param("10.244.1.0/24", False, id="cluster"),
        pytest.param("2001:db8:c1::/64", False, id="cluster-ipv6"),
        pytest.param("192.0.2.250/32", False, id="node"),
        pytest.param("192.0.2.250/31", True, id="node-and-another"),
        pytest.param("10.0.0.0/8", True, id="wider-than-the-cluster"),
        pytest.param("198.51.100.0/24", True, id="protected-by-the-operator-is-opened"),
        pytest.param("203.0.113.0/24", True, id="elsewhere"),
    ],
)
def test_networks_without_effect(network: str, has_effect: bool) -> None:
    """The cluster's own addresses are never judged, so a rule about them does nothing."""
    text = f"rule shop/a: toCIDRs {network} has no effect: it lies inside the cluster, whose traffic is left to NetworkPolicy"

    assert lint(rule("a", peer("203.0.113.99/32"), peer(network))) == ([] if has_effect else [text])
