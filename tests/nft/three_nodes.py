"""A pod, a node that forwards, and the outside: three network namespaces of one forked process, gone when it ends.

`Nodes` is made in the child of `apart`: the node is the child's own namespace. A socket belongs to the namespace in which it was
made, so one thread can speak for all three.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest
from support import netns

CLONE_NEWNET = 0x4000_0000
POD4, OUT4, SERVICE4 = "192.0.2.2", "192.0.2.66", "192.0.2.130"
POD6, OUT6, SERVICE6 = "2001:db8:1::2", "2001:db8:2::2", "2001:db8:3::2"
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def apart(body: Callable[[], None]) -> None:
    """Run `body` in a child within a network namespace of its own, and raise here what it raised there."""
    if (reason := netns.why_not()) is not None:
        pytest.skip(f"no network namespaces here: {reason}")
    netns.run_in_netns(body)


def run(command: str, *, accept_failure: bool = False) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=20, check=False)  # noqa: S602
    assert accept_failure or done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout + done.stderr


def nft(text: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


class Space:
    """A network namespace, by a descriptor of it."""

    def __init__(self, *, is_new: bool) -> None:
        if not is_new:
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            return
        here = Space(is_new=False)
        _check(_libc.unshare(CLONE_NEWNET))
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        here.enter()
        os.close(here.fd)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def enter(self) -> None:
        _check(_libc.setns(self.fd, CLONE_NEWNET))

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        here = Space(is_new=False)
        self.enter()
        try:
            yield
        finally:
            here.enter()
            os.close(here.fd)

    def run(self, command: str) -> str:
        with self.inside():
            return run(command)

    def open(self, address: str, kind: int, protocol: int = 0, port: int = 0) -> socket.socket:
        """A socket of this namespace, bound to `address`, whose calls last 2 s at most."""
        with self.inside():
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(2)
        made.bind((address, port))
        return made

    def udp(self, address: str, port: int = 0) -> socket.socket:
        return self.open(address, socket.SOCK_DGRAM, port=port)

    def tcp(self, address: str, port: int = 0) -> socket.socket:
        return self.open(address, socket.SOCK_STREAM, port=port)


class Nodes:
    """The node is the namespace we are in; `pod` and `outside` hang on it by a veth pair each."""

    def __init__(self) -> None:
        self.node = Space(is_new=False)
        self.pod, self.outside = Space(is_new=True), Space(is_new=True)
        for space in (self.node, self.pod, self.outside):
            space.run("ip link set lo up; echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
        run("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        self._join(self.pod, "pod0", ("192.0.2.1/26", f"{POD4}/26"), ("2001:db8:1::1/64", f"{POD6}/64"))
        self._join(self.outside, "out0", ("192.0.2.65/26", f"{OUT4}/26"), ("2001:db8:2::1/64", f"{OUT6}/64"))

    def _join(self, space: Space, name: str, *ends: tuple[str, str]) -> None:
        run(f"ip link add {name} type veth peer name eth0 netns {space.path}; ip link set {name} up")
        space.run("ip link set eth0 up")
        for here, there in ends:
            run(f"ip addr add {here} dev {name} {'nodad' if ':' in here else ''}")
            space.run(f"ip addr add {there} dev eth0 {'nodad' if ':' in there else ''}")
            space.run(f"ip route add default via {here.partition('/')[0]}")


def connect_tcp(client: socket.socket, server: socket.socket, target: tuple[str, int] | None = None) -> socket.socket:
    """Connect to the server, or to `target`, behind which it stands; returns the server's side."""
    server.listen()
    client.connect(target or server.getsockname()[:2])
    accepted, _ = server.accept()
    accepted.settimeout(2)
    return accepted


def passes(sender: socket.socket, receiver: socket.socket, target: tuple[str, int] | None = None, wait_s: float = 2) -> bool:
    """Whether a payload arrives: a datagram, or bytes of a stream. `wait_s` matters only where it does not."""
    payload = os.urandom(8)
    if target is None:
        sender.send(payload)
    else:
        sender.sendto(payload, target)
    receiver.settimeout(wait_s)
    try:
        return receiver.recv(100) == payload
    except TimeoutError:
        return False
