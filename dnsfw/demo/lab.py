"""A node with pods and an internet, in network namespaces of their own, for the demo and for every test that sends real packets.

    with Lab() as lab:
        web = lab.pod("shop/web-1", app="web")
        lab.internet.set("api.example.net", "60 A 192.0.2.10")
        dnsfw = lab.run_dnsfw(rules="rules/")
        assert web.fetch("api.example.net", 443).is_connected

Touches nothing outside: not the host's network, not its sysctls; its folder goes with it. Always true: when this process ends, even by
kill -9, all of it is gone. Works as root and, in a user namespace, without.
"""

import itertools
import socket
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dnsfw.demo import topology
from dnsfw.demo.documents import Identity, pod_list, replace_file
from dnsfw.demo.host import Host
from dnsfw.demo.inside import Finished, Inside
from dnsfw.demo.line import Line
from dnsfw.demo.outside import Internet
from dnsfw.demo.program import Program
from dnsfw.demo.wires import Json, Unlink

_STDERR = 2


class Lab:
    """`is_rootless`: None takes what this process may; True insists on a user namespace."""

    def __init__(self, *, is_rootless: bool | None = None) -> None:
        self._is_rootless = is_rootless
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self.pods: list[Pod] = []
        self.namespaces: dict[str, Mapping[str, str]] = {}

    def __enter__(self) -> Self:
        with self._stack:
            self.inside = Inside(is_rootless=self._is_rootless)
            self._stack.callback(self.inside.close)
            self.folder = self.inside.folder
            for place in (topology.NODE, topology.INTERNET):
                self.inside.add_place(place)
            self.internet = Internet(self._line(topology.INTERNET, "dnsfw.demo.internet"))
            self.inside.lay(list(topology.node_wires()))
            self.internet.ask("hello").result(10)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def node(self) -> Host:
        """The node itself, as a place to try from."""
        return self._host(topology.NODE)

    @property
    def outside(self) -> Host:
        """Somebody out there, who may try to reach pods."""
        return self._host(topology.INTERNET)

    def pod(self, name: str, /, *, service_account: str = "default", uid: str = "", **labels: str) -> "Pod":
        """A new pod `namespace/name`; in a label's name, `__` stands for `/` or `.` is impossible: give such labels with `**{...}`."""
        return self.pods_at_once([(name, labels)], service_account=service_account, uid=uid)[0]

    def pods_at_once(
        self, wanted: Sequence[tuple[str, Mapping[str, str]]], *, service_account: str = "default", uid: str = ""
    ) -> "list[Pod]":
        made = [self._make_pod(name, labels, service_account, uid) for name, labels in wanted]
        self.inside.lay([wire for pod in made for wire in pod.wires()])
        self.pods += made
        self.save_pods()
        return made

    def save_pods(self) -> None:
        """Write pods.yaml as the pods are now, in one step."""
        listed = [(pod.identity, pod.addresses) for pod in self.pods if pod.is_listed]
        replace_file(self.pods_file, pod_list(listed, self.namespaces))

    @property
    def pods_file(self) -> Path:
        return self.folder / "pods.yaml"

    def run_dnsfw(self, rules: str | Path | Mapping[str, str], *arguments: str, is_waiting: bool = True) -> Program:
        """Start the real `dnsfw run` on the node: rules as the text of one file, as texts by file name, or a file or folder to copy."""
        self.save_pods()
        program = Program(self.inside, self.folder, self.pods_file, arguments)
        program.write_rules(rules)
        program.start()
        if is_waiting:
            program.wait_ready()
        return program

    def run(self, *argv: str, place: str = topology.NODE, timeout: float = 30.0, stdin: str = "") -> Finished:
        """A command on the node, or in another place, to its end."""
        return self.inside.run(place, argv, timeout=timeout, stdin=stdin)

    def dnsfw(self, *arguments: str, timeout: float = 30.0) -> Finished:
        """`dnsfw ...` on the node."""
        return self.run(sys.executable, "-m", "dnsfw", *arguments, timeout=timeout)

    def nft(self, ruleset: str) -> None:
        """Load nft text on the node."""
        done = self.run("nft", "-f", "-", stdin=ruleset)
        if done.status:
            raise OSError(done.stderr)

    def _make_pod(self, name: str, labels: Mapping[str, str], service_account: str, uid: str) -> "Pod":
        number = next(self._numbers)
        namespace, _, short = name.partition("/")
        identity = Identity(
            namespace=namespace, name=short, uid=uid or str(uuid.uuid4()), labels=dict(labels), service_account=service_account
        )
        place = f"pod-{number}"
        self.inside.add_place(place)
        return Pod(self, place, number, identity, self._line(place, "dnsfw.demo.probe"))

    def _host(self, place: str) -> Host:
        attribute = f"_{place}"
        if attribute not in self.__dict__:
            self.__dict__[attribute] = Host(place, self._line(place, "dnsfw.demo.probe"))
        host: Host = self.__dict__[attribute]
        return host

    def _line(self, place: str, module: str) -> Line:
        ours, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            self.inside.start(place, [sys.executable, "-m", module], stdin=end, stdout=_STDERR, stderr=_STDERR)
        line = Line(ours, f"{module} in {place}")
        self._stack.callback(line.close)
        return line


class Pod(Host):
    """A pod: a place with addresses, and an identity in pods.yaml that can change while the place stays."""

    def __init__(self, lab: Lab, place: str, number: int, identity: Identity, line: Line) -> None:
        super().__init__(place, line)
        self._lab = lab
        self.interface = f"veth{number}"
        self.address4, self.address6 = topology.pod_addresses(number)
        self.identity = identity
        self.is_listed = True

    def __str__(self) -> str:
        return str(self.identity)

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.address4, self.address6)

    def wires(self) -> list[Any]:
        return list(topology.pod_wires(self.place, self.interface, *self.addresses))

    def become(self, name: str | None = None, *, is_saved: bool = True, **changes: Json) -> None:
        """Another identity at the same addresses: a new name (and with it a new uid), other labels, phase, service account."""
        if name is not None:
            namespace, _, short = name.partition("/")
            changes = {"uid": str(uuid.uuid4()), **changes, "namespace": namespace, "name": short}
        self.identity = replace(self.identity, **changes)
        self.is_listed = True
        if is_saved:
            self._lab.save_pods()

    def remove(self, *, is_saved: bool = True) -> None:
        """Out of pods.yaml. The place and its addresses stay: a removed pod that still tries is a case of its own."""
        self.is_listed = False
        if is_saved:
            self._lab.save_pods()

    def unplug(self) -> None:
        """Take its interface away from the node."""
        self._lab.inside.lay([Unlink(topology.NODE, self.interface)])
