"""Three network namespaces: the pods, the node that forwards and filters, the world outside.

    pods 10.77.0.2, 10.77.1.1… ── veth ── node 10.77.0.1 / 10.78.0.1 ── veth ── outside 10.78.0.2 (upstream, targets)

Touches only namespaces that it has made; this process itself is inside the node's. All pods' packets come from one namespace, whose
sockets' source ports stand for pods: rewritten without connection tracking, the same for every server.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.shell import BenchError, run

INSIDE = "BENCH_INSIDE"
NODE, LOAD, OUTSIDE_NODE, OUTSIDE = "10.77.0.1", "10.77.0.2", "10.78.0.1", "10.78.0.2"
UPSTREAM_PORT = 5300
FIRST_PORT = 20_000
WIRE = "pods"
_START_S = 5.0

_SOURCES = """table ip pods {{
 map source {{ type inet_service : ipv4_addr; elements = {{ {elements} }}; }}
 chain out {{ type filter hook postrouting priority raw; ip saddr set udp sport map @source; }}
 chain in {{ type filter hook prerouting priority raw; ip daddr 10.77.128.0/17 ip daddr set {load}; }}
}}
"""


def pod_address(number: int) -> str:
    return f"10.77.{128 + number // 250}.{1 + number % 250}"


def enter() -> None:
    """This process again, in a fresh network namespace; returns only there."""
    if os.environ.get(INSIDE):
        if {path.name for path in Path("/sys/class/net").iterdir()} - {"lo"} and len(_links()) > 1:
            raise BenchError(f"{INSIDE} is set, but this is not a fresh network namespace")
        return
    flags = "-n" if os.geteuid() == 0 else "-Urn"
    command = ["unshare", flags, "--", sys.executable, "-m", "bench", *sys.argv[1:]]
    os.execvpe("unshare", command, {**os.environ, INSIDE: "1"})


def _links() -> list[str]:
    return run(["ip", "-o", "link"]).splitlines()


class Lab:
    """`with Lab() as lab`; the node is where this process is."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.pods_pid = 0
        self.outside_pid = 0

    def __enter__(self) -> "Lab":
        with ExitStack() as stack:
            self.pods_pid = self._namespace(stack)
            self.outside_pid = self._namespace(stack)
            self._wire()
            self._place_pods()
            command = [sys.executable, "-m", "bench.upstream", OUTSIDE, str(UPSTREAM_PORT)]
            stack.callback(end, subprocess.Popen(self.outside(command)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pods_net(self) -> str:
        """The pods' network namespace, as a file."""
        return f"/proc/{self.pods_pid}/ns/net"

    def pods(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net={self.pods_net}", "--", *command]

    def outside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.outside_pid}/ns/net", "--", *command]

    def _namespace(self, stack: ExitStack) -> int:
        holder = subprocess.Popen(["unshare", "-n", "--", "sleep", "infinity"])
        stack.callback(end, holder)
        ours, until = Path("/proc/self/ns/net").readlink(), time.monotonic() + _START_S
        while Path(f"/proc/{holder.pid}/ns/net").readlink() == ours:
            if time.monotonic() > until:
                raise BenchError("no second network namespace")
            time.sleep(0.01)
        return holder.pid

    def _wire(self) -> None:
        run(["ip", "link", "set", "lo", "up"])
        for name, pid, node, peer in ((WIRE, self.pods_pid, NODE, LOAD), ("outside", self.outside_pid, OUTSIDE_NODE, OUTSIDE)):
            run(["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid)])
            run(["ip", "addr", "add", f"{node}/24", "dev", name])
            run(["ip", "link", "set", name, "up"])
            enter_ = ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]
            run([*enter_, "ip", "link", "set", "lo", "up"])
            run([*enter_, "ip", "addr", "add", f"{peer}/24", "dev", "eth0"])
            run([*enter_, "ip", "link", "set", "eth0", "up"])
            run([*enter_, "ip", "route", "add", "default", "via", node])
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        run(["ip", "route", "add", "10.77.128.0/17", "via", LOAD])
        run(["ip", "route", "add", "default", "via", OUTSIDE])

    def _place_pods(self) -> None:
        elements = ", ".join(f"{FIRST_PORT + number} : {pod_address(number)}" for number in range(1000))
        run(self.pods(["nft", "-f", "-"]), _SOURCES.format(elements=elements, load=LOAD))


def end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
