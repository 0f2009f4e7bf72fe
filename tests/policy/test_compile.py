"""World to snapshot: who is a subject, what is kept from one snapshot to the next, and what hashes promise."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import SETTINGS, WEB, allow, deny, judge, leave, packed, peer, pod, policy, ports, rule, snapshot, where

from dnsfw.names import parse_name
from dnsfw.policy.model import Action, LeaseLimits, Mode, PodUid, Rule, RuleRef
from dnsfw.policy.ports import TCP, Kind, Piece
from dnsfw.policy.selection import in_order
from dnsfw.policy.snapshot import Snapshot, Stance

A = rule("a", peer("*.example.net", on=[WEB]))
B = rule("b", peer("b.example.net", on=["tcp/22"]), selector=where(app="b"))


def stances(of: Snapshot) -> dict[str, Stance]:
    return {str(subject.pod): subject.policy.stance for subject in of.subjects.values()}


def basis(*rules: Rule, name: str = "a") -> str:
    """Of the permit that the rule of that name gives for x.example.net."""
    permits = policy(*rules).judge(parse_name("x.example.net"), packed("192.0.2.1"))
    return next(permit.basis for permit in permits if permit.rule.name == name)


def test_subjects_are_found_by_their_addresses() -> None:
    """Each address as sockets give it, of both families; a pod without any is a subject still."""
    taken = snapshot(A, pods=[pod("x", "192.0.2.10", "2001:db8::a"), pod("y")])

    assert set(taken.by_source) == {"192.0.2.10", "2001:db8::a"}
    assert taken.by_source["2001:db8::a"] is taken.subjects[PodUid("uid-shop-x")]
    assert set(taken.subjects) == {"uid-shop-x", "uid-shop-y"}
    assert (taken.serial, taken.settings, taken.conflicts, taken.warnings) == (1, SETTINGS, frozenset(), ())


def test_of_two_pods_with_one_address_neither_is_served() -> None:
    """The address is nobody's; the other addresses of both are theirs."""
    taken = snapshot(A, pods=[pod("x", "192.0.2.10", "192.0.2.11"), pod("y", "192.0.2.10"), pod("z", "192.0.2.12", "192.0.2.12")])

    assert set(taken.by_source) == {"192.0.2.11", "192.0.2.12"}
    assert taken.conflicts == {ip_address("192.0.2.10")}
    assert taken.warnings == ("address 192.0.2.10: none of its pods is served, more than one has it: shop/x, shop/y",)


def test_a9_host_network_pods_are_no_subjects() -> None:
    """They share the node's address, which is never granted anything, and conflicts with nobody; whom a rule selects is warned of."""
    hosts = [pod(name, "192.0.2.9", is_host_network=True) for name in ("h", "i")]
    other = pod("j", "192.0.2.9", namespace="other", is_host_network=True)
    taken = snapshot(A, pods=[*hosts, other, pod("x", "192.0.2.9")])

    assert set(taken.subjects) == {"uid-shop-x"}
    assert set(taken.by_source) == {"192.0.2.9"}
    assert taken.conflicts == frozenset()
    assert taken.warnings == tuple(
        f"pod shop/{name}: its rules are not enforceable, it shares the node's network (hostNetwork)" for name in ("h", "i")
    )


def test_rules_select_by_namespace_labels_and_account() -> None:
    """A namespaced rule selects in its own namespace alone (A26); all conditions are ANDed."""
    taken = snapshot(
        rule("r", selector=where(app="x"), accounts=("checkout", "till")),
        pods=[
            pod("yes", labels={"app": "x", "more": "y"}, account="till"),
            pod("other-label", labels={"app": "y"}, account="till"),
            pod("other-account", labels={"app": "x"}),
            pod("other-namespace", labels={"app": "x"}, account="till", namespace="else"),
        ],
    )

    assert stances(taken) == {
        "shop/yes": Stance.ENFORCE,
        "shop/other-label": Stance.UNTOUCHED,
        "shop/other-account": Stance.UNTOUCHED,
        "else/other-namespace": Stance.UNTOUCHED,
    }


