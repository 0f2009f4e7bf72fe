"""What queries and connections leave behind goes by itself: without cycles, Python's collector has nothing to find (dnsfw/collector.py)."""

import asyncio
import contextlib
import gc
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from ports import bound_pair
from test_service import serving
from wire_messages import TO_QUESTION, query, response, rr

from dnsfw.forwarder.settings import Endpoint
from dnsfw.forwarder.wire import A

Address = tuple[str, int]
ALLOWED, REFUSED_NAME = query(), query(text="www.elsewhere.example")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s
TURNS = 20


class Resolver:
    """An upstream on threads of its own: nothing of it is in the loop. `make_answer`: from a question, over either transport."""

    def __init__(self, make_answer: Callable[[bytes], bytes]) -> None:
        self._make_answer = make_answer
        self._udp, self._tcp = bound_pair("127.0.0.1")
        self._tcp.listen(64)

    def __enter__(self) -> "Resolver":
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(ip_address("127.0.0.1"), self._udp.getsockname()[1])

    def _serve_udp(self) -> None:
        with contextlib.suppress(OSError):
            while (asked := self._udp.recvfrom(4096))[1] is not None:  # None: shut down
                question, sender = asked
                self._udp.sendto(self._make_answer(question), sender)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, struct.error):
                while True:
                    (size,) = struct.unpack(">H", connection.recv(2))
                    connection.sendall(framed(self._make_answer(connection.recv(size))))


def framed(message: bytes) -> bytes:
    return struct.pack(">H", len(message)) + message


def truth(question: bytes) -> bytes:
    return response(rr(TO_QUESTION, A, bytes((192, 0, 2, 1))), ident=int.from_bytes(question[:2], "big"))


def ask(address: Address, message: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pod:
        pod.settimeout(20)
        pod.connect(address)
        pod.send(message)
        pod.recv(4096)


def connect(address: Address, sent: bytes, *, answers: int = 0, ends: str = "") -> None:
    """ends: "reset", "half" (nothing more to say, but to hear), or at once."""
    with socket.create_connection(address, timeout=20) as pod, contextlib.suppress(ConnectionError):
        pod.sendall(sent)
        if ends == "half":
            pod.shutdown(socket.SHUT_WR)
        heard = b""
        while len(heard) < answers * len(framed(truth(ALLOWED))):
            heard += pod.recv(4096)
        if ends == "idle":
            pod.recv(1)
        if ends == "reset":
            pod.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


QUESTION = framed(ALLOWED)
CLIENTS: dict[str, Callable[[Address], None]] = {
    "udp": lambda at: ask(at, ALLOWED),
    "udp-refused": lambda at: ask(at, REFUSED_NAME),
    "udp-malformed": lambda at: ask(at, ALLOWED[:20]),
    "tcp": lambda at: connect(at, QUESTION, answers=1),
    "tcp-pipelined": lambda at: connect(at, 5 * QUESTION, answers=5, ends="half"),
    "tcp-nothing": lambda at: connect(at, b""),
    "tcp-a-part": lambda at: connect(at, QUESTION[:9]),
    "tcp-no-message": lambda at: connect(at, b"\0\0", ends="idle"),
    "tcp-reset": lambda at: connect(at, QUESTION, answers=1, ends="reset"),
    "tcp-reset-before-the-answer": lambda at: connect(at, QUESTION, ends="reset"),
    "tcp-idle": lambda at: connect(at, QUESTION, answers=1, ends="idle"),
}
UPSTREAMS: dict[str, Callable[[bytes], bytes]] = {
    "servfail": lambda asked: asked[:2] + b"\x81\x82" + asked[4:],
    "truncated": lambda asked: asked[:2] + b"\x83\x80" + asked[4:],
    "malformed": lambda asked: truth(asked)[:-1],
}


async def unreachable(address: Address, client: Callable[[Address], None]) -> int:
    """What the collector finds after TURNS of this; the first ones, before it looks, have made what is made once."""
    found = 0
    for turns in (2, TURNS):
        gc.collect()
        await asyncio.to_thread(lambda turns=turns: [client(address) for _ in range(turns)])
        await asyncio.sleep(0.2)
        found = gc.collect()
    return found


@pytest.fixture(autouse=True)
def collector_at_our_word() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
async def test_a_client_leaves_nothing_for_the_collector(client: Callable[[Address], None]) -> None:
    with Resolver(truth) as upstream:
        async with serving(upstream, tcp_idle_seconds=0.1) as bench:
            assert await unreachable(bench.address, client) == 0


@pytest.mark.parametrize("make_answer", UPSTREAMS.values(), ids=UPSTREAMS)
async def test_an_upstream_leaves_nothing_for_the_collector(make_answer: Callable[[bytes], bytes]) -> None:
    with Resolver(make_answer) as upstream:
        async with serving(upstream, upstream_seconds=0.1, answer_seconds=1.5) as bench:
            assert await unreachable(bench.address, CLIENTS["udp"]) == 0
