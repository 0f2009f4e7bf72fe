"""The kernel gives each source always to the same worker: real sockets, IPv4 and IPv6."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_address

import pytest
from netns import in_netns

from dnsfw.forwarder.doors import Door, ListenError, open_door, open_doors
from dnsfw.forwarder.settings import Endpoint

SERVER = {4: "127.0.0.53", 6: "fd00:53::53"}
KINDS = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def sources(version: int) -> list[str]:
    if version == 4:
        return [f"127.0.{third}.{last}" for third in (1, 2) for last in range(1, 8)]
    return [f"fd00:a::{last:x}" for last in range(1, 15)]


def prepare() -> None:
    """lo has all of 127.0.0.0/8; IPv6 addresses are given to it one by one."""
    for address in (SERVER[6], *sources(6)):
        subprocess.run(["ip", "-6", "addr", "add", f"{address}/128", "dev", "lo", "nodad"], check=True)


@contextmanager
def doors(version: int, count: int, port: int = 0) -> Iterator[tuple[Door, ...]]:
    made = open_doors(Endpoint(ip_address(SERVER[version]), port), count)
    try:
        yield made
    finally:
        for door in made:
            door.udp.close()
            door.tcp.close()


def place_of(version: int, source: str, count: int) -> int:
    """What the filter computes."""
    return int.from_bytes(ip_address(source).packed[-4:], "big") % count


def ask(version: int, source: str, port: int, kind: int) -> socket.socket:
    asking = socket.socket(FAMILIES[version], kind)
    asking.bind((source, 0))
    asking.connect((SERVER[version], port))
    if kind == socket.SOCK_DGRAM:
        asking.send(source.encode())
    return asking


def taken_by(listening: Sequence[socket.socket], take: object) -> dict[str, int]:
    """Who has come, and at which socket; read without waiting."""
    found: dict[str, int] = {}
    for number, each in enumerate(listening):
        with suppress(BlockingIOError):
            while True:
                source = take(each)
                assert source not in found or found[source] == number
                found[source] = number
    return found


def datagram(listening: socket.socket) -> str:
    return listening.recvfrom(512)[1][0]


def connection(listening: socket.socket) -> str:
    accepted, peer = listening.accept()
    accepted.close()
    return peer[0]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("version", [4, 6])
@in_netns
def test_each_source_has_one_place(version: int, count: int) -> None:
    """By the last four bytes of its address, over UDP and TCP alike, however often and from whatever port it asks."""
    prepare()
    with doors(version, count) as group:
        port = group[0].endpoint.port
        asking = [ask(version, source, port, kind) for _ in range(3) for source in sources(version) for kind in KINDS]
        expected = {source: place_of(version, source, count) for source in sources(version)}
        by_udp = taken_by([door.udp for door in group], datagram)
        by_tcp = taken_by([door.tcp for door in group], connection)
        for each in asking:
            each.close()

    assert (by_udp, by_tcp) == (expected, expected)
    assert set(expected.values()) == set(range(count))


@pytest.mark.parametrize("version", [4, 6])
@in_netns
def test_successor_finds_what_came_meanwhile(version: int) -> None:
    """A worker's copies of the sockets close with it; its pods' queries wait in the ones that are kept, and go to nobody else."""
    prepare()
    with doors(version, 2) as group:
        source = sources(version)[0]
        place = place_of(version, source, 2)
        for worker in (group[place].udp.dup(), group[place].tcp.dup()):
            worker.close()
        asking = [ask(version, source, group[0].endpoint.port, kind) for kind in KINDS]
        with closing(group[place].udp.dup()) as udp, closing(group[place].tcp.dup()) as tcp:
            found = datagram(udp), connection(tcp)
        others = [door.udp for number, door in enumerate(group) if number != place]
        assert taken_by(others, datagram) == {}
        for each in asking:
            each.close()

    assert found == (source, source)


@in_netns
def test_port_of_the_kernels_choice_is_one_for_all() -> None:
    """Port 0: all get what the first was given, UDP and TCP."""
    prepare()
    with doors(4, 3) as group:
        ports = {each.getsockname()[1] for door in group for each in (door.udp, door.tcp)}

        assert ports == {group[0].endpoint.port}
        assert ports != {0}


@pytest.mark.parametrize("kind", [pytest.param(socket.SOCK_DGRAM, id="udp"), pytest.param(socket.SOCK_STREAM, id="tcp")])
@pytest.mark.parametrize("is_shared", [False, True])
@in_netns
def test_somebody_else_listens_there(kind: int, is_shared: bool) -> None:
    """Even one who would share: its sockets would take a part of the pods. Nothing is left open by the attempt."""
    with socket.socket(socket.AF_INET, kind) as other:
        if is_shared:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((SERVER[4], 5353))
        if kind == socket.SOCK_STREAM:
            other.listen()
        word = "tcp" if kind == socket.SOCK_STREAM else "udp"
        with pytest.raises(ListenError, match=rf"cannot listen on 127\.0\.0\.53:5353 \({word}\): address already in use"):
            open_doors(Endpoint(ip_address(SERVER[4]), 5353), 2)

    open_door(Endpoint(ip_address(SERVER[4]), 5353)).udp.close()


@in_netns
def test_nobody_joins_the_group_unasked() -> None:
    """While one process listens alone, another is refused, whether it would share or not."""
    with doors(4, 2, 5353), pytest.raises(ListenError):
        open_doors(Endpoint(ip_address(SERVER[4]), 5353), 2)
