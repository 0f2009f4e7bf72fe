"""What can be said of a rule before knowing whom it selects; kept from snapshot to snapshot while the rule stands unchanged. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dnsfw.policy.content import digest, rule_content
from dnsfw.policy.model import Action, Peer, Rule, RuleRef
from dnsfw.policy.ports import PortSet
from dnsfw.policy.select import keys_of


@dataclass(frozen=True, slots=True)
class Prepared:
    """A rule and what follows from it alone.

    peers: each with the ports that it decides. ports: all these, each once. keys: the labels it looks at.
    enforced, audited: hash of its content, in either mode.
    """

    rule: Rule
    peers: tuple[tuple[Peer, PortSet], ...]
    ports: frozenset[PortSet]
    keys: frozenset[str]
    enforced: str
    audited: str


def prepare(rules: Iterable[Rule], known: Mapping[RuleRef, Prepared]) -> list[Prepared]:
    return [known[rule.ref] if rule.ref in known and known[rule.ref].rule == rule else _prepared(rule) for rule in rules]


def _prepared(rule: Rule) -> Prepared:
    peers = tuple((peer, _ports(rule, peer)) for peer in rule.peers)
    content = rule_content(rule)
    return Prepared(
        rule=rule,
        peers=peers,
        ports=frozenset(ports for _, ports in peers),
        keys=frozenset(keys_of(rule.selector)),
        enforced=digest(content),
        audited=digest(content, "audit"),
    )


def _ports(rule: Rule, peer: Peer) -> PortSet:
    # A Deny of "all ports" must not leave a hole for a rule that names 853.
    return peer.ports.closing_gaps() if rule.action is Action.DENY else peer.ports
