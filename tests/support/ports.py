"""UDP and TCP at one port, as a DNS server has them."""

import contextlib
import socket
from collections.abc import Callable

MakeSocket = Callable[[socket.AddressFamily, socket.SocketKind], socket.socket]
ANY_PORT_TRIES = 20


def bound_pair(
    host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET, make: MakeSocket = socket.socket
) -> tuple[socket.socket, socket.socket]:
    """Bound, not listening, blocking. Where any port will do, the one that UDP gets may be some connection's: then another is tried."""
    for _ in range(0 if port else ANY_PORT_TRIES - 1):
        with contextlib.suppress(OSError):
            return _bound(host, port, family, make)
    return _bound(host, port, family, make)


def _bound(host: str, port: int, family: socket.AddressFamily, make: MakeSocket) -> tuple[socket.socket, socket.socket]:
    with contextlib.ExitStack() as stack:
        udp, tcp = (stack.enter_context(make(family, kind)) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
        udp.bind((host, port))
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((host, udp.getsockname()[1]))
        stack.pop_all()
    return udp, tcp
