"""Sees answers leave and elements being committed, by the kernel's own word, and compares their order.

Run as a program in the node's namespace: a packet socket that gets what leaves by the pods' interfaces, and a netlink socket that gets
the notices of nftables. The kernel puts an element's notice into the socket's queue while it commits, before it acknowledges; so when an
answer has left, a drain of the queue must bring up its element. What this cannot see: an answer sent so shortly before its ack that the
commit comes before the witness has read the packet; hence the kernel is kept busy with foreign commits meanwhile.
"""

import json
import os
import select
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dnsfw.demo import topology
from dnsfw.demo.asking import first_address

_NETFILTER, _GROUP_NFTABLES, _SOL_NETLINK, _ADD_MEMBERSHIP, _RCVBUFFORCE = 12, 7, 270, 1, 33
_ALL_PROTOCOLS, _OUTGOING = 3, 4
_BUFFER = 256 << 20


class Witness:
    """As the test sees it: start and stop, then what was seen. premature: [pod, address] of answers without an element."""

    def __init__(self, lab: Any, interfaces: set[str], pods: Iterable[Iterable[str]]) -> None:
        self._lab = lab
        self._asked = json.dumps({"interfaces": sorted(interfaces), "pods": [list(each) for each in pods]})
        self.answers = self.lost = 0
        self.premature: list[list[str]] = []

    def __enter__(self) -> Self:
        self._ours, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, __file__, self._asked]
            self._lab.inside.start(topology.NODE, argv, stdin=theirs.fileno(), stdout=2, stderr=2)
        self._ours.settimeout(20)
        if self._ours.recv(5) != b"ready":
            self._ours.close()
            raise RuntimeError("the witness did not come")
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.shutdown(socket.SHUT_WR)
        said = b""
        while part := self._ours.recv(65536):
            said += part
        self._ours.close()
        found = json.loads(said)
        self.answers, self.lost, self.premature = found["answers"], found["lost"], found["premature"]


@dataclass(slots=True)
class Watch:
    """pods: each address of a pod -> all of its addresses, packed."""

    interfaces: set[str]
    pods: dict[str, list[bytes]]
    _notices: socket.socket = field(init=False)
    _packets: socket.socket = field(init=False)
    committed: set[bytes] = field(default_factory=set)
    answers: int = 0
    lost: int = 0
    premature: list[list[str]] = field(default_factory=list)

    def run(self, end: socket.socket) -> None:
        """Until the other end stops writing."""
        self._notices, self._packets = _open_notices(), _open_packets()
        end.sendall(b"ready")
        while True:
            ready = select.select([end, self._packets, self._notices], [], [])[0]
            if self._notices in ready:
                self._drain()
            if self._packets in ready:
                self._read_answers()
            elif end in ready:
                return

    def _read_answers(self) -> None:
        for _ in range(64):
            try:
                data, (interface, _, direction, *_rest) = self._packets.recvfrom(65535)
            except BlockingIOError:
                return
            if direction == _OUTGOING and interface in self.interfaces and (found := _answer(data)) is not None:
                self._judge(*found)

    def _judge(self, pod: str, address: str) -> None:
        self._drain()
        if self.lost:
            return  # notices are missing: nothing can be said any more
        self.answers += 1
        to = _packed(address)
        if not any(source + to in self.committed for source in self.pods.get(pod, ()) if len(source) == len(to)):
            self.premature.append([pod, address])

    def _drain(self) -> None:
        """Take up what is in the queue: pod and address lie side by side in an element's key."""
        known = {source for sources in self.pods.values() for source in sources}
        while True:
            try:
                data = self._notices.recv(1 << 20)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS
                self.lost += 1
                return
            for pod in known:
                at = data.find(pod)
                while at >= 0:
                    self.committed.add(data[at : at + 2 * len(pod)])
                    at = data.find(pod, at + 1)


def _answer(data: bytes) -> tuple[str, str] | None:
    """The receiver and the first address of a DNS answer over UDP."""
    is_ipv6 = data[0] >> 4 == 6
    start = 40 if is_ipv6 else (data[0] & 15) * 4
    if (data[6] if is_ipv6 else data[9]) != 17 or data[start : start + 2] != struct.pack(">H", 53):
        return None
    address = first_address(data[start + 8 :])
    family, receiver = (socket.AF_INET6, data[24:40]) if is_ipv6 else (socket.AF_INET, data[16:20])
    return None if address is None else (socket.inet_ntop(family, receiver), address)


def _open_notices() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETFILTER)
    _widen(opened)
    opened.bind((0, 0))
    opened.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
    return opened


def _open_packets() -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(_ALL_PROTOCOLS))
    _widen(opened)
    return opened


def _widen(opened: socket.socket) -> None:
    try:
        opened.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
    except PermissionError:  # only in a user namespace of one's own
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    asked = json.loads(sys.argv[1])
    watched = Watch(set(asked["interfaces"]), {address: [*map(_packed, pod)] for pod in asked["pods"] for address in pod})
    with socket.socket(fileno=sys.stdin.fileno()) as line:
        watched.run(line)
        line.sendall(json.dumps({"answers": watched.answers, "lost": watched.lost, "premature": watched.premature}).encode())
