"""Connections that outlive the number they bear: judged again, one by one, and given the number of what still allows them.

A number that stood for more than is still allowed leaves the kernel only after its survivors have another one: the others are cut, nobody
else.
`conntrack -D` would not do: the far end's next packet begins the connection anew, the other way round (nf_conntrack_tcp_loose, design §2).
"""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

import structlog

from dnsfw.enforce.batches import batches
from dnsfw.enforce.layout import V4
from dnsfw.enforce.numbers import OPEN_RULE, Holder, Numbers
from dnsfw.enforce.state import State
from dnsfw.enforce.targets import mark_of
from dnsfw.policy.ledger import Ledger
from dnsfw.policy.model import Action, RuleRef
from dnsfw.policy.ports import SCTP, TCP, UDP
from dnsfw.policy.snapshot import Policy, Stance, Subject, is_protected
from nft.conntrack import ConntrackError, Flow

log = structlog.get_logger(__name__)
FEW = 8
"""Sources for which a dump each (20-29 ms beside 50,000 connections) is cheaper than decoding one of everything (0.7 s)."""
DNS_PORT = 53
"""Answered by us or rejected, never forwarded (design §1): a connection to it gets no number, whatever allows it."""
WITH_PORTS = frozenset({TCP, UDP, SCTP})


@dataclass(slots=True)
class Fate:
    """What becomes of the connections that were looked at."""

    renumbered: list[tuple[Flow, int]] = field(default_factory=list)
    cut: set[tuple[bytes, bytes]] = field(default_factory=set)


def number_for(flow: Flow, subject: Subject, ledger: Ledger, numbers: Numbers) -> int | None:
    """The number that allows this connection now: by what DNS has told, else by the rules' CIDRs or what is open."""
    uid, port = subject.pod.uid, flow.remote_port if flow.protocol in WITH_PORTS else None
    if port == DNS_PORT:
        return None
    told = (claim.permit for claim in ledger.row(uid, flow.remote))
    rules = [permit.rule for permit in told if permit.ports.contains(flow.protocol, port)]
    rules += filter(None, [judged_by_steps(subject.policy, flow.remote, flow.protocol, port)])
    found = (numbers.of(Holder(uid, rule)) for rule in rules)
    return next((number for number in found if number is not None), None)


def judged_by_steps(policy: Policy, remote: bytes, protocol: int, port: int | None) -> RuleRef | None:
    """What the policy's chain says behind the grants, step by step: whose number a new connection would get, None if it is refused."""
    address, is_own_only = ip_address(remote), False
    is_closed = policy.stance is Stance.ENFORCE and is_protected(policy.settings, remote)
    for step in policy.steps:
        if is_own_only and not step.rule.namespace:
            continue
        if not step.ports.contains(protocol, port) or not any(address in network for network in step.networks):
            continue
        if is_closed and step.action is Action.ALLOW and not step.is_inside_protected:
            continue
        match step.action:
            case Action.ALLOW:
                return step.rule
            case Action.DENY:
                return None
            case Action.PASS:
                is_own_only = True
    return None if policy.stance is Stance.ENFORCE else OPEN_RULE


Sources = dict[bytes, Subject | None]
"""Whose connections are looked at, by source address; None where two pods have it: nobody is served there, so none survives."""


def judge_flows(flows: Iterable[Flow], state: State, subjects: Sources, leaving: Collection[int], fate: Fate) -> None:
    """Connections that bear a leaving number, or none yet, are judged."""
    mask, shift = state.settings.ct_mask, state.settings.shift
    for flow in flows:
        number = (flow.mark & mask) >> shift
        if flow.source not in subjects or (number != 0 and number not in leaving):
            continue
        subject = subjects[flow.source]
        heir = None if subject is None else number_for(flow, subject, state.ledger, state.numbers)
        if heir is not None:
            fate.renumbered.append((flow, mark_of(state.layout, heir)))
        elif number:
            fate.cut.add((flow.source, flow.remote))


async def settle(state: State, subjects: Sources, leaving: Collection[int]) -> Fate:
    """Re-mark the survivors. A conntrack that cannot be read has none: they are cut, and that is said."""
    try:
        flows = await asyncio.to_thread(_read, state, frozenset(subjects))
        fate = Fate()
        for part in batches(flows):
            judge_flows(part, state, subjects, leaving, fate)
            await asyncio.sleep(0)
        await asyncio.to_thread(state.connections.set_marks, fate.renumbered, state.settings.ct_mask)
    except ConntrackError as error:
        log.error("connections that are still allowed could not be kept", reason=str(error))
        return Fate()
    return fate


def _read(state: State, sources: frozenset[bytes]) -> list[Flow]:
    """Each dump by source walks the whole table in the kernel, and those of IPv6 reach us whole (its filter is wrong there)."""
    if len(sources) <= FEW and all(len(source) == V4.size for source in sources):
        return [flow for source in sources for flow in state.connections.flows(source=source)]
    found = {flow.identity: flow for flow in state.connections.iter_flows() if flow.source in sources}
    return list(found.values())
