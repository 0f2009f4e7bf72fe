"""The notation of the system tests: rules in a line, changes that are waited for, connections that are watched at both ends.

    site = Site(lab, lab.run_dnsfw({}))
    web = site.pod(app="web")
    with site.change() as edit:
        site.allow("web", names("*.example.net", ports=["443", "UDP/443"]))
    stream = site.stream(web, "192.0.2.10")
    ...
    assert stream.is_cut_by(edit.in_force_at)

Times are monotonic seconds. What is waited for has a deadline; nothing is judged by how long a wait took.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

import yaml

from dnsfw.demo.lab import Lab, Pod
from dnsfw.demo.program import Program

CUT_S = 0.2
"""No payload later than this after a revocation is in force."""
QUIET_S = 0.6
"""How long a cut connection is listened to: many times its pushing interval, and more than TCP's first retransmission."""
PATIENCE_S = 10.0
_numbers = count(1)

Egress = dict[str, Any]


def names(*patterns: str, ports: Sequence[str] = ()) -> Egress:
    return _peer("toFQDNs", patterns, ports)


def cidrs(*networks: str, ports: Sequence[str] = ()) -> Egress:
    return _peer("toCIDRs", networks, ports)


def rule(name: str, *egress: Egress, app: str | None = None, namespace: str = "shop", **spec: Any) -> str:
    """An FQDNEgressRule for the pods with the label app=<app>; by default <name>."""
    return _document("FQDNEgressRule", {"name": name, "namespace": namespace}, egress, app or name, spec)


def cluster_rule(name: str, action: str, *egress: Egress, app: str | None = None, priority: int = 100, **spec: Any) -> str:
    fields = {"priority": priority, "action": action, "namespaceSelector": {}, **spec}
    return _document("ClusterFQDNEgressRule", {"name": name}, egress, app or name, fields)


def _document(kind: str, metadata: Mapping[str, str], egress: Sequence[Egress], app: str, spec: Mapping[str, Any]) -> str:
    fields = {"podSelector": {"matchLabels": {"app": app}}, "egress": list(egress), **spec}
    return yaml.safe_dump({"apiVersion": "dnsfw.io/v1alpha1", "kind": kind, "metadata": dict(metadata), "spec": fields}, sort_keys=False)


def _peer(kind: str, whom: Sequence[str], ports: Sequence[str]) -> Egress:
    return {kind: list(whom), **({"ports": [_port(each) for each in ports]} if ports else {})}


def _port(text: str) -> dict[str, Any]:
    """`443`, `8000-9000`, `UDP/443`, `ICMP`."""
    protocol, _, port = text.rpartition("/") if "/" in text or text[0].isdigit() else (text, "", "")
    low, _, high = port.partition("-")
    found: dict[str, Any] = {"protocol": protocol} if protocol else {}
    return found | ({"port": int(low)} if low else {}) | ({"endPort": int(high)} if high else {})


def wait_for(condition: Callable[[], Any], timeout: float = PATIENCE_S, what: str = "") -> Any:
    """What `condition` gives once it is true."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, what or "waited in vain"
        time.sleep(0.01)
    return found


@dataclass(slots=True)
class Change:
    """saved_at: before the file was replaced. in_force_at: what the program's log says, read as monotonic time."""

    saved_at: float
    in_force_at: float = 0.0

    @property
    def took_s(self) -> float:
        return self.in_force_at - self.saved_at


@dataclass(frozen=True, slots=True)
class Watched:
    """A stream, seen from both ends."""

    lab: Lab
    pod: Pod
    opened: Any
    peer: str

    def to_pod(self) -> float:
        return float(max(self.opened.report().arrived_at, default=0.0))

    def to_internet(self) -> float:
        return float(max(self.lab.internet.arrivals(self.opened.token), default=0.0))

    def last(self) -> float:
        """When the last payload arrived anywhere."""
        return max(self.to_pod(), self.to_internet())

    def lateness(self, since: float) -> float:
        """How long after `since` the last payload came; listens for a while longer than it may last."""
        time.sleep(max(0.0, since + CUT_S + QUIET_S - time.monotonic()))
        return self.last() - since

    def is_cut_by(self, since: float) -> bool:
        return self.lateness(since) <= CUT_S

    def lives(self, timeout: float = PATIENCE_S) -> bool:
        """Payloads pass in each direction that has a pushing end, from now on; a stall is allowed, an end is not."""
        asked, deadline = time.monotonic(), time.monotonic() + timeout
        ends = [end for end, pushes in ((self.to_internet, self.opened.push_ms), (self.to_pod, self.opened.pull_ms)) if pushes]
        while any(end() <= asked for end in ends):
            if time.monotonic() > deadline or (self.opened.is_tcp and self.opened.report().ended):
                return False
            time.sleep(0.01)
        return True

    def __str__(self) -> str:
        report = self.opened.report()
        return f"{self.pod} to {self.peer} (last {time.monotonic() - self.last():.2f} s ago; {report.ended or 'open'})"


