"""Good rules become exactly what they say; what Kubernetes adds to them changes nothing."""

from ipaddress import ip_network

import pytest
from bad_rules import CLUSTER_HEAD, EGRESS, HEAD, SELECT

from dnsfw.errors import DocumentsError, Problem
from dnsfw.names import parse_pattern
from dnsfw.policy.model import Action, LeaseLimits, Mode, Operator, Peer, Requirement, Rule, RuleRef, Selector
from dnsfw.policy.parse import element_kind, parse_document, parse_element
from dnsfw.policy.ports import PortEntry, PortSet, ports_of
from dnsfw.policy.tree import Node, from_plain
from dnsfw.sources.reading import read_text

FULL = (
    HEAD
    + """  podSelector:
    matchLabels: {app: app1, "example.net/tier": ""}
    matchExpressions:
    - {key: b, operator: NotIn, values: [x, y]}
    - {key: a, operator: Exists}
  serviceAccountNames: [checkout]
  mode: Audit
  auditUntil: "2027-01-31T00:00:00+01:00"
  egress:
  - toFQDNs: ["*.GitHub.com.", "api.weather.gov", "*"]
    ports: [{port: 443}, {port: 8000, endPort: 8010, protocol: UDP}, {protocol: ICMP}, {protocol: SCTP}]
  - toCIDRs: ["203.0.113.10/32", "2001:db8::/64"]
  ttl: {minSeconds: 5, maxSeconds: 60, graceSeconds: 0}
"""
)


def rules_of(text: str) -> list[object]:
    parsed, _ = read_text(text, "rules.yaml", {}, lambda: None)
    if parsed.problems:
        raise DocumentsError(parsed.problems)
    return [item.value for item in parsed.items]


def test_every_field_is_taken() -> None:
    """A rule with all fields becomes a value with all fields."""
    (rule,) = rules_of(FULL)

    assert rule == Rule(
        ref=RuleRef(namespace="shop", name="app1"),
        selector=Selector(
            (("app", "app1"), ("example.net/tier", "")),
            (Requirement("b", Operator.NOT_IN, ("x", "y")), Requirement("a", Operator.EXISTS)),
        ),
        peers=(
            Peer(
                patterns=(parse_pattern("*.github.com"), parse_pattern("api.weather.gov"), parse_pattern("*")),
                ports=ports_of(
                    [PortEntry("TCP", 443), PortEntry("UDP", 8000, 8010), PortEntry("ICMP"), PortEntry("SCTP")],
                ),
            ),
            Peer(networks=(ip_network("203.0.113.10/32"), ip_network("2001:db8::/64")), ports=PortSet.ANY),
        ),
        service_accounts=("checkout",),
        mode=Mode.AUDIT,
        audit_until=1801350000.0,
        limits=LeaseLimits(min_seconds=5, max_seconds=60, grace_seconds=0),
    )


def test_object_stands_where_its_document_begins() -> None:
    """The line that a message about the whole object names."""
    parsed, _ = read_text("# first\n---\n" + HEAD + SELECT + EGRESS, "rules.yaml", {}, lambda: None)

    assert [(item.title, item.line) for item in parsed.items] == [("FQDNEgressRule shop/app1", 3)]


def test_defaults_are_the_contract_s() -> None:
    """What a rule leaves out is: namespace default, Enforce, every pod's account, the usual lease."""
    (rule,) = rules_of(HEAD.replace(", namespace: shop", "") + SELECT + EGRESS)

    assert rule == Rule(ref=RuleRef(namespace="default", name="app1"), selector=Selector(), peers=())


def test_longest_names_are_taken() -> None:
    """As long as Kubernetes allows: a rule's name of 253 characters, a namespace's of 63."""
    metadata = f"{{name: {'a.' * 126}a, namespace: {'b' * 63}}}"
    (rule,) = rules_of(HEAD.replace("{name: app1, namespace: shop}", metadata) + SELECT + EGRESS)

    assert isinstance(rule, Rule)
    assert (len(rule.ref.name), len(rule.ref.namespace)) == (253, 63)


