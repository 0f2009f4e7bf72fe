"""What a case is given, and which servers there are to compare with.

Touches the scratch folder and, to build CoreDNS, the Go toolchain.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.lab import Lab
from bench.program import Dnsfw, Interpreted, is_compiled
from bench.servers import CoreDns, Dnsmasq, Server, Unbound
from bench.shell import BenchError

COREDNS_VERSION = "v1.15.0"
_PARTS = ("bind", "cache", "errors", "forward")  # of CoreDNS: what a node-local cache uses; its whole set of plugins takes minutes to build
_BUILD_S = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """rounds: of every comparison. seconds: of load in a round. grants: for the memory case. servers: those that can run here."""

    lab: Lab
    folder: Path
    rounds: int
    seconds: float
    grants: int
    servers: tuple[type[Server], ...]

    def others(self, *wanted: type[Server]) -> Sequence[type[Server]]:
        return [server for server in self.servers if server in wanted]


def available(cache: Path) -> tuple[tuple[type[Server], ...], list[str]]:
    """The servers that can run here, and loud words about those that cannot."""
    found: list[type[Server]] = [Dnsfw, Interpreted]
    missing = []
    if not is_compiled():
        found.remove(Interpreted)
        missing.append("dnsfw, compiled: no C compiler or no headers of Python; what is measured is interpreted")
    for server, binary, package in ((Dnsmasq, "dnsmasq", "dnsmasq-base"), (Unbound, "unbound", "unbound")):
        if shutil.which(binary):
            found.append(server)
        else:
            missing.append(f"{server.name}: not installed (Debian package {package})")
    try:
        CoreDns.binary = built_coredns(cache)
        found.append(CoreDns)
    except BenchError as error:
        missing.append(f"CoreDNS: {error}")
    return tuple(found), missing


def built_coredns(cache: Path) -> Path:
    """Built once, by whoever has the Go toolchain, before the namespaces are entered."""
    binary = cache / f"coredns-{COREDNS_VERSION}"
    if binary.exists():
        return binary
    go = shutil.which("go")
    if go is None:
        raise BenchError("no Go toolchain to build it with")
    module = cache / "coredns"
    module.mkdir(parents=True, exist_ok=True)
    imports = "\n".join(f'\t_ "github.com/coredns/coredns/plugin/{part}"' for part in _PARTS)
    (module / "go.mod").write_text("module bench/coredns\n\ngo 1.25\n")
    main = f'package main\n\nimport (\n\t"github.com/coredns/coredns/coremain"\n{imports}\n)\n\nfunc main() {{ coremain.Run() }}\n'
    (module / "main.go").write_text(main)
    _go(module, go, "get", f"github.com/coredns/coredns@{COREDNS_VERSION}")
    _go(module, go, "build", "-mod=mod", "-o", str(binary), ".")
    return binary


def _go(module: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=module, capture_output=True, text=True, timeout=_BUILD_S, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command[1:3])} failed: {done.stderr.strip()[-500:]}")
