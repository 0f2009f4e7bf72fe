"""The servers under test, each as its own documentation says it should run for speed.

Touches processes in the node's namespace, its nftables, and a scratch folder. Always true: one server runs at a time; it answers before
the load begins; when it is gone, so is what it left in the kernel.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from bench import kernel, processes, zone
from bench.lab import NODE, OUTSIDE, UPSTREAM_PORT, end
from bench.load import Target
from bench.shell import BenchError, run

_READY_S = 60.0
_PROBE = bytes.fromhex("000101000001000000000000") + b"\x09x00000000\x03hot\x07example\x03net\0\0\1\0\1"


class Server:
    """`with` starts and stops it."""

    name: ClassVar[str]
    port: ClassVar[int]
    has_firewall: ClassVar[bool] = False

    def __init__(self, folder: Path, *, is_caching: bool) -> None:
        self.folder = folder
        self.is_caching = is_caching
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> Target:
        return Target(address=NODE, port=self.port)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise BenchError(f"{self.name} does not run")
        return self._process.pid

    def __enter__(self) -> Self:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.prepare()
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.stop()
        kernel.clear()

    def start(self) -> float:
        """Seconds until it answers."""
        begun = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        self._wait_until_it_answers()
        return time.monotonic() - begun

    def stop(self) -> None:
        """What it has put into the kernel stays."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def cpu_seconds(self) -> float:
        """Of the process that answers, without its helpers."""
        return processes.cpu_seconds(self.pid)

    def helpers_cpu_seconds(self) -> float:
        return sum(processes.cpu_seconds(pid) for pid in processes.family(self.pid)[1:])

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def prepare(self) -> None:
        """Whatever must be there before it starts."""

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def installed(self) -> set[bytes]:
        """Addresses that the kernel lets somebody reach."""
        return set()

    def installed_count(self) -> int:
        return len(self.installed())

    def _wait_until_it_answers(self) -> None:
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asking.settimeout(0.2)
        asking.connect((NODE, self.port))
        until = time.monotonic() + _READY_S
        with asking:
            while time.monotonic() < until:
                if self._process is None or self._process.poll() is not None:
                    break
                try:
                    asking.send(_PROBE)
                    asking.recv(512)
                except OSError:
                    time.sleep(0.01)
                else:
                    return
        raise BenchError(f"{self.name} does not answer: {self.log()[-1500:]}")


class Dnsmasq(Server):
    """Debian's, with every granted address put into an nftables set."""

    name = "dnsmasq --nftset"
    port = 5301
    has_firewall = True
    _table = "table inet dnsmasq { set granted { type ipv4_addr; }; }"

    def prepare(self) -> None:
        run(["nft", "-f", "-"], self._table)

    def command(self) -> Sequence[str]:
        return [
            *(
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--pid-file=",
                "--user=root",
            ),
            *(f"--port={self.port}", f"--listen-address={NODE}", "--bind-interfaces", f"--server={OUTSIDE}#{UPSTREAM_PORT}"),
            *(f"--cache-size={10_000 if self.is_caching else 0}", "--dns-forward-max=10000", "--log-facility=/dev/null"),
            f"--nftset=/{zone.DOMAIN}/4#inet#dnsmasq#granted",
        ]

    def installed(self) -> set[bytes]:
        return kernel.keys("dnsmasq", "granted")


class Unbound(Server):
    """Debian's, forwarding; no firewall."""

    name = "unbound"
    port = 5302

    def prepare(self) -> None:
        cache = "64m" if self.is_caching else "0"
        (self.folder / "unbound.conf").write_text(
            f"""server:
 interface: {NODE}@{self.port}
 access-control: 0.0.0.0/0 allow
 chroot: ""
 username: ""
 pidfile: ""
 use-syslog: no
 do-daemonize: no
 num-threads: 1
 module-config: "iterator"
 msg-cache-size: {cache}
 rrset-cache-size: {cache}
 outgoing-range: 8192
 num-queries-per-thread: 4096
 so-rcvbuf: 4m
forward-zone:
 name: "."
 forward-addr: {OUTSIDE}@{UPSTREAM_PORT}
"""
        )

    def command(self) -> Sequence[str]:
        return ["unbound", "-c", str(self.folder / "unbound.conf")]


class CoreDns(Server):
    """Built from its module; no firewall."""

    name = "CoreDNS"
    port = 5303
    binary: ClassVar[Path]

    def prepare(self) -> None:
        cache = " cache 3600\n" if self.is_caching else ""
        corefile = f".:{self.port} {{\n bind {NODE}\n{cache} forward . {OUTSIDE}:{UPSTREAM_PORT}\n}}\n"
        (self.folder / "Corefile").write_text(corefile)

    def command(self) -> Sequence[str]:
        return [str(self.binary), "-conf", str(self.folder / "Corefile"), "-quiet"]


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]
