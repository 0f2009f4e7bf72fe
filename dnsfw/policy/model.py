"""The values that rules and pods become, once, at the edge.

Pure data. Everything here was checked when it was made (`policy.parse`); inside the program nothing is re-checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple, NewType

from dnsfw.clock import WallTime
from dnsfw.names import Name, Pattern
from dnsfw.policy.ports import PortSet

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
PodUid = NewType("PodUid", str)


class Mode(Enum):
    ENFORCE = "Enforce"
    AUDIT = "Audit"


class Action(Enum):
    ALLOW = "Allow"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105 -- a verdict, no password


class Operator(Enum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of a LabelSelector's matchExpressions."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """A LabelSelector; without any requirement it selects everything."""

    match_labels: tuple[tuple[str, str], ...] = ()
    match_expressions: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLimits:
    """How long a grant outlives its answer, in whole seconds (design §1: JVMs keep answers for 30 s)."""

    min_seconds: int = 30
    max_seconds: int = 3600
    grace_seconds: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One entry of `egress`: the names or networks, and the ports on them."""

    patterns: tuple[Pattern, ...] = ()
    networks: tuple[IPNetwork, ...] = ()
    ports: PortSet


class RuleRef(NamedTuple):
    """Which rule: `namespace` is empty for a cluster rule. `uid` tells a re-created object from its predecessor.

    A key of much that is looked up for each grant, hence a tuple: a dataclass's hash takes 1 µs.
    """

    namespace: str
    name: str
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An FQDNEgressRule, or (with `priority` and `namespace_selector` set) a ClusterFQDNEgressRule."""

    ref: RuleRef
    selector: Selector
    peers: tuple[Peer, ...]
    service_accounts: tuple[str, ...] = ()
    mode: Mode = Mode.ENFORCE
    audit_until: WallTime | None = None
    limits: LeaseLimits = LeaseLimits()
    action: Action = Action.ALLOW
    priority: int | None = None
    namespace_selector: Selector | None = None

    @property
    def is_cluster(self) -> bool:
        return self.priority is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A live pod of this node (Succeeded and Failed pods never become one)."""

    uid: PodUid
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = "default"
    addresses: tuple[IPAddress, ...] = ()
    is_host_network: bool = False
    node_name: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a source knows at one moment; switched as one."""

    rules: tuple[Rule, ...] = ()
    pods: tuple[Pod, ...] = ()
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """What the operator says about the surroundings; fixed for the life of a process but for `node_addresses`.

    cluster_networks: passed in both directions, never granted (`--cluster-cidr`).
    node_addresses: this node's own, treated alike.
    protected_networks: `--protected-cidr`, beside the built-in ones.
    cluster_domain: names below it always resolve and grant nothing.
    is_dns_filtered: False is `--dns-filter off`: every name resolves, only addresses are gated.
    """

    cluster_networks: tuple[IPNetwork, ...] = ()
    node_addresses: tuple[IPAddress, ...] = ()
    protected_networks: tuple[IPNetwork, ...] = ()
    cluster_domain: Name
    is_dns_filtered: bool = True
