"""Changes of elements: what a raw commit is made of. All of a commit happens, or nothing.

Pure. `timeout_ms` None means the set's default, and in a set without one: until it is deleted. The kernel counts in
jiffies and takes a timeout that rounds to none for "never expires"; hence MIN_TIMEOUT_MS, to which shorter ones are raised.
"""

from typing import Final, NamedTuple

from nft.objects import Set, Verdict

MIN_TIMEOUT_MS: Final = 10  # one jiffy of the slowest clock that Linux is built with (HZ=100)


class Add(NamedTuple):
    """New; or the same data: then exactly this timeout from now. Other data: AlreadyExistsError."""

    set: Set
    key: bytes
    data: int | Verdict | None = None
    timeout_ms: int | None = None
    key_end: bytes | None = None


class Put(NamedTuple):
    """Ends as exactly this, whatever stood there."""

    set: Set
    key: bytes
    data: int | Verdict | None = None
    timeout_ms: int | None = None
    key_end: bytes | None = None


class Discard(NamedTuple):
    """Gone, whether it stood there or not."""

    set: Set
    key: bytes
    key_end: bytes | None = None


Change = Add | Put | Discard