def test_cluster_rules_select_by_namespace() -> None:
    """By the labels of Namespace objects, and by the one label that every namespace has."""
    taken = snapshot(
        deny("pci", peer("*"), namespaces=where(pci="true")),
        allow("named", peer("*"), namespaces=where(**{"kubernetes.io/metadata.name": "plain"}), accounts=("a",)),
        pods=[pod(namespace="bank"), pod(namespace="plain", account="a"), pod("b", namespace="plain")],
        namespaces={"bank": {"pci": "true"}},
    )

    assert stances(taken) == {"bank/app": Stance.OPEN, "plain/app": Stance.ENFORCE, "plain/b": Stance.UNTOUCHED}


def test_a_cluster_rule_without_namespace_selector_selects_everywhere() -> None:
    """As `{}` does."""
    taken = snapshot(deny("d", peer("*"), namespaces=None), pods=[pod(namespace="x"), pod(namespace="y")])

    assert set(stances(taken).values()) == {Stance.OPEN}


def test_pods_with_the_same_rules_share_one_policy() -> None:
    """Also where their labels differ, but in nothing that a rule looks at, and where they differ in what makes no difference."""
    taken = snapshot(A, B, pods=[pod("x", labels={"hash": "1"}), pod("y", labels={"hash": "2", "app": "a"}), pod("z", account="s")])

    assert len({id(subject.policy) for subject in taken.subjects.values()}) == 1


def test_an_unchanged_policy_survives_a_new_snapshot() -> None:
    """Policies whose rules did not change are the same objects; others are new."""
    pods = [pod("x"), pod("y", labels={"app": "b"}), pod("z", namespace="untouched")]
    before = snapshot(A, B, pods=pods)
    after = snapshot(replace(A), replace(B, peers=()), pods=pods, previous=before)

    def kept(name: str) -> bool:
        return after.subjects[PodUid(name)].policy is before.subjects[PodUid(name)].policy

    assert kept("uid-shop-x")
    assert not kept("uid-shop-y")
    assert kept("uid-untouched-z")
    assert after.prepared[A.ref] is before.prepared[A.ref]
    assert after.prepared[B.ref] is not before.prepared[B.ref]


def test_no_policy_survives_other_settings() -> None:
    """The node has a new address: what is protected has changed."""
    settings = replace(SETTINGS, node_addresses=(ip_address("192.0.2.77"),))
    before = snapshot(A)
    after = snapshot(A, settings=settings, previous=before)

    of = after.subjects[PodUid("uid-shop-app")].policy
    assert of is not before.subjects[PodUid("uid-shop-app")].policy
    assert judge(of, "x.example.net", "192.0.2.77") == {}


def test_two_rules_of_one_reference_are_told_apart() -> None:
    """Whoever reads documents refuses a second rule of the same name; even so, none may stand for the other."""
    before = snapshot(replace(A, peers=()), A)
    after = snapshot(replace(A, peers=(peer("*"),)), A, previous=before)

    assert before.subjects[PodUid("uid-shop-app")].policy.key != after.subjects[PodUid("uid-shop-app")].policy.key


@pytest.mark.parametrize(
    ("now", "stance", "changes_at"),
    [
        pytest.param(99.0, Stance.AUDIT, 100.0, id="before"),
        pytest.param(100.0, Stance.ENFORCE, 200.0, id="on-the-date"),
        pytest.param(200.0, Stance.ENFORCE, None, id="after-the-last"),
    ],
)
def test_f10_audit_turns_into_enforce_on_its_date(now: float, stance: Stance, changes_at: float | None) -> None:
    """Wall time decides, and the snapshot says when it will be another one."""
    taken = snapshot(
        rule("a", peer("*"), mode=Mode.AUDIT, until=100.0),
        rule("b", peer("*"), mode=Mode.AUDIT, until=200.0),
        rule("c", peer("*"), mode=Mode.AUDIT),
        rule("d", peer("*"), mode=Mode.ENFORCE, until=150.0, namespace="else"),
        now=now,
    )

    assert taken.subjects[PodUid("uid-shop-app")].policy.stance is stance
    assert taken.changes_at == changes_at


