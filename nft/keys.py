"""Keys of sets: from text to the kernel's bytes and back, type by type.

Pure. What comes from outside is parsed here and printed anew, so no text of a stranger ever reaches nft.
Always true: parse_member(types, format_member(types, low, high)) == (low, high).
"""

import ipaddress
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple

from nft.errors import NotValidError

_INTERFACE = re.compile(r"[A-Za-z0-9_.\-]{1,15}")
_PATTERN = re.compile(r"[A-Za-z0-9_.\-]{1,14}\*")

_GAPS = (b"", b"\0\0\0", b"\0\0", b"\0")

Order = Literal["big", "little"]
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Span = tuple[bytes, bytes]
"""The first and the last key of an interval; the same twice for one key."""


class KeyType(NamedTuple):
    """How values of one nft type lie in a key."""

    size: int
    number: int  # libnftables' own number for the type; the kernel only keeps it
    parse: Callable[[str], Span]
    format: Callable[[bytes], str]


def _integer(size: int, order: Order, text: str) -> Span:
    low, _, high = text.partition("-")
    values = int(low.strip(), 0), int(high.strip() or low.strip(), 0)
    if values[0] > values[1]:
        raise ValueError("the range ends before it begins")
    first, last = (value.to_bytes(size, order) for value in values)
    return first, last


def _ipv4(text: str) -> Span:
    return _addresses(ipaddress.IPv4Network, ipaddress.IPv4Address, text)


def _ipv6(text: str) -> Span:
    return _addresses(ipaddress.IPv6Network, ipaddress.IPv6Address, text)


def _addresses(network: type[IPNetwork], address: type[IPAddress], text: str) -> Span:
    if "%" in text:
        raise ValueError("a key has no zone")
    low, dash, high = text.partition("-")
    if not dash:
        found = network(text.strip())
        return found.network_address.packed, found.broadcast_address.packed
    first, last = address(low.strip()), address(high.strip())
    if int(first) > int(last):
        raise ValueError("the range ends before it begins")
    return first.packed, last.packed


def _interface(text: str) -> Span:
    name = text.strip().strip('"')
    if _INTERFACE.fullmatch(name):
        return name.encode().ljust(16, b"\0"), name.encode().ljust(16, b"\0")
    if _PATTERN.fullmatch(name):
        return name[:-1].encode().ljust(16, b"\0"), name[:-1].encode().ljust(16, b"\xff")
    raise ValueError("not the name of an interface")


def _hardware(text: str) -> Span:
    packed = bytes.fromhex(text.strip().replace(":", ""))
    if len(packed) != 6:
        raise ValueError("not a hardware address")
    return packed, packed


def _format_hardware(value: bytes) -> str:
    return value.hex(":")


def _format_interface(value: bytes) -> str:
    name = value.rstrip(b"\0").decode("ascii", "replace")
    if not _INTERFACE.fullmatch(name):
        raise NotValidError(f"{name!r} is not the name of an interface")
    return f'"{name}"'


def _format_integer(order: Order, form: str, value: bytes) -> str:
    return format(int.from_bytes(value, order), form)


def _format_address(value: bytes) -> str:
    return str(ipaddress.ip_address(value))


TYPES: dict[str, KeyType] = {
    "ipv4_addr": KeyType(4, 7, _ipv4, _format_address),
    "ipv6_addr": KeyType(16, 8, _ipv6, _format_address),
    "ether_addr": KeyType(6, 9, _hardware, _format_hardware),
    "inet_proto": KeyType(1, 12, partial(_integer, 1, "big"), partial(_format_integer, "big", "d")),
    "inet_service": KeyType(2, 13, partial(_integer, 2, "big"), partial(_format_integer, "big", "d")),
    "mark": KeyType(4, 19, partial(_integer, 4, sys.byteorder), partial(_format_integer, sys.byteorder, "#010x")),
    "iface_index": KeyType(4, 20, partial(_integer, 4, sys.byteorder), partial(_format_integer, sys.byteorder, "d")),
    "ifname": KeyType(16, 41, _interface, _format_interface),
}


def padded(size: int) -> int:
    return -size % 4 + size


def pack_key(*parts: bytes) -> bytes:
    """The key of a concatenation: each part padded to 4 bytes; a key of one part is left as it is."""
    if len(parts) == 1:
        return parts[0]
    return b"".join([part + _GAPS[len(part) & 3] for part in parts])


def key_length(types: tuple[str, ...]) -> int:
    if len(types) == 1:
        return TYPES[types[0]].size
    return sum(padded(TYPES[name].size) for name in types)


def unpack_key(types: tuple[str, ...], key: bytes) -> Iterator[bytes]:
    """The parts of a key, without their padding."""
    if len(key) != key_length(types):
        raise NotValidError(f"a key of {' . '.join(types)} has {key_length(types)} bytes, not {len(key)}")
    at = 0
    for name in types:
        size = TYPES[name].size
        yield key[at : at + size]
        at += padded(size)


def parse_member(types: tuple[str, ...], text: str) -> Span:
    """Parse "10.0.0.0/8", "192.0.2.1-192.0.2.9", "443", or their concatenation with " . "."""
    parts = text.split(" . ")
    if len(parts) != len(types):
        raise NotValidError(f"{text!r} is not a key of {' . '.join(types)}")
    try:
        spans = [TYPES[name].parse(part) for name, part in zip(types, parts, strict=True)]
    except (ValueError, OverflowError) as error:
        raise NotValidError(f"{text!r} is not a key of {' . '.join(types)}: {error}") from error
    return pack_key(*(low for low, _ in spans)), pack_key(*(high for _, high in spans))


def format_member(types: tuple[str, ...], low: bytes, high: bytes | None = None) -> str:
    """How nft writes the key, or the interval."""
    ends = unpack_key(types, low if high is None else high)
    return " . ".join(_format_span(name, first, last) for name, first, last in zip(types, unpack_key(types, low), ends, strict=True))


def _format_span(name: str, low: bytes, high: bytes) -> str:
    form = TYPES[name].format
    if low == high:
        return form(low)
    if name == "ifname":
        return f'"{form(low)[1:-1]}*"'
    if name in ("ipv4_addr", "ipv6_addr") and (prefix := _prefix(low, high)) is not None:
        return f"{form(low)}/{prefix}"
    return f"{form(low)}-{form(high)}"


def _prefix(low: bytes, high: bytes) -> int | None:
    first, last = int.from_bytes(low, "big"), int.from_bytes(high, "big")
    size = last - first + 1
    if size & (size - 1) or first % size:
        return None
    return len(low) * 8 - size.bit_length() + 1
