"""A kernel for tests: the real one's rules, no kernel.

Touches nothing but memory and the clock it is given. It keeps `nft.kernel.Kernel`'s contract (one suite runs against both) and
can be told to fail: the next commit or apply refused, an apply held, a foreign hand at work.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from nft.changes import MIN_TIMEOUT_MS, Add, Change, Discard
from nft.elements import SetCoder
from nft.errors import NftError, NotFoundError
from nft.fakestate import FakeTable, Stored, Tables, insert, perform
from nft.objects import Element, Features, Set, Structure, Table
from nft.owned import OwnedTable
from nft.transaction import Transaction

_COLLECTED_AFTER_S = 1.0  # the kernel's collector comes by once a second (nft_set_gc_interval)
_Undo = tuple[dict[bytes, Stored], bytes, Stored | None]


class FakeKernel:
    """nftables in memory."""

    def __init__(self, clock: Callable[[], float], features: Features | None = None) -> None:
        self.features = features or Features(renews_by_add=True, has_destroy=True, has_owner=True, version="fake")
        self.commits: list[tuple[Change, ...]] = []
        self.applied: list[str] = []
        self.hold: asyncio.Event | None = None
        """While set to an event, `apply` waits for it: libnftables at its slowest."""
        self.on_commit: Callable[[], None] | None = None
        """Called within each commit: a stall is a test moving its clock here."""
        self._clock = clock
        self._tables: Tables = {}
        self._listeners: list[Callable[[], None]] = []
        self._next_commit: list[Exception] = []
        self._next_apply: list[Exception] = []

    # What a test does to it

    def fail_commit(self, error: Exception) -> None:
        """The next commit raises this, and nothing of it happens."""
        self._next_commit.append(error)

    def fail_apply(self, error: Exception) -> None:
        """The next apply raises this, and nothing of it happens."""
        self._next_apply.append(error)

    def foreign(self, transaction: Transaction) -> None:
        """Someone else changes the structure."""
        self._perform(transaction)
        self._notify()

    def flush_ruleset(self) -> None:
        """Someone else runs `nft flush ruleset`."""
        self._tables.clear()
        self._notify()

    # What it is for

    async def apply(self, transaction: Transaction) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self._next_apply:
            raise self._next_apply.pop(0)
        self._perform(transaction)
        self.applied.append(str(transaction))

    async def read_structure(self, table: Table) -> Structure | None:
        inside = self._tables.get(table)
        return None if inside is None else inside.structure(table)

    def fingerprint(self, table: Table) -> int | None:
        inside = self._tables.get(table)
        return None if inside is None else inside.fingerprint()

    def commit(self, changes: Sequence[Change]) -> None:
        if self.on_commit is not None:
            self.on_commit()
        if self._next_commit:
            raise self._next_commit.pop(0)
        now = self._clock()
        undo: list[_Undo] = []
        for index, change in enumerate(changes):
            try:
                self._change(change, now, undo)
            except NftError as error:
                _undo(undo)
                error.index = index
                raise
        self.commits.append(tuple(changes))

    def read_elements(self, of: Set) -> list[Element]:
        inside = self._inside(of)
        now = self._clock()
        return [_element(of, key, stored, now) for key, stored in inside.elements[of.name].items() if stored.is_live(now)]

    def has_element(self, of: Set, key: bytes) -> bool:
        stored = self._inside(of).elements[of.name].get(key)
        return stored is not None and stored.is_live(self._clock())

    def create_owned(self, owned: OwnedTable) -> None:
        made = Transaction().create(owned.table)
        for of in owned.sets:
            made.add(of)
        self._perform(made)

    async def fetch_elements(self, of: Set) -> list[Element]:
        return self.read_elements(of)

    async def iter_elements(self, of: Set) -> AsyncIterator[list[Element]]:
        yield await self.fetch_elements(of)

    def on_foreign_change(self, call: Callable[[], None]) -> None:
        self._listeners.append(call)

    async def close(self) -> None:
        self._listeners.clear()

    # How

    def _perform(self, transaction: Transaction) -> None:
        now = self._clock()
        copy = {table: inside.copy() for table, inside in self._tables.items()}
        for inside in copy.values():
            for elements in inside.elements.values():
                _collect(elements, now)
        for operation in transaction.operations:
            perform(copy, operation, now)
        self._tables = copy

    def _notify(self) -> None:
        for call in self._listeners:
            call()

    def _inside(self, of: Set) -> FakeTable:
        inside = self._tables.get(of.table)
        if inside is None or of.name not in inside.sets:
            raise NotFoundError(f"{of.kind} {of}: no such table or set")
        return inside

    def _change(self, change: Change, now: float, undo: list[_Undo]) -> None:
        of, key, key_end = change.set, change.key, change.key_end
        if isinstance(change, Discard):
            SetCoder(of).pack_key(key, key_end)
        else:
            SetCoder(of).pack(key, change.data, change.timeout_ms, key_end)
        inside = self._inside(of)
        elements = inside.elements[of.name]
        if of.size is not None and len(elements) >= of.size:
            _collect(elements, now)
        undo.append((elements, key, elements.get(key)))
        if not isinstance(change, Add):
            elements.pop(key, None)
        if isinstance(change, Discard):
            return
        timeout_ms = _timeout(of, change.timeout_ms)
        expires_at = None if timeout_ms is None else now + timeout_ms / 1000
        if of.is_interval:
            key_end = key_end or key
        insert(inside, of, key, Stored(change.data, timeout_ms, expires_at, key_end), now)


def _timeout(of: Set, timeout_ms: int | None) -> int | None:
    return of.default_timeout_ms if timeout_ms is None else max(timeout_ms, MIN_TIMEOUT_MS)


def _collect(elements: dict[bytes, Stored], now: float) -> None:
    for key in [key for key, stored in elements.items() if not stored.is_live(now - _COLLECTED_AFTER_S)]:
        del elements[key]


def _undo(done: Iterable[_Undo]) -> None:
    for elements, key, stored in reversed(list(done)):
        if stored is None:
            elements.pop(key, None)
        else:
            elements[key] = stored


def _element(of: Set, key: bytes, stored: Stored, now: float) -> Element:
    left = None if stored.expires_at is None else round((stored.expires_at - now) * 1000)
    return Element(of, key, stored.data, stored.timeout_ms, left, stored.key_end)