def test_audit_that_turns_makes_another_policy() -> None:
    """The same world, a moment later: nothing of the Audit policy is kept."""
    world = (rule("a", peer("*.example.net"), mode=Mode.AUDIT, until=100.0),)
    before = snapshot(*world, now=99.0)
    after = snapshot(*world, now=100.0, previous=before)

    assert after.subjects[PodUid("uid-shop-app")].policy.stance is Stance.ENFORCE


SAME = (A, deny("d", peer("evil.example")))


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param((*reversed(SAME),), id="order-of-rules"),
        pytest.param((replace(A, selector=where()), SAME[1]), id="selector"),
        pytest.param((replace(A, service_accounts=("default",)), SAME[1]), id="service-account"),
        pytest.param((*SAME, rule("other", peer("other.example"))), id="another-namespaced-rule"),
        pytest.param((*SAME, deny("far", peer("*"), namespaces=where(pci="true"))), id="a-cluster-rule-for-others"),
        pytest.param((replace(A, ref=A.ref._replace(uid="new")), SAME[1]), id="uid"),
    ],
)
def test_basis_stays(rules: tuple[Rule, ...]) -> None:
    """What a permission does not rest on does not change its basis."""
    assert basis(*rules) == basis(*SAME)


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param((replace(A, peers=(peer("*.example.net", on=["tcp/444"]),)), SAME[1]), id="ports"),
        pytest.param((replace(A, peers=(peer("*.example.net", "x.example.net", on=[WEB]),)), SAME[1]), id="names"),
        pytest.param((replace(A, peers=(peer("*.example.net", "192.0.2.0/24", on=[WEB]),)), SAME[1]), id="networks"),
        pytest.param((replace(A, limits=LeaseLimits(min_seconds=1)), SAME[1]), id="min-seconds"),
        pytest.param((replace(A, limits=LeaseLimits(max_seconds=1)), SAME[1]), id="max-seconds"),
        pytest.param((replace(A, limits=LeaseLimits(grace_seconds=1)), SAME[1]), id="grace-seconds"),
        pytest.param((A,), id="cluster-rule-gone"),
        pytest.param((A, deny("d", peer("evil.example"), priority=101)), id="cluster-rule-priority"),
        pytest.param((A, leave("d", peer("evil.example"))), id="cluster-rule-action"),
        pytest.param((A, deny("d", peer("evil.example"), mode=Mode.AUDIT)), id="cluster-rule-mode"),
        pytest.param((A, deny("d", peer("worse.example"))), id="cluster-rule-names"),
    ],
)
def test_basis_changes(rules: tuple[Rule, ...]) -> None:
    """All that a permission rests on is in its basis."""
    assert basis(*rules) != basis(*SAME)


def test_basis_of_an_audit_rule_is_another() -> None:
    """Audit grants as if enforced, but not on the same ground."""
    assert basis(replace(A, mode=Mode.AUDIT)) != basis(A)


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        pytest.param({"node_addresses": ()}, True, id="node-addresses"),
        pytest.param({"is_dns_filtered": False}, True, id="filter"),
        pytest.param({"cluster_networks": tuple(reversed(SETTINGS.cluster_networks))}, True, id="order"),
        pytest.param({"cluster_networks": (ip_network("10.0.0.0/8"),)}, False, id="cluster-networks"),
        pytest.param({"protected_networks": ()}, False, id="protected-networks"),
        pytest.param({"cluster_domain": parse_name("other.example")}, False, id="cluster-domain"),
    ],
)
def test_settings_in_basis_and_key(change: dict[str, object], is_same: bool) -> None:
    """A permission rests on what is protected by the operator's word; the policy as a whole on every setting."""
    ours, theirs = policy(A), policy(A, settings=replace(SETTINGS, **change))
    (one,), (other,) = (of.judge(parse_name("x.example.net"), packed("192.0.2.1")) for of in (ours, theirs))

    assert (one.basis == other.basis) is is_same
    assert (ours.key == theirs.key) is (change.get("cluster_networks") == tuple(reversed(SETTINGS.cluster_networks)))


