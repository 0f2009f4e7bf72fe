"""Pods and namespaces, as Kubernetes prints them -> what we need of them.

Pure. Lenient about the hundreds of fields that are not ours, strict about those that say who a pod is. A pod that has ended
(Succeeded, Failed) holds no address and becomes None; one that is being deleted still lives.
"""

from ipaddress import IPv6Address, ip_address

from dnsfw.policy.model import IPAddress, Pod, PodUid
from dnsfw.policy.parse_labels import parse_dns_label, parse_dns_subdomain, parse_labels
from dnsfw.policy.reader import Field
from dnsfw.policy.tree import shorten

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
ENDED = frozenset({"Succeeded", "Failed"})


def parse_pod(field: Field) -> Pod | None:
    pod = field.required("metadata", _identity, Pod(uid=PodUid(""), namespace="", name=""))
    account, node, is_host = field.optional("spec", _spec, ("default", "", False))
    phase, addresses = field.optional("status", _status, ("", ()))
    if phase in ENDED:
        return None
    return Pod(
        uid=pod.uid,
        namespace=pod.namespace,
        name=pod.name,
        labels=pod.labels,
        service_account=account,
        addresses=addresses,
        is_host_network=is_host,
        node_name=node,
    )


def parse_namespace(field: Field) -> tuple[str, dict[str, str]]:
    """A namespace's name and labels; the label that Kubernetes sets on each is there even if the file leaves it out."""
    return field.required("metadata", _namespace_metadata, ("", {}))


def _namespace_metadata(field: Field) -> tuple[str, dict[str, str]]:
    name = field.required("name", parse_dns_label, "")
    return name, {**field.optional("labels", parse_labels, {}), NAMESPACE_LABEL: name}


def _identity(field: Field) -> Pod:
    name = field.required("name", parse_dns_subdomain, "")
    namespace = field.optional("namespace", parse_dns_label, "default")
    uid = field.optional("uid", _text, "") or f"{namespace}/{name}"
    return Pod(uid=PodUid(uid), namespace=namespace, name=name, labels=field.optional("labels", parse_labels, {}))


def _spec(field: Field) -> tuple[str, str, bool]:
    account = field.optional("serviceAccountName", _text, "") or "default"
    node = field.optional("nodeName", _text, "")
    return account, node, field.optional("hostNetwork", _boolean, False)


def _status(field: Field) -> tuple[str, tuple[IPAddress, ...]]:
    phase = field.optional("phase", _text, "")
    addresses = field.optional("podIPs", lambda entries: entries.each(_pod_ip), ())
    if not addresses and field.has("podIP") and field.child("podIP").node.value != "":
        addresses = field.optional("podIP", lambda entry: (_address(entry),), ())
    return phase, tuple(dict.fromkeys(addresses))


def _pod_ip(field: Field) -> IPAddress:
    return field.required("ip", _address, IPv6Address(0))


def _address(field: Field) -> IPAddress:
    text = field.text()
    if "%" in text:
        raise field.refused(f'"{shorten(text)}" has a zone', "an address without %zone")
    try:
        return ip_address(text)
    except ValueError as error:
        raise field.refused(f'"{shorten(text)}" is not an IP address') from error


def _text(field: Field) -> str:
    return field.text()


def _boolean(field: Field) -> bool:
    if isinstance(field.node.value, bool):
        return field.node.value
    raise field.refused("must be true or false")
