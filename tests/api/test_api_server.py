"""The API over real sockets."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from record_frames import frame_of

from dnsfw.api.client import ApiClient, ApiClientError
from dnsfw.api.server import ApiServer
from dnsfw.api.settings import ApiSettings, TcpAddress, UnixAddress, parse_api_address
from dnsfw.api.sockets import ApiListenError
from dnsfw.api.sources import ApiSources, GrantsFilter, MetricView, Sample
from dnsfw.api.views import GrantView, StatusView
from dnsfw.audit import frames
from dnsfw.audit.frames import Frame
from dnsfw.audit.record import QueryRecord
from dnsfw.audit.settings import AuditSettings
from dnsfw.audit.store import Store

GRANTS = 2_500
SHOWN = "sécret"
T0 = 1_800_000_000.0
Serve = Callable[..., Awaitable[ApiServer]]


class World:
    """Real views of an invented process."""

    is_ready = True
    grants_count = GRANTS

    def status(self) -> StatusView:
        return StatusView(version="0.1.0", ready=self.is_ready, pid=1, started_at=T0, uptime_s=1.0)

    def grants(self, _wanted: GrantsFilter) -> Iterator[GrantView]:
        for number in range(self.grants_count):
            yield GrantView(
                namespace="shop",
                pod=f"app{number % 5}",
                address=f"198.51.100.{number % 250}",
                ports="tcp/443",
                names=(f"n{number}.example.net",),
                rule="shop/app",
                number=1,
                remaining_s=30.0,
            )

    def metrics(self) -> Iterator[MetricView]:
        yield MetricView(name="dnsfw_audit_records_lost_total", help="Lost.", is_counter=True, samples=(Sample((), 2),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def address(folder: Path) -> UnixAddress:
    return UnixAddress(folder / "api.sock")


@pytest.fixture
async def serve(tmp_path: Path, address: UnixAddress) -> AsyncIterator[Serve]:
    running: list[ApiServer] = []

    async def start(world: World | None = None, audit: Path | None = None, **settings: Any) -> ApiServer:
        made = world or World()
        sources = ApiSources(status=made.status, grants=made.grants, metrics=made.metrics, audit_path=audit, now=lambda: T0 + 100)
        server = ApiServer(ApiSettings(**{"address": address, **settings}), sources)
        await server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.stop()


async def get(client: ApiClient, path: str, **query: str | int) -> Any:
    return await asyncio.to_thread(client.get, path, query)


async def raw(address: UnixAddress | TcpAddress, request: str) -> bytes:
    if isinstance(address, UnixAddress):
        reader, writer = await asyncio.open_unix_connection(str(address.path))
    else:
        reader, writer = await asyncio.open_connection(str(address.host), address.port)
    writer.write(request.replace("\n", "\r\n").encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_socket_is_for_its_owner_only(serve: Serve, address: UnixAddress) -> None:
    """Folder 0700 and socket 0600 whatever the umask; gone after the stop."""
    old = os.umask(0)
    try:
        server = await serve()
    finally:
        os.umask(old)
    modes = stat.S_IMODE(address.path.parent.stat().st_mode), stat.S_IMODE(address.path.stat().st_mode)
    await server.stop()

    assert modes == (0o700, 0o600)
    assert list(address.path.parent.iterdir()) == []


async def test_status_is_what_the_source_says(serve: Serve, address: UnixAddress) -> None:
    """The client gets the view, whole."""
    await serve()

    document = await get(ApiClient(address=address), "/v1/status")
    assert (document["version"], document["ready"], document["audit"]["lost"]) == ("0.1.0", True, 0)


async def test_grants_are_paged_and_counted(serve: Serve, address: UnixAddress) -> None:
    """A page, the total behind it, and all of them when asked for."""
    await serve()
    client = ApiClient(address=address)

    first = await get(client, "/v1/grants")
    page = await get(client, "/v1/grants", limit=10, offset=2_495)
    everything = await get(client, "/v1/grants", limit=100_000)

    assert (len(first["items"]), first["total"], first["limit"]) == (1_000, GRANTS, 1_000)
    assert [item["names"] for item in page["items"]] == [[f"n{number}.example.net"] for number in range(2_495, 2_500)]
    assert [item["names"][0] for item in everything["items"]] == [f"n{number}.example.net" for number in range(GRANTS)]


@pytest.mark.parametrize(
    ("query", "total"),
    [
        pytest.param({"pod": "app1"}, 500, id="pod"),
        pytest.param({"namespace": "bank"}, 0, id="namespace"),
        pytest.param({"name": "n7.example.net"}, 1, id="name"),
        pytest.param({"name": "*.example.net", "pod": "app2"}, 500, id="pattern-and-pod"),
    ],
)
async def test_grants_are_filtered(serve: Serve, address: UnixAddress, query: dict[str, str], total: int) -> None:
    """The API filters whatever the source left in."""
    await serve()

    document = await get(ApiClient(address=address), "/v1/grants", **query)
    assert (document["total"], len(document["items"])) == (total, total)


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        pytest.param("/v1/grants", {"nmae": "x"}, 'parameter "nmae": one of', id="unknown"),
        pytest.param("/v1/grants", {"limit": "-1"}, "a number from 0 to", id="negative"),
        pytest.param("/v1/grants", {"limit": "9999999"}, "a number from 0 to", id="too-many"),
        pytest.param("/v1/grants", {"limit": "٣"}, "a number from 0 to", id="other-digits"),
        pytest.param("/v1/grants", {"name": "a..b"}, "a label is empty", id="name"),
        pytest.param("/v1/audit", {"since": "yesterday"}, "write a duration", id="time"),
        pytest.param("/v1/audit", {"decision": "denied"}, "one of allowed", id="decision"),
    ],
)
async def test_senseless_query_is_refused(serve: Serve, address: UnixAddress, path: str, query: dict[str, str], message: str) -> None:
    """A mistyped filter is an error, not everything."""
    await serve(audit=address.path.with_name("audit.db"))

    with pytest.raises(ApiClientError, match=message):
        await get(ApiClient(address=address), path, **query)


async def test_audit_is_read_with_its_filters(serve: Serve, address: UnixAddress, tmp_path: Path) -> None:
    """The same records as on the command line, gaps among them, also when they are more than one portion."""
    path = tmp_path / "audit.db"
    store = Store(AuditSettings(path=path), "one", T0)
    record = QueryRecord(T0, "shop", "app1", "u", "192.0.2.1", "udp", "x", 1, "allowed", "allowed", "r", 0, "", "", "", -1, 0, 0, 0)
    rows = [record._replace(at=T0 + number / 10, name=f"n{number}.example.net") for number in range(500)]
    store.write([frame_of(rows), Frame(2, frames.GAP, (T0 + 99, T0 + 99, 3, "queue full"))], T0)
    store.close()
    await serve(audit=path)
    client = ApiClient(address=address)

    recent = await get(client, "/v1/audit", since="60.05s")
    named = await get(client, "/v1/audit", name="n7.example.net")

    assert [item.get("name", item["kind"]) for item in recent["items"]] == [
        *(f"n{number}.example.net" for number in range(400, 500)),
        "gap",
    ]
    assert [item["kind"] for item in named["items"]] == ["query", "gap"]


async def test_no_audit_database_is_said(serve: Serve, address: UnixAddress, tmp_path: Path) -> None:
    """Not configured, and configured but missing."""
    server = await serve()
    with pytest.raises(ApiClientError, match="there is no audit database"):
        await get(ApiClient(address=address), "/v1/audit")
    await server.stop()
    await serve(audit=tmp_path / "missing.db")

    with pytest.raises(ApiClientError, match="there is no audit database at"):
        await get(ApiClient(address=address), "/v1/audit")


async def test_metrics_and_probes(serve: Serve, address: UnixAddress) -> None:
    """/metrics is Prometheus' text; /healthz says that the loop turns; /readyz what status says."""
    world = World()
    await serve(world)
    metrics = await raw(address, "GET /metrics HTTP/1.0\n\n")
    health = await raw(address, "GET /healthz HTTP/1.0\n\n")
    ready = await raw(address, "GET /readyz HTTP/1.0\n\n")
    world.is_ready = False
    unready = await raw(address, "GET /readyz HTTP/1.0\n\n")

    assert b"text/plain; version=0.0.4" in metrics
    assert b"dnsfw_audit_records_lost_total 2.0\n" in metrics
    assert [answer.split(b" ", 2)[1] for answer in (health, ready, unready)] == [b"200", b"200", b"503"]


