"""The API's HTTP server, in the loop that also answers DNS.

Touches one listening socket; reads what `ApiSources` gives and, in a thread, the audit database.
Always true: no client, however slow, keeps the loop: work is done in slices, a write waits for its own client only, and requests are
bounded in number and in time.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address

import structlog
from aiohttp import web

from dnsfw.api import routes, sockets
from dnsfw.api.settings import ApiSettings, UnixAddress
from dnsfw.api.sources import ApiSources

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_KEEPALIVE_S = 15.0
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})  # whoever probes them has no token, and learns one bit


class ApiServer:
    def __init__(self, settings: ApiSettings, sources: ApiSources) -> None:
        self._settings = settings
        self._sources = sources
        self._running = 0
        self._inode: int | None = None
        self._runner: web.AppRunner | None = None
        self.port: int | None = None

    async def start(self) -> None:
        """Answers when this returns; ApiListenError where it cannot."""
        sock = sockets.listening(self._settings.address)
        if isinstance(self._settings.address, UnixAddress):
            self._inode = self._settings.address.path.lstat().st_ino
        else:
            self.port = sock.getsockname()[1]
        application = web.Application(middlewares=[self._bounded, self._allowed], client_max_size=1024)
        application[routes.SOURCES] = self._sources
        application.add_routes(routes.ROUTES)
        self._runner = web.AppRunner(application, access_log=None, keepalive_timeout=_KEEPALIVE_S, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()

    async def stop(self) -> None:
        if isinstance(self._settings.address, UnixAddress):
            sockets.remove_own(self._settings.address.path, self._inode)
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _bounded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._running >= self._settings.requests:
            return web.json_response({"error": "too many requests at once"}, status=503)
        self._running += 1
        try:
            async with asyncio.timeout(self._settings.request_s):
                return await handler(request)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            self._running -= 1

    @web.middleware
    async def _allowed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _OPEN_PATHS or isinstance(self._settings.address, UnixAddress):
            return await handler(request)
        if self._settings.token is None:
            # A page in a browser may make its own name resolve to loopback; it cannot make the browser say another Host.
            return await handler(request) if _is_plain_host(request.host) else _refusal("name this host by its address")
        said = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")  # as aiohttp decodes them
        if hmac.compare_digest(said, f"Bearer {self._settings.token}".encode()):
            return await handler(request)
        return _refusal("a bearer token is needed")


def _refusal(why: str) -> web.Response:
    return web.json_response({"error": why}, status=401, headers={"WWW-Authenticate": "Bearer"})


def _is_plain_host(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    return False
