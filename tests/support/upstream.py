"""A DNS server that does exactly what a test tells it: every byte, id, port, order and delay.

    async with ScriptedUpstream() as upstream:
        upstream.on_udp(wrong_id(answer("192.0.2.66")), answer("192.0.2.1"))   # for each query: these two, in this order
        ...
        assert [asked.name for asked in upstream.asked] == ["www.example.net"]

A step is bytes to send, made from what was asked (`answer`, `rcode`, `garbage`, and wrappers that spoil one thing), or `wait`, `hold`,
`from_elsewhere`, `partly`, `CLOSE`. `on_udp` and `on_tcp` set what every further query gets; `once_udp` and `once_tcp` what the next one
gets. Nothing told: silence.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from ports import MakeSocket, bound_pair

from dnsfw.forwarder.settings import Endpoint


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as it came."""

    data: bytes
    transport: str
    port: int

    @property
    def id(self) -> int:
        return int.from_bytes(self.data[:2], "big")

    @property
    def question(self) -> bytes:
        end = 12
        while length := self.data[end]:
            end += length + 1
        return self.data[12 : end + 5]

    @property
    def name(self) -> str:
        labels, rest = [], self.question
        while rest[0]:
            labels.append(rest[1 : 1 + rest[0]].decode(errors="backslashreplace"))
            rest = rest[1 + rest[0] :]
        return ".".join(labels)


Make = Callable[[Asked], bytes]


class Special(Enum):
    CLOSE = "close"


CLOSE = Special.CLOSE


@dataclass(frozen=True, slots=True)
class wait:  # noqa: N801 -- reads as a word of the notation
    seconds: float


