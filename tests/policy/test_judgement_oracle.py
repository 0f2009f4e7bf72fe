"""The judgement against a second implementation: port by port, rule by rule, on text, in the words of the design."""

from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from port_models import ENTRIES, EVERY_PROBE, Model, model_of, model_of_entries, model_of_piece
from worlds import cluster, packed, policy, rule

from dnsfw.names import parse_name, parse_pattern
from dnsfw.policy.model import Action, Mode, Peer, Rule
from dnsfw.policy.ports import Kind, PortEntry, ports_of
from dnsfw.policy.snapshot import Permit, Policy, Stance

NAMES = ["a.net", "b.a.net", "c.b.a.net", "net", "other.org"]
PATTERNS = ["*", "*.net", "*.a.net", "a.net", "b.a.net", "other.org"]
NETWORKS = ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.1/32", "169.254.169.254/32", "169.254.0.0/16", "2001:db8::/32"]
ADDRESSES = ["192.0.2.1", "192.0.2.2", "203.0.113.1", "169.254.169.254", "2001:db8::1"]
PROTECTED = {"169.254.169.254"}

Draft = tuple[list[str], list[str], list[PortEntry]]
DRAFT = st.tuples(st.lists(st.sampled_from(PATTERNS), max_size=2), st.lists(st.sampled_from(NETWORKS), max_size=2), ENTRIES)
DRAFTS = st.lists(DRAFT, max_size=2)
MODE = st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.AUDIT])
NAMESPACED = st.tuples(DRAFTS, MODE)
CLUSTER = st.tuples(DRAFTS, MODE, st.sampled_from(Action), st.integers(1, 3))


class World:
    """Rules as drawn, and as the program has them."""

    def __init__(self, clusters: list, namespaced: list) -> None:
        rows = [(f"c{number}", *row) for number, row in enumerate(clusters)]
        order = {Action.DENY: 0, Action.PASS: 1, Action.ALLOW: 2}
        self.clusters = sorted(rows, key=lambda row: (row[4], order[row[3]], row[0]))
        self.namespaced = [(f"n{number}", *row, Action.ALLOW, 0) for number, row in enumerate(namespaced)]
        self.policy = policy(*map(self.as_rule, self.namespaced + rows))

    def as_rule(self, row: tuple) -> Rule:
        name, drafts, mode, action, priority = row
        peers = [Peer(patterns=tuple(map(parse_pattern, p)), networks=tuple(map(ip_network, n)), ports=ports_of(e)) for p, n, e in drafts]
        if priority:
            return cluster(name, action, *peers, priority=priority, mode=mode)
        return rule(name, *peers, mode=mode)

    @property
    def stance(self) -> Stance:
        modes = [row[2] for row in self.clusters + self.namespaced if row[3] is Action.ALLOW]
        if not self.clusters + self.namespaced:
            return Stance.UNTOUCHED
        if not modes:
            return Stance.OPEN
        return Stance.ENFORCE if Mode.ENFORCE in modes else Stance.AUDIT


def matches(pattern: str, name: str) -> bool:
    return pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))


def says(row: tuple, name: str | None, address: str | None) -> Model:
    """The ports that a rule decides for this name or address."""
    said: Model = frozenset()
    for patterns, networks, entries in row[1]:
        usable = [n for n in networks if address not in PROTECTED or row[3] is not Action.ALLOW or n.startswith("169.254")]
        by_name = name is not None and any(matches(pattern, name) for pattern in patterns)
        if by_name or (address is not None and any(ip_address(address) in ip_network(network) for network in usable)):
            said |= with_853(entries) if row[3] is Action.DENY else model_of_entries(entries)
    return said


def with_853(entries: list[PortEntry]) -> Model:
    """A Deny takes 853 wherever it takes both its neighbours."""
    # Each peer for itself, as it is written.
    plain = model_of_entries(entries)
    return plain | {(protocol, 853) for protocol in (6, 17) if {(protocol, 852), (protocol, 854)} <= plain}


def decide(world: World, name: str | None, address: str | None, is_counted) -> dict[tuple[int, int], tuple[str, list[str]]]:
    """For each port: what is done, and by whom."""
    decided = {}
    said = {row[0]: says(row, name, address) for row in world.clusters + world.namespaced}
    clusters = [row for row in world.clusters if is_counted(row)]
    namespaced = [row for row in world.namespaced if is_counted(row)]
    for point in EVERY_PROBE:
        first = next((row for row in clusters if point in said[row[0]]), None)
        if first is not None and first[3] is not Action.PASS:
            decided[point] = (first[3].value, [first[0]])
        else:
            decided[point] = ("Allow", [row[0] for row in namespaced if point in said[row[0]]])
    return decided


