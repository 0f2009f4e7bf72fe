"""One policy's chains: the rules' CIDRs in the order of judgement, and how what no rule names ends.

Pure. Chains are named by the policy's content, so the same policy has the same chain in any order of events and after any restart.
"""

from collections.abc import Iterable
from hashlib import blake2b

from dnsfw.enforce.chains import NAMED_PROTOCOLS, open_body
from dnsfw.enforce.layout import FAMILIES, Family, Layout
from dnsfw.policy.model import Action, IPNetwork, RuleRef
from dnsfw.policy.ports import ICMP, SCTP, TCP, UDP, PortSet
from dnsfw.policy.snapshot import Policy, Stance, Step
from nft.objects import Chain

NAMES = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}
UNNAMED_PROTOCOL = 0
"""Any protocol that rules cannot name stands for all of them."""


def rule_token(rule: RuleRef) -> str:
    """A name for the rule's map that nft accepts and that says nothing of its content."""
    return blake2b(f"{rule.namespace}/{rule.name}".encode(), digest_size=8).hexdigest()


def chain_name(policy: Policy) -> str:
    return f"policy_{policy.key[:16]}"


def policy_chains(layout: Layout, policy: Policy) -> dict[Chain, tuple[str, ...]]:
    """The chains of one policy, each before the one that goes to it."""
    name = chain_name(policy)
    if policy.stance is Stance.ENFORCE:
        return _enforcing(layout, policy, name)
    return _following(layout, policy.steps, name, head=_granted_unless_open(policy), end=_open_end(layout, policy))


def _enforcing(layout: Layout, policy: Policy, name: str) -> dict[Chain, tuple[str, ...]]:
    end = ("goto refuse",)
    opens = any(step.is_inside_protected and step.action is Action.ALLOW for step in policy.steps)
    # A Deny of 0.0.0.0/0 means protected addresses too; of the Allows only those count there that lie wholly inside.
    inside = tuple(step for step in policy.steps if step.is_inside_protected or step.action is not Action.ALLOW)
    outside = tuple(step for step in policy.steps if not step.is_inside_protected)
    chains = _following(layout, inside, f"{name}_inside", head=(), end=end) if opens else {}
    target = f"{name}_inside" if opens else "refuse"
    guard = tuple(f"{family.ip} daddr @{layout.sets_of(family).protected.name} goto {target}" for family in FAMILIES)
    head = (*guard, "meta nfproto ipv6 jump embedded", "jump granted")
    return chains | _following(layout, outside, name, head=head, end=end)


def _following(
    layout: Layout, steps: Iterable[Step], name: str, *, head: tuple[str, ...], end: tuple[str, ...]
) -> dict[Chain, tuple[str, ...]]:
    """A chain that takes `steps` in order. Pass goes on with the namespaced rules alone, in a chain of their own."""
    steps = tuple(steps)
    chains: dict[Chain, tuple[str, ...]] = {}
    own = f"{name}_own"
    if any(step.action is Action.PASS for step in steps):
        namespaced = [step for step in steps if step.rule.namespace]
        chains[layout.chain(own)] = (*_texts(layout, namespaced, own), *end)
    chains[layout.chain(name)] = (*head, *_texts(layout, steps, own), *end)
    return chains


def _texts(layout: Layout, steps: Iterable[Step], own: str) -> list[str]:
    return [
        f"{_daddr(family, networks)}{ports}{_verdict(layout, family, step, own)}"
        for step in steps
        for family in FAMILIES
        if (networks := [network for network in step.networks if network.version == family.digit])
        for ports in port_matches(step.ports)
    ]


def _daddr(family: Family, networks: list[IPNetwork]) -> str:
    return f"{family.ip} daddr {{ {', '.join(str(network) for network in networks)} }} "


def port_matches(ports: PortSet) -> list[str]:
    """The nft expressions that together match exactly these ports."""
    spans: dict[int, list[str]] = {}
    for protocol, low, high in ports.spans():
        spans.setdefault(protocol, []).append(str(low) if low == high else f"{low}-{high}")
    matches = [f"{NAMES[protocol]} dport {{ {', '.join(texts)} }} " for protocol, texts in spans.items()]
    if ports.contains(ICMP, None):
        matches.append("meta l4proto { 1, 58 } ")
    if ports.contains(UNNAMED_PROTOCOL, None):
        matches.append(f"meta l4proto != {NAMED_PROTOCOLS} ")
    return matches


def _verdict(layout: Layout, family: Family, step: Step, own: str) -> str:
    match step.action:
        case Action.ALLOW:
            return f"ct mark set {family.ip} saddr map @{layout.rule_set(family, rule_token(step.rule)).name} goto admitted"
        case Action.DENY:
            return "goto refuse"
        case Action.PASS:
            return f"goto {own}"


def _granted_unless_open(policy: Policy) -> tuple[str, ...]:
    return () if policy.stance is Stance.OPEN else ("jump granted",)


def _open_end(layout: Layout, policy: Policy) -> tuple[str, ...]:
    counted = policy.stance is Stance.AUDIT
    would = tuple(f"{family.ip} saddr @{layout.sets_of(family).would.name}" for family in FAMILIES) if counted else ()
    return (*would, *open_body(layout))
