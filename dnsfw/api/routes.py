"""What each path of the API answers.

Always true: nothing that may be large is collected as a whole, and the loop gets a turn after every few items.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from aiohttp import web

from dnsfw.api import metrics, parameters
from dnsfw.api.sources import ApiSources, GrantsFilter
from dnsfw.api.views import GrantView, to_json
from dnsfw.audit.query import Entry, read_records
from dnsfw.audit.shown import shown
from dnsfw.errors import DnsfwError

T = TypeVar("T")

SOURCES = web.AppKey("sources", ApiSources)

_SLICE = 32  # items of some 15 µs each: half a millisecond
_AUDIT_CHUNK = 100
_WRITE_CHARACTERS = 32_768


async def status(request: web.Request) -> web.StreamResponse:
    return web.json_response(to_json(request.app[SOURCES].status()))


async def grants(request: web.Request) -> web.StreamResponse:
    try:
        wanted = parameters.grants_filter(request.query)
    except DnsfwError as error:
        return _bad(error)
    page = _Page(wanted)
    items = page.chosen(_sliced(request.app[SOURCES].grants(wanted)))
    return await _stream(request, items, lambda: {"total": page.total, "limit": wanted.limit, "offset": wanted.offset})


async def audit(request: web.Request) -> web.StreamResponse:
    sources = request.app[SOURCES]
    if sources.audit_path is None:
        return web.json_response({"error": "there is no audit database (--audit-db)"}, status=404)
    try:
        wanted = parameters.audit_filter(request.query, sources.now())
        entries = read_records(sources.audit_path, wanted)
        first = await asyncio.to_thread(_take, entries)
    except DnsfwError as error:
        return _bad(error)
    return await _stream(request, _records(first, entries), lambda: {"limit": wanted.limit})


async def metric_text(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": metrics.CONTENT_TYPE})
    await response.prepare(request)
    for metric in request.app[SOURCES].metrics():
        for text in metrics.texts_of(metric):
            await response.write(text)
            await asyncio.sleep(0)
    await response.write_eof()
    return response


async def health(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok\n")


async def readiness(request: web.Request) -> web.StreamResponse:
    is_ready = request.app[SOURCES].status().ready
    return web.Response(text="ready\n" if is_ready else "not ready\n", status=200 if is_ready else 503)


# HEAD would run the whole listing for nothing.
ROUTES = (
    web.get("/v1/status", status, allow_head=False),
    web.get("/v1/grants", grants, allow_head=False),
    web.get("/v1/audit", audit, allow_head=False),
    web.get("/metrics", metric_text, allow_head=False),
    web.get("/healthz", health),
    web.get("/readyz", readiness),
)


class _Page:
    """Picks a page out of all grants, and counts them all."""

    def __init__(self, wanted: GrantsFilter) -> None:
        self._wanted = wanted
        self.total = 0

    async def chosen(self, items: AsyncIterator[GrantView]) -> AsyncIterator[object]:
        start, limit = self._wanted.offset, self._wanted.limit
        async for grant in items:
            if not self._wanted.takes(grant):
                continue
            if self.total >= start and (limit is None or self.total < start + limit):
                yield to_json(grant)
            self.total += 1


async def _sliced(items: Iterable[T]) -> AsyncIterator[T]:
    for count, item in enumerate(items, 1):
        yield item
        if count % _SLICE == 0:
            await asyncio.sleep(0)


def _take(entries: Iterator[Entry]) -> list[Entry]:
    return list(islice(entries, _AUDIT_CHUNK))


async def _records(chunk: list[Entry], entries: Iterator[Entry]) -> AsyncIterator[object]:
    while chunk:
        async for entry in _sliced(chunk):
            yield shown(entry)
        chunk = await asyncio.to_thread(_take, entries)


async def _stream(request: web.Request, items: AsyncIterator[object], ending: Callable[[], dict[str, Any]]) -> web.StreamResponse:
    """`{"items": [...], ...ending}` as it comes; the ending is asked for when all items are through."""
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    await response.prepare(request)
    waiting, size, separator = ['{"items": ['], 0, ""
    async for item in items:
        waiting.append(separator + json.dumps(item))
        size, separator = size + len(waiting[-1]), ", "
        if size > _WRITE_CHARACTERS:
            await response.write("".join(waiting).encode())
            waiting, size = [], 0
    waiting.append("], " + json.dumps(ending())[1:])
    await response.write("".join(waiting).encode())
    await response.write_eof()
    return response


def _bad(error: DnsfwError) -> web.Response:
    return web.json_response({"error": str(error)}, status=400)
