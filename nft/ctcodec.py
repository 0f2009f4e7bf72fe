"""Connection-tracking entries <-> ctnetlink bytes (linux/netfilter/nfnetlink_conntrack.h).

Pure: bytes in, values out; opens nothing. Always true: no length or count in a message is believed before it was compared
with the bytes that are there, and an entry that does not hold both of its tuples is an error, never a flow left out in silence.
"""

from collections.abc import Iterator
from struct import Struct
from struct import error as StructError  # noqa: N812  # `struct.error` is a class and reads as one here
from typing import NamedTuple

NEW, GET, DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
NOOP, ERROR, DONE = 1, 2, 3
REQUEST, ACK, DUMP, DUMP_INTERRUPTED = 0x1, 0x4, 0x300, 0x10
ICMP, ICMPV6 = 1, 58
IPV4, IPV6 = 2, 10

_TUPLE_ORIGINAL, _TUPLE_REPLY, _MARK, _ID, _ZONE, _MARK_MASK, _FILTER = 1, 2, 8, 12, 18, 21, 25
_IP, _PROTOCOL = 1, 2  # within a tuple
_NESTED = 0x8000
_FILTER_SOURCE = 1  # CTA_FILTER_F_CTA_IP_SRC

_HEADER = Struct("=IHHII")  # nlmsghdr
_ATTRIBUTE = Struct("=HH")
_HEAD = 20  # nlmsghdr and nfgenmsg
_MARK_HEADERS = (_ATTRIBUTE.pack(8, _MARK), _ATTRIBUTE.pack(8, _MARK_MASK))
_U32 = Struct(">I")
_U16 = Struct(">H")
_ERRNO = Struct("=i")


class MalformedError(ValueError):
    """Bytes that are no ctnetlink message."""


class Flow(NamedTuple):
    """One entry of the connection-tracking table, by its original direction.

    Of ICMP, `source_port` is the id and `destination_port` is type << 8 | code; protocols without ports have 0 in both.
    `remote`, `remote_port` are the reply direction's source: where the packets really go once a service's address is translated
    (`remote_port` of ICMP is its id). `identity` names the entry to the kernel again and is opaque to all others.
    """

    family: int
    protocol: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    remote: bytes
    remote_port: int
    mark: int
    identity: bytes


class Message(NamedTuple):
    """Where one netlink message lies within a datagram; `start` is behind its nlmsghdr."""

    type: int
    flags: int
    sequence: int
    start: int
    end: int


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram; MalformedError where a length does not fit."""
    position, size = 0, len(datagram)
    while position < size:
        if size - position < 16:
            raise MalformedError(f"{size - position} bytes behind the last netlink message")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, position)
        if not 16 <= length <= size - position:
            raise MalformedError(f"netlink message of {length} bytes where {size - position} are left")
        yield Message(kind, flags, sequence, position + 16, position + length)
        position += (length + 3) & ~3


def error_code(datagram: bytes, message: Message) -> int:
    """The positive errno of an ERROR or DONE message; 0 is success."""
    if message.end - message.start < 4:
        if message.type == DONE:
            return 0
        raise MalformedError("netlink error message without a code")
    code: int = _ERRNO.unpack_from(datagram, message.start)[0]
    return -code


# ---- out


def dump_request(sequence: int, source: bytes | None = None, mark: int | None = None, mark_mask: int = 0) -> bytes:
    """Ask for the entries whose original source is `source` and whose mark & mark_mask is `mark`.

    Kernels before 5.8 know no CTA_FILTER and send all: whoever reads filters again (`Filter` in nft/conntrack.py).
    """
    body = b""
    family = 0
    if source is not None:
        family = IPV4 if len(source) == 4 else IPV6
        address = _attribute(1 if family == IPV4 else 3, source)
        body += _attribute(_TUPLE_ORIGINAL | _NESTED, _attribute(_IP | _NESTED, address))
        body += _attribute(_FILTER | _NESTED, _attribute(1, Struct("=I").pack(_FILTER_SOURCE)))
    if mark is not None:
        body += _attribute(_MARK, _U32.pack(mark)) + _attribute(_MARK_MASK, _U32.pack(mark_mask))
    return _message(GET, REQUEST | DUMP, sequence, family, body)


def mark_request(sequence: int, flow: Flow, mark: int, mask: int) -> bytes:
    """Make the entry's mark (old & ~mask) | mark, in the kernel and in one step: ctnetlink_change_mark."""
    marks = _MARK_HEADERS[0] + _U32.pack(mark & mask) + _MARK_HEADERS[1] + _U32.pack(mask)
    return _message(NEW, REQUEST, sequence, flow.family, _identity(flow) + marks)


