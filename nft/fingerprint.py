"""A number that stands for a table's structure, cheap enough to be read after each foreign commit.

Reads over netlink; pure but for the socket it is given. Handles are never given out twice, and any replaced, flushed or
re-created thing gets a new one; elements and counters do not enter, and neither do use counts, which elements change.
"""

import hashlib

from nft import codec
from nft.codec import Message, text
from nft.objects import Table
from nft.socket import NetlinkSocket

_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_SET = 1, 4, 7, 10
# By attribute number: table name, flags, handle; chain table, handle, name, hook, policy, type, flags;
# rule table, chain, handle; set table, name, flags, key type and length, data type and length, timeout, handle.
_KEPT_TABLE, _KEPT_CHAIN, _KEPT_RULE, _KEPT_SET = (1, 2, 4), (1, 2, 3, 4, 5, 7, 10), (1, 2, 3), (1, 2, 3, 4, 5, 6, 7, 11, 16)


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
        _take(digest, socket.dump(kind, family, name), kept, name[4 : 5 + len(table.name)])
    return int.from_bytes(digest.digest(), "big")


def _take(digest: "hashlib.blake2b", found: list[Message], kept: tuple[int, ...], table: bytes | None) -> None:
    for message in found:
        attributes = codec.body(message)
        if table is None or attributes.get(1) == table:
            digest.update(b"".join(len(value).to_bytes(4, "big") + value for value in (attributes.get(kind, b"") for kind in kept)))
    digest.update(b"\xff\xff\xff\xff")
