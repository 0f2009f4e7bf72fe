"""Taking queries over real sockets of loopback; who answers is the test."""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from loopback import loopback_of_ours

from dnsfw.clock import SystemClock
from dnsfw.forwarder.datagrams import Outgoing
from dnsfw.forwarder.doors import ListenError, bind, open_door, try_endpoints
from dnsfw.forwarder.line import Line
from dnsfw.forwarder.listener_tcp import TcpListener
from dnsfw.forwarder.listener_udp import BATCH, LARGEST, MOST_UNSENT, ClientAddress, Handler, UdpListener, Way
from dnsfw.forwarder.settings import Endpoint, ForwarderSettings
from dnsfw.forwarder.timers import Timers

QUERY = b"\x12\x34" + bytes(10) + b"question"


class Echo(Handler):
    """Sends each message back; a `large` one much longer, one with `later` in it when told, one with `drop` never."""

    def __init__(self) -> None:
        self.kept: list[tuple[Way, bytes, ClientAddress]] = []
        self.sources: list[tuple[str, str]] = []
        self.refused: list[str] = []
        self.crowded_out: list[str] = []

    def crowd_out(self, source: str) -> None:
        self.crowded_out.append(source)

    def handle(self, data: bytes, source: str, transport: str, way: Way, address: ClientAddress) -> bool:
        self.sources.append((source, transport))
        if b"drop" in data:
            return False
        if b"break" in data:
            raise ZeroDivisionError
        if b"later" in data:
            self.kept.append((way, data, address))
        else:
            self.answer(way, data, address)
        return True

    def answer(self, way: Way, data: bytes, address: ClientAddress) -> None:
        way.send(data.ljust(60_000) if b"large" in data else data, address)

    def release(self) -> None:
        for kept in reversed(self.kept):
            self.answer(*kept)


def udp(echo: Echo, host: str = "127.0.0.1") -> tuple[UdpListener, Endpoint]:
    door = open_door(Endpoint(ip_address(host), 0))
    door.tcp.close()
    loop = asyncio.get_running_loop()
    return UdpListener(echo, door.udp, loop, Line(loop, SystemClock(), lambda: len(echo.kept))), door.endpoint


@asynccontextmanager
async def tcp(host: str = "127.0.0.1", **changes) -> AsyncIterator[tuple[TcpListener, Echo, int]]:
    loop, clock, echo = asyncio.get_running_loop(), SystemClock(), Echo()
    timers = Timers(loop, clock)
    settings = ForwarderSettings(listen=(), upstreams=(), **changes)
    listener = TcpListener(echo, settings, loop=loop, clock=clock, timers=timers, on_refused=echo.refused.append)
    port = free_port(host)
    await listener.listen(bind(Endpoint(ip_address(host), port), socket.SOCK_STREAM))
    try:
        yield listener, echo, port
    finally:
        listener.close()
        timers.close()
        await asyncio.sleep(0.01)


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        free.bind((host, 0))
        return free.getsockname()[1]


class Client:
    """A TCP connection with the length in front of each message."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *messages: bytes) -> None:
        self.writer.write(b"".join(framed(message) for message in messages))

    async def receive(self) -> bytes:
        async with asyncio.timeout(20):
            length = await self.reader.readexactly(2)
            return await self.reader.readexactly(int.from_bytes(length, "big"))

    async def drain_a_little(self) -> None:
        """As much as the other side takes within a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await self.writer.drain()

    async def is_closed(self) -> bool:
        """Waits until the other side has closed, whatever came before."""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
            return True


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


@asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1", source: str | None = None) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0) if source else None)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 -- what is waited for is a counter
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("host", [pytest.param("127.0.0.1", id="ipv4"), pytest.param("::1", id="ipv6")])
async def test_udp_answers_go_back_to_the_sender(host: str) -> None:
    """From the address and port that was asked, to those that asked; the source is the bare address."""
    loop, echo = asyncio.get_running_loop(), Echo()
    listener, bound = udp(echo, host)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((host, bound.port))
        client.send(QUERY)
        await eventually(lambda: bool(echo.sources))

        async with asyncio.timeout(20):
            received = asyncio.Event()
            loop.add_reader(client, received.set)
            await received.wait()
            loop.remove_reader(client)

        assert client.recv(512) == QUERY
        assert echo.sources == [(host, "udp")]
    listener.close()
    await asyncio.sleep(0.01)


async def test_udp_b18_source_port_zero_is_dropped() -> None:
    """There is nobody to answer there: counted, and no more."""
    echo = Echo()
    listener, _ = udp(echo)

    listener.do(QUERY, ("127.0.0.1", sockaddr("127.0.0.1", 0)))

    assert (echo.sources, listener.counts.port_zero) == ([], 1)
    listener.close()
    await asyncio.sleep(0.01)