def test_longest_labels_are_taken() -> None:
    """As long as Kubernetes allows: a prefix of 253 characters, a name and a value of 63."""
    key, value = f"{'a.' * 126}a/{'b' * 63}", "c" * 63
    (rule,) = rules_of(HEAD + f"  podSelector: {{matchLabels: {{{key}: {value}}}}}\n" + EGRESS)

    assert isinstance(rule, Rule)
    assert rule.selector == Selector(match_labels=((key, value),))


def test_bounds_themselves_are_taken() -> None:
    """The lowest and the highest port, a range of one, 25 names, the last priority, the longest lease."""
    names = ", ".join(f"n{number}.example.net" for number in range(25))
    ports = "[{port: 1}, {port: 65535}, {port: 9, endPort: 9}]"
    (rule,) = rules_of(
        CLUSTER_HEAD + SELECT + f"  egress:\n  - toFQDNs: [{names}]\n    ports: {ports}\n"
        "  priority: 1000\n  action: Deny\n  ttl: {maxSeconds: 604800}\n"
    )

    assert isinstance(rule, Rule)
    assert len(rule.peers[0].patterns) == 25
    assert rule.peers[0].ports == ports_of([PortEntry("TCP", 1), PortEntry("TCP", 65535), PortEntry("TCP", 9)])
    assert (rule.priority, rule.limits.max_seconds) == (1000, 604_800)


def test_cluster_rule_has_priority_action_and_namespaces() -> None:
    """The cluster's fields are taken; no namespaceSelector means every namespace."""
    (rule,) = rules_of(CLUSTER_HEAD + SELECT + EGRESS + "  priority: 100\n  action: Deny\n")
    (narrow,) = rules_of(
        CLUSTER_HEAD + SELECT + EGRESS + '  priority: 0\n  action: Pass\n  namespaceSelector: {matchLabels: {pci: "true"}}\n'
    )

    assert (rule.ref, rule.priority, rule.action, rule.namespace_selector) == (
        RuleRef(namespace="", name="base"),
        100,
        Action.DENY,
        Selector(),
    )
    assert (narrow.priority, narrow.action, narrow.namespace_selector) == (0, Action.PASS, Selector((("pci", "true"),)))


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("2027-01-31T00:00:00Z", id="utc"),
        pytest.param("2027-01-31t01:00:00.000+01:00", id="zone"),
        pytest.param("2027-01-30T16:00:00-08:00", id="west"),
    ],
)
def test_audit_until_is_one_moment(moment: str) -> None:
    """The same moment in any zone is the same value; unquoted, it is text as well."""
    (rule,) = rules_of(HEAD + SELECT + EGRESS + f"  mode: Audit\n  auditUntil: {moment}\n")

    assert rule.audit_until == 1801353600.0


def test_what_kubernetes_adds_is_passed_over() -> None:
    """Status and the usual metadata, as `kubectl get -o yaml` prints them, change nothing but the uid."""
    printed = HEAD.replace(
        "{name: app1, namespace: shop}",
        "{name: app1, namespace: shop, uid: u1, generation: 3, managedFields: [{a: {b: c}}], labels: {x: y}, creationTimestamp: null}",
    )
    (rule,) = rules_of(printed + SELECT + EGRESS + "status: {conditions: []}\n")

    (cluster,) = rules_of(CLUSTER_HEAD.replace("name: base", "name: base, uid: u2") + SELECT + EGRESS + "  priority: 1\n  action: Deny\n")

    assert rule.ref == RuleRef(namespace="shop", name="app1", uid="u1")
    assert cluster.ref == RuleRef(namespace="", name="base", uid="u2")


def test_plain_values_and_yaml_are_read_alike() -> None:
    """What the API server gives becomes the same rule as the file's; a fault there has a path and no line."""
    spec = {"podSelector": {}, "egress": [{"toFQDNs": ["www.example.net"], "ports": [{"port": 443}]}]}
    document = {
        "apiVersion": "dnsfw.io/v1alpha1",
        "kind": "FQDNEgressRule",
        "metadata": {"name": "app1", "namespace": "shop"},
        "spec": spec,
    }
    good = parse_document(from_plain(document), "FQDNEgressRule shop/app1")
    spec["egress"] = [{"toFQDNs": ["www.example.net"], "ports": [{"port": True}]}]
    bad = parse_document(from_plain(document), "FQDNEgressRule shop/app1")

    assert [item.value for item in good.items] == rules_of(
        HEAD + SELECT + "  egress:\n  - toFQDNs: [www.example.net]\n    ports: [{port: 443}]\n",
    )
    assert good.items[0].title == "FQDNEgressRule shop/app1"
    assert bad.problems == (
        Problem(
            file="FQDNEgressRule shop/app1",
            line=None,
            path="spec.egress[0].ports[0].port",
            what="must be an integer, is the boolean True",
            right="a plain decimal number from 1 to 65535",
        ),
    )