def test_hashes_are_the_same_in_every_process() -> None:
    """Written down once: a restart must find its decisions again."""
    of = policy(*SAME, rule("n", peer("192.0.2.0/24", on=["udp/1-9"])))

    assert basis(replace(A, mode=Mode.AUDIT), SAME[1]) == "72b8d35181bc122ab10e0d2d59f2d5b1"
    assert of.key == "6f9e8e0730751bbf69bccfe80276b1b1"
    assert basis(*SAME) == "12ee169281f85079f071b81d1b088b30"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(A, ref=RuleRef(namespace="shop", name="z")), id="name"),
        pytest.param(replace(A, ref=RuleRef(namespace="shop", name="a", uid="new")), id="uid"),
        pytest.param(replace(A, mode=Mode.AUDIT), id="mode"),
        pytest.param(replace(A, limits=LeaseLimits(grace_seconds=0)), id="limits"),
    ],
)
def test_key_tells_policies_apart(other: Rule) -> None:
    """All that a policy answers is in its key, names of rules too."""
    assert policy(other).key != policy(A).key


def test_entries_are_in_order_of_judgement() -> None:
    """Cluster rules by priority, then Deny, Pass, Allow, then by name; namespaced ones last, by name; whatever order they came in."""
    rules = [
        rule("b"), rule("a"), rule("a", uid="2"),
        allow("x", priority=2), leave("y", priority=2), deny("z2", priority=2), deny("z1", priority=2), allow("first", priority=1),
    ]  # fmt: skip
    expected = ["first", "z1", "z2", "y", "x", "shop/a", "shop/a", "shop/b"]

    assert [str(entry.rule) for entry in policy(*rules).entries] == expected
    assert [str(entry.rule) for entry in policy(*reversed(rules)).entries] == expected
    assert [entry.rule.uid for entry in policy(*reversed(rules)).entries][5:7] == ["", "2"]


def test_rules_of_several_namespaces_are_in_order_too() -> None:
    """As `dnsfw check` lists them."""
    rules = [rule("a", namespace="y"), rule("b", namespace="x"), rule("a", namespace="x")]

    assert [str(each.ref) for each in in_order(rules)] == ["x/a", "x/b", "y/a"]


