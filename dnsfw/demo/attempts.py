"""One attempt to reach somebody, and what became of it.

Touches sockets that it opens itself. Errors are results here: how a firewall refuses is what is asked for.
"""

import errno
import socket
import struct

from dnsfw.clock import SystemClock
from dnsfw.demo.results import Outcome

_ABRUPT = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: an RST, and no port that waits for two minutes
_MSG_ERRQUEUE = 0x2000
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_REFUSED = (errno.ECONNREFUSED, errno.ECONNRESET)

now = SystemClock().now


def tcp(address: str, port: int, timeout: float, payload: bytes, *, is_abrupt: bool = False) -> Outcome:
    """Connect; with a payload, also wait for its echo."""
    started = now()
    try:
        with socket.socket(_family(address)) as connection:
            connection.settimeout(timeout)
            if is_abrupt:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPT)
            connection.connect((address, port))
            if payload:
                connection.sendall(payload)
                connection.recv(65535)
    except OSError as error:
        return _failed(error, started)
    return Outcome(what="connected", ms=_since(started))


def udp(address: str, port: int, timeout: float, payload: bytes) -> Outcome:
    """Send and wait for the echo."""
    started = now()
    with socket.socket(_family(address), socket.SOCK_DGRAM) as connection:
        connection.setsockopt(*_RECVERR[_family(address)], 1)
        connection.settimeout(timeout)
        try:
            connection.connect((address, port))
            connection.send(payload or b"echo")
            connection.recv(65535)
        except OSError as error:
            return _failed(error, started, _icmp(connection))
    return Outcome(what="connected", ms=_since(started))


def ping(packet: bytes, address: str, timeout: float) -> Outcome:
    """Send an echo request and wait for the reply with its identifier."""
    is_ipv6 = packet[0] >> 4 == 6
    header, protocol, reply_type = (40, socket.IPPROTO_ICMPV6, 129) if is_ipv6 else (20, socket.IPPROTO_ICMP, 0)
    started = now()
    with socket.socket(_family(address), socket.SOCK_RAW, protocol) as raw:
        raw.setsockopt(*_RECVERR[_family(address)], 1)
        raw.settimeout(timeout)
        try:
            raw.sendto(packet[header:], (address, 0))
            while not _is_reply(raw.recv(65535)[0 if is_ipv6 else 20 :], packet[header:], reply_type):
                if now() - started > timeout:
                    return Outcome(what="timeout", ms=_since(started))
        except OSError as error:
            return _failed(error, started, _icmp(raw))
    return Outcome(what="connected", ms=_since(started))


def echo_tcp(port: int) -> None:
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(65535))


def echo_udp(port: int) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        while True:
            data, peer = server.recvfrom(65535)
            server.sendto(data, peer)


def errno_name(error: OSError) -> str:
    return "TIMEOUT" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno or 0, type(error).__name__)


def _failed(error: OSError, started: float, icmp: str = "") -> Outcome:
    detail = " ".join(filter(None, (errno_name(error), icmp)))
    if isinstance(error, TimeoutError):
        return Outcome(what="timeout", ms=_since(started), detail=detail)
    return Outcome(what="refused" if error.errno in _REFUSED else "unreachable", ms=_since(started), detail=detail)


def _icmp(connection: socket.socket) -> str:
    """Type and code of the ICMP error that came, from struct sock_extended_err (linux/errqueue.h)."""
    try:
        _, control, _, _ = connection.recvmsg(1, 512, _MSG_ERRQUEUE)
    except OSError:
        return ""
    for _, _, data in control:
        origin, kind, code = data[4:7]
        if origin in (2, 3):
            return f"icmp{'6' if origin == 3 else ''} {kind}/{code}"
    return ""


def _is_reply(message: bytes, request: bytes, reply_type: int) -> bool:
    return message[0] == reply_type and message[4:8] == request[4:8]


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _since(started: float) -> float:
    return (now() - started) * 1000
