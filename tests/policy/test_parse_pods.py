"""Pods and namespaces as kubectl prints them: what says who they are is taken and held to account, the rest passed over."""

from ipaddress import ip_address

import pytest

from dnsfw.errors import Problem
from dnsfw.policy.model import Pod, PodUid
from dnsfw.policy.parse import Item, NamespaceLabels, Parsed, parse_document
from dnsfw.policy.tree import from_plain

METADATA = {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"app": "app1"}}


def parsed(kind: str = "Pod", **fields: object) -> Parsed:
    return parse_document(from_plain({"apiVersion": "v1", "kind": kind, **fields}), "f")


def pod(**fields: object) -> Pod | None:
    result = parsed(**{"metadata": METADATA, **fields})
    assert result.problems == ()
    (item,) = result.items
    assert item.value is None or isinstance(item.value, Pod)
    return item.value


def test_pod_as_kubectl_prints_it() -> None:
    """Name, uid, labels, account, node and addresses are taken; fields that are not ours do not matter."""
    found = pod(
        metadata={**METADATA, "annotations": {"x": "y"}, "deletionTimestamp": "2026-01-01T00:00:00Z"},
        spec={"serviceAccountName": "checkout", "nodeName": "node1", "hostNetwork": False, "containers": [{"name": "a"}]},
        status={"phase": "Running", "podIP": "192.0.2.1", "podIPs": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "conditions": []},
    )

    assert found == Pod(
        uid=PodUid("u1"),
        namespace="shop",
        name="web",
        labels={"app": "app1"},
        service_account="checkout",
        addresses=(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
        node_name="node1",
    )


def test_pod_is_called_by_its_namespace_and_name() -> None:
    """So that a message says which."""
    (item,) = parsed(metadata=METADATA).items

    assert (item.kind, item.namespace, item.name, item.title) == ("Pod", "shop", "web", "Pod shop/web")


def test_pod_of_few_words() -> None:
    """What a hand-written pod leaves out has Kubernetes' defaults; its uid is its name."""
    assert pod(metadata={"name": "web"}) == Pod(uid=PodUid("default/web"), namespace="default", name="web")
    assert pod(spec={"containers": []}, status={}) == Pod(uid=PodUid("u1"), namespace="shop", name="web", labels={"app": "app1"})


@pytest.mark.parametrize(
    ("status", "addresses"),
    [
        pytest.param({}, (), id="pending"),
        pytest.param({"podIP": ""}, (), id="empty"),
        pytest.param({"podIP": "192.0.2.1"}, ("192.0.2.1",), id="old-field"),
        pytest.param({"podIPs": [], "podIP": "192.0.2.1"}, ("192.0.2.1",), id="empty-list"),
        pytest.param({"podIPs": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.1"}]}, ("192.0.2.1",), id="twice"),
    ],
)
def test_addresses_of_a_pod(status: dict[str, object], addresses: tuple[str, ...]) -> None:
    """podIPs, else podIP; a pod without any is still to come."""
    found = pod(status=status)

    assert found is not None
    assert found.addresses == tuple(map(ip_address, addresses))


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_ended_pod_holds_no_address(phase: str) -> None:
    """A pod that has ended is none, and nobody's name."""
    (item,) = parsed(metadata=METADATA, status={"phase": phase, "podIP": "192.0.2.1"}).items

    assert item == Item("Pod", "", "", None, None)


def test_host_network_is_told() -> None:
    """A pod in the node's network is marked, since its rules cannot be enforced."""
    found = pod(spec={"hostNetwork": True})

    assert found is not None
    assert found.is_host_network


@pytest.mark.parametrize(
    ("fields", "path", "what", "right"),
    [
        pytest.param({"metadata": {}}, "metadata.name", "is missing", "", id="no-name"),
        pytest.param({}, "metadata", "is missing", "", id="no-metadata"),
        pytest.param(
            {"metadata": METADATA, "status": {"podIPs": [{"ip": "192.0.2.256"}]}},
            *("status.podIPs[0].ip", '"192.0.2.256" is not an IP address', ""),
            id="ip",
        ),
        pytest.param({"metadata": METADATA, "status": {"podIPs": [{}]}}, "status.podIPs[0].ip", "is missing", "", id="no-ip"),
        pytest.param(
            {"metadata": METADATA, "status": {"podIP": "fe80::1%eth0"}},
            *("status.podIP", '"fe80::1%eth0" has a zone', "an address without %zone"),
            id="zone",
        ),
        pytest.param(
            {"metadata": METADATA, "spec": {"hostNetwork": "true"}}, "spec.hostNetwork", "must be true or false", "", id="host-text"
        ),
        pytest.param(
            {"metadata": {**METADATA, "labels": {"app": 1}}},
            *("metadata.labels.app", "must be text, is the number 1", 'write it in quotes: "1"'),
            id="label",
        ),
        pytest.param(
            {"metadata": {**METADATA, "labels": {"\x1b[2J": 1}}},
            *("metadata.labels.\\x1b[2J", "must be text, is the number 1", 'write it in quotes: "1"'),
            id="a25-label-key",
        ),
        pytest.param({"metadata": {**METADATA, "uid": []}}, "metadata.uid", "must be text, is a list", "", id="uid"),
    ],
)
def test_fault_in_what_says_who_a_pod_is(fields: dict[str, object], path: str, what: str, right: str) -> None:
    """Lenient about the rest, strict about identity."""
    result = parsed(**fields)

    assert result.items == ()
    assert result.problems == (Problem(file="f", line=None, path=path, what=what, right=right),)


def test_namespace_has_its_name_as_label() -> None:
    """Kubernetes sets it on each; a file may leave it out, but not give another."""
    bare = parsed("Namespace", metadata={"name": "shop"})
    full = parsed("Namespace", metadata={"name": "shop", "labels": {"pci": "true", "kubernetes.io/metadata.name": "other"}})

    assert bare.items[0].value == NamespaceLabels("shop", {"kubernetes.io/metadata.name": "shop"})
    assert full.items[0].value == NamespaceLabels("shop", {"pci": "true", "kubernetes.io/metadata.name": "shop"})
    assert bare.items[0].title == "Namespace shop"


def titles(document: dict[str, object]) -> list[str]:
    result = parse_document(from_plain(document), "f")
    assert result.problems == ()
    return [item.title for item in result.items]


def test_a_list_holds_objects_of_its_kind_or_of_their_own() -> None:
    """A List's say what they are; a PodList's need not, but if they do, that is what they are."""
    web, shop = {"metadata": METADATA}, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    both = ["Pod shop/web", "Namespace shop"]

    assert titles({"apiVersion": "v1", "kind": "PodList", "items": [web, shop]}) == both
    assert titles({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", **web}, shop]}) == both
    assert titles({"apiVersion": "v1", "kind": "List", "items": []}) == []
