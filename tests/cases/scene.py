"""The notation of the scenarios: a pod asks, an upstream plays its script, and the program between them is the real one.

    async def test_u5_query_sent_back(scene, way):
        scene.upstream.on_udp(as_query(FORGED), TRUE)
        reply = await scene.ask(way=way)
        assert reply.addresses == ["192.0.2.1"]

`way` is "udp" or "tcp", as the client asks; upstream is asked over UDP first, always. A name is `scene.name`, new in each test, so nothing
is cached and no late datagram of one test is another's.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dns.flags
import dns.message
import dns.rdatatype
from metrics import fetch_metrics, sum_of
from place import Place
from upstream import ScriptedUpstream, answer

from dnsfw.api.client import ApiClient
from dnsfw.api.settings import UnixAddress
from dnsfw.demo.documents import Identity, pod_list
from dnsfw.names import parse_name

SERVER, SERVER6, UPSTREAM = ("127.0.0.53", 53), ("fd00:53::53", 53), ("127.0.0.99", 53)
POD_A, POD_B, STRANGER = "127.0.1.1", "127.0.1.2", "127.0.9.9"
PODS = {name: f"127.0.1.{number}" for number, name in enumerate("cdefgh", 3)}
POD_A6, POD_B6 = "fd00:a::1", "fd00:a::2"
TRUE, FORGED = answer("192.0.2.1"), answer("192.0.2.66")
IS_TRUE = ["192.0.2.1"]
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
PATIENCE_S = 10.0
RECEIVE_BUFFER_BYTES = 1 << 20  # all answers to a burst; the default holds 277 small ones
START_S = 60.0  # a busy machine may take its time to load the program
RULE = """
apiVersion: dnsfw.io/v1alpha1
kind: FQDNEgressRule
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, egress: [{toFQDNs: ["*.example.net"]}]}
"""
_numbers = itertools.count(1)


class Bench:
    """The program under test, known by its command line and its API; pods a to h, that may ask for *.example.net."""

    upstream = UPSTREAM

    def __init__(self, folder: Path, flags: Sequence[str] = (), rules: str | None = None) -> None:
        self.folder = folder
        (folder / "rules.yaml").write_text(rules or RULE)
        (folder / "pods.yaml").write_text(
            pod_list([_pod("a", POD_A, POD_A6), _pod("b", POD_B, POD_B6), *map(_pod, PODS, PODS.values())], {})
        )
        self._flags = flags

    def __enter__(self) -> Self:
        self.place = Place((POD_A6, POD_B6, SERVER6[0])).__enter__()
        try:
            with (self.folder / "log").open("wb") as log:
                self.process = self.place.start([sys.executable, "-m", "dnsfw", "run", *self._arguments()], log)
            self._wait_ready()
        except BaseException:
            self.place.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.place.__exit__(kind, error, trace)

    @cached_property
    def api(self) -> ApiClient:
        return ApiClient(address=UnixAddress(self.folder / "api"))

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _arguments(self) -> list[str]:
        listen = [f"{SERVER[0]}:53", f"[{SERVER6[0]}]:53"]
        files = {"rules": "rules.yaml", "pods": "pods.yaml", "audit-db": "audit.db"}
        return [
            *(part for each in listen for part in ("--listen", each)),
            *("--upstream", "{}:{}".format(*UPSTREAM), "--api", f"unix:{self.folder / 'api'}", "--log-format", "json"),
            *(part for name, file in files.items() for part in (f"--{name}", str(self.folder / file))),
            *self._flags,
        ]

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while '"ready"' not in self.log:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.01)


def _pod(name: str, *addresses: str) -> tuple[Identity, tuple[str, ...]]:
    return Identity(namespace="shop", name=name, uid=f"uid-{name}", labels={"app": "web"}), addresses


class Response:
    """What came back, as bytes and as dnspython reads them."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @cached_property
    def message(self) -> dns.message.Message:
        return dns.message.from_wire(self.data, one_rr_per_rrset=True)

    @property
    def id(self) -> int:
        return int.from_bytes(self.data[:2], "big")

    @property
    def rcode(self) -> int:
        """The header's alone where nothing but a header came."""
        return int(self.message.rcode()) if len(self.data) > 12 else self.data[3] & 15

    @property
    def is_truncated(self) -> bool:
        return bool(self.data[2] & 2)

    @property
    def addresses(self) -> list[str]:
        return [rdata.address for rrset in self.message.answer for rdata in rrset if rdata.rdtype in (1, 28)]

    @property
    def ede(self) -> list[int]:
        return [int(option.code) for option in self.message.options if option.otype == 15]


class Udp:
    """A client's socket; `source` is the pod's address."""

    def __init__(self, bench: Bench, source: str, port: int = 0) -> None:
        server, family = (SERVER6, socket.AF_INET6) if ":" in source else (SERVER, socket.AF_INET)
        self.socket = bench.place.socket(family, socket.SOCK_DGRAM, (source, port))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.socket.connect(server)

    async def send(self, *messages: bytes) -> None:
        for message in messages:
            await asyncio.get_running_loop().sock_sendall(self.socket, message)

    async def receive(self) -> Response:
        async with asyncio.timeout(PATIENCE_S):
            return Response(await asyncio.get_running_loop().sock_recv(self.socket, 65535))

    def close(self) -> None:
        self.socket.close()