def delete_request(sequence: int, flow: Flow) -> bytes:
    """Remove this very entry: the id within `identity` saves a younger one with the same addresses and ports."""
    return _message(DELETE, REQUEST, sequence, flow.family, _identity(flow))


def end_of_batch(sequence: int) -> bytes:
    """Acknowledged when all before it in the same datagram are done: a no-op, so that requests need an answer only when they fail."""
    return _HEADER.pack(16, NOOP, REQUEST | ACK, sequence, 0)


def _identity(flow: Flow) -> bytes:
    if not flow.identity:
        # A delete that names no tuple is how one asks the kernel to flush the whole table.
        raise ValueError(f"{flow}: no identity, hence no entry of the kernel's")
    return flow.identity


def _message(kind: int, flags: int, sequence: int, family: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEAD + len(body), kind, flags, sequence, 0) + bytes((family, 0, 0, 0)) + body


def _attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


# ---- in


def read_flow(data: bytes, start: int, end: int) -> Flow:
    """The entry in the ctnetlink message whose nfgenmsg begins at `start`."""
    try:
        return _read_flow(data, start, end)
    except (StructError, IndexError) as error:  # a value shorter than its kind
        raise MalformedError(f"conntrack entry: {error}") from error


def read_mark(data: bytes, start: int, end: int) -> int:
    """Only the mark of such a message, 0 where it bears none; a third of the work of `read_flow`."""
    for kind, position, stop in _attributes(data, start + 4, end):
        if kind == _MARK:
            if stop - position != 4:
                raise MalformedError("conntrack entry: mark is not 4 bytes")
            mark: int = _U32.unpack_from(data, position)[0]
            return mark
    return 0


class _Tuple(NamedTuple):
    protocol: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int


def _read_flow(data: bytes, start: int, end: int) -> Flow:
    original = reply = None
    mark = 0
    identity = b""
    for kind, position, stop in _attributes(data, start + 4, end):
        if kind == _TUPLE_ORIGINAL:
            original = _read_tuple(data, position, stop)
            identity = data[position - 4 : stop] + identity
        elif kind == _TUPLE_REPLY:
            reply = _read_tuple(data, position, stop)
        elif kind == _MARK:
            mark = _U32.unpack(data[position:stop])[0]
        elif kind in {_ID, _ZONE}:
            identity += data[position - 4 : stop] + bytes(-(stop - position) % 4)
    if original is None or reply is None:
        raise MalformedError("conntrack entry without its tuples")
    return Flow(data[start], *original, reply.source, reply.source_port, mark, identity)


def _read_tuple(data: bytes, start: int, end: int) -> _Tuple:
    source = destination = b""
    protocol = 0
    ports: dict[int, int] = {}
    for kind, position, stop in _attributes(data, start, end):
        if kind == _IP:
            source, destination = _read_addresses(data, position, stop)
        elif kind == _PROTOCOL:
            protocol, ports = _read_protocol(data, position, stop)
    if not source:
        raise MalformedError("conntrack tuple without addresses")
    return _Tuple(protocol, source, destination, *_ports(ports))


def _read_addresses(data: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    found = {kind: data[position:stop] for kind, position, stop in _attributes(data, start, end)}
    for source, destination, size in ((1, 2, 4), (3, 4, 16)):  # CTA_IP_V4_SRC, _DST and CTA_IP_V6_SRC, _DST
        if len(found.get(source, b"")) == len(found.get(destination, b"")) == size:
            return found[source], found[destination]
    raise MalformedError("conntrack tuple does not hold two addresses of one family")


def _read_protocol(data: bytes, start: int, end: int) -> tuple[int, dict[int, int]]:
    protocol = 0
    ports: dict[int, int] = {}
    for kind, position, stop in _attributes(data, start, end):
        if kind == 1:
            protocol = data[position]
        elif kind in {5, 6, 8, 9}:  # type and code of ICMP and ICMPv6
            ports[kind] = data[position]
        else:
            ports[kind] = _U16.unpack(data[position:stop])[0]
    return protocol, ports


def _ports(found: dict[int, int]) -> tuple[int, int]:
    """Ports, or what ICMP has in their place: its id, and type << 8 | code."""
    for identifier, kind, code in ((4, 5, 6), (7, 8, 9)):
        if kind in found:
            return found.get(identifier, 0), found[kind] << 8 | found.get(code, 0)
    return found.get(2, 0), found.get(3, 0)


def _attributes(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(kind, start, end) of each attribute's payload within [position, end)."""
    while position + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        stop = position + length
        if length < 4 or stop > end:
            raise MalformedError(f"attribute of {length} bytes where {end - position} are left")
        yield kind & 0x3FFF, position + 4, stop
        position += (length + 3) & ~3
