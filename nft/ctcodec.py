"""Connection-tracking entries <-> ctnetlink bytes (linux/netfilter/nfnetlink_conntrack.h).

Pure: bytes in, values out; opens nothing. Always true: no length or count in a message is believed before it was compared
with the bytes that are there, and an entry that does not hold both of its tuples is an error, never a flow left out in silence.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from nft import codec
from nft.codec import ACK, DUMP, REQUEST, CodecError, attribute, be32, nested

NEW, GET, DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
IPV4, IPV6 = 2, 10

_NOOP = 1
_TUPLE_ORIGINAL, _TUPLE_REPLY, _MARK, _ID, _ZONE, _MARK_MASK, _FILTER = 1, 2, 8, 12, 18, 21, 25
_IP, _PROTOCOL = 1, 2  # within a tuple
_FILTER_SOURCE = struct.pack("=I", 1)  # CTA_FILTER_F_CTA_IP_SRC, in host order

_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_GENERAL = struct.Struct("=IHHIIBxxx")  # and nfgenmsg
_MARKS = struct.Struct(">I")
_U16 = struct.Struct(">H")
_MARK_HEAD, _MASK_HEAD = (attribute(kind, bytes(4))[:4] for kind in (_MARK, _MARK_MASK))


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


# ---- out


def dump_request(sequence: int, source: bytes | None = None, mark: int | None = None, mark_mask: int = 0) -> bytes:
    """Ask for the entries whose original source is `source` and whose mark & mark_mask is `mark`.

    It may bring more, so whoever reads filters again: kernels before 5.8 do not know CTA_FILTER, and of IPv6 only the family is asked for,
    since the kernel's comparison of IPv6 addresses is inverted (ctnetlink_filter_match_tuple; seen on 6.18) and leaves out just these.
    """
    family = 0 if source is None else IPV4 if len(source) == 4 else IPV6
    body = b""
    if source is not None and family == IPV4:
        body = nested(_TUPLE_ORIGINAL, nested(_IP, attribute(1, source))) + nested(_FILTER, attribute(1, _FILTER_SOURCE))
    if mark is not None:
        body += be32(_MARK, mark) + be32(_MARK_MASK, mark_mask)
    return _message(GET, REQUEST | DUMP, sequence, family, body)


def mark_request(sequence: int, flow: Flow, mark: int, mask: int) -> bytes:
    """Make the entry's mark (old & ~mask) | (mark & mask), in the kernel and in one step: ctnetlink_change_mark."""
    marks = _MARK_HEAD + _MARKS.pack(mark & mask) + _MASK_HEAD + _MARKS.pack(mask)
    return _message(NEW, REQUEST, sequence, flow.family, _identity(flow) + marks)


def delete_request(sequence: int, flow: Flow) -> bytes:
    """Remove this very entry: the id within `identity` saves a younger one with the same addresses and ports."""
    return _message(DELETE, REQUEST, sequence, flow.family, _identity(flow))


def end_of_batch(sequence: int) -> bytes:
    """Acknowledged when all before it in the same datagram are done: a no-op, so that requests need an answer only when they fail."""
    return _HEADER.pack(codec.HEADER_SIZE, _NOOP, REQUEST | ACK, sequence, 0)


def _identity(flow: Flow) -> bytes:
    if not flow.identity:
        # A delete that names no tuple is how one asks the kernel to flush the whole table.
        raise ValueError(f"{flow}: no identity, hence no entry of the kernel's")
    return flow.identity


def _message(kind: int, flags: int, sequence: int, family: int, body: bytes) -> bytes:
    return _GENERAL.pack(codec.GENERAL_SIZE + len(body), kind, flags, sequence, 0, family) + body


# ---- in


def read_flow(payload: bytes) -> Flow:
    """The entry in a ctnetlink message, from its nfgenmsg on."""
    original = reply = None
    mark = 0
    identity = others = b""
    for kind, value in _body(payload):
        if kind == _TUPLE_ORIGINAL:
            original = _read_tuple(value)
            identity = nested(kind, value)
        elif kind == _TUPLE_REPLY:
            reply = _read_tuple(value)
        elif kind == _MARK:
            mark = codec.read_be32(value)
        elif kind in (_ID, _ZONE):
            others += attribute(kind, value)
    if original is None or reply is None:
        raise CodecError("a conntrack entry without its two tuples")
    return Flow(payload[0], *original, reply.source, reply.source_port, mark, identity + others)


def read_mark(payload: bytes) -> int:
    """The mark of such a message alone, 0 where it bears none."""
    return next((codec.read_be32(value) for kind, value in _body(payload) if kind == _MARK), 0)


def _body(payload: bytes) -> Iterator[tuple[int, bytes]]:
    if len(payload) < 4:
        raise CodecError("a conntrack message without its nfnetlink header")
    return codec.walk(payload[4:])


class _Tuple(NamedTuple):
    protocol: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int


def _read_tuple(value: bytes) -> _Tuple:
    parts = codec.attributes(value)
    source, destination = _read_addresses(parts.get(_IP, b""))
    protocol = codec.attributes(parts.get(_PROTOCOL, b""))
    return _Tuple(_octet(protocol, 1), source, destination, *_read_ports(protocol))


def _read_addresses(value: bytes) -> tuple[bytes, bytes]:
    found = codec.attributes(value)
    for source, destination, size in ((1, 2, 4), (3, 4, 16)):  # CTA_IP_V4_SRC, _DST and CTA_IP_V6_SRC, _DST
        if len(found.get(source, b"")) == len(found.get(destination, b"")) == size:
            return found[source], found[destination]
    raise CodecError("a conntrack tuple without two addresses of one family")


def _read_ports(protocol: dict[int, bytes]) -> tuple[int, int]:
    """Ports, or what ICMP and ICMPv6 have in their place: an id, a type and a code."""
    for identifier, kind, code in ((4, 5, 6), (7, 8, 9)):
        if kind in protocol:
            return _port(protocol, identifier), _octet(protocol, kind) << 8 | _octet(protocol, code)
    return _port(protocol, 2), _port(protocol, 3)


def _octet(found: dict[int, bytes], kind: int) -> int:
    value = found.get(kind, b"")
    if len(value) != 1:
        raise CodecError(f"conntrack tuple: attribute {kind} has {len(value)} bytes instead of 1")
    return value[0]


def _port(found: dict[int, bytes], kind: int) -> int:
    if kind not in found:
        return 0
    if len(found[kind]) != 2:
        raise CodecError(f"conntrack tuple: port {kind} has {len(found[kind])} bytes instead of 2")
    port: int = _U16.unpack(found[kind])[0]
    return port
