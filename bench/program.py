"""dnsfw under test, as its users run it: files of rules and pods, an audit database, the command line.

Touches its files, its process, and reads its table in the kernel.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bench import kernel
from bench.lab import LOAD, NODE, OUTSIDE, UPSTREAM_PORT, WIRE, pod_address
from bench.load import PODS
from bench.servers import Server
from bench.shell import run
from dnsfw.audit.filters import AuditFilter
from dnsfw.audit.query import read_records
from dnsfw.audit.record import QueryRecord

TABLE = "dnsfw"
ROOT = Path(__file__).parent.parent
COMPILED = ROOT / "build" / "compiled"
Document = Mapping[str, Any]
_MANY = 10_000_000  # no case is about the limits


def rule(
    name: str,
    patterns: Sequence[str],
    *,
    namespace: str = "bench",
    labels: Mapping[str, str] | None = None,
    ports: Sequence[Document] = ({"port": 443},),
    ttl: Mapping[str, int] | None = None,
) -> Document:
    return {
        "apiVersion": "dnsfw.io/v1alpha1",
        "kind": "FQDNEgressRule",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "podSelector": {"matchLabels": dict(labels)} if labels else {},
            "egress": [{"toFQDNs": list(patterns), "ports": list(ports)}],
            **({"ttl": dict(ttl)} if ttl else {}),
        },
    }


def pod(number: int) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod{number}", "namespace": "bench", "uid": f"uid-{number}", "labels": {"app": f"app{number}"}},
        "spec": {"serviceAccountName": "default", "nodeName": "node"},
        "status": {"phase": "Running", "podIP": pod_address(number), "podIPs": [{"ip": pod_address(number)}]},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a case wants of dnsfw. module: what is run in place of `dnsfw`."""

    rules: tuple[Document, ...] = (rule("names", ["*.example.net"]),)
    pods: int = PODS
    module: str = "dnsfw"
    arguments: tuple[str, ...] = ()


DEFAULT = Setting()


class Dnsfw(Server):
    """Everything on: grants per pod in the kernel, audit, journal, guards. Compiled where that could be done (`is_compiled`)."""

    name = "dnsfw"
    port = 53
    has_firewall = True
    setting: Setting = DEFAULT
    path: ClassVar[tuple[Path, ...]] = (COMPILED, ROOT)

    @classmethod
    def python(cls, module: str, *arguments: str) -> list[str]:
        """-P: not the module of the folder that we are started in."""
        return ["env", f"PYTHONPATH={':'.join(map(str, cls.path))}", sys.executable, "-P", "-m", module, *arguments]

    def prepare(self) -> None:
        write(self.folder / "rules.yaml", self.setting.rules)
        # The load's own address is a pod that no rule selects: it measures the way without us, and asks whether we are there.
        write(self.folder / "pods.yaml", [{"apiVersion": "v1", "kind": "List", "items": [*map(pod, range(self.setting.pods)), *_plain()]}])

    def command(self) -> Sequence[str]:
        return self.python(
            self.setting.module,
            *("run", "--listen", f"{NODE}:{self.port}", "--upstream", f"{OUTSIDE}:{UPSTREAM_PORT}"),
            *("--rules", self.rules_path(), "--pods", str(self.folder / "pods.yaml"), "--interface", WIRE),
            *("--audit-db", str(self.folder / "audit.db"), "--api", f"unix:{self.folder / 'api'}"),
            *("--max-grants-per-pod", str(_MANY), "--max-grants", str(_MANY), *self.setting.arguments),
        )

    def rules_path(self) -> str:
        return str(self.folder / "rules.yaml")

    def installed(self) -> set[bytes]:
        """(pod, address, protocol, port), as one key of the kernel's."""
        return kernel.keys(TABLE, "port4")

    def installed_count(self) -> int:
        return kernel.elements(TABLE, "port4")

    def status(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(run(self.python("dnsfw", "status", "--api", f"unix:{self.folder / 'api'}", "-o", "json")))
        return found

    def audited(self) -> int:
        """Records on disk, of pods' queries."""
        found = read_records(self.folder / "audit.db", AuditFilter(namespace="bench"))
        return sum(isinstance(entry, QueryRecord) for entry in found)

    def in_force_ms(self) -> list[float]:
        """How long each change of the files took to be judged and installed, by its log."""
        return [float(found) for found in re.findall(r"took_ms=([\d.]+)", self.log())]


class Interpreted(Dnsfw):
    """The same source, run by Python as it is."""

    name = "dnsfw, interpreted"
    path = (ROOT,)


def is_compiled() -> bool:
    """Whole: an attempt that has failed leaves no such file (tools/compile)."""
    return (COMPILED / "made-of").exists()


def _plain() -> Iterable[Document]:
    """Whoever asks from the node itself, and the load's namespace."""
    for number, address in enumerate((NODE, LOAD)):
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"plain{number}", "namespace": "plain", "uid": f"plain-{number}"},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
        }


def write(path: Path, documents: Iterable[Document]) -> None:
    """Replaced whole: a reader sees the old text or the new. JSON is YAML."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text("".join(f"---\n{json.dumps(document)}\n" for document in documents))
    os.replace(draft, path)  # noqa: PTH105 -- the word that says that it is atomic
