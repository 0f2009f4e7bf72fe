"""What this kernel can do, found out by doing it.

Touches a table of a random name, without hooks, dormant where it is not owned, and on a socket of its own; the table is
gone when this returns, whatever happened (an owned table even goes with the socket).
"""

import errno
import os
import secrets
from contextlib import suppress

from nft import codec
from nft.batch import wrap
from nft.codec import be32, nested, text
from nft.elements import DESTROY, GET, NEW, SetCoder
from nft.errors import NftError, NotPermittedError, from_errno
from nft.listed import ELEMENTS
from nft.objects import Features, Set, Table
from nft.socket import NetlinkSocket

_NEW_TABLE, _DELETE_TABLE, _NEW_SET = 0, 2, 9
_DORMANT, _OWNER = 1, 2
_SET_FLAG_TIMEOUT = 0x10
_HOUR_MS = 3_600_000


def probe() -> Features:
    """Try it out in this network namespace; NotPermittedError where we may not."""
    socket = NetlinkSocket()
    try:
        return _Probe(socket).run()
    finally:
        socket.close()


class _Probe:
    def __init__(self, socket: NetlinkSocket) -> None:
        self._socket = socket
        self._table = Table(f"probe_{secrets.token_hex(8)}")
        self._coder = SetCoder(Set(self._table, "s", ("mark",), flags=frozenset({"timeout"})))

    def run(self) -> Features:
        has_owner = self._make_table(_OWNER | _DORMANT) or self._make_table(_OWNER)
        if not has_owner:
            self._must(self._transact(_NEW_TABLE, codec.CREATE, self._table_text() + be32(2, _DORMANT)))
        try:
            return Features(
                renews_by_add=self._renews_by_add(), has_destroy=self._has_destroy(), has_owner=has_owner, version=os.uname().release
            )
        finally:
            with suppress(NftError):
                self._transact(_DELETE_TABLE, 0, self._table_text())

    def _make_table(self, flags: int) -> bool:
        return self._transact(_NEW_TABLE, codec.CREATE, self._table_text() + be32(2, flags)) == 0

    def _renews_by_add(self) -> bool:
        form = be32(3, _SET_FLAG_TIMEOUT) + be32(4, 19) + be32(5, 4) + be32(10, 1)
        self._must(self._transact(_NEW_SET, codec.CREATE, text(1, self._table.name) + text(2, "s") + form))
        self._must(self._change(NEW, self._coder.pack(bytes(4), None, _HOUR_MS)))
        self._must(self._change(NEW, self._coder.pack(bytes(4), None, 2 * _HOUR_MS)))
        found = self._coder.read(self._socket.dump(GET, self._family, self._coder.address))
        return any((element.expires_ms or 0) > _HOUR_MS for element in found)

    def _has_destroy(self) -> bool:
        return self._change(DESTROY, self._coder.pack_key(b"none")) == 0

    def _change(self, kind: int, element: bytes) -> int:
        return self._transact(kind, codec.CREATE if kind == NEW else 0, self._coder.address + nested(ELEMENTS, element))

    def _transact(self, kind: int, flags: int, attributes: bytes) -> int:
        """The errno of a transaction of one message."""
        first = self._socket.sequence(3)
        sent = codec.message(kind, flags | codec.REQUEST | codec.ACK, first + 1, self._family, attributes)
        refusals = self._socket.transact(wrap(sent, first, first + 2), first, first + 1)
        return refusals[0].errno if refusals else 0

    def _must(self, number: int) -> None:
        if number == errno.EPERM:
            raise NotPermittedError(f"nftables of this network namespace: {os.strerror(number)}; be root, or have CAP_NET_ADMIN")
        if number:
            raise from_errno(number, "probing nftables in this network namespace")

    def _table_text(self) -> bytes:
        return text(1, self._table.name)

    @property
    def _family(self) -> int:
        return codec.FAMILIES[self._table.family]
