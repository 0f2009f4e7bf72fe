"""Where this namespace sends packets for an address, and which addresses are its own; over raw rtnetlink.

Touches one short-lived socket a call; a call takes 30 µs (60 for all addresses of a few interfaces), and no answer is waited for
longer than `timeout_s`. Any thread may call. Always true: what the kernel says of no interface is None, what it does not say is RouteError.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

from nft import codec
from nft.codec import CodecError, Message
from nft.errors import NftError

_NEW_ADDRESS, _GET_ADDRESS, _NEW_ROUTE, _GET_ROUTE = 20, 22, 24, 26
_DESTINATION, _OUTPUT = 1, 4  # RTA_DST, RTA_OIF
_ADDRESS, _LOCAL = 1, 2  # IFA_ADDRESS, IFA_LOCAL
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg
_ADDRESS_SIZE = 8  # ifaddrmsg
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})  # nothing; unreachable, prohibit, blackhole
_SEQUENCE = 1  # each socket asks once
_ATTEMPTS = 5


class RouteError(NftError):
    """The kernel did not say, or not in time."""


def output_interface(address: bytes, timeout_s: float = 1.0) -> str | None:
    """The interface by which packets to the packed `address` leave; None where there is no route. Of our own addresses it is lo."""
    if len(address) not in {4, 16}:
        raise ValueError(f"{address!r} is no packed address")
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, 0) + codec.attribute(_DESTINATION, address)
    for answer in _ask(_GET_ROUTE, codec.REQUEST, body, timeout_s):
        if answer.type == _NEW_ROUTE:
            return _interface(answer)
        if (number := _errno(answer)) in _NO_ROUTE:
            return None
        raise RouteError(f"route to {address.hex()}: {os.strerror(number)}")
    raise RouteError(f"route to {address.hex()}: no answer")


def local_addresses(timeout_s: float = 1.0) -> frozenset[bytes]:
    """All addresses of this namespace's interfaces, packed."""
    for _ in range(_ATTEMPTS):
        if (found := _dump_addresses(timeout_s)) is not None:
            return found
    raise RouteError(f"local addresses: they changed under each of {_ATTEMPTS} attempts; try again")


def _dump_addresses(timeout_s: float) -> frozenset[bytes] | None:
    """None where they changed meanwhile."""
    found: set[bytes] = set()
    is_whole = True
    for answer in _ask(_GET_ADDRESS, codec.REQUEST | codec.DUMP, bytes(_ADDRESS_SIZE), timeout_s):
        is_whole = is_whole and not answer.flags & codec.DUMP_INTR
        if answer.type == _NEW_ADDRESS:
            attributes = _attributes(answer, _ADDRESS_SIZE)
            # Of a point-to-point link IFA_ADDRESS is the far end's; IPv6 has no IFA_LOCAL where there is no far end.
            found.add(attributes.get(_LOCAL) or attributes.get(_ADDRESS, b""))
        elif number := _errno(answer):
            raise RouteError(f"local addresses: {os.strerror(number)}")
        else:
            break
    return frozenset(found - {b""}) if is_whole else None


def _interface(answer: Message) -> str | None:
    index = _attributes(answer, _ROUTE.size).get(_OUTPUT)
    if index is None:
        return None
    try:
        return socket.if_indextoname(codec.read_native32(index))
    except OSError:  # it has gone meanwhile
        return None


def _attributes(answer: Message, skipped: int) -> dict[int, bytes]:
    try:
        return codec.attributes(answer.payload[skipped:])
    except CodecError as error:
        raise RouteError(f"rtnetlink: {error}") from error


def _errno(answer: Message) -> int:
    """0 at the end of a dump, or where there is no error."""
    if answer.type == codec.DONE:
        return 0
    return codec.refusal(answer).errno if answer.type == codec.ERROR else 0


def _ask(kind: int, flags: int, body: bytes, timeout_s: float) -> Iterator[Message]:
    request = _HEADER.pack(_HEADER.size + len(body), kind, flags, _SEQUENCE, 0) + body
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as link:
            link.settimeout(timeout_s)
            link.bind((0, 0))
            link.send(request)
            while True:
                yield from (answer for answer in codec.messages(link.recv(65536)) if answer.seq == _SEQUENCE)
    except (OSError, CodecError) as error:
        raise RouteError(f"rtnetlink: {error}") from error
