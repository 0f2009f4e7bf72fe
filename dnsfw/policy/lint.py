"""Rules and pods that are right but hardly meant: what `dnsfw check` warns of.

Pure. Always true: a warning keeps nothing from being taken into force, and one about a rule is about it as written, so it does not come and
go with the pods (but for "selects no pod").
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dnsfw.clock import WallTime
from dnsfw.policy.compile import holders_of, is_audit
from dnsfw.policy.content import rule_content
from dnsfw.policy.model import IPAddress, IPNetwork, Mode, Pod, PolicySettings, Rule, RuleRef, World
from dnsfw.policy.prepare import prepare
from dnsfw.policy.select import NAMESPACE_NAME, keys_of
from dnsfw.policy.selection import Selection, in_order
from dnsfw.policy.shadow import is_within, shadowers


@dataclass(frozen=True, slots=True)
class Finding:
    """One warning about one rule."""

    rule: RuleRef
    what: str

    def __str__(self) -> str:
        return f"rule {self.rule}: {self.what}"


def lint_world(world: World, settings: PolicySettings, wall_now: WallTime) -> tuple[Finding, ...]:
    """All warnings, in the rules' order of judgement."""
    rules = in_order(world.rules)
    idle = _selecting_nothing(world, rules)
    copies = _copies(rules, wall_now)
    findings = []
    for place, rule in enumerate(rules):
        texts = [
            *(["selects no pod"] if place in idle else ()),
            *_copy_or_shadow(world, rules, place, copies, wall_now),
            *_unknown_labels(world, rule),
            *_passed_networks(rule, settings),
            *(["auditUntil has no effect: the mode is Enforce"] if rule.audit_until and rule.mode is Mode.ENFORCE else ()),
        ]
        findings += [Finding(rule.ref, text) for text in texts]
    return tuple(findings)


@dataclass(frozen=True, slots=True)
class PodFinding:
    """One warning about one pod."""

    pod: Pod
    what: str

    def __str__(self) -> str:
        return f"pod {self.pod}: {self.what}"


def lint_pods(world: World) -> tuple[PodFinding, ...]:
    """Pods that will not be served as their rules say."""
    return tuple(PodFinding(pod, what) for pod, what in (*_in_the_nodes_network(world), *_with_others_addresses(world)))


def _in_the_nodes_network(world: World) -> Iterator[tuple[Pod, str]]:
    selection = Selection(prepare(in_order(world.rules), {}), world.namespace_labels)
    for pod in world.pods:
        if pod.is_host_network and selection.places(pod):
            yield pod, "its rules are not enforceable, it shares the node's network (hostNetwork)"


def _with_others_addresses(world: World) -> Iterator[tuple[Pod, str]]:
    for address, pods in holders_of(pod for pod in world.pods if not pod.is_host_network).items():
        for pod in pods if len(pods) > 1 else ():
            others = ", ".join(str(other) for other in pods if other is not pod)
            yield pod, f"not served at {address}, which {others} has too; one of them has to go"


def _selecting_nothing(world: World, rules: Sequence[Rule]) -> set[int]:
    """Without any pod the question is not asked: rules may be checked alone."""
    if not world.pods:
        return set()
    selection = Selection(prepare(rules, {}), world.namespace_labels)
    return set(range(len(rules))).difference(*(places for places, _ in selection.groups(world.pods)))


def _copies(rules: Sequence[Rule], wall_now: WallTime) -> Mapping[int, RuleRef]:
    """The rules that say what an earlier one says, of the same pods."""
    first: dict[object, RuleRef] = {}
    copies = {}
    for place, rule in enumerate(rules):
        whom = (rule.ref.namespace, rule.selector, rule.namespace_selector, frozenset(rule.service_accounts))
        said = (rule_content(rule), is_audit(rule, wall_now), whom)
        if said in first:
            copies[place] = first[said]
        first.setdefault(said, rule.ref)
    return copies


def _copy_or_shadow(world: World, rules: Sequence[Rule], place: int, copies: Mapping[int, RuleRef], wall_now: WallTime) -> Iterator[str]:
    if place in copies:
        yield f"repeats {copies[place]}"
        return
    before = [rule for rule in rules[:place] if rule.is_cluster and not is_audit(rule, wall_now)]
    if by := shadowers(rules[place], before, world.namespace_labels):
        yield f"shadowed: all that it says is decided before, by {', '.join(map(str, by))}"


def _unknown_labels(world: World, rule: Rule) -> Iterator[str]:
    if rule.namespace_selector is None:
        return
    asked = sorted(set(keys_of(rule.namespace_selector)) - {NAMESPACE_NAME})
    unknown = sorted(_namespaces(world) - world.namespace_labels.keys())
    if asked and (unknown or not world.namespace_labels):
        where = f" for {', '.join(unknown)}" if unknown else ""
        yield f"namespaceSelector asks for {', '.join(asked)}, but no Namespace object is given{where}; only {NAMESPACE_NAME} is known"


def _namespaces(world: World) -> set[str]:
    return {pod.namespace for pod in world.pods} | {rule.ref.namespace for rule in world.rules if not rule.is_cluster}


def _passed_networks(rule: Rule, settings: PolicySettings) -> Iterator[str]:
    for network in (network for peer in rule.peers for network in peer.networks):
        if _is_passed(network, settings.cluster_networks, settings.node_addresses):
            yield f"toCIDRs {network} has no effect: it lies inside the cluster, whose traffic is left to NetworkPolicy"


def _is_passed(network: IPNetwork, cluster: Sequence[IPNetwork], nodes: Sequence[IPAddress]) -> bool:
    is_node = network.num_addresses == 1 and network.network_address in nodes
    return is_node or any(is_within(network, each) for each in cluster)
