"""What enforcement needs to know about the node; fixed for the life of the process."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from dnsfw.policy.model import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class EnforceSettings:
    """Field by field:

    table: name of our table in family inet; the guard's is derived from it.
    ct_mask: the bits of the conntrack mark that hold the decision number; the others are overwritten with 0 on new egress connections.
    packet_mark: one bit of the packet mark: the main table has judged this packet. The guard drops what lacks it.
    interfaces: names, or patterns ending in `*`, of the pods' interfaces; empty: the source guards are off.
    listener4/listener6: where port 53 of selected pods is sent; None: there is no listener of that family, port 53 is rejected.
    own: addresses of the node whose port 53 is ours.
    exempt: addresses of our own upstreams; a pod among them may ask others.
    journal: where the numbers' meanings are kept over a restart.
    grants_per_pod/grants_per_node: rows (addresses); beyond, the answer is withheld with a reason.
    commit_deadline_s: how long an answer waits for the kernel before it becomes SERVFAIL.
    cut_s: how long inbound packets from a revoked peer stay dropped after the last of them.
    """

    table: str = "dnsfw"
    ct_mask: int = 0xFFFF0000
    packet_mark: int = 0x00100000
    interfaces: tuple[str, ...] = ()
    listener4: tuple[IPv4Address, int] | None = None
    listener6: tuple[IPv6Address, int] | None = None
    own: tuple[IPAddress, ...] = ()
    exempt: tuple[IPAddress, ...] = ()
    journal: Path | None = None
    grants_per_pod: int = 100_000
    grants_per_node: int = 2_000_000
    commit_deadline_s: float = 1.0
    cut_s: int = 3600

    @property
    def shift(self) -> int:
        """How far a decision number is moved to lie under the mask."""
        return (self.ct_mask & -self.ct_mask).bit_length() - 1

    @property
    def highest_number(self) -> int:
        return self.ct_mask >> self.shift