def test_steps_are_the_networks_in_order() -> None:
    """One step a peer, split where a part of it lies inside a protected range; peers without networks have none."""
    of = policy(
        rule("n", peer("192.0.2.0/24", "169.254.169.254/32", "2001:db8::/64", on=["tcp/22"]), peer("a.example.net")),
        deny("d", peer("203.0.113.0/24", on=["tcp"])),
    )
    first, second, third = of.steps

    assert (first.action, first.rule.name, first.is_inside_protected) == (Action.DENY, "d", False)
    assert first.ports == ports("tcp", "tcp/853")
    assert (second.action, second.rule.name, second.is_inside_protected) == (Action.ALLOW, "n", False)
    assert second.networks == (ip_network("192.0.2.0/24"), ip_network("2001:db8::/64"))
    assert (third.networks, third.ports, third.is_inside_protected) == ((ip_network("169.254.169.254/32"),), ports("tcp/22"), True)
    assert second.basis == third.basis == of.entries[1].basis != first.basis


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param((rule("a", peer("192.0.2.0/24"), mode=Mode.AUDIT), rule("b")), [], id="audit-beside-enforce"),
        pytest.param((rule("a", peer("192.0.2.0/24"), mode=Mode.AUDIT),), ["shop/a"], id="audit-stance-allows"),
        pytest.param(
            (rule("a", peer("192.0.2.0/24"), mode=Mode.AUDIT), deny("d", peer("0.0.0.0/0"), mode=Mode.AUDIT)),
            ["shop/a"],
            id="audit-stance-audit-deny",
        ),
        pytest.param((deny("d", peer("0.0.0.0/0")),), ["d"], id="open"),
        pytest.param((deny("d", peer("0.0.0.0/0"), mode=Mode.AUDIT),), [], id="open-audit"),
    ],
)
def test_steps_are_of_rules_in_force(rules: tuple[Rule, ...], expected: list[str]) -> None:
    """What an Audit rule would do is not done by the kernel."""
    assert [str(step.rule) for step in policy(*rules).steps] == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param((rule("a", peer("*")), rule("b", peer("*", on=["tcp/443"]))), set(), id="nothing-in-part"),
        pytest.param((rule("a", peer("*", on=["tcp/1-9"])),), {(1, 9)}, id="own-range"),
        pytest.param(
            (rule("a", peer("*", on=["tcp/1-9"]), peer("x", on=["tcp/3-20"])),), {(1, 2), (3, 9), (10, 20)}, id="own-ranges-overlap"
        ),
        pytest.param((rule("a", peer("*", on=["tcp/1-9"])), rule("b", peer("*", on=["tcp/5"]))), {(1, 9)}, id="neighbours-cut-nothing"),
        pytest.param(
            (rule("a", peer("*", on=["tcp"])), deny("d", peer("x", on=["tcp/22"]))), {(0, 21), (23, 852), (854, 65535)}, id="deny-cuts"
        ),
        pytest.param((rule("a", peer("*", on=["tcp"])), deny("d", peer("x", on=["udp/22"]))), set(), id="deny-elsewhere"),
        pytest.param((rule("a", peer("*")), deny("d", peer("x", on=["tcp"]))), set(), id="deny-of-a-whole-protocol"),
        pytest.param((deny("d", peer("x", on=["tcp/1-9"])),), set(), id="deny-has-none"),
    ],
)
def test_ranges_are_those_that_may_be_needed(rules: tuple[Rule, ...], expected: set[tuple[int, int]]) -> None:
    """Range maps are made when the policy is, so only those that a permit can have."""
    assert policy(*rules).ranges == {Piece(Kind.RANGE, TCP, low, high) for low, high in expected}


@given(st.permutations([A, B, deny("d", peer("x")), allow("c", peer("y"), priority=1), leave("p", peer("z"))]))
def test_a_snapshot_depends_on_content_alone(rules: list[Rule]) -> None:
    """Not on the order of the world, nor on what was in force before."""
    first = snapshot(*rules)
    history = snapshot(*rules[:2], previous=first)
    again = snapshot(*reversed(rules), previous=history)

    keys = [[subject.policy.key for subject in taken.subjects.values()] for taken in (first, again)]
    assert keys[0] == keys[1]
    assert first.subjects[PodUid("uid-shop-app")].policy.steps == again.subjects[PodUid("uid-shop-app")].policy.steps


def test_statics_are_the_rules_whose_networks_open() -> None:
    """By rule, what the permission rests on; a Deny opens nothing."""
    of = policy(rule("nets", peer("203.0.113.0/24")), deny("never", peer("203.0.113.9/32")), rule("names", peer("x.example.net")))

    assert [(str(ref), len(basis)) for ref, basis in of.statics.items()] == [("shop/nets", 32)]


def test_subject_knows_its_addresses_packed() -> None:
    """As the kernel has them, and how long these are."""
    subject = snapshot(pods=[pod("a", "10.0.0.1", "2001:db8::1")]).by_source["10.0.0.1"]

    assert subject.sources == (packed("10.0.0.1"), packed("2001:db8::1"))
    assert subject.sizes == {4, 16}