class Tcp(Udp):
    """The same over a connection; `write` sends what is no whole message."""

    def __init__(self, bench: Bench, source: str, port: int = 0) -> None:  # noqa: ARG002 -- as Udp's
        self._server, family = (SERVER6, socket.AF_INET6) if ":" in source else (SERVER, socket.AF_INET)
        self.socket = bench.place.socket(family, socket.SOCK_STREAM, (source, 0))
        self._is_connected = False

    async def connect(self) -> Self:
        if not self._is_connected:
            await asyncio.get_running_loop().sock_connect(self.socket, self._server)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._is_connected = True
        return self

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall((await self.connect()).socket, data)

    async def send(self, *messages: bytes) -> None:
        await self.write(b"".join(framed(message) for message in messages))

    async def receive(self) -> Response:
        return Response(await self._read(int.from_bytes(await self._read(2), "big")))

    async def is_refused(self) -> bool:
        """Connects, and finds itself cut off before it has said anything."""
        with contextlib.suppress(ConnectionError):
            await self.connect()
        return await self.is_closed()

    async def is_closed(self) -> bool:
        """Waits until the other side has closed, whatever comes before."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await asyncio.get_running_loop().sock_recv(self.socket, 65536):
                    pass
            except ConnectionError:
                pass
        return True

    async def _read(self, count: int) -> bytes:
        data = b""
        async with asyncio.timeout(PATIENCE_S):
            while len(data) < count:
                piece = await asyncio.get_running_loop().sock_recv(self.socket, count - len(data))
                if not piece:
                    raise ConnectionResetError(f"closed after {len(data)} of {count} bytes")
                data += piece
        return data


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def resident_kb(scene: "Scene") -> int:
    """Memory of the program."""
    lines = Path(f"/proc/{scene.bench.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


class Scene:
    """One test's upstream, name and clients."""

    def __init__(self, bench: Bench, upstream: ScriptedUpstream) -> None:
        self.bench = bench
        self.upstream = upstream
        self.began_at = time.time()
        self.name = self.fresh()
        self._clients: list[Udp] = []

    def fresh(self, below: str = "example.net") -> str:
        """A name that nobody has asked for."""
        return f"t{next(_numbers)}.{below}"

    def query(self, name: str | None = None, qtype: int = 1, *, ident: int | None = None, edns: bytes = b"", flags: int = 0x0100) -> bytes:
        """`edns`: an OPT record, if any."""
        ident = next(_numbers) & 0xFFFF if ident is None else ident
        header = struct.pack(">6H", ident, flags, 1, 0, 0, bool(edns))
        return header + parse_name(name or self.name) + struct.pack(">HH", qtype, 1) + edns

    def client(self, way: str = "udp", pod: str = POD_A, port: int = 0) -> Any:
        made = (Tcp if way == "tcp" else Udp)(self.bench, pod, port)
        self._clients.append(made)
        return made

    async def exchange(self, message: bytes, way: str = "udp", pod: str = POD_A) -> Response:
        client = self.client(way, pod)
        await client.send(message)
        return await client.receive()

    async def ask(self, name: str | None = None, qtype: int = 1, *, way: str = "udp", pod: str = POD_A, edns: bytes = b"") -> Response:
        query = self.query(name, qtype, edns=edns)
        response = await self.exchange(query, way, pod)
        assert response.id == int.from_bytes(query[:2], "big")
        return response

    @property
    def asked(self) -> list[str]:
        """What upstream was asked, as "transport name"; probes of the program's own left out."""
        return [f"{asked.transport} {asked.name}" for asked in self.upstream.asked if len(asked.question) > 5]

    async def records(self, count: int = 1, **filters: str) -> list[dict[str, Any]]:
        """The audit's records of this test's name (or of `name=`; "" is any), once there are `count`."""
        wanted = {key: value for key, value in {"name": self.name, **filters}.items() if value}
        return await self.until(lambda: self.bench.api.get("/v1/audit", wanted)["items"], lambda items: len(items) >= count)

    async def why(self, **filters: str) -> list[tuple[str, str]]:
        """Decision and reason of these records."""
        return [(record["decision"], record["reason"]) for record in await self.records(**filters)]

    def grants(self, name: str | None = None, pod: str = "a") -> list[str]:
        """Addresses that the kernel lets the pod reach for the name now."""
        items = self.bench.api.get("/v1/grants", {"name": name or self.name, "pod": pod, "limit": 1_000_000})["items"]
        return sorted((item["address"] for item in items), key=lambda text: ip_address(text).packed)

    def status(self) -> dict[str, Any]:
        return self.bench.api.get("/v1/status")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the metric's samples that have these labels."""
        return sum_of(self.metrics(), name, **labels)

    def metrics(self) -> str:
        return fetch_metrics(self.bench.folder / "api")

    async def until(self, look: Callable[[], Any], holds: Callable[[Any], bool] = bool) -> Any:
        """What `look` gives once it `holds`."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(found := look()):
            assert time.monotonic() < deadline, json.dumps(found, default=str)
            await asyncio.sleep(0.02)
        return found

    async def until_async(self, look: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while not holds(await look()):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        return True

    async def serves_on(self, pod: str = POD_B) -> None:
        """Another pod's new question is answered truly, over UDP and TCP; the program has noted no surprise."""
        self.upstream.on_udp(TRUE)
        self.upstream.on_tcp(TRUE)
        for way in ("udp", "tcp"):
            response = await self.ask(self.fresh(), way=way, pod=pod)
            assert response.addresses == IS_TRUE
        assert self.bench.process.poll() is None
        assert "Traceback" not in self.bench.log, self.bench.log

    def close(self) -> None:
        for client in self._clients:
            client.close()
