"""What the probes found, as values.

Pure. They travel as JSON objects: `Answer(**found)` makes one again. Times are monotonic seconds where a name ends in `_at`; the
monotonic clock is one for all network namespaces, so they compare between the two ends of a connection.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a resolver said. rcode is its name, or TIMEOUT, or the errno's name where the question could not even be sent."""

    rcode: str
    ms: float
    addresses: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    ttl: int | None = None
    ede: list[int] = field(default_factory=list)
    ede_text: str = ""
    is_truncated: bool = False
    raw: str = ""

    @property
    def address(self) -> str:
        """The first one; an answer without any is a failed test."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an attempt: connected (for UDP: answered), refused (RST, or port unreachable), unreachable (another ICMP), or timeout.

    detail: the errno's name, and for UDP the ICMP type and code.
    """

    what: str
    ms: float
    detail: str = ""

    @property
    def is_connected(self) -> bool:
        return self.what == "connected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """Many times: resolve a name, connect at once to what was answered.

    failed: [name, address, outcome], unanswered: [name, message]; of each the first hundred.
    """

    count: int
    connected: int
    failed: list[list[str]]
    unanswered: list[list[str]]
    resolve_us: list[int]
    connect_us: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What a long connection saw, at the pod's end: payloads sent, when others arrived, and how it ended ("" while it lives)."""

    sent: int
    arrived_at: list[float]
    ended: str
    ended_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question that reached the internet's DNS server."""

    at: float
    source: str
    asked: str
    name: str
    qtype: str
    transport: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet that came over the node's uplink to the internet."""

    at: float
    source: str
    destination: str
    protocol: int
    sport: int
    dport: int
    size: int
