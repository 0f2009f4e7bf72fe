"""Rule expressions as the kernel's own small programs (NFTA_RULE_EXPRESSIONS), for tables that libnftables cannot make for us.

Pure: values in, bytes out. Each function returns one matching or acting step; a rule is their sequence, and each step works with
register 1 alone, so any two may follow one another. Always true: what a step means is what `nft list ruleset` prints for it,
which the tests compare in a real kernel.
"""

from struct import Struct
from typing import Literal

from nft.codec import attribute, be32, nested, text
from nft.errors import NotValidError

Step = tuple[bytes, ...]
"""Expressions that belong together: load, perhaps mask, compare; or one that acts."""

Family = Literal["ip", "ip6"]
Side = Literal["saddr", "daddr"]

_NATIVE = Struct("=I")
_REGISTER = 1
_NETWORK, _TRANSPORT = 1, 2
_META_MARK, _META_NFPROTO, _META_L4PROTO = 3, 15, 16
_CT_STATE, _CT_DIRECTION = 0, 1
_EQUAL, _NOT_EQUAL = 0, 1
_VERDICTS = {"drop": 0, "accept": 1, "return": 0xFFFF_FFFB}  # NF_DROP, NF_ACCEPT, NFT_RETURN (-5)
_NFPROTO = {"ip": 2, "ip6": 10}
_ADDRESSES = {("ip", "saddr"): (12, 4), ("ip", "daddr"): (16, 4), ("ip6", "saddr"): (8, 16), ("ip6", "daddr"): (24, 16)}
_DIRECTIONS = {"original": 0, "reply": 1}
_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_TCP = 6
_TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16}


# ---- what a rule is written in


def mark_has(bits: int) -> Step:
    """meta mark & bits == bits"""
    return _meta(_META_MARK), _bitwise(_NATIVE.pack(bits)), _compare(_EQUAL, _NATIVE.pack(bits))


def family(name: Family) -> Step:
    """meta nfproto ipv4 or ipv6; must stand before the addresses of that family."""
    return _meta(_META_NFPROTO), _compare(_EQUAL, bytes([_NFPROTO[name]]))


def address_in(name: Family, side: Side, set_name: str, *, inverse: bool = False) -> Step:
    """ip saddr @set, or ip saddr != @set"""
    offset, length = _ADDRESSES[name, side]
    return _payload(_NETWORK, offset, length), _lookup(set_name, inverse=inverse)


def direction(name: Literal["original", "reply"]) -> Step:
    """ct direction: matches only packets that belong to a connection."""
    return _ct(_CT_DIRECTION), _compare(_EQUAL, bytes([_DIRECTIONS[name]]))


def state(*names: Literal["invalid", "established", "related", "new", "untracked"]) -> Step:
    """ct state a,b"""
    bits = sum(_STATES[name] for name in set(names))
    return _ct(_CT_STATE), _bitwise(_NATIVE.pack(bits)), _compare(_NOT_EQUAL, _NATIVE.pack(0))


def tcp_flags_differ(mask: tuple[str, ...], value: tuple[str, ...]) -> Step:
    """tcp flags & (mask) != value"""
    bits, wanted = (bytes([sum(_TCP_FLAGS[name] for name in set(names))]) for names in (mask, value))
    is_tcp = _meta(_META_L4PROTO), _compare(_EQUAL, bytes([_TCP]))
    return *is_tcp, _payload(_TRANSPORT, 13, 1), _bitwise(bits), _compare(_NOT_EQUAL, wanted)


def counter() -> Step:
    return (_expression("counter"),)


def verdict(kind: str) -> Step:
    """accept, drop or return"""
    if kind not in _VERDICTS:
        raise NotValidError(f"verdict {kind!r}: accept, drop or return")
    code = nested(2, be32(1, _VERDICTS[kind]))  # NFTA_DATA_VERDICT, NFTA_VERDICT_CODE
    return (_expression("immediate", be32(1, 0), nested(2, code)),)  # into the verdict register


def encode(steps: tuple[Step, ...]) -> bytes:
    """NFTA_RULE_EXPRESSIONS of the rule."""
    return nested(4, *(expression for step in steps for expression in step))


# ---- expressions


def _meta(key: int) -> bytes:
    return _expression("meta", be32(2, key), be32(1, _REGISTER))


def _ct(key: int) -> bytes:
    return _expression("ct", be32(2, key), be32(1, _REGISTER))


def _payload(base: int, offset: int, length: int) -> bytes:
    return _expression("payload", be32(1, _REGISTER), be32(2, base), be32(3, offset), be32(4, length))


def _bitwise(mask: bytes) -> bytes:
    """register 1 & mask; the kernel also wants what to XOR with: nothing."""
    value, none = nested(4, attribute(1, mask)), nested(5, attribute(1, bytes(len(mask))))
    return _expression("bitwise", be32(1, _REGISTER), be32(2, _REGISTER), be32(3, len(mask)), value, none)


def _compare(operation: int, value: bytes) -> bytes:
    return _expression("cmp", be32(1, _REGISTER), be32(2, operation), nested(3, attribute(1, value)))


def _lookup(set_name: str, *, inverse: bool) -> bytes:
    flags = (be32(5, 1),) if inverse else ()
    return _expression("lookup", text(1, set_name), be32(2, _REGISTER), *flags)


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *attributes))
