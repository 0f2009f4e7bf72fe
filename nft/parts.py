"""A set's elements as the kernel lists them, part by part: 500 a part, each of which takes it up to 10 ms in a long set.

Touches a netlink socket of its own, which a thread waits for without the interpreter's lock; the elements are read on the loop, since a
thread that reads would keep the lock from the loop at each of its system calls. Apart from nft.netlink, since what may be compiled has no
asynchronous generators (ADR 0010).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

from nft import codec
from nft.codec import Message
from nft.elements import GET, SetCoder
from nft.objects import Element
from nft.socket import NetlinkSocket


async def parts_of(coder: SetCoder, deadline_s: float) -> AsyncIterator[list[Element]]:
    # Whoever gives up leaves the listing to the thread that waits for one part at most: its end is that of the last reference.
    listing = _listing(coder, deadline_s)
    while (part := await asyncio.to_thread(next, listing, None)) is not None:
        yield coder.read(part)


def _listing(coder: SetCoder, deadline_s: float) -> Iterator[list[Message]]:
    socket = NetlinkSocket(deadline_s)
    try:
        yield from socket.dump_parts(GET, codec.FAMILIES[coder.of.table.family], coder.address)
    finally:
        socket.close()
