"""What a change leaves alone is kept, and nothing else: whatever was before, the snapshot is the one that is made from nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st
from worlds import SETTINGS, allow, deny, peer, pod, rule, snapshot, where

from dnsfw.policy.model import Mode, Pod, PodUid, PolicySettings, Rule
from dnsfw.policy.snapshot import Snapshot

RULES = (
    rule("a", peer("a.example.net")),
    rule("a", peer("other.example.net")),
    rule("b", peer("b.example.net"), selector=where(app="b")),
    rule("b", peer("b.example.net"), selector=where(app="c")),
    rule("audit", peer("*"), mode=Mode.AUDIT, until=100.0, selector=where(app="c")),
    rule("there", peer("x"), namespace="else", accounts=("robot",)),
    deny("d", peer("evil.example"), priority=1),
    deny("d", peer("evil.example"), priority=500),
    allow("c", peer("y"), namespaces=where(tier="db")),
)
PODS = (
    pod("x", "192.0.2.1"),
    pod("x", "192.0.2.1", labels={"app": "b"}),
    pod("y", "192.0.2.1", labels={"app": "c"}),
    pod("z", "192.0.2.2", namespace="else"),
    pod("z", "192.0.2.3", namespace="else", account="robot"),
    pod("w", namespace="bare"),
    pod("h", "192.0.2.1", is_host_network=True),
)
NAMESPACES = ({}, {"else": {"tier": "db"}}, {"else": {"tier": "web"}, "shop": {"tier": "db"}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a snapshot is made of."""

    rules: Sequence[Rule]
    pods: Sequence[Pod]
    namespaces: dict[str, dict[str, str]]
    settings: PolicySettings
    now: float

    def snapshot(self, previous: Snapshot | None = None) -> Snapshot:
        of = {"pods": self.pods, "namespaces": self.namespaces, "settings": self.settings, "now": self.now}
        return snapshot(*self.rules, **of, previous=previous)


givens = st.builds(
    Given,
    rules=st.lists(st.sampled_from(RULES), max_size=7, unique_by=lambda each: each.ref) | st.lists(st.sampled_from(RULES), max_size=4),
    pods=st.lists(st.sampled_from(PODS), min_size=1, max_size=6, unique_by=lambda each: each.uid),
    namespaces=st.sampled_from(NAMESPACES),
    settings=st.sampled_from([SETTINGS, SETTINGS, replace(SETTINGS, is_dns_filtered=False)]),
    now=st.sampled_from([99.0, 100.0]),
)


@given(st.lists(givens, min_size=2, max_size=4))
def test_history_shows_in_no_snapshot(history: list[Given]) -> None:
    """Rules, labels, accounts, namespaces, settings and dates come, change and go, the clock is set back: all is as made from nothing."""
    taken: Snapshot | None = None
    for each in history:
        taken, anew = each.snapshot(taken), each.snapshot()
        assert list(taken.subjects) == list(anew.subjects)
        for uid, subject in anew.subjects.items():
            found = taken.subjects[uid]
            assert (found.pod, found.policy.key, found.policy.stance) == (subject.pod, subject.policy.key, subject.policy.stance)
            assert (found.policy.entries, found.policy.steps) == (subject.policy.entries, subject.policy.steps)
            assert found.policy.ranges == subject.policy.ranges
        assert {source: subject.uid for source, subject in taken.by_source.items()} == {
            source: subject.uid for source, subject in anew.by_source.items()
        }
        assert all(subject is taken.subjects[subject.uid] for subject in taken.by_source.values())
        assert (taken.conflicts, taken.warnings, taken.changes_at) == (anew.conflicts, anew.warnings, anew.changes_at)


BASE = Given(
    rules=[RULES[0], RULES[2], RULES[4], RULES[8]], pods=[PODS[1], PODS[3], PODS[5]], namespaces=NAMESPACES[1], settings=SETTINGS, now=99.0
)
X, Z, W = (PodUid(f"uid-{name}") for name in ("shop-x", "else-z", "bare-w"))


def kept(change: Given) -> set[PodUid]:
    before = BASE.snapshot()
    after = change.snapshot(before)
    return {uid for uid, subject in after.subjects.items() if before.subjects.get(uid) is subject}


def test_who_is_not_concerned_is_kept_as_it_is() -> None:
    """So that what waits for an answer need not be judged anew."""
    assert kept(BASE) == {X, Z, W}
    assert kept(replace(BASE, rules=[*BASE.rules[1:], RULES[1]])) == {Z, W}
    assert kept(replace(BASE, rules=BASE.rules[1:])) == {Z, W}
    assert kept(replace(BASE, rules=BASE.rules[:3])) == {X, W}
    assert kept(replace(BASE, pods=[PODS[0], *BASE.pods[1:]])) == {Z, W}
    assert kept(replace(BASE, pods=[PODS[1], PODS[4], PODS[5], PODS[2]])) == {X, W}
    assert kept(replace(BASE, namespaces=NAMESPACES[2])) == {W}
    assert kept(replace(BASE, settings=replace(SETTINGS, is_dns_filtered=False))) == set()


def test_dates_concern_those_whom_the_rule_selects() -> None:
    """An Audit rule has come to its end."""
    base = replace(BASE, pods=[*BASE.pods, PODS[2]])
    before = base.snapshot()
    after = replace(base, now=100.0).snapshot(before)

    assert {uid for uid, subject in after.subjects.items() if before.subjects[uid] is not subject} == {PodUid("uid-shop-y")}


def test_two_rules_of_one_reference_keep_nothing() -> None:
    """Which of them had selected whom, nobody knows."""
    both, one, neither = (replace(BASE, rules=[*these, RULES[2]]) for these in (RULES[:2], RULES[1:2], ()))
    before = both.snapshot()

    assert both.snapshot(before).subjects[X] is not before.subjects[X]
    for after in (one, neither):
        assert after.snapshot(before).subjects[X].policy.entries == after.snapshot().subjects[X].policy.entries