@dataclass(slots=True)
class _Opened:
    """An OpenedStream with what it was opened as."""

    stream: Any
    push_ms: int
    pull_ms: int
    is_tcp: bool

    @property
    def token(self) -> str:
        return str(self.stream.token)

    def report(self) -> Any:
        return self.stream.report()

    def close(self) -> Any:
        return self.stream.close()


class Site:
    """A laboratory with the program running in it."""

    def __init__(self, lab: Lab, program: Program) -> None:
        self.lab = lab
        self.program = program

    @contextmanager
    def change(self, timeout: float = PATIENCE_S) -> Iterator[Change]:
        """One save of the rules or of the pods; at the end it is in force."""
        position, change = self.program.log_position(), Change(time.monotonic())
        yield change
        change.in_force_at = monotonic_of(wait_for(lambda: self._followed(position), timeout, f"not in force:\n{self.program.log}"))

    def _followed(self, position: int) -> dict[str, Any] | None:
        """The first snapshot of new documents after that place in the log; the node's addresses change by themselves."""
        found = (entry for entry in self.program.events(position) if entry.get("event") == "in force")
        return next((entry for entry in found if "documents" in entry["why"]), None)

    def save(self, name: str, *documents: str) -> Change:
        """Replace the rule file `name`.yaml, and wait until that is in force."""
        text, file = "---\n".join(documents), self.program.rules / f"{name}.yaml"
        if file.exists() and file.read_text() == text:
            return Change(time.monotonic(), time.monotonic())
        with self.change() as change:
            self.program.save_rule(file.name, text)
        return change

    def allow(self, name: str, *egress: Egress, **spec: Any) -> Change:
        """A file with one rule for the pods app=<name>."""
        return self.save(name, rule(name, *egress, **spec))

    def pod(self, app: str, **options: Any) -> Pod:
        return self.pods(app, **options)[0]

    def pods(self, *apps: str, **options: Any) -> list[Pod]:
        """Pods of namespace shop, known to the program when this returns."""
        with self.change():
            return self.lab.pods_at_once([(f"shop/{app}-{next(_numbers)}", {"app": app}) for app in apps], **options)

    def stream(self, pod: Pod, address: str, port: int = 443, protocol: str = "tcp", *, push_ms: int = 10, pull_ms: int = 10) -> Watched:
        """A connection that stays, and has carried payloads both ways (where both push) when this returns."""
        stream = pod.open_stream(address, port, protocol, push_ms=push_ms, pull_ms=pull_ms)
        assert stream.outcome.is_connected, f"{pod} to {address} {protocol}/{port}: {stream.outcome}"
        opened = _Opened(stream, push_ms, pull_ms, protocol == "tcp")
        watched = Watched(self.lab, pod, opened, f"{address} {protocol}/{port}")
        assert watched.lives(), f"{watched}: no payload ever passed"
        return watched

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.listing("status")
        return found

    def grants(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.listing("grants")
        return found

    def listing(self, command: str) -> Any:
        done = self.lab.dnsfw(command, "--api", f"unix:{self.program.socket}", "-o", "json")
        assert done.status == 0, done.stderr
        return json.loads(done.stdout)

    def table(self) -> str:
        """Our table as nft prints it; "" where there is none."""
        return self.lab.run("nft", "list", "table", "inet", "dnsfw").stdout

    def forget_connections(self, source: str) -> None:
        """What a timeout in conntrack does, at once."""
        code = "import sys; from ipaddress import ip_address; from nft.conntrack import Conntrack; c = Conntrack(); "
        code += "c.delete(c.flows(source=ip_address(sys.argv[1]).packed))"
        done = self.lab.run(sys.executable, "-c", code, source)
        assert done.status == 0, done.stderr

    def elements(self, of: str) -> str:
        """A set or map of ours as nft prints it."""
        kind = "map" if of.startswith(("pods", "open", "port", "protocol", "other", "any", "range", "rule")) else "set"
        return self.lab.run("nft", "list", kind, "inet", "dnsfw", of).stdout


def monotonic_of(entry: Mapping[str, Any]) -> float:
    """A log line's time on the monotonic clock."""
    wall = datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")).timestamp()
    return wall + time.monotonic() - time.time()


def bar(seconds: float) -> float:
    """A bar of the issue, which is for two cores of one's own, on a machine that has other work (the load average lags, hence twice)."""
    return seconds * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def spread(samples: Sequence[float]) -> dict[str, float]:
    """The figures of a distribution."""
    ordered = sorted(samples)
    at = {"p50": 0.50, "p99": 0.99}
    return {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in at.items()} | {
        "max": ordered[-1],
        "n": len(ordered),
    }
