"""The sockets at which pods knock, bound before anybody listens: one pair for each address, or for several workers one pair each.

Touches sockets. Always true: where several share an address, the kernel gives each source always to the same of them, by the last four
bytes of its address, for as long as every socket of the group is open somewhere: whoever binds them keeps them, so that a worker's
successor finds its place, and what has come meanwhile.
"""

import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from dnsfw.errors import DnsfwError
from dnsfw.forwarder.settings import Endpoint

RECEIVE_BUFFER_BYTES = 4 << 20  # 5,000 queries: what comes in while the loop is busy for a tenth of a second
SEND_BUFFER_BYTES = 64 << 10  # of a TCP connection; the kernel would take up to 4 MB for one that never reads
BACKLOG = 512
ANY_PORT_TRIES = 20
SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>; past net.core.rmem_max, which CAP_NET_ADMIN may
SO_ATTACH_REUSEPORT_CBPF = 51  # <asm-generic/socket.h>, Linux 4.5

# <linux/bpf_common.h> and <linux/filter.h>
_LOAD_WORD, _MODULO, _RETURN_A = 0x20, 0x94, 0x16  # BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_MOD|BPF_K, BPF_RET|BPF_A
_NETWORK_HEADER = -0x100000  # SKF_NET_OFF
_SOURCE4, _SOURCE6 = 12, 20  # the last four bytes of the source address, from there


class ListenError(DnsfwError):
    """An address at which we cannot listen."""


class Door(NamedTuple):
    """endpoint: where it is (the port that was asked for may have been 0)."""

    endpoint: Endpoint
    udp: socket.socket
    tcp: socket.socket


def open_door(endpoint: Endpoint) -> Door:
    """For one process alone. Where any port will do (0), the one that UDP gets may be some TCP connection's: then another is tried."""
    for _ in range(0 if endpoint.port else ANY_PORT_TRIES - 1):
        with contextlib.suppress(ListenError):
            return _opened(endpoint)
    return _opened(endpoint)


def _opened(endpoint: Endpoint) -> Door:
    with ExitStack() as stack:
        udp = stack.enter_context(bind(endpoint, socket.SOCK_DGRAM))
        _widen(udp)
        bound = Endpoint(endpoint.address, udp.getsockname()[1])
        door = Door(bound, udp, stack.enter_context(bind(bound, socket.SOCK_STREAM)))
        stack.pop_all()
    return door


def open_doors(endpoint: Endpoint, count: int) -> tuple[Door, ...]:
    """One door for each of `count` workers, all at one address. Their TCP sockets listen already: the order makes the worker's number."""
    # Whoever else listens there shows only to a socket that will not share; and it finds the port where that is 0.
    alone = open_door(endpoint)
    alone.udp.close()
    alone.tcp.close()
    with ExitStack() as stack:
        udp = [stack.enter_context(bind(alone.endpoint, socket.SOCK_DGRAM, is_shared=True)) for _ in range(count)]
        tcp = [stack.enter_context(bind(alone.endpoint, socket.SOCK_STREAM, is_shared=True)) for _ in range(count)]
        for each in udp:
            _widen(each)
        for each in tcp:
            each.listen(BACKLOG)
        for group in (udp, tcp):
            _divide_by_source(group)
        stack.pop_all()
    return tuple(Door(alone.endpoint, *pair) for pair in zip(udp, tcp, strict=True))


def bind(endpoint: Endpoint, kind: socket.SocketKind, *, is_shared: bool = False) -> socket.socket:
    """A bound socket. IPv6 alone where the address is IPv6: a mapped source would be no pod's."""
    family = socket.AF_INET if endpoint.address.version == 4 else socket.AF_INET6
    bound = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((str(endpoint.address), endpoint.port))
    except OSError as error:
        bound.close()
        word = "tcp" if kind == socket.SOCK_STREAM else "udp"
        raise ListenError(f"cannot listen on {endpoint} ({word}): {(error.strerror or str(error)).lower()}{_advice(error)}") from error
    return bound


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRNOTAVAIL:
            return "; give the node that address first, such as `ip address add … dev lo`, or name another with --listen"
        case errno.EADDRINUSE:
            return "; another program listens there: stop it, or name another address with --listen"
        case errno.EACCES | errno.EPERM:
            return "; be root, or have CAP_NET_BIND_SERVICE"
    return ""


def try_endpoints(endpoints: Iterable[Endpoint]) -> None:
    """Whether one could listen there now; ListenError for the first where not."""
    for endpoint in endpoints:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            bind(endpoint, kind).close()


def _widen(bound: socket.socket) -> None:
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    with contextlib.suppress(PermissionError):
        bound.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)


def _divide_by_source(group: Sequence[socket.socket]) -> None:
    """The program belongs to the group, whichever of its sockets it is given to; its answer is the place in the group."""
    first = group[0]
    source = _SOURCE4 if first.family == socket.AF_INET else _SOURCE6
    steps = ((_LOAD_WORD, _NETWORK_HEADER + source), (_MODULO, len(group)), (_RETURN_A, 0))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", step, 0, 0, value & 0xFFFFFFFF) for step, value in steps))
    # struct sock_fprog: how many instructions, and where they are.
    first.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", len(steps), ctypes.addressof(code)))
