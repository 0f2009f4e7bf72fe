"""Pods as `kubectl get pods -A -o yaml` prints them, and files that are replaced whole.

`pod_list` is pure. `replace_file` touches the one file: a reader sees the old text or the new, never half of it.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a pod is, apart from its network."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = "default"
    phase: str = "Running"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def pod_list(pods: Iterable[tuple[Identity, tuple[str, ...]]], namespaces: Mapping[str, Mapping[str, str]]) -> str:
    items = [_namespace(name, labels) for name, labels in namespaces.items()]
    items += [_pod(identity, addresses) for identity, addresses in pods]
    return yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}, sort_keys=False)


def replace_file(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    os.replace(draft, path)  # noqa: PTH105  the word that says that it is atomic


def _pod(identity: Identity, addresses: tuple[str, ...]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": identity.name,
            "namespace": identity.namespace,
            "uid": identity.uid,
            "labels": dict(identity.labels),
        },
        "spec": {"serviceAccountName": identity.service_account, "nodeName": "node"},
        "status": {"phase": identity.phase, "podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]},
    }


def _namespace(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, **labels}}}
