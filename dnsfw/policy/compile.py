"""World and settings in, snapshot out.

Pure. Always true: the result depends on the arguments' content alone, `previous` only saves work; a policy whose key is the same is
the same object as before, with all that it remembers.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dnsfw.clock import WallTime
from dnsfw.policy.content import digest, settings_content, surroundings
from dnsfw.policy.index import NameIndex, NetworkIndex
from dnsfw.policy.judge import Entry, is_in_force
from dnsfw.policy.kept import Kept
from dnsfw.policy.layout import Layouts, layouts_of, ranges_of
from dnsfw.policy.model import Action, IPAddress, IPNetwork, Mode, Pod, PodUid, PolicySettings, Rule, RuleRef, World
from dnsfw.policy.prepare import Prepared, prepare
from dnsfw.policy.protected import protection_of
from dnsfw.policy.selection import Selection, in_order
from dnsfw.policy.snapshot import Indexes, Policy, Snapshot, Stance, Step, Subject


def compile_snapshot(world: World, settings: PolicySettings, wall_now: WallTime, serial: int, previous: Snapshot | None) -> Snapshot:
    rules = prepare(in_order(world.rules), previous.prepared if previous else {})
    prepared = _by_reference(rules)
    audited = frozenset(rule.ref for rule in world.rules if is_audit(rule, wall_now))
    is_alike = previous is not None and previous.settings == settings and len(prepared) == len(rules)
    kept = Kept(previous, world, prepared, audited) if previous is not None and is_alike else None
    selection = Selection(rules, world.namespace_labels)
    maker = _PolicyMaker(settings, rules, wall_now, previous)
    subjects = _subjects([pod for pod in world.pods if not pod.is_host_network], kept, selection, maker)
    holders = holders_of(subject.pod for subject in subjects.values())
    return Snapshot(
        serial=serial,
        subjects=subjects,
        by_source={str(address): subjects[those[0].uid] for address, those in holders.items() if len(those) == 1},
        conflicts=frozenset(address for address, those in holders.items() if len(those) > 1),
        changes_at=_next_change(world.rules, wall_now),
        settings=settings,
        warnings=(*_host_network_warnings(world.pods, selection), *_conflict_warnings(holders)),
        prepared=prepared,
        audited=audited,
        namespace_labels=world.namespace_labels,
    )


def _by_reference(rules: Sequence[Prepared]) -> dict[RuleRef, Prepared]:
    """Empty where two have the same (whoever reads documents refuses the second): nothing is kept then, now and for the next."""
    prepared = {each.rule.ref: each for each in rules}
    return prepared if len(prepared) == len(rules) else {}


def _subjects(pods: Sequence[Pod], kept: Kept | None, selection: Selection, maker: "_PolicyMaker") -> dict[PodUid, Subject]:
    """In the order of the pods."""
    known = {pod.uid: None if kept is None else kept.subject(pod) for pod in pods}
    groups = selection.groups(pod for pod in pods if known[pod.uid] is None)
    policies = {pod.uid: policy for places, alike in groups for policy in (maker.policy(places),) for pod in alike}
    return {pod.uid: known[pod.uid] or Subject(pod, policies[pod.uid]) for pod in pods}


def is_audit(rule: Rule, wall_now: WallTime) -> bool:
    """Is it in Audit mode now? On its date it no longer is."""
    return rule.mode is Mode.AUDIT and (rule.audit_until is None or wall_now < rule.audit_until)


def _next_change(rules: Iterable[Rule], wall_now: WallTime) -> WallTime | None:
    dates = (rule.audit_until for rule in rules if is_audit(rule, wall_now))
    return min((date for date in dates if date is not None), default=None)


def holders_of(pods: Iterable[Pod]) -> dict[IPAddress, list[Pod]]:
    """Which pods have an address; more than one is a conflict."""
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
    """Makes policies, out of those of the previous snapshot where their content is the same."""

    def __init__(self, settings: PolicySettings, rules: Sequence[Prepared], wall_now: WallTime, previous: Snapshot | None) -> None:
        self._settings = settings
        self._settings_content = settings_content(settings)
        self._surroundings = surroundings(settings)
        self._rules = rules
        self._audit = [is_audit(each.rule, wall_now) for each in rules]
        self._contents = [each.audited if audit else each.enforced for each, audit in zip(rules, self._audit, strict=True)]
        self._policies = {subject.policy.key: subject.policy for subject in previous.subjects.values()} if previous else {}

    def policy(self, places: tuple[int, ...]) -> Policy:
        """The policy of the pods that these rules select."""
        rules = [self._rules[place].rule for place in places]
        contents = [self._contents[place] for place in places]
        cluster = digest(self._surroundings, *(content for content, rule in zip(contents, rules, strict=True) if rule.is_cluster))
        refs = (text for rule in rules for text in (rule.ref.namespace, rule.ref.name, rule.ref.uid))
        key = digest(self._settings_content, cluster, *contents, *refs)
        if key not in self._policies:
            self._policies[key] = self._build(key, places, cluster)
        return self._policies[key]

    def _build(self, key: str, places: tuple[int, ...], cluster: str) -> Policy:
        rules = [self._rules[place] for place in places]
        layouts = layouts_of(rules)
        entries = tuple(self._entry(place, cluster, layouts) for place in places)
        stance = stance_of(entries)
        return Policy(
            key=key,
            stance=stance,
            entries=entries,
            steps=tuple(_steps(rules, entries, stance, self._settings)),
            ranges=ranges_of(rules, layouts),
            indexes=_indexes(rules, self._settings),
            settings=self._settings,
        )

    def _entry(self, place: int, cluster: str, layouts: Layouts) -> Entry:
        rule = self._rules[place].rule
        return Entry(
            rule=rule.ref,
            action=rule.action,
            is_cluster=rule.is_cluster,
            is_audit=self._audit[place],
            limits=rule.limits,
            basis=digest(self._contents[place], cluster),
            layout=layouts[self._rules[place].ports],
        )


def stance_of(entries: Sequence[Entry]) -> Stance:
    if not entries:
        return Stance.UNTOUCHED
    allowing = [entry for entry in entries if entry.can_allow]
    if not allowing:
        return Stance.OPEN
    return Stance.AUDIT if all(entry.is_audit for entry in allowing) else Stance.ENFORCE


def _indexes(rules: Sequence[Prepared], settings: PolicySettings) -> Indexes:
    names = [(pattern, place, ports) for place, each in enumerate(rules) for peer, ports in each.peers for pattern in peer.patterns]
    networks = [(network, place, ports) for place, each in enumerate(rules) for peer, ports in each.peers for network in peer.networks]
    encloses = protection_of(settings).encloses
    inside = [row for row in networks if rules[row[1]].rule.action is not Action.ALLOW or encloses(row[0])]
    return Indexes(names=NameIndex(names), networks=NetworkIndex(networks), protected_networks=NetworkIndex(inside))


def _steps(rules: Sequence[Prepared], entries: Sequence[Entry], stance: Stance, settings: PolicySettings) -> Iterator[Step]:
    for each, entry in zip(rules, entries, strict=True):
        if not is_in_force(entry, stance):
            continue
        for peer, ports in each.peers:
            for is_inside, networks in _by_protection(peer.networks, settings):
                yield Step(
                    action=entry.action,
                    networks=networks,
                    ports=ports,
                    rule=entry.rule,
                    basis=entry.basis,
                    is_inside_protected=is_inside,
                )


def _by_protection(networks: Sequence[IPNetwork], settings: PolicySettings) -> Iterator[tuple[bool, tuple[IPNetwork, ...]]]:
    if not networks:
        return
    encloses = protection_of(settings).encloses
    for is_inside in (False, True):
        if those := tuple(network for network in networks if encloses(network) is is_inside):
            yield is_inside, those
