"""World and settings in, snapshot out.

Pure. Always true: the result depends on the arguments' content alone, `previous` only saves work; a policy whose key is the same is
the same object as before, with all that it remembers.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from dnsfw.clock import WallTime
from dnsfw.policy.content import digest, rule_content, settings_content, surroundings
from dnsfw.policy.index import NameIndex, NetworkIndex
from dnsfw.policy.judge import Entry, is_in_force
from dnsfw.policy.model import Action, IPAddress, IPNetwork, Mode, Peer, Pod, PolicySettings, Rule, RuleRef, World
from dnsfw.policy.ports import Cuts, Kind, Piece, PortSet, elementary, partial_protocols, restricted, union
from dnsfw.policy.protected import protection_of
from dnsfw.policy.selection import Selection
from dnsfw.policy.snapshot import Indexes, Policy, Snapshot, Stance, Step, Subject

RuleContent = tuple[Rule, str]


def compile_snapshot(world: World, settings: PolicySettings, wall_now: WallTime, serial: int, previous: Snapshot | None) -> Snapshot:
    selection = Selection(world)
    contents = _contents(selection.rules, previous.contents if previous else {})
    makers = _PolicyMaker(settings, contents, wall_now, previous)
    pods = [pod for pod in world.pods if not pod.is_host_network]
    subjects = {pod.uid: Subject(pod, makers.policy(selection.places(pod))) for pod in pods}
    holders = _holders(subject.pod for subject in subjects.values())
    return Snapshot(
        serial=serial,
        subjects=subjects,
        by_source={str(address): subjects[those[0].uid] for address, those in holders.items() if len(those) == 1},
        conflicts=frozenset(address for address, those in holders.items() if len(those) > 1),
        changes_at=_next_change(world.rules, wall_now),
        settings=settings,
        warnings=(*_host_network_warnings(world.pods, selection), *_conflict_warnings(holders)),
        contents={rule.ref: (rule, content) for rule, content in contents},
    )


def _contents(rules: Iterable[Rule], known: Mapping[RuleRef, RuleContent]) -> list[RuleContent]:
    return [known[rule.ref] if rule.ref in known and known[rule.ref][0] == rule else (rule, rule_content(rule)) for rule in rules]


def is_audit(rule: Rule, wall_now: WallTime) -> bool:
    """Is it in Audit mode now? On its date it no longer is."""
    return rule.mode is Mode.AUDIT and (rule.audit_until is None or wall_now < rule.audit_until)


def _next_change(rules: Iterable[Rule], wall_now: WallTime) -> WallTime | None:
    dates = (rule.audit_until for rule in rules if is_audit(rule, wall_now))
    return min((date for date in dates if date is not None), default=None)


def _holders(pods: Iterable[Pod]) -> dict[IPAddress, list[Pod]]:
    holders: dict[IPAddress, list[Pod]] = defaultdict(list)
    for pod in pods:
        for address in dict.fromkeys(pod.addresses):
            holders[address].append(pod)
    return holders


def _host_network_warnings(pods: Iterable[Pod], selection: Selection) -> Iterator[str]:
    for pod in pods:
        if pod.is_host_network and selection.places(pod):
            yield f"pod {pod}: its rules are not enforceable, it shares the node's network (hostNetwork)"


def _conflict_warnings(holders: Mapping[IPAddress, Sequence[Pod]]) -> Iterator[str]:
    for address, pods in holders.items():
        if len(pods) > 1:
            yield f"address {address}: none of its pods is served, more than one has it: {', '.join(sorted(map(str, pods)))}"


class _PolicyMaker:
    """Makes each policy once, out of those of the previous snapshot where their content is the same."""

    def __init__(self, settings: PolicySettings, contents: Sequence[RuleContent], wall_now: WallTime, previous: Snapshot | None) -> None:
        self._settings = settings
        self._settings_content = settings_content(settings)
        self._surroundings = surroundings(settings)
        self._rules = [rule for rule, _ in contents]
        self._audit = [is_audit(rule, wall_now) for rule, _ in contents]
        self._contents = [digest(content, audit) for (_, content), audit in zip(contents, self._audit, strict=True)]
        self._policies = {subject.policy.key: subject.policy for subject in previous.subjects.values()} if previous else {}
        self._by_places: dict[tuple[int, ...], Policy] = {}

    def policy(self, places: tuple[int, ...]) -> Policy:
        if places not in self._by_places:
            self._by_places[places] = self._policy(places)
        return self._by_places[places]

    def _policy(self, places: tuple[int, ...]) -> Policy:
        cluster = digest(self._surroundings, *(self._contents[place] for place in places if self._rules[place].is_cluster))
        refs = (f"{ref.namespace}/{ref.name}/{ref.uid}" for ref in (self._rules[place].ref for place in places))
        key = digest(self._settings_content, cluster, *(self._contents[place] for place in places), *refs)
        if key not in self._policies:
            self._policies[key] = self._build(key, places, cluster)
        return self._policies[key]

    def _build(self, key: str, places: tuple[int, ...], cluster: str) -> Policy:
        rules = [self._rules[place] for place in places]
        cuts = _cuts(rules)
        entries = tuple(
            Entry(
                rule=rule.ref,
                action=rule.action,
                is_cluster=rule.is_cluster,
                is_audit=self._audit[place],
                limits=rule.limits,
                basis=digest(self._contents[place], cluster),
                cuts=cuts[_own_ports(rule)],
            )
            for place, rule in zip(places, rules, strict=True)
        )
        stance = stance_of(entries)
        return Policy(
            key=key,
            stance=stance,
            entries=entries,
            steps=tuple(_steps(rules, entries, stance, self._settings)),
            ranges=_ranges(rules, cuts),
            indexes=_indexes(rules, self._settings),
            settings=self._settings,
        )


def stance_of(entries: Sequence[Entry]) -> Stance:
    if not entries:
        return Stance.UNTOUCHED
    allowing = [entry for entry in entries if entry.can_allow]
    if not allowing:
        return Stance.OPEN
    return Stance.AUDIT if all(entry.is_audit for entry in allowing) else Stance.ENFORCE


def _ports(rule: Rule, peer: Peer) -> PortSet:
    return peer.ports.closing_gaps() if rule.action is Action.DENY else peer.ports


def _indexes(rules: Sequence[Rule], settings: PolicySettings) -> Indexes:
    peers = [(rule, peer, place, _ports(rule, peer)) for place, rule in enumerate(rules) for peer in rule.peers]
    encloses = protection_of(settings).encloses
    return Indexes(
        names=NameIndex((pattern, place, ports) for _, peer, place, ports in peers for pattern in peer.patterns),
        networks=NetworkIndex((network, place, ports) for _, peer, place, ports in peers for network in peer.networks),
        protected_networks=NetworkIndex(
            (network, place, ports)
            for rule, peer, place, ports in peers
            for network in peer.networks
            if rule.action is not Action.ALLOW or encloses(network)
        ),
    )


def _steps(rules: Sequence[Rule], entries: Sequence[Entry], stance: Stance, settings: PolicySettings) -> Iterator[Step]:
    for rule, entry in zip(rules, entries, strict=True):
        if not is_in_force(entry, stance):
            continue
        for peer in rule.peers:
            for is_inside, networks in _by_protection(peer.networks, settings):
                yield Step(
                    action=rule.action,
                    networks=networks,
                    ports=_ports(rule, peer),
                    rule=rule.ref,
                    basis=entry.basis,
                    is_inside_protected=is_inside,
                )


def _by_protection(networks: Sequence[IPNetwork], settings: PolicySettings) -> Iterator[tuple[bool, tuple[IPNetwork, ...]]]:
    encloses = protection_of(settings).encloses
    for is_inside in (False, True):
        if those := tuple(network for network in networks if encloses(network) is is_inside):
            yield is_inside, those


def _own_ports(rule: Rule) -> frozenset[PortSet]:
    return frozenset(_ports(rule, peer) for peer in rule.peers)


def _cuts(rules: Sequence[Rule]) -> dict[frozenset[PortSet], Cuts]:
    """Where a rule's ports may be cut: at its own boundaries, and at those of the cluster rules, which take away from it."""
    cluster = Cuts.of(chain.from_iterable(_own_ports(rule) for rule in rules if rule.is_cluster)).points
    return {own: Cuts.of(own, cluster) for own in {_own_ports(rule) for rule in rules}}


def _ranges(rules: Sequence[Rule], cuts: Mapping[frozenset[PortSet], Cuts]) -> frozenset[Piece]:
    """Every RANGE piece that a permit can have.

    A permit is a union of peers' ports without a union of cluster peers' ports. Of a protocol that it holds as a whole it is one piece, so
    ranges come up only where a peer of its own, or a cluster peer that takes away, holds the protocol in part.
    """
    taken = frozenset[int]().union(*(partial_protocols(peer.ports) for rule in rules if rule.is_cluster for peer in rule.peers))
    ranges: set[Piece] = set()
    for own in {_own_ports(rule) for rule in rules if rule.action is Action.ALLOW}:
        needed = union(restricted(ports, partial_protocols(ports) | taken) for ports in own)
        ranges.update(piece for piece in elementary(needed, cuts[own]) if piece.kind is Kind.RANGE)
    return frozenset(ranges)
