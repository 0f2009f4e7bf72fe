"""Many datagrams at once: each arrives as it was put, from whom and to whom it was, whatever lay in its place before."""

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnsfw.forwarder.datagrams import Incoming, Outgoing

COUNT, OCTETS = 8, 1024
HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Wire:
    """Two sockets on loopback, one to send and one to receive, and what they send and receive by."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self.out, self.into = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        for each in (self.out, self.into):
            each.bind((HOSTS[family], 0))
        self.outgoing, self.incoming = Outgoing(family, COUNT, OCTETS), Incoming(family, COUNT, OCTETS)
        self.target = name_of(self.into)

    def pass_on(self, datagrams: list[bytes]) -> list[bytes]:
        assert self.outgoing.send(self.out.fileno(), datagrams, [self.target] * len(datagrams)) == len(datagrams)
        count = self.incoming.receive(self.into.fileno())
        assert [self.incoming.host_text(name) for name in self.incoming.names(count)] == [self.out.getsockname()[0]] * count
        assert {name[2:4] for name in self.incoming.names(count)} <= {struct.pack(">H", self.out.getsockname()[1])}
        return [self.incoming.datagram(slot) for slot in range(count)]


def name_of(bound: socket.socket) -> bytes:
    host, port, *_ = bound.getsockname()
    head = struct.pack("=H", bound.family) + struct.pack(">H", port)
    packed = socket.inet_pton(bound.family, host)
    return head + packed + bytes(8) if bound.family == socket.AF_INET else head + bytes(4) + packed + bytes(4)


@pytest.fixture(params=HOSTS, ids=["IPv4", "IPv6"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    made = Wire(request.param)
    yield made
    made.out.close()
    made.into.close()


datagrams = st.lists(st.sampled_from([0, 1, 60, 255, 256, 257, 700, OCTETS]).map(os.urandom), min_size=1, max_size=COUNT)


@given(turns=st.lists(datagrams, min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_put_arrives(wire: Wire, turns: list[list[bytes]]) -> None:
    """Short after long and long after short in the same place, and again of the same length."""
    for turn in turns:
        assert wire.pass_on(turn) == turn


def test_longer_than_the_room_is_cut(wire: Wire) -> None:
    """Whoever reads it finds it to be cut."""
    wire.out.sendto(bytes(range(256)) * 5, wire.into.getsockname())
    count = wire.incoming.receive(wire.into.fileno())

    assert [wire.incoming.datagram(slot) for slot in range(count)] == [(bytes(range(256)) * 5)[:OCTETS]]


def test_hosts_are_told_apart_by_their_address_alone(wire: Wire) -> None:
    """As keys: the same for another port, another for another address."""
    family = wire.into.family
    others = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(2)]
    if family == socket.AF_INET:
        others[1].bind(("127.0.0.2", 0))
    for each in (wire.out, *others):
        each.sendto(b"x", wire.into.getsockname())
    count = wire.incoming.receive(wire.into.fileno())
    first, second, third = wire.incoming.hosts(count)

    assert first == second
    assert (first == third) is (family == socket.AF_INET6)
    for host, name in zip(wire.incoming.hosts(count), wire.incoming.names(count), strict=True):
        assert host == (int.from_bytes(name[4:8], "big") if family == socket.AF_INET else name[8:24])
    for each in others:
        each.close()


def test_nothing_there_and_nobody_to_send_to_are_errors(wire: Wire) -> None:
    """The first one's; the caller says what follows."""
    with pytest.raises(BlockingIOError):
        wire.incoming.receive(wire.into.fileno())
    with pytest.raises(OSError) as broken:
        wire.outgoing.send(wire.out.fileno(), [b"x"], [wire.target[:2] + bytes(2) + wire.target[4:]])

    assert broken.value.errno == errno.EINVAL
