"""How an exchange ends, in the words of the audit, and what the client is told about it.

Pure. Always true: what a client reads says nothing about rules; the record says everything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from socket import AF_INET6, inet_ntop
from typing import Final, NamedTuple

from dnsfw.audit.record import QueryRecord
from dnsfw.clock import WallTime
from dnsfw.forwarder import wire
from dnsfw.forwarder.answer import NO_TTL
from dnsfw.forwarder.edns import Ede, InfoCode
from dnsfw.forwarder.events import Identity
from dnsfw.names import Name, format_name
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import NameVerdict, Subject

ALLOWED: Final = "allowed"
REFUSED: Final = "refused"
PASSED: Final = "passed"
FAILED: Final = "failed"
WOULD_REFUSE: Final = "would-refuse"

MOST_LISTED: Final = 100  # addresses written out in a record

UDP: Final = "udp"
TCP: Final = "tcp"

_DECIMAL: Final = [str(octet) for octet in range(256)]
_NOTHING_TO_JUDGE: Final = frozenset((Reason.NOT_SELECTED, Reason.CLUSTER_NAME, Reason.FILTER_OFF))
_REFUSING: Final = frozenset(
    (Reason.UNKNOWN_SOURCE, Reason.NOT_SUPPORTED, Reason.QUERY_RATE, Reason.NAME_RATE, Reason.WILDCARD_TYPE, Reason.WILDCARD_LENGTH)
)
_INFO_CODES: Final = {
    Reason.UNKNOWN_SOURCE: InfoCode.PROHIBITED,
    Reason.POD_QUOTA: InfoCode.PROHIBITED,
    Reason.IN_FLIGHT: InfoCode.PROHIBITED,
    Reason.QUERY_RATE: InfoCode.PROHIBITED,
    Reason.NAME_RATE: InfoCode.PROHIBITED,
    Reason.WILDCARD_TYPE: InfoCode.PROHIBITED,
    Reason.WILDCARD_LENGTH: InfoCode.PROHIBITED,
    Reason.UPSTREAM_FAILED: InfoCode.NETWORK_ERROR,
    Reason.MALFORMED_ANSWER: InfoCode.NETWORK_ERROR,
    Reason.UPSTREAM_TIMEOUT: InfoCode.NO_REACHABLE_AUTHORITY,
    Reason.NODE_QUOTA: InfoCode.OTHER,
    Reason.QUEUE_FULL: InfoCode.OTHER,
    Reason.RULES_CHANGED: InfoCode.OTHER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Where a query came from: textual address as the socket gave it, "udp" or "tcp", and the wall time."""

    source: str
    transport: str
    at: WallTime


class Ending(NamedTuple):
    """The last words of an exchange; the defaults are those of an answer without records.

    A tuple, as every query makes one: 1.2 µs, where a frozen dataclass of eleven fields takes 2.8 µs.
    """

    response: bytes
    decision: str
    reason: Reason
    rule: str = ""
    addresses: Sequence[bytes] = ()
    removed: Sequence[bytes] = ()
    chain: Iterable[Name] = ()
    ttl: int = NO_TTL
    grants: int = 0
    upstream_us: int = 0
    install_us: int = 0


def record_of(sender: Sender, identity: Identity, name: Name | None, qtype: int, ending: Ending) -> QueryRecord:
    pod = identity.pod if isinstance(identity, Subject) else None
    return QueryRecord(
        at=sender.at,
        namespace="" if pod is None else pod.namespace,
        pod="" if pod is None else pod.name,
        pod_uid="" if pod is None else pod.uid,
        source=sender.source,
        transport=sender.transport,
        name="" if name is None else format_name(name),
        qtype=qtype,
        decision=ending.decision,
        reason=ending.reason.value,
        rule=ending.rule,
        rcode=ending.response[3] & wire.RCODE if ending.response else -1,
        addresses=listed(ending.addresses),
        removed=listed(ending.removed),
        chain=" ".join(map(format_name, ending.chain)),
        ttl=ending.ttl,
        grants=ending.grants,
        upstream_us=ending.upstream_us,
        install_us=ending.install_us,
    )


def listed(addresses: Sequence[bytes]) -> str:
    """A record is kept small whatever upstream says: the first MOST_LISTED, then how many more, as "+3000"."""
    if len(addresses) == 1:
        return address_text(addresses[0])
    if len(addresses) <= MOST_LISTED:
        return " ".join(map(address_text, addresses))
    return " ".join((*map(address_text, addresses[:MOST_LISTED]), f"+{len(addresses) - MOST_LISTED}"))


def address_text(packed: bytes) -> str:
    if len(packed) == 4:  # a third of what inet_ntop takes, compiled
        return f"{_DECIMAL[packed[0]]}.{_DECIMAL[packed[1]]}.{_DECIMAL[packed[2]]}.{_DECIMAL[packed[3]]}"
    return inet_ntop(AF_INET6, packed)


def rule_of(verdict: NameVerdict) -> str:
    """The rule that decided; where an Audit rule would have made it another outcome, that one."""
    rule = verdict.audited or verdict.rule
    return "" if rule is None else str(rule)


def reason_of(verdict: NameVerdict) -> Reason:
    return verdict.reason if verdict.audited is None else Reason.AUDIT_MODE


def decision_of(verdict: NameVerdict) -> str:
    """The word for a name that was answered."""
    if verdict.would_refuse:
        return WOULD_REFUSE
    return PASSED if verdict.reason in _NOTHING_TO_JUDGE else ALLOWED


def failure_of(reason: Reason) -> tuple[str, int, Ede]:
    """The word, the rcode and the extended error for what went wrong before there was an answer."""
    ede = Ede(_INFO_CODES.get(reason, InfoCode.NOT_READY), reason.value)
    return (REFUSED, wire.REFUSED, ede) if reason in _REFUSING else (FAILED, wire.SERVFAIL, ede)
