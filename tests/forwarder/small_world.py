"""A pod or two, a rule or two, compiled for real."""

from ipaddress import ip_address, ip_network

from dnsfw.names import parse_name, parse_pattern
from dnsfw.policy.compile import compile_snapshot
from dnsfw.policy.model import Action, Mode, Peer, Pod, PodUid, PolicySettings, Rule, RuleRef, Selector, World
from dnsfw.policy.ports import PortSet
from dnsfw.policy.snapshot import Snapshot, Subject

SOURCE = "10.1.0.5"
POD = Pod(uid=PodUid("u1"), namespace="shop", name="app", labels={"app": "a"}, addresses=(ip_address(SOURCE),))
TWIN = Pod(uid=PodUid("u2"), namespace="shop", name="twin", labels={"app": "a"}, addresses=(ip_address(SOURCE),))
SURROUNDINGS = PolicySettings(cluster_domain=parse_name("cluster.local"), cluster_networks=(ip_network("10.0.0.0/8"),))
UNFILTERED = PolicySettings(cluster_domain=parse_name("cluster.local"), cluster_networks=(ip_network("10.0.0.0/8"),), is_dns_filtered=False)


def allow(*patterns: str, mode: Mode = Mode.ENFORCE) -> Rule:
    peer = Peer(patterns=tuple(map(parse_pattern, patterns)), ports=PortSet.ANY)
    return Rule(ref=RuleRef(namespace="shop", name="egress", uid="r1"), selector=Selector(), peers=(peer,), mode=mode)


def deny(*patterns: str) -> Rule:
    peer = Peer(patterns=tuple(map(parse_pattern, patterns)), ports=PortSet.ANY)
    return Rule(
        ref=RuleRef(namespace="", name="never", uid="r2"),
        selector=Selector(),
        peers=(peer,),
        action=Action.DENY,
        priority=1,
        namespace_selector=Selector(),
    )


def snapshot(*rules: Rule, pods: tuple[Pod, ...] = (POD,), settings: PolicySettings = SURROUNDINGS, serial: int = 1) -> Snapshot:
    return compile_snapshot(World(rules=rules, pods=pods), settings, 0.0, serial, None)


def subject(*rules: Rule, settings: PolicySettings = SURROUNDINGS) -> Subject:
    return snapshot(*rules, settings=settings).by_source[SOURCE]
