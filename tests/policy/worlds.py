"""Small worlds in few words, for tests of the policy."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from dnsfw.names import parse_name, parse_pattern
from dnsfw.policy.compile import compile_snapshot
from dnsfw.policy.model import (
    Action,
    LeaseLimits,
    Mode,
    Operator,
    Peer,
    Pod,
    PodUid,
    PolicySettings,
    Requirement,
    Rule,
    RuleRef,
    Selector,
    World,
)
from dnsfw.policy.ports import PortEntry, PortSet, ports_of
from dnsfw.policy.snapshot import Permit, Policy, Snapshot

SETTINGS = PolicySettings(
    cluster_domain=parse_name("cluster.example"),
    cluster_networks=(ip_network("10.244.0.0/16"), ip_network("2001:db8:c1::/48")),
    node_addresses=(ip_address("192.0.2.250"),),
    protected_networks=(ip_network("198.51.100.0/24"),),
)
WEB = "tcp/443"
EVERYBODY = Selector()
DEFAULT_LIMITS = LeaseLimits()


def ports(*texts: str) -> PortSet:
    """tcp/443, udp/1-9, icmp, sctp; nothing at all is any port."""
    return ports_of([_entry(text) for text in texts])


def _entry(text: str) -> PortEntry:
    protocol, _, numbers = text.partition("/")
    low, _, high = numbers.partition("-")
    return PortEntry(protocol.upper(), int(low) if low else None, int(high) if high else None)


def peer(*targets: str, on: Sequence[str] = ()) -> Peer:
    """Names and networks together; a target with a slash is a network."""
    return Peer(
        patterns=tuple(parse_pattern(target) for target in targets if "/" not in target),
        networks=tuple(ip_network(target) for target in targets if "/" in target),
        ports=ports(*on),
    )


def where(**labels: str) -> Selector:
    return Selector(match_labels=tuple(sorted(labels.items())))


def having(key: str, operator: Operator, *values: str) -> Selector:
    return Selector(match_expressions=(Requirement(key, operator, values),))


def rule(
    name: str,
    *peers: Peer,
    namespace: str = "shop",
    selector: Selector = EVERYBODY,
    accounts: tuple[str, ...] = (),
    mode: Mode = Mode.ENFORCE,
    until: float | None = None,
    limits: LeaseLimits = DEFAULT_LIMITS,
    uid: str = "",
) -> Rule:
    return Rule(
        ref=RuleRef(namespace=namespace, name=name, uid=uid),
        selector=selector,
        peers=peers,
        service_accounts=accounts,
        mode=mode,
        audit_until=until,
        limits=limits,
    )


def cluster(
    name: str,
    action: Action,
    *peers: Peer,
    priority: int = 100,
    selector: Selector = EVERYBODY,
    namespaces: Selector | None = EVERYBODY,
    accounts: tuple[str, ...] = (),
    mode: Mode = Mode.ENFORCE,
    until: float | None = None,
) -> Rule:
    return Rule(
        ref=RuleRef(namespace="", name=name),
        selector=selector,
        peers=peers,
        service_accounts=accounts,
        mode=mode,
        audit_until=until,
        action=action,
        priority=priority,
        namespace_selector=namespaces,
    )


def allow(name: str, *peers: Peer, **more: object) -> Rule:
    return cluster(name, Action.ALLOW, *peers, **more)


def deny(name: str, *peers: Peer, **more: object) -> Rule:
    return cluster(name, Action.DENY, *peers, **more)


def leave(name: str, *peers: Peer, **more: object) -> Rule:
    """A cluster Pass."""
    return cluster(name, Action.PASS, *peers, **more)


def pod(
    name: str = "app",
    *addresses: str,
    namespace: str = "shop",
    labels: dict[str, str] | None = None,
    account: str = "default",
    is_host_network: bool = False,
    uid: str | None = None,
) -> Pod:
    return Pod(
        uid=PodUid(uid or f"uid-{namespace}-{name}"),
        namespace=namespace,
        name=name,
        labels=labels or {},
        service_account=account,
        addresses=tuple(ip_address(address) for address in addresses),
        is_host_network=is_host_network,
    )


def snapshot(
    *rules: Rule,
    pods: Sequence[Pod] = (),
    namespaces: dict[str, dict[str, str]] | None = None,
    settings: PolicySettings = SETTINGS,
    now: float = 0.0,
    previous: Snapshot | None = None,
) -> Snapshot:
    world = World(rules=rules, pods=tuple(pods) or (pod(),), namespace_labels=namespaces or {})
    return compile_snapshot(world, settings, now, 1, previous)


def policy(*rules: Rule, settings: PolicySettings = SETTINGS, now: float = 0.0) -> Policy:
    """Of a pod shop/app that all these rules select."""
    return snapshot(*rules, settings=settings, now=now).subjects[PodUid("uid-shop-app")].policy


def packed(address: str) -> bytes:
    return ip_address(address).packed


def told(permits: tuple[Permit, ...]) -> dict[str, str]:
    """Permits as text: rule -> ports."""
    assert len({permit.rule for permit in permits}) == len(permits)
    return {str(permit.rule): str(permit.ports) for permit in permits}


def judge(of: Policy, name: str, address: str) -> dict[str, str]:
    return told(of.judge(parse_name(name), packed(address)))
