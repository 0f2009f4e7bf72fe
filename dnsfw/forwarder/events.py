"""What an exchange hears and what it wants done: the words between the pure exchange and the service that performs.

Pure values. The service gives every event the identity as the newest snapshot has it at that moment.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from dnsfw.audit.record import QueryRecord
from dnsfw.clock import Instant
from dnsfw.forwarder.answer import Answer
from dnsfw.forwarder.wire import Query
from dnsfw.names import Name
from dnsfw.policy.grants import GrantOutcome
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Snapshot, Subject

Identity = Subject | Reason
"""Which pod a source is, or why it is none that can be served: UNKNOWN_SOURCE, UNKNOWN_POD, ADDRESS_CONFLICT, NOT_READY, KERNEL_FAILED."""


def identify(snapshot: Snapshot | None, source: str, *, is_pod_interface: bool) -> Identity:
    """Who `source` is. `is_pod_interface`: whether the query came in over one of `--interface`."""
    if snapshot is None:
        return Reason.NOT_READY
    if (subject := snapshot.by_source.get(source)) is not None:
        return subject
    if snapshot.conflicts and ip_address(source) in snapshot.conflicts:
        return Reason.ADDRESS_CONFLICT
    return Reason.UNKNOWN_POD if is_pod_interface else Reason.UNKNOWN_SOURCE


class Received:
    """A response of an upstream, parsed once for all exchanges that wait for it and for the cache. A class: ADR 0010."""

    __slots__ = ("answer", "at", "data")

    def __init__(self, data: bytes, answer: Answer, at: Instant) -> None:
        self.data = data
        self.answer = answer
        self.at = at

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Received) and (self.data, self.answer, self.at) == (other.data, other.answer, other.at)

    def __repr__(self) -> str:
        return f"Received({self.data!r}, {self.answer!r}, {self.at!r})"


# Events


@dataclass(frozen=True, slots=True)
class Identified:
    """The first event of each exchange, and the answer to WaitForPod."""

    identity: Identity


class Replied(NamedTuple):
    """Upstream's answer, or the cache's. `age`: whole seconds since upstream gave it, rounded up; 0 for a fresh one."""

    received: Received
    identity: Identity
    age: int = 0
    is_cached: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamFailed:
    """No answer to be had: UPSTREAM_FAILED, UPSTREAM_TIMEOUT or MALFORMED_ANSWER."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class GrantsSettled:
    outcome: GrantOutcome
    identity: Identity


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """`Exchange.deadline` is over."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The service cannot go on with it, or does not take it up (then this is the first event): STOPPING, QUEUE_FULL, a limit."""

    reason: Reason
    identity: Identity


Event = Identified | Replied | UpstreamFailed | GrantsSettled | DeadlinePassed | Aborted


# Effects


@dataclass(frozen=True, slots=True)
class WaitForPod:
    """Give Identified as soon as the source is no longer UNKNOWN_POD, at `until` in any case."""

    until: Instant


@dataclass(frozen=True, slots=True)
class Ask:
    """Give Replied from the cache (`query.shared_key`), else from an upstream (`make_upstream_query(query)`), else UpstreamFailed."""

    query: Query


@dataclass(frozen=True, slots=True)
class EnsureGrants:
    """Give GrantsSettled with what `Grants.request` says."""

    subject: Subject
    name: Name
    addresses: tuple[bytes, ...]
    ttl: int


@dataclass(frozen=True, slots=True)
class Respond:
    data: bytes


@dataclass(frozen=True, slots=True)
class Record:
    record: QueryRecord


Effect = WaitForPod | Ask | EnsureGrants | Respond | Record