@dataclass(frozen=True, slots=True)
class hold:  # noqa: N801 -- see wait
    """Until the test sets the event."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class from_elsewhere:  # noqa: N801 -- see wait
    """From another port than the one that was asked."""

    make: Make


@dataclass(frozen=True, slots=True)
class partly:  # noqa: N801 -- see wait
    """Only so many bytes of what TCP would carry, the length in front among them."""

    make: Make
    count: int


Step = partly | Make | Special | wait | hold | from_elsewhere


def message(asked: Asked, *, flags: int = 0x8180, question: bytes | None = None, records: Sequence[bytes] = ()) -> bytes:
    question = asked.question if question is None else question
    return struct.pack(">HHHHHH", asked.id, flags, 1, len(records), 0, 0) + question + b"".join(records)


def answer(*addresses: str, ttl: int = 300) -> Make:
    """A or AAAA records of the name that was asked for."""

    def make(asked: Asked) -> bytes:
        packed = [ip_address(address).packed for address in addresses]
        records = [b"\xc0\x0c" + struct.pack(">HHIH", 1 if len(each) == 4 else 28, 1, ttl, len(each)) + each for each in packed]
        return message(asked, records=records)

    return make


def rcode(code: int) -> Make:
    return lambda asked: message(asked, flags=0x8180 | code)


def truncated() -> Make:
    return lambda asked: message(asked, flags=0x8380)


def garbage(data: bytes) -> Make:
    return lambda _asked: data


def wrong_id(make: Make) -> Make:
    return lambda asked: ((asked.id + 1) & 0xFFFF).to_bytes(2, "big") + make(asked)[2:]


def as_query(make: Make) -> Make:
    """QR=0: what came, sent back."""
    return lambda asked: (data := make(asked))[:2] + bytes((data[2] & 0x7F,)) + data[3:]


def other_name(make: Make) -> Make:
    """The last letter of the first label is another one."""

    def spoil(asked: Asked) -> bytes:
        data = bytearray(make(asked))
        data[12 + data[12]] ^= 1
        return bytes(data)

    return spoil


def other_type(make: Make) -> Make:
    return lambda asked: (data := make(asked))[: (end := 12 + len(asked.question)) - 4] + b"\x00\x10" + data[end - 2 :]


def other_class(make: Make) -> Make:
    return lambda asked: (data := make(asked))[: (end := 12 + len(asked.question)) - 2] + b"\x00\x03" + data[end:]


class ScriptedUpstream:
    """UDP and TCP at one port. `make_socket`: where, if not in this process's own network (Place.socket)."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, has_tcp: bool = True, make_socket: MakeSocket = socket.socket) -> None:
        self.asked: list[Asked] = []
        self.tcp_connections = 0
        self._host, self._port, self._has_tcp = host, port, has_tcp
        self._make_socket = make_socket
        self._always: dict[str, tuple[Step, ...]] = {"udp": (), "tcp": ()}
        self._once: dict[str, deque[tuple[Step, ...]]] = {"udp": deque(), "tcp": deque()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._arrived = asyncio.Condition()
        self._askers: deque[tuple[str, int]] = deque(maxlen=1000)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(ip_address(self._host), self._port)

    def on_udp(self, *steps: Step) -> None:
        self._always["udp"] = steps

    def on_tcp(self, *steps: Step) -> None:
        self._always["tcp"] = steps

    def once_udp(self, *steps: Step) -> None:
        self._once["udp"].append(steps)

    def once_tcp(self, *steps: Step) -> None:
        self._once["tcp"].append(steps)

    def names(self, transport: str | None = None) -> list[str]:
        return [asked.name for asked in self.asked if transport in (None, asked.transport)]

    async def send_to(self, port: int, data: bytes) -> None:
        """A datagram from our own address to whoever asked from `port` last."""
        address = next(address for address in reversed(self._askers) if address[1] == port)
        self._udp.sendto(data, address)

    async def has_been_asked(self, times: int, transport: str | None = None) -> None:
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: len(self.names(transport)) >= times)

    async def __aenter__(self) -> "ScriptedUpstream":
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._udp, listening = bound_pair(self._host, self._port, family, self._make_socket)
        self._udp.setblocking(False)
        listening.setblocking(False)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._elsewhere = self._make_socket(family, socket.SOCK_DGRAM)
        self._elsewhere.setblocking(False)
        self._port = self._udp.getsockname()[1]
        self._server = await asyncio.start_server(self._on_connection, sock=listening) if self._has_tcp else None
        if self._server is None:
            listening.close()
        asyncio.get_running_loop().add_reader(self._udp, self._on_datagram)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._udp)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        self._udp.close()
        self._elsewhere.close()

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_datagram(self) -> None:
        data, address = self._udp.recvfrom(65535)
        self._askers.append(address)

        def send(make: Make, *, elsewhere: bool = False) -> None:
            (self._elsewhere if elsewhere else self._udp).sendto(make(asked), address)

        asked = Asked(data, "udp", address[1])
        self._spawn(self._play(asked, send, lambda: None))

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tcp_connections += 1
        self._writers.append(writer)
        port = writer.get_extra_info("peername")[1]
        try:
            while length := await reader.readexactly(2):
                asked = Asked(await reader.readexactly(int.from_bytes(length, "big")), "tcp", port)

                def send(make: Make, *, count: int | None = None, asked: Asked = asked) -> None:
                    data = make(asked)
                    writer.write((len(data).to_bytes(2, "big") + data)[:count])

                self._spawn(self._play(asked, send, writer.close))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    async def _play(self, asked: Asked, send: Callable[..., None], close: Callable[[], None]) -> None:
        once = self._once[asked.transport]
        steps = once.popleft() if once else self._always[asked.transport]
        async with self._arrived:
            self.asked.append(asked)
            self._arrived.notify_all()
        for step in steps:
            match step:
                case Special.CLOSE:
                    close()
                case wait(seconds):
                    await asyncio.sleep(seconds)
                case hold(event):
                    await event.wait()
                case partly(make, count):
                    send(make, count=count)
                case from_elsewhere(make):
                    send(make, elsewhere=True)
                case _:
                    send(step)