def expected_permits(world: World, name: str | None, address: str) -> dict[str, Model]:
    permits: dict[str, set[tuple[int, int]]] = {}
    if world.stance not in (Stance.ENFORCE, Stance.AUDIT):
        return {}
    is_audit = world.stance is Stance.AUDIT
    outcome = decide(world, name, address, lambda row: is_audit or row[2] is Mode.ENFORCE)
    real = decide(world, name, address, lambda row: row[2] is Mode.ENFORCE or (is_audit and row[3] is Action.ALLOW))
    for point, (what, by) in outcome.items():
        if what == "Allow" and real[point][0] != "Deny":
            for each in by:
                permits.setdefault(each, set()).add(point)
    return {by: frozenset(points) for by, points in permits.items()}


def modelled(permits: tuple[Permit, ...]) -> dict[str, Model]:
    return {permit.rule.name: model_of(permit.ports) for permit in permits}


WORLDS = st.builds(World, st.lists(CLUSTER, max_size=3), st.lists(NAMESPACED, max_size=3))


@settings(max_examples=100)
@given(WORLDS, st.sampled_from(NAMES), st.sampled_from(ADDRESSES))
def test_permits_are_those_of_the_design(world: World, name: str, address: str) -> None:
    """Same rules, same ports, by name and address and by address alone; the pieces are the ports, and their ranges are known before."""
    permits = world.policy.judge(parse_name(name), packed(address))

    assert world.policy.stance is world.stance
    assert modelled(permits) == ({} if address in PROTECTED else expected_permits(world, name, address))
    assert modelled(world.policy.judge_address(packed(address))) == expected_permits(world, None, address)
    for permit in permits:
        assert frozenset().union(*map(model_of_piece, permit.pieces)) == model_of(permit.ports)
        assert {piece for piece in permit.pieces if piece.kind is Kind.RANGE} <= world.policy.ranges


@settings(max_examples=100)
@given(WORLDS, st.sampled_from(NAMES))
def test_names_resolve_as_the_design_says(world: World, name: str) -> None:
    """Resolved while some port is allowed (by names alone), or nothing denies an open pod."""
    real = decide(world, name, None, lambda row: row[2] is Mode.ENFORCE or (world.stance is Stance.AUDIT and row[3] is Action.ALLOW))
    is_allowed = any(what == "Allow" and by for what, by in real.values())
    is_denied = any(what == "Deny" for what, _ in real.values())
    expected = {
        Stance.UNTOUCHED: True,
        Stance.OPEN: not is_denied,
        Stance.AUDIT: is_allowed or not is_denied,
        Stance.ENFORCE: is_allowed,
    }

    assert world.policy.judge_name(parse_name(name)).is_resolved is expected[world.stance]


def opened_by_kernel(of: Policy, address: str) -> set[tuple[int, int]]:
    """What a chain does that walks through the steps: Deny and Allow end it, Pass goes to the namespaced ones."""
    opened, ended, passed = set[tuple[int, int]](), set[tuple[int, int]](), set[tuple[int, int]]()
    for step in of.steps:
        is_closed_here = address in PROTECTED and step.action is Action.ALLOW and not step.is_inside_protected
        if is_closed_here or not any(ip_address(address) in network for network in step.networks):
            continue
        taken = model_of(step.ports) - ended - (set() if step.rule.namespace else passed)
        if step.action is Action.PASS:
            passed |= taken
        else:
            ended |= taken
            opened |= taken if step.action is Action.ALLOW else set()
    return opened


@settings(max_examples=100)
@given(
    st.lists(st.tuples(DRAFTS, st.just(Mode.ENFORCE), st.sampled_from(Action), st.integers(1, 3)), max_size=3),
    st.lists(NAMESPACED, max_size=3),
    st.sampled_from(ADDRESSES),
)
def test_steps_in_the_chain_are_judge_address(clusters: list, namespaced: list, address: str) -> None:
    """The kernel's way through the steps opens exactly what `judge_address` permits."""
    world = World(clusters, namespaced)
    permitted = frozenset().union(*modelled(world.policy.judge_address(packed(address))).values())

    assert opened_by_kernel(world.policy, address) == permitted
