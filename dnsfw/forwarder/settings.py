"""What the operator says about answering: one value, built once, passed in.

Pure. Always true: every number has a default that no honest pod meets.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from dnsfw.policy.model import IPAddress


class Refusal(Enum):
    """How a refused name is answered. NXDOMAIN by default, since REFUSED stops musl's search list."""

    NXDOMAIN = "nxdomain"
    REFUSED = "refused"


class Endpoint(NamedTuple):
    """An address and a port, of ours or of an upstream."""

    address: IPAddress
    port: int = 53

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwarderSettings:
    """All that the forwarder can be told.

    listen: where queries are taken, UDP and TCP alike (`--listen`).
    upstreams: who is asked, in this order while they answer (`--upstream`).
    interfaces: names or patterns of the pods' interfaces (`--interface`); empty: nobody is waited for, an unknown source is refused.
    refusal: how a refused name is answered (`--refusal`).

    answer_seconds: from a query's arrival to an answer or SERVFAIL; glibc gives up at 5.
    pod_wait_seconds: how long a query from an unknown address on a pod's interface waits for the pod to become known.
    upstream_seconds: how long one try at one upstream may take.

    cache_bytes: what the cache may hold, keys and bookkeeping included.
    cache_entries: the same in answers.
    cache_max_ttl: the longest that an answer is kept, in seconds; 0 switches the cache off.
    cache_max_negative_ttl: the same for NXDOMAIN and NODATA.

    in_flight_per_pod: queries of one pod that may wait at the same time.
    queries_per_second: of one pod; 0: as many as it likes, in fair turns with the others.
    names_per_minute: different names that one pod may ask for below the patterns of one rule; 0: as many as it likes.
    wildcard_refused_types: record types that are refused where only a wildcard allows the name.
    wildcard_name_octets, wildcard_label_octets: the longest name (in wire form) and label that a wildcard alone allows; 0: as DNS does.
    addresses_per_answer: that many are granted and answered; the rest of a larger answer is left out.
    tcp_connections: open connections in all. tcp_connections_per_pod: those of one source address.
    tcp_pipelined: queries of one connection that may wait at the same time.
    tcp_idle_seconds: without a query. tcp_message_seconds: from a message's first byte to its last.
    tcp_write_seconds: for the client to take what was written.
    """

    listen: tuple[Endpoint, ...]
    upstreams: tuple[Endpoint, ...]
    interfaces: tuple[str, ...] = ()
    refusal: Refusal = Refusal.NXDOMAIN
    answer_seconds: float = 4.0
    pod_wait_seconds: float = 2.0
    upstream_seconds: float = 0.8
    cache_bytes: int = 32 << 20
    cache_entries: int = 100_000
    cache_max_ttl: int = 86_400
    cache_max_negative_ttl: int = 900
    in_flight_per_pod: int = 1_000
    queries_per_second: int = 0
    names_per_minute: int = 0
    wildcard_refused_types: tuple[int, ...] = ()
    wildcard_name_octets: int = 0
    wildcard_label_octets: int = 0
    addresses_per_answer: int = 1_000
    tcp_connections: int = 1_000
    tcp_connections_per_pod: int = 100
    tcp_pipelined: int = 100
    tcp_idle_seconds: float = 10.0
    tcp_message_seconds: float = 10.0
    tcp_write_seconds: float = 10.0
