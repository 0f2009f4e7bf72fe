"""Netlink messages and attributes, as bytes.

Pure. The decoder trusts no length: what is malformed raises CodecError, and the work is linear in the bytes given.
Always true: attributes(attribute(t, v)) == {t: v}, and messages(message(…)) yields what was put in.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from nft.errors import KernelUnreachableError

ERROR: Final = 2
DONE: Final = 3
REQUEST: Final = 0x1
MULTI: Final = 0x2
ACK: Final = 0x4
DUMP_INTR: Final = 0x10
DUMP: Final = 0x300
CREATE: Final = 0x400
EXCL: Final = 0x200
NONREC: Final = 0x100
CAPPED: Final = 0x100
ACK_TLVS: Final = 0x200

NFTABLES: Final = 10  # NFNL_SUBSYS_NFTABLES, the high byte of a message's type
BATCH_BEGIN: Final = 0x10
BATCH_END: Final = 0x11
NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

FAMILIES: Final = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}

_HEADER: Final = struct.Struct("=IHHII")
_GENERAL: Final = struct.Struct("=IHHIIBBBB")
_ACKNOWLEDGEMENT: Final = struct.Struct("=IHHIIi")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")
_BE32, _BE64, _NATIVE32 = struct.Struct(">I"), struct.Struct(">Q"), struct.Struct("=I")
_MARK: Final = struct.Struct("=8sI8s")
HEADER_SIZE: Final = 16
GENERAL_SIZE: Final = 20
_BEGIN, _END = (_GENERAL.pack(GENERAL_SIZE, kind, REQUEST, 0, 0, 0, 0, 0, 0)[:8] for kind in (BATCH_BEGIN, BATCH_END))
_MARK_TAIL: Final = bytes(7) + bytes([NFTABLES])


class CodecError(KernelUnreachableError):
    """Bytes that are no netlink message, or not the one that was asked for."""


class Message(NamedTuple):
    """One message; `payload` is all that follows the netlink header."""

    type: int
    flags: int
    seq: int
    port: int
    payload: bytes


class Refusal(NamedTuple):
    """The kernel's answer to one message. `errno` 0 is an acknowledgement; `offset` points at the guilty attribute in the message."""

    seq: int
    errno: int
    offset: int | None
    text: str


def attribute(kind: int, value: bytes) -> bytes:
    size = len(value) + 4
    if size > 0xFFFF:
        raise CodecError(f"attribute {kind}: {len(value)} bytes do not fit")
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, _BE32.pack(value))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, _BE64.pack(value))


def header(size: int, kind: int, flags: int, seq: int, family: int) -> bytes:
    """The netlink and the nfnetlink header of an nftables message whose attributes have `size` bytes."""
    return _GENERAL.pack(GENERAL_SIZE + size, NFTABLES << 8 | kind, flags, seq, 0, family, 0, 0, 0)


def message(kind: int, flags: int, seq: int, family: int, attributes: bytes = b"") -> bytes:
    return header(len(attributes), kind, flags, seq, family) + attributes


def batch_mark(kind: int, seq: int) -> bytes:
    """The first or the last message of a transaction."""
    return _MARK.pack(_BEGIN if kind == BATCH_BEGIN else _END, seq, _MARK_TAIL)


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    at, end = 0, len(datagram)
    while at < end:
        if end - at < HEADER_SIZE:
            raise CodecError(f"{end - at} bytes are no netlink header")
        size, kind, flags, seq, port = _HEADER.unpack_from(datagram, at)
        if size < HEADER_SIZE or size > end - at:
            raise CodecError(f"a message of {size} bytes in a datagram that has {end - at} left")
        yield Message(kind, flags, seq, port, datagram[at + HEADER_SIZE : at + size])
        at += -size % 4 + size


def walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in order, type and value."""
    at, end = 0, len(data)
    while at < end:
        if end - at < 4:
            raise CodecError(f"{end - at} bytes are no attribute")
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4 or size > end - at:
            raise CodecError(f"an attribute of {size} bytes where {end - at} are left")
        yield kind & _TYPE_MASK, data[at + 4 : at + size]
        at += -size % 4 + size


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes by type; the last of a type counts."""
    return dict(walk(data))


def body(found: Message) -> dict[int, bytes]:
    """The attributes of an nftables message."""
    if len(found.payload) < 4:
        raise CodecError("a message without its nfnetlink header")
    return attributes(found.payload[4:])


def read_be32(value: bytes) -> int:
    return _read(_BE32, value)


def read_be64(value: bytes) -> int:
    return _read(_BE64, value)


def read_native32(value: bytes) -> int:
    return _read(_NATIVE32, value)


def read_text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _read(form: struct.Struct, value: bytes) -> int:
    if len(value) != form.size:
        raise CodecError(f"a number of {len(value)} bytes instead of {form.size}")
    number: int = form.unpack(value)[0]
    return number


def refusal(found: Message) -> Refusal:
    """What an ERROR message says."""
    if len(found.payload) < 20:
        raise CodecError("an error message that is cut short")
    number = -_ERROR.unpack_from(found.payload)[0]
    if not found.flags & ACK_TLVS:
        return Refusal(found.seq, number, None, "")
    inner = 16 if found.flags & CAPPED else max(16, _NATIVE32.unpack_from(found.payload, 4)[0])
    notes = attributes(found.payload[4 + -inner % 4 + inner :])
    offset = read_native32(notes[2]) if 2 in notes else None
    return Refusal(found.seq, number, offset, read_text(notes.get(1, b"")))


def is_ack(datagram: bytes, seq: int) -> bool:
    """Whether it is the one message that says that number `seq` went well."""
    if len(datagram) < HEADER_SIZE + 4:
        return False
    size, kind, _, number, _, code = _ACKNOWLEDGEMENT.unpack_from(datagram)
    return bool(size == len(datagram) and kind == ERROR and number == seq and code == 0)


def dump_errno(found: Message) -> int:
    """How a dump ended: the errno in its DONE or ERROR message, 0 when all is well."""
    if len(found.payload) < 4:
        return 0
    return int(-_ERROR.unpack_from(found.payload)[0])
