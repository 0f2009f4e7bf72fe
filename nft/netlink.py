"""The real kernel: structure through libnftables' helper process, elements over one raw netlink socket.

Touches nftables of the network namespace it was opened in, and belongs to the loop's thread. `commit` blocks for the 2-9 µs
that the kernel takes, or as long as a foreign commit holds the kernel's lock (no deadline reaches in there).
"""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from nft import batch, codec
from nft.batch import Planner
from nft.changes import Add, Change, Discard
from nft.codec import Refusal
from nft.elements import DESTROY, GET, NEW, SetCoder
from nft.errors import NftError, from_errno
from nft.events import Watch
from nft.fingerprint import Known, fingerprint
from nft.listed import ELEMENTS
from nft.listing import parse_table
from nft.objects import Element, Features, Set, Structure, Table
from nft.owned import OwnedTable
from nft.parts import parts_of
from nft.probe import probe
from nft.socket import NetlinkSocket
from nft.structure import Libnftables
from nft.transaction import Transaction

_GET_SET: Final = 10
_MOST_CODERS: Final = 4096  # sets come and go with policies
_ATTEMPTS: Final = 5  # elements that expire between two attempts are what needs more than one


class RealKernel:
    """nftables of this network namespace. Opened by `await RealKernel.open()`."""

    def __init__(self, features: Features, deadline_s: float = 10.0) -> None:
        self.features = features
        self._deadline_s = deadline_s
        self._socket = NetlinkSocket(deadline_s)
        self._structure = Libnftables(deadline_s)
        self._coders: dict[Set, SetCoder] = {}
        self._planner = Planner(features, self._coder)
        self._can_renew, self._can_destroy = features.renews_by_add, features.has_destroy
        self._other_ports: set[int] = set()
        self._watch: Watch | None = None
        self._seen = Known()

    @classmethod
    async def open(cls, deadline_s: float = 10.0, features: Features | None = None) -> "RealKernel":
        """Find out what the kernel can do, and start the helper. `features` makes it work as on an older kernel."""
        kernel = cls(features or probe(), deadline_s)
        try:
            await kernel._structure.start()
        except BaseException:
            await kernel.close()
            raise
        return kernel

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._socket.close()
        await self._structure.close()

    async def apply(self, transaction: Transaction) -> None:
        if transaction:
            try:
                await self._structure.run(str(transaction))
            finally:
                self._tell_ports()

    async def read_structure(self, table: Table) -> Structure | None:
        # `list table` fetches all elements before it leaves them out (1.0.6: 4 s beside 100,000), `list ruleset` does not (8 ms).
        return parse_table(table, await self._structure.run(f"list ruleset {table.family}\n"))

    def fingerprint(self, table: Table) -> int | None:
        return fingerprint(self._socket, table, self._seen)

    def read_elements(self, of: Set) -> list[Element]:
        coder = self._coder(of)
        return coder.read(self._socket.dump(GET, codec.FAMILIES[of.table.family], coder.address))

    def has_element(self, of: Set, key: bytes) -> bool:
        coder = self._coder(of)
        named = codec.nested(ELEMENTS, coder.pack_key(key))
        return self._socket.get(GET, codec.FAMILIES[of.table.family], coder.address + named) is not None

    def create_owned(self, owned: OwnedTable) -> None:
        owned.create(self._socket)

    async def fetch_elements(self, of: Set) -> list[Element]:
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(_fetch, SetCoder(of), self._deadline_s, given_up.is_set)
        finally:
            given_up.set()  # whoever stops would wait for the thread, minutes beside 1,000,000 elements

    def iter_elements(self, of: Set) -> AsyncIterator[list[Element]]:
        return parts_of(SetCoder(of), self._deadline_s)

    def on_foreign_change(self, call: Callable[[], None]) -> None:
        if self._watch is None:
            self._watch = Watch(self._ports())
        self._watch.call(call)

    def own_port(self, port: int) -> None:
        """Another netlink socket of ours, whose commits are not foreign."""
        self._other_ports.add(port)
        self._tell_ports()

    @property
    def wakeups(self) -> int:
        """How often events have woken the loop."""
        return 0 if self._watch is None else self._watch.wakeups

    def commit(self, changes: Sequence[Change]) -> None:
        short_cut = self._commit_run if len(changes) > 1 else self._commit_one
        if changes and not short_cut(changes):
            self._commit_many(changes)

    def _commit_one(self, changes: Sequence[Change]) -> bool:
        """What most commits are, without the planning (it would cost 8 µs more); False: it is not one of these."""
        (change,) = changes
        coder = self._coder(change.set)
        try:
            if type(change) is Add and self._can_renew:
                kind, element = NEW, coder.pack(change.key, change.data, change.timeout_ms, change.key_end)
            elif type(change) is Discard and self._can_destroy:
                kind, element = DESTROY, coder.pack_key(change.key, change.key_end)
            else:
                return False
        except NftError as error:
            error.index = 0
            raise
        first = self._socket.sequence(3)
        refusals = self._socket.transact(coder.single(kind, element, first), first, first + 1)
        if refusals:
            raise self._error(refusals[0], None if refusals[0].seq == first else 0, change.set)
        return True

    def _commit_run(self, changes: Sequence[Change]) -> bool:
        """What most other commits are, new elements of one set: 1.3 µs less for each. False: it is none, or the kernel refuses, which is
        then found out for good by `_commit_many`; nothing of it has happened.
        """
        coder = self._coder(changes[0].set)
        elements = coder.pack_run(changes) if self._can_renew else None
        if elements is None:
            return False
        first = self._socket.sequence(3)
        return not self._socket.transact(coder.single(NEW, elements, first), first, first + 1)

    def _commit_many(self, changes: Sequence[Change]) -> None:
        missing: set[int] = set()
        is_single = False
        for _ in range(_ATTEMPTS):
            parts = self._planner.parts(changes, missing, is_single=is_single)
            if not parts:
                return
            first = self._socket.sequence(len(parts) + 2)
            refusals = self._socket.transact(batch.encode(parts, first), first, first + len(parts))
            if not refusals:
                return
            found = self._missing(parts, refusals, first)
            if found - missing:
                missing |= found
                continue
            refusal = min(refusals, key=lambda one: one.seq)
            if refusal.seq == first:
                raise from_errno(refusal.errno, "transaction")
            part = parts[refusal.seq - first - 1]
            index = part.owner(refusal)
            if index is not None:
                raise self._error(refusal, index, part.coder.of)
            is_single = True
        raise from_errno(errno.EBUSY, "transaction: what stands kept changing")

    def _missing(self, parts: list[batch.Part], refusals: list[Refusal], first: int) -> set[int]:
        """Changes whose delete found nothing; empty where something else is wrong too."""
        found: set[int] = set()
        for refusal in refusals:
            part = parts[refusal.seq - first - 1] if refusal.seq > first else None
            if part is None or not part.may_miss or refusal.errno != errno.ENOENT:
                return set()
            if not (part.names_element(refusal) or self._stands(part.coder.of)):
                return set()
            found.update(part.owners)
        return found

    def _stands(self, of: Set) -> bool:
        address = codec.text(1, of.table.name) + codec.text(2, of.name)
        return self._socket.get(_GET_SET, codec.FAMILIES[of.table.family], address) is not None

    def _error(self, refusal: Refusal, index: int | None, of: Set) -> NftError:
        note = f" ({refusal.text})" if refusal.text else ""
        return from_errno(refusal.errno, f"element of {of.kind} {of}{note}", index)

    def _coder(self, of: Set) -> SetCoder:
        coder = self._coders.get(of)
        if coder is None:
            if len(self._coders) >= _MOST_CODERS:
                self._coders.clear()
            coder = self._coders[of] = SetCoder(of)
        return coder

    def _ports(self) -> set[int]:
        return {self._socket.port, *self._structure.ports, *self._other_ports}

    def _tell_ports(self) -> None:
        if self._watch is not None:
            self._watch.own(self._ports())


def _fetch(coder: SetCoder, deadline_s: float, is_given_up: Callable[[], bool]) -> list[Element]:
    """On a thread and a socket of its own; the kernel lists without the interpreter's lock."""
    socket = NetlinkSocket(deadline_s, is_given_up)
    try:
        found = socket.dump(GET, codec.FAMILIES[coder.of.table.family], coder.address, may_be_torn=True)
    finally:
        socket.close()
    return coder.read(found)