async def test_udp_sources_take_turns() -> None:
    """Four hundred datagrams lie before another source's single one: that is handled among the first. Those too long to wait are told."""
    echo = Echo()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as crowd, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as single:
        listener, bound = udp(echo)
        for client, source in ((crowd, "127.0.0.2"), (single, "127.0.0.3")):
            client.bind((source, 0))
            client.connect(("127.0.0.1", bound.port))
        for number in range(400):
            crowd.send(QUERY + b"drop" + (bytes(2000) if number >= 398 else b""))
        single.send(QUERY + b"drop")

        await eventually(lambda: len(echo.sources) == 399)

        assert echo.sources.index(("127.0.0.3", "udp")) < 200
        assert (listener.counts.crowded_out, echo.crowded_out) == (2, ["127.0.0.2"])
        listener.close()
        await asyncio.sleep(0.01)


async def test_udp_answers_that_cannot_leave_are_counted() -> None:
    """Too long, nobody's, of a closed socket, or nowhere to go: dropped, as the network might have done; those behind them leave."""
    listener, bound = udp(Echo())
    with client_of(bound) as client:
        back = sockaddr(*client.getsockname())
        listener.send(bytes(LARGEST + 1), back)
        listener.send(QUERY, None)
        listener.send(QUERY, sockaddr("127.0.0.1", 0))
        listener.send(QUERY, back)
        assert client.recv(512) == QUERY
        listener.close()
        listener.send(QUERY, back)
        listener.close()

    assert listener.counts.unsent == 4


class Gate(Outgoing):
    """A socket without room, until it is opened."""

    is_open = False

    def send(self, descriptor: int, datagrams: Sequence[bytes], names: Sequence[bytes]) -> int:
        if not self.is_open:
            raise BlockingIOError
        return super().send(descriptor, datagrams, names)


async def test_udp_answers_wait_for_room_in_the_socket_and_are_bounded() -> None:
    listener, bound = udp(Echo())
    listener._out = gate = Gate(socket.AF_INET, BATCH, LARGEST)
    with client_of(bound) as client:
        for number in range(MOST_UNSENT + 5):
            listener.send(b"%d" % number, sockaddr(*client.getsockname()))
        unsent = listener.counts.unsent
        gate.is_open = True
        await eventually(lambda: not listener._answers)
        received = [client.recv(512) for _ in range(BATCH + 2)]  # the client's own buffer does not hold them all

    assert unsent == listener.counts.unsent == 5
    assert received == [b"%d" % number for number in range(BATCH + 2)]
    listener.close()


async def test_udp_a_query_that_breaks_its_handler_costs_itself_alone() -> None:
    """Those read in the same row are answered, one row or many."""
    echo, failures = Echo(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    listener, bound = udp(echo)
    with client_of(bound) as client:
        for count in (6, 3 * BATCH):
            for number in range(count):
                client.send(QUERY + (b"break" if number == 2 else b""))
            await eventually(lambda count=count: len(echo.sources) >= count)
            assert [client.recv(512) for _ in range(count - 1)] == [QUERY] * (count - 1)
            echo.sources.clear()

    assert [type(failure) for failure in failures] == [ZeroDivisionError] * 2
    listener.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_udp_answers_go_to_who_asked_however_many_come_at_once(host: str) -> None:
    """Queries of many ports, answered at once, in the same turn of the loop, or later and in another order."""
    echo = Echo()
    listener, bound = udp(echo, host)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client_of(bound)) for _ in range(50)]
        for number in range(150):
            clients[number % 50].send(QUERY + b"%d " % number + (b"later" if number % 3 else b""))
        await eventually(lambda: len(echo.sources) == 150)
        echo.release()
        await eventually(lambda: not listener._answers)
        received = [sorted(int(client.recv(512)[len(QUERY) :].split()[0]) for _ in range(3)) for client in clients]

    assert received == [[number, number + 50, number + 100] for number in range(50)]
    listener.close()


