"""A number that stands for a table's structure, cheap enough to be read after each foreign commit.

Reads over netlink; pure but for the socket it is given. Handles are never given out twice, so what was deleted and made again
is noticed; a replaced rule keeps its handle, so rules enter with their expressions. Elements do not enter, nor what
traffic moves (counters, quotas), nor use counts, which elements change.
"""

import hashlib
from collections.abc import Iterator

from nft import codec
from nft.codec import text
from nft.objects import Table
from nft.socket import NetlinkSocket

_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_SET = 1, 4, 7, 10
# By attribute number: table name, flags, handle; chain table, handle, name, hook, policy, type, flags;
# rule table, chain, handle, comment; set table, name, flags, key type and length, data type and length, timeout, handle.
_KEPT_TABLE, _KEPT_CHAIN, _KEPT_RULE, _KEPT_SET = (1, 2, 4), (1, 2, 3, 4, 5, 7, 10), (1, 2, 3, 7), (1, 2, 3, 4, 5, 6, 7, 11, 16)
_EXPRESSIONS = 4
_MOVED_BY_TRAFFIC = frozenset({"counter", "quota", "last", "limit", "connlimit"})


Known = dict[tuple[int, bytes], bytes]
"""What each message of the last look came to: most are the same in the next, and to take one apart costs 15 µs (some 10,000 rules)."""


def fingerprint(socket: NetlinkSocket, table: Table, known: Known | None = None) -> int | None:
    """`known` is what the last look has left there, and is left what this one has seen."""
    family = codec.FAMILIES[table.family]
    name = text(1, table.name)
    found = socket.get(_GET_TABLE, family, name)
    if found is None:
        return None
    digest = hashlib.blake2b(_kept(found.payload[4:], _KEPT_TABLE), digest_size=8)
    before, seen = known or {}, Known()
    for kind, kept in ((_GET_CHAIN, _KEPT_CHAIN), (_GET_RULE, _KEPT_RULE), (_GET_SET, _KEPT_SET)):
        # Chains cannot be asked for by table: the kernel lists all of the family's, and the others' are left out here.
        for message in socket.dump(kind, family, name):
            key = kind, message.payload[4:]  # the header before it counts everybody's commits
            if key[1].startswith(name):  # the name of its table is what each begins with
                seen[key] = before.get(key) or _kept(key[1], kept)
                digest.update(seen[key])
        digest.update(_sized(b"end"))
    if known is not None:
        known.clear()
        known.update(seen)
    return int.from_bytes(digest.digest(), "big")


def _kept(data: bytes, kept: tuple[int, ...]) -> bytes:
    attributes = codec.attributes(data)
    parts = [_sized(attributes.get(kind, b"")) for kind in kept]
    if kept is _KEPT_RULE:
        parts += _expressions(attributes.get(_EXPRESSIONS, b""))
    return b"".join(parts)


def _expressions(data: bytes) -> Iterator[bytes]:
    for _, listed in codec.walk(data):
        expression = codec.attributes(listed)
        name = codec.read_text(expression.get(1, b""))
        yield _sized(name.encode())
        if name not in _MOVED_BY_TRAFFIC:
            yield _sized(expression.get(2, b""))


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value
