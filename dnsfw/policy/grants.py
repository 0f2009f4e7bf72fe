"""What the forwarder may ask of whoever keeps the grants: one question, asked before every answer with addresses.

Lies in policy so that forwarder and enforce need not know each other; the agent wires the two.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from dnsfw.clock import Instant
from dnsfw.names import Name
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Subject


class Granted:
    """The kernel has acknowledged every permission that was asked for.

    until: when the first of them ends (infinite where none was needed).
    ttl: the most that may be answered, in seconds: min over the leases of clamp(ttl).
    grants: permissions (kernel elements) that this answer rests on.
    A class, not a named tuple: ADR 0010.
    """

    __slots__ = ("grants", "ttl", "until")

    def __init__(self, until: Instant, ttl: int, grants: int) -> None:
        self.until = until
        self.ttl = ttl
        self.grants = grants

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Granted) and (self.until, self.ttl, self.grants) == (other.until, other.ttl, other.grants)

    def __repr__(self) -> str:
        return f"Granted(until={self.until!r}, ttl={self.ttl!r}, grants={self.grants!r})"


class NotGranted(NamedTuple):
    """The answer must not leave. RULES_CHANGED: decide again under the newest snapshot; else SERVFAIL."""

    reason: Reason
    detail: str = ""


GrantOutcome = Granted | NotGranted
Told = Callable[[GrantOutcome], None]


class Grants(Protocol):
    """The one owner of the ledger, as others see it."""

    def request(self, subject: Subject, name: Name, addresses: Sequence[bytes], ttl: int, then: Told) -> None:
        """Make sure that the kernel lets `subject` reach `addresses` for `name` at least until the answer's TTL ends.

        `addresses` are packed (4 or 16 bytes), without protected ones; `ttl` is upstream's, in seconds. `subject` is of the snapshot
        that the exchange has seen; a newer one gives NotGranted(RULES_CHANGED). `then` is told once: before this returns where nothing
        is to do, else within a second. No future, no task: 8 µs less for each answer.
        """
        ...

    def request_now(self, subject: Subject, name: Name, addresses: Sequence[bytes], ttl: int, then: Told) -> None:
        """The same, by who knows that nothing more is to come in this turn of the loop."""
        ...

    def flush(self) -> None:
        """Nothing more is to come in this turn of the loop: what was asked in it need not wait for its end."""
        ...