async def test_slow_reader_keeps_nobody(serve: Serve, address: UnixAddress) -> None:
    """A client that asks for everything and reads nothing waits alone; others are answered meanwhile."""
    world = World()
    world.grants_count = 100_000
    await serve(world)
    slow = socket.socket(socket.AF_UNIX)
    slow.connect(str(address.path))
    slow.sendall(b"GET /v1/grants?limit=100000 HTTP/1.0\r\n\r\n")
    slow.settimeout(5)
    await asyncio.to_thread(slow.recv, 10)

    for _ in range(5):
        assert (await get(ApiClient(address=address), "/v1/status"))["ready"]
    slow.close()


async def test_requests_are_bounded_in_number_and_time(serve: Serve, address: UnixAddress) -> None:
    """Clients that do not read cannot gather: more than the bound get 503, and each is cut off at its deadline."""
    world = World()
    world.grants_count = 100_000
    await serve(world, requests=2, request_s=1.0)
    slow = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for each in slow:
        each.connect(str(address.path))
        each.sendall(b"GET /v1/grants?limit=100000 HTTP/1.0\r\n\r\n")
        each.settimeout(5)
        await asyncio.to_thread(each.recv, 10)

    with pytest.raises(ApiClientError, match="too many requests"):
        await get(ApiClient(address=address), "/v1/status")
    for each in slow:
        with pytest.raises(ConnectionResetError):
            while await asyncio.to_thread(each.recv, 1 << 20):
                pass
            raise ConnectionResetError  # an orderly end of an incomplete answer is as good
        each.close()
    assert (await get(ApiClient(address=address), "/v1/status"))["ready"]


