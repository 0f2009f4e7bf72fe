"""One end of the socket pair between main and a worker.

Touches that socket through the loop. Always true: frames are handed on in the order in which they were sent; what the other end does not
read is bounded, since whoever sends looks at `has_room` first or gives the other end up.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from dnsfw.workers.frames import FrameReader, Kind, pack

MOST_UNREAD = 8 << 20
"""Bytes: some 100,000 records or asks, seconds of the heaviest load."""


class Link(asyncio.Protocol):
    """on_end: the other end is gone; called once, and not after `abort`."""

    def __init__(self, on_frame: Callable[[Kind, bytes], None], on_end: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_end = on_end
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: uvloop's transports are none of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for kind, body in self._reader.feed(data):
            self._on_frame(kind, body)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._on_end()

    @property
    def unread(self) -> int:
        """Bytes that have not gone to the other end yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def has_room(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() < MOST_UNREAD

    def send(self, kind: Kind, body: bytes = b"") -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(kind, body))

    def close(self) -> None:
        """When all has gone out; `on_end` is called then."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
