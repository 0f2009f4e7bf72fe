"""A DNS client as small as one can be: builds a question, sends it, reads what came.

Touches sockets that it opens itself. `first_address` is the quick reading for loops of many thousands; `reading.read` the whole one.
"""

import os
import socket

_CLASS_IN = b"\x00\x01"
_OPT_1232 = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
_TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "SVCB": 64, "HTTPS": 65, "ANY": 255}


def query(name: str, qtype: str, *, has_edns: bool) -> bytes:
    """With a random id, and recursion desired."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.rstrip(".").split(".") if label)
    kind = _TYPES[qtype] if qtype in _TYPES else int(qtype.removeprefix("TYPE"))
    counts = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00" + (b"\x01" if has_edns else b"\x00")
    return os.urandom(2) + counts + labels + b"\x00" + kind.to_bytes(2) + _CLASS_IN + (_OPT_1232 if has_edns else b"")


def exchange(message: bytes, server: str, port: int, *, is_tcp: bool, timeout: float) -> bytes:
    """TimeoutError where nothing came back; OSError where the kernel or the network refused."""
    if is_tcp:
        with socket.create_connection((server, port), timeout) as connection:
            connection.sendall(len(message).to_bytes(2) + message)
            size = int.from_bytes(_exactly(connection, 2))
            return _exactly(connection, size)
    with open_udp(server, port, timeout) as connection:
        connection.send(message)
        while (reply := connection.recv(65535))[:2] != message[:2]:
            continue
        return reply


def open_udp(server: str, port: int, timeout: float) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    opened.settimeout(timeout)
    opened.connect((server, port))
    return opened


def ask(resolver: socket.socket, message: bytes) -> bytes | None:
    """Over a connected UDP socket; answers of earlier, given up questions are passed over."""
    try:
        resolver.send(message)
        while (reply := resolver.recv(65535))[:2] != message[:2]:
            continue
    except OSError:
        return None
    return reply


def first_address(reply: bytes) -> str | None:
    """The first A or AAAA record of the answer section."""
    at = _skip_name(reply, 12) + 4
    for _ in range(int.from_bytes(reply[6:8])):
        at = _skip_name(reply, at)
        kind, size = int.from_bytes(reply[at : at + 2]), int.from_bytes(reply[at + 8 : at + 10])
        if kind in (1, 28):
            return socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, reply[at + 10 : at + 10 + size])
        at += 10 + size
    return None


def _skip_name(message: bytes, at: int) -> int:
    while length := message[at]:
        if length >= 0xC0:
            return at + 2
        at += length + 1
    return at + 1


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the server closed in the middle of an answer")
        data += part
    return data