def client_of(bound: Endpoint) -> socket.socket:
    """A client's socket whose every wait ends."""
    client = socket.socket(socket.AF_INET if bound.address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    client.settimeout(20)
    client.connect((str(bound.address), bound.port))
    return client


def sockaddr(host: str, port: int) -> bytes:
    """struct sockaddr_in."""
    return struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", port, ip_address(host).packed)


def test_an_address_that_the_node_lacks_is_told_how_to_give() -> None:
    """The commonest first mistake: what `--listen` names is not there yet."""
    with pytest.raises(ListenError) as caught:
        try_endpoints([Endpoint(ip_address("127.0.0.1"), 0), Endpoint(ip_address("192.0.2.53"), 53)])

    assert str(caught.value) == (
        "cannot listen on 192.0.2.53:53 (udp): cannot assign requested address; "
        "give the node that address first, such as `ip address add … dev lo`, or name another with --listen"
    )


@pytest.mark.parametrize("kind", [pytest.param(socket.SOCK_DGRAM, id="udp"), pytest.param(socket.SOCK_STREAM, id="tcp")])
async def test_an_address_that_is_taken_is_named(kind: socket.SocketKind) -> None:
    """The error says where, over what, and why."""
    host = loopback_of_ours()
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        endpoint = Endpoint(ip_address(host), taken.getsockname()[1])
        word = "tcp" if kind == socket.SOCK_STREAM else "udp"

        with pytest.raises(ListenError, match=rf"cannot listen on {re.escape(host)}:{endpoint.port} \({word}\): address already in use"):
            open_door(endpoint)


@pytest.mark.parametrize("host", [pytest.param("127.0.0.1", id="ipv4"), pytest.param("::1", id="ipv6")])
async def test_b17_two_messages_in_one_segment(host: str) -> None:
    """Both are answered, and the source is the bare address."""
    async with tcp(host) as (_, echo, port), connected(port, host) as client:
        client.send(QUERY + b"1", QUERY + b"2")

        assert [await client.receive(), await client.receive()] == [QUERY + b"1", QUERY + b"2"]
        assert echo.sources == 2 * [(host, "tcp")]


async def test_b17_one_message_in_twenty_segments() -> None:
    """A byte at a time, each in a segment of its own."""
    async with tcp() as (_, _echo, port), connected(port) as client:
        for byte in framed(QUERY):
            client.writer.write(bytes((byte,)))
            await asyncio.sleep(0.001)

        assert await client.receive() == QUERY


async def test_b17_the_largest_message() -> None:
    """65,535 bytes in, 65,535 bytes out."""
    async with tcp() as (_, _echo, port), connected(port) as client:
        client.send(QUERY.ljust(65535, b"-"))

        assert await client.receive() == QUERY.ljust(65535, b"-")


@pytest.mark.parametrize("length", [0, 1, 11])
async def test_b17_a_length_that_no_message_has_ends_the_connection(length: int) -> None:
    """What came before is answered, what comes after is not read."""
    async with tcp() as (listener, echo, port), connected(port) as client:
        client.send(QUERY, bytes(length), QUERY)

        assert await client.is_closed()
        assert (len(echo.sources), listener.counts.no_message) == (1, 1)


async def test_b17_a_message_that_stalls_ends_the_connection() -> None:
    """A length, some bytes, then silence: closed, though the idle limit is far."""
    async with tcp(tcp_message_seconds=0.1, tcp_idle_seconds=600.0) as (listener, _, port), connected(port) as client:
        client.writer.write(framed(QUERY)[:-1])

        assert await client.is_closed()
        assert listener.counts.timed_out == 1


async def test_b17_a_message_that_drips_ends_the_connection() -> None:
    """One byte after the other does not lengthen the limit of a message."""
    async with tcp(tcp_message_seconds=0.2, tcp_idle_seconds=600.0) as (_, _echo, port), connected(port) as client:
        client.writer.write(b"\xff\xff")
        with contextlib.suppress(ConnectionError):
            while not client.writer.transport.is_closing():
                client.writer.write(b"-")
                await asyncio.sleep(0.02)

        assert await client.is_closed()


async def test_b17_an_idle_connection_is_closed_but_not_one_that_waits_for_us() -> None:
    """Idle is who has asked nothing that is still unanswered."""
    async with tcp(tcp_idle_seconds=0.2) as (listener, echo, port), connected(port) as idle, connected(port) as waiting:
        waiting.send(QUERY + b"later")

        assert await idle.is_closed()
        assert listener.connections == 1
        echo.release()
        assert await waiting.receive() == QUERY + b"later"


async def test_b17_urgent_data_does_no_harm() -> None:
    """An urgent byte is taken out of the stream by the kernel."""
    async with tcp() as (_, _echo, port), connected(port) as client:
        raw = socket.socket(fileno=socket.dup(client.writer.get_extra_info("socket").fileno()))
        raw.send(b"!", socket.MSG_OOB)
        raw.close()
        client.send(QUERY)

        assert await client.receive() == QUERY


async def test_b17_reset_while_answers_are_due() -> None:
    """The answer finds nobody; other connections notice nothing."""
    async with tcp() as (listener, echo, port), connected(port) as other:
        async with connected(port) as client:
            client.send(QUERY + b"later")
            await eventually(lambda: bool(echo.kept))
            linger = struct.pack("ii", 1, 0)
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await eventually(lambda: listener.connections == 1)

        echo.release()

        other.send(QUERY)
        assert await other.receive() == QUERY


async def test_b17_half_closed_is_still_answered_then_closed() -> None:
    """Who has said all may still hear all."""
    async with tcp() as (_, echo, port), connected(port) as client:
        client.send(QUERY + b"now", QUERY + b"later")
        client.writer.write_eof()

        assert await client.receive() == QUERY + b"now"
        echo.release()
        assert await client.receive() == QUERY + b"later"
        assert await client.is_closed()


async def test_b17_a_flood_without_reading_ends_the_connection() -> None:
    """Nobody's queries are read whose answers nobody reads; in time the connection goes."""
    async with tcp(tcp_write_seconds=0.2) as (listener, _, port), connected(port) as client:
        client.writer.transport.pause_reading()
        with contextlib.suppress(ConnectionError):
            while not client.writer.transport.is_closing() and not listener.counts.timed_out:
                client.send(*16 * [QUERY + b"large"])
                await client.drain_a_little()

        await eventually(lambda: listener.connections == 0)
        assert listener.counts.timed_out == 1


async def test_b17_answers_that_pile_up_unread_end_the_connection_at_once() -> None:
    """A hundred large answers that were waited for and are not read: a bounded number of bytes is kept, whatever the time."""
    async with tcp(tcp_write_seconds=600.0) as (listener, echo, port), connected(port) as client:
        client.writer.transport.pause_reading()
        client.send(*100 * [QUERY + b"later large"])
        await eventually(lambda: len(echo.kept) == 100)

        echo.release()

        await eventually(lambda: listener.connections == 0)
        assert listener.counts.not_reading == 1


async def test_pipelined_answers_come_as_they_are_ready() -> None:
    """RFC 7766: the later question may be answered first."""
    async with tcp() as (_, echo, port), connected(port) as client:
        client.send(QUERY + b"later1", QUERY + b"later2", QUERY + b"now")

        assert await client.receive() == QUERY + b"now"
        echo.release()
        assert [await client.receive(), await client.receive()] == [QUERY + b"later2", QUERY + b"later1"]


async def test_more_than_the_pipeline_holds_waits_its_turn() -> None:
    """With two at a time, the third is not even looked at until one is answered; then all are."""
    async with tcp(tcp_pipelined=2) as (_, echo, port), connected(port) as client:
        client.send(*(QUERY + b"later%d" % number for number in range(5)))
        await eventually(lambda: len(echo.kept) == 2)
        await asyncio.sleep(0.05)
        assert len(echo.kept) == 2

        received = []
        while len(received) < 5:
            way, data, address = echo.kept.pop()
            way.send(data, address)
            received.append(await client.receive())
            await eventually(lambda: bool(echo.kept) or len(received) == 5)

        assert sorted(received) == [QUERY + b"later%d" % number for number in range(5)]


async def test_a_dropped_query_leaves_the_pipeline() -> None:
    """What is not answered does not take a place."""
    async with tcp(tcp_pipelined=1) as (_, _echo, port), connected(port) as client:
        client.send(*5 * [QUERY + b"drop"], QUERY)

        assert await client.receive() == QUERY


async def test_a_thousand_messages_at_once_are_all_answered() -> None:
    """More than one turn's worth, in order, as nothing waits."""
    async with tcp() as (_, _echo, port), connected(port) as client:
        client.send(*(QUERY + b"%d" % number for number in range(1000)))

        assert [await client.receive() for _ in range(1000)] == [QUERY + b"%d" % number for number in range(1000)]


async def test_a18_one_source_has_so_many_connections() -> None:
    """The third of two is closed at once; when one goes, another may come."""
    async with tcp(tcp_connections_per_pod=2) as (listener, _, port), connected(port) as first, connected(port) as second:
        for client in (first, second):
            client.send(QUERY)
            await client.receive()
        async with connected(port) as third:
            assert await third.is_closed()
        first.writer.transport.abort()
        await eventually(lambda: listener.connections == 1)

        async with connected(port) as fourth:
            fourth.send(QUERY)
            assert await fourth.receive() == QUERY
        assert listener.counts.over_limit == 1


async def test_a18_a_crowd_makes_room_for_another_source() -> None:
    """Where all connections are taken, the source with the most gives up its oldest."""
    async with tcp(tcp_connections=2) as (listener, _, port), connected(port) as oldest, connected(port) as second:
        for client in (oldest, second):
            client.send(QUERY)
            await client.receive()

        async with connected(port, source="127.0.0.2") as other:
            other.send(QUERY)
            assert await other.receive() == QUERY

            assert await oldest.is_closed()
            second.send(QUERY)
            assert await second.receive() == QUERY
            assert listener.connections == 2