async def test_stale_socket_is_replaced(serve: Serve, address: UnixAddress) -> None:
    """After kill -9 the file is still there and nobody behind it."""
    address.path.parent.mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(address.path))
    dead.close()
    await serve()

    assert (await get(ApiClient(address=address), "/v1/status"))["ready"]


async def test_answered_socket_is_left_alone(serve: Serve, address: UnixAddress) -> None:
    """A second process does not take the first one's socket away."""
    await serve()

    with pytest.raises(ApiListenError, match="another dnsfw answers there; stop it, or name another path with --api"):
        await serve()
    assert (await get(ApiClient(address=address), "/v1/status"))["ready"]


async def test_file_in_the_way_is_left_alone(serve: Serve, address: UnixAddress) -> None:
    """A wrong path must not cost anybody a file."""
    address.path.parent.mkdir()
    address.path.write_text("precious")

    with pytest.raises(ApiListenError, match="something that is no socket stands there"):
        await serve()
    assert address.path.read_text() == "precious"


async def test_successors_socket_survives_the_stop(serve: Serve, address: UnixAddress) -> None:
    """Whoever has put a socket of its own there meanwhile keeps it."""
    server = await serve()
    address.path.unlink()
    await serve()
    await server.stop()

    assert (await get(ApiClient(address=address), "/v1/status"))["ready"]


async def test_place_that_cannot_be_is_said(serve: Serve, tmp_path: Path) -> None:
    """A folder that is a file, a port that is taken: one sentence with the address."""
    (tmp_path / "file").touch()
    with pytest.raises(ApiListenError, match=r"api unix:.*file/api\.sock: "):
        await serve(address=UnixAddress(tmp_path / "file" / "api.sock"))
    server = await serve(address=parse_api_address("127.0.0.1:0"))

    with pytest.raises(ApiListenError, match="Address already in use"):
        await serve(address=parse_api_address(f"127.0.0.1:{server.port}"))


async def test_tcp_asks_for_the_token(serve: Serve) -> None:
    """With a token nothing but the two probes is answered without it, or with another."""
    server = await serve(address=parse_api_address("127.0.0.1:0"), token=SHOWN)
    address = parse_api_address(f"127.0.0.1:{server.port}")
    assert isinstance(address, TcpAddress)
    wrong = [
        await raw(address, f"GET /v1/status HTTP/1.0\n{header}\n\n")
        for header in ("Host: x", "Authorization: Bearer secre", "Authorization: Basic secret", "Authorization: Bearer")
    ]
    right = await raw(address, f"GET /v1/status HTTP/1.0\nAuthorization: Bearer {SHOWN}\n\n")
    probe = await raw(address, "GET /readyz HTTP/1.0\n\n")

    assert [answer.split(b" ", 2)[1] for answer in wrong] == [b"401"] * 4
    assert [answer.split(b" ", 2)[1] for answer in (right, probe)] == [b"200", b"200"]
    with pytest.raises(ApiClientError, match="the token was refused"):
        await get(ApiClient(address=address, token=SHOWN[1:]), "/v1/status")


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1:{}", b"200"), ("localhost:{}", b"200"), ("evil.example.net:{}", b"401"), ("192.0.2.1", b"401")]
)
async def test_page_in_a_browser_cannot_ask(serve: Serve, host: str, status: bytes) -> None:
    """Without a token, a request for any other host's name is refused: a page that rebinds its name to loopback gets nothing."""
    server = await serve(address=parse_api_address("127.0.0.1:0"))
    address = parse_api_address(f"127.0.0.1:{server.port}")
    assert isinstance(address, TcpAddress)

    answer = await raw(address, f"GET /v1/status HTTP/1.0\nHost: {host.format(server.port)}\n\n")
    assert answer.split(b" ", 2)[1] == status


async def test_client_over_tcp(serve: Serve) -> None:
    """The command line's client speaks TCP as well, IPv6 too."""
    server = await serve(address=parse_api_address("[::1]:0"))
    address = parse_api_address(f"[::1]:{server.port}")

    assert (await get(ApiClient(address=address), "/v1/status"))["ready"]