def test_plain_values_are_json_s() -> None:
    """Whatever is no JSON is a mistake of ours, not a document."""
    with pytest.raises(TypeError, match=r"^not a JSON value: \(1, 2\)$"):
        from_plain({"a": (1, 2)})


def test_elements_of_a_typed_list_need_no_kind() -> None:
    """A PodList's elements are pods without saying so; a List's must say what they are."""
    element = from_plain({"metadata": {"name": "app1"}, "spec": {"podSelector": {}, "egress": []}})
    typed = parse_element(element, "f", path="items[0]", kind="FQDNEgressRule")
    untyped = parse_element(element, "f", path="items[0]", kind="")

    assert [item.title for item in typed.items] == ["FQDNEgressRule default/app1"]
    assert [(problem.path, problem.what) for problem in untyped.problems] == [("items[0]", "has no kind")]


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        pytest.param({"kind": "List"}, "", id="list"),
        pytest.param({"kind": "PodList"}, "Pod", id="typed"),
        pytest.param({"kind": "Pod"}, None, id="no-list"),
        pytest.param({"kind": 3}, None, id="no-text"),
        pytest.param({}, None, id="no-kind"),
        pytest.param([], None, id="no-mapping"),
    ],
)
def test_list_says_what_its_elements_are(document: object, kind: str | None) -> None:
    """The kind of a list's elements follows from its own."""
    assert element_kind(from_plain(document)) == kind


def test_all_faults_of_a_document_are_told_at_once_in_order() -> None:
    """One run names every fault, by line, and gives no object."""
    document = HEAD + '  mode: no\n  egress:\n  - toFQDNs: ["a b"]\n  - toCIDRs: [x]\n  podselector: {}\n'
    parsed, _ = read_text(document, "f", {}, lambda: None)

    assert parsed.items == ()
    assert [(problem.line, problem.path) for problem in parsed.problems] == [
        (4, "spec.podSelector"),
        (5, "spec.mode"),
        (7, "spec.egress[0].toFQDNs[0]"),
        (8, "spec.egress[1].toCIDRs[0]"),
        (9, "spec.podselector"),
    ]


def test_long_text_is_shortened_in_messages() -> None:
    """A message stays readable and on one line, whatever stood in the file."""
    parsed = parse_document(Node({"kind": Node("x\x1b[2J\n" * 1000, 1)}, 1), "f")

    assert len(parsed.problems[0].what) < 300
    assert parsed.problems[0].what.isprintable()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        pytest.param("maxSeconds: 5", (5, 5), id="highest-below-the-usual-lowest"),
        pytest.param("maxSeconds: 60", (30, 60), id="highest-alone"),
        pytest.param("minSeconds: 7200", (7200, 7200), id="lowest-above-the-usual-highest"),
        pytest.param("minSeconds: 60", (60, 3600), id="lowest-alone"),
        pytest.param("minSeconds: 60, maxSeconds: 60", (60, 60), id="both-alike"),
        pytest.param("graceSeconds: 0", (30, 3600), id="neither"),
    ],
)
def test_a_bound_that_is_given_wins_over_the_others_default(given: str, wanted: tuple[int, int]) -> None:
    """`maxSeconds: 5` alone is a lease of five seconds, not a fault."""
    (rule,) = rules_of(HEAD + SELECT + EGRESS + f"  ttl: {{{given}}}\n")

    assert isinstance(rule, Rule)
    assert (rule.limits.min_seconds, rule.limits.max_seconds) == wanted
    assert rule.limits.grace_seconds == (0 if "grace" in given else LeaseLimits().grace_seconds)
