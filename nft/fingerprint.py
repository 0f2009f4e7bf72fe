"""A number that stands for a table's structure, cheap enough to be read after each foreign commit.

Reads over netlink; pure but for the socket it is given. Handles are never given out twice, so what was deleted and made again
is noticed; a replaced rule keeps its handle, so rules enter with their expressions. Elements do not enter, nor what
traffic moves (counters, quotas), nor use counts, which elements change.
"""

import hashlib

from nft import codec
from nft.codec import Message, text
from nft.objects import Table
from nft.socket import NetlinkSocket

_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_SET = 1, 4, 7, 10
# By attribute number: table name, flags, handle; chain table, handle, name, hook, policy, type, flags;
# rule table, chain, handle, comment; set table, name, flags, key type and length, data type and length, timeout, handle.
_KEPT_TABLE, _KEPT_CHAIN, _KEPT_RULE, _KEPT_SET = (1, 2, 4), (1, 2, 3, 4, 5, 7, 10), (1, 2, 3, 7), (1, 2, 3, 4, 5, 6, 7, 11, 16)
_EXPRESSIONS = 4
_MOVED_BY_TRAFFIC = frozenset({"counter", "quota", "last", "limit", "connlimit"})


def fingerprint(socket: NetlinkSocket, table: Table) -> int | None:
    family = codec.FAMILIES[table.family]
    name = text(1, table.name)
    found = socket.get(_GET_TABLE, family, name)
    if found is None:
        return None
    digest = hashlib.blake2b(digest_size=8)
    _take(digest, [found], _KEPT_TABLE, None)
    for kind, kept in ((_GET_CHAIN, _KEPT_CHAIN), (_GET_RULE, _KEPT_RULE), (_GET_SET, _KEPT_SET)):
        # Chains cannot be asked for by table: the kernel lists all of the family's, and the others' are left out here.
        _take(digest, socket.dump(kind, family, name), kept, name)
    return int.from_bytes(digest.digest(), "big")


def _take(digest: "hashlib.blake2b", found: list[Message], kept: tuple[int, ...], table: bytes | None) -> None:
    """Add what is kept of each message, but for those of another table, whose name is what they begin with."""
    for message in found:
        if table is not None and not message.payload.startswith(table, 4):
            continue
        attributes = codec.body(message)
        for kind in kept:
            _add(digest, attributes.get(kind, b""))
        if kept is _KEPT_RULE:
            _take_expressions(digest, attributes.get(_EXPRESSIONS, b""))
    _add(digest, b"end")


def _take_expressions(digest: "hashlib.blake2b", data: bytes) -> None:
    for _, listed in codec.walk(data):
        expression = codec.attributes(listed)
        name = codec.read_text(expression.get(1, b""))
        _add(digest, name.encode())
        if name not in _MOVED_BY_TRAFFIC:
            _add(digest, expression.get(2, b""))


def _add(digest: "hashlib.blake2b", value: bytes) -> None:
    digest.update(len(value).to_bytes(4, "big") + value)
