"""A set's elements as the kernel lists them, part by part: 500 a part.

Touches a netlink socket of its own, on a thread that reads it to its end: a commit in between costs the kernel another walk through the set
(150,000 elements beside a commit every 2 to 6 ms: 111 s where the listing waited for the loop after each part, 33 like this). The elements
are made on the loop, one part at a time, since a thread that makes them keeps the interpreter's lock from the loop's system calls (commits
of up to 20 to 90 ms, 8 like this). Apart from nft.netlink, since what may be compiled has no asynchronous generators (ADR 0010).
"""

import asyncio
import threading
import zlib
from collections.abc import AsyncIterator, Callable

from nft import codec
from nft.codec import Message
from nft.elements import GET, SetCoder
from nft.objects import Element
from nft.socket import NetlinkSocket


async def parts_of(coder: SetCoder, deadline_s: float) -> AsyncIterator[list[Element]]:
    given_up = threading.Event()
    try:
        waiting = await asyncio.to_thread(_listed, coder, deadline_s, given_up.is_set)
    finally:
        given_up.set()  # whoever stops would wait for the thread
    waiting.reverse()
    while waiting:
        yield coder.read([found._replace(payload=zlib.decompress(found.payload)) for found in waiting.pop()])


def _listed(coder: SetCoder, deadline_s: float, is_given_up: Callable[[], bool]) -> list[list[Message]]:
    """Compressed, without the interpreter's lock: a million elements are 65 MB as the kernel says them, 15 like this."""
    socket = NetlinkSocket(deadline_s, is_given_up)
    try:
        parts = socket.dump_parts(GET, codec.FAMILIES[coder.of.table.family], coder.address)
        return [[found._replace(payload=zlib.compress(found.payload, 1)) for found in part] for part in parts]
    finally:
        socket.close()
