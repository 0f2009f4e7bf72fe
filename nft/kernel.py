"""The way to the kernel, as its users see it; `nft.netlink.RealKernel` and `nft.fake.FakeKernel` keep the same contract.

Belongs to one thread, the loop's. `apply` and `read_structure` take milliseconds and are awaited; the rest takes microseconds and is not.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from nft.changes import Change
from nft.objects import Element, Features, Set, Structure, Table
from nft.owned import OwnedTable
from nft.transaction import Transaction


class Kernel(Protocol):
    """One network namespace's nftables."""

    @property
    def features(self) -> Features: ...

    async def apply(self, transaction: Transaction) -> None:
        """Make a change of structure, whole or not at all."""

    async def read_structure(self, table: Table) -> Structure | None:
        """What stands, elements left out; None if there is no such table."""

    def fingerprint(self, table: Table) -> int | None:
        """A number that changes when anyone changes the table's structure, and not with elements; None if there is no such table."""

    def commit(self, changes: Sequence[Change]) -> None:
        """Change elements, all or none; on return the kernel has acknowledged. The error's index names the culprit."""

    def read_elements(self, of: Set) -> list[Element]:
        """What stands in a set, expired elements left out."""

    def has_element(self, of: Set, key: bytes) -> bool:
        """Whether it stands there now, not expired."""

    def create_owned(self, owned: OwnedTable) -> None:
        """Make a table that lives as long as this kernel's socket and that nobody else can change; `commit` changes its elements."""

    async def fetch_elements(self, of: Set) -> list[Element]:
        """The same without holding up the loop: a sample, since elements that change meanwhile may be missing, twice or as they were.

        For large sets: the kernel begins anew for each 32 KiB it lists, so 200,000 elements take it 16 times as long as 50,000.
        """

    def iter_elements(self, of: Set) -> AsyncIterator[list[Element]]:
        """The same part by part, made when they are asked for: a million elements at once are 500 MB."""

    def on_foreign_change(self, call: Callable[[], None]) -> None:
        """Have `call` called on the loop after a commit that was not ours, or when such events may have been lost."""

    async def close(self) -> None: ...
