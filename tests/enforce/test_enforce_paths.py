"""The ruleset is a function of state, not of history: the same states forwards, backwards and squashed leave the same table."""

import asyncio

import pytest
from enforce_kit import Node, ruleset
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import allow, deny, leave, peer, pod, rule, where

from dnsfw.policy.model import Mode, Pod, Rule

RULES = (
    rule("web", peer("*.example.net", on=["tcp/443"])),
    rule("web", peer("www.example.net", on=["tcp/443"])),
    rule("any", peer("*.example.net", "203.0.113.0/24")),
    rule("range", peer("*.example.net", on=["tcp/8000-8010", "udp/53-60", "icmp"]), selector=where(app="a")),
    rule("nets", peer("203.0.113.0/24", "2001:db8:5::/48", on=["tcp/22"]), peer("169.254.169.254/32", on=["tcp/80"])),
    rule("watch", peer("*.example.org"), mode=Mode.AUDIT),
    deny("no-www", peer("www.example.net")),
    deny("no-port", peer("*.example.net", "203.0.113.8/29", on=["tcp/443"])),
    leave("leave", peer("203.0.113.0/25", "*.example.net"), priority=50),
    allow("platform", peer("*.example.org", on=["tcp/443"]), selector=where(app="a")),
)
PODS = (
    pod("a", "10.0.0.1", "2001:db8:1::1", uid="a", labels={"app": "a"}),
    pod("b", "10.0.0.2", uid="b", labels={"app": "b"}),
    pod("c", "10.0.0.3", uid="c"),
    pod("d", "10.0.0.1", uid="d", labels={"app": "a"}),
)
NAMES = ("www.example.net", "api.example.net", "www.example.org")
ADDRESSES = ("192.0.2.1", "192.0.2.2", "203.0.113.9", "2001:db8:5::1")

World = tuple[tuple[Rule, ...], tuple[Pod, ...]]


def distinct(rules: list[Rule]) -> tuple[Rule, ...]:
    return tuple({rule.ref: rule for rule in rules}.values())


worlds = st.tuples(
    st.lists(st.sampled_from(RULES), max_size=5).map(distinct),
    st.lists(st.sampled_from(PODS), max_size=4, unique_by=lambda pod: pod.uid).map(tuple),
)
asks = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(NAMES), st.sampled_from(ADDRESSES)), max_size=8)
Asks = list[tuple[str, str, str]]


@settings(max_examples=40, deadline=None)
@given(world=worlds, told=asks)
def test_first_grants_are_planned_as_all_others(world: World, told: Asks) -> None:
    """The shorter way of an address that nothing stands for, and the long way, leave the same elements, rows and outcomes."""

    async def lived(*, is_short: bool) -> tuple[object, ...]:
        node = Node()
        with pytest.MonkeyPatch.context() as patch:
            if not is_short:
                patch.setattr("dnsfw.enforce.installer.Installer._plan_first", lambda *_: None)
            await node.start(*world)
            known = [(uid, *rest) for uid, *rest in told if uid in {pod.uid for pod in world[1]}]
            outcomes = [await node.told(uid, name, address) for uid, name, address in known]
        ledger = node.enforcer.state.ledger
        return await ruleset(node), outcomes, {uid: dict(ledger.rows_of(uid)) for uid in "abcd"}

    assert asyncio.run(lived(is_short=True)) == asyncio.run(lived(is_short=False))


async def walk(states: list[World], told: Asks, *, is_told_always: bool) -> tuple[dict[str, object], Node]:
    """Through the states in order; what DNS tells is told in the last one, and if so wished in each before."""
    node = Node()
    await node.start(*states[0])
    for index, state in enumerate(states):
        if index:
            await node.change(*state)
        if is_told_always or index == len(states) - 1:
            await tell(node, told)
    assert node.enforcer.trouble == ""
    return await ruleset(node), node


async def tell(node: Node, told: Asks) -> None:
    snapshot = node.enforcer.snapshot
    assert snapshot is not None
    for uid, name, address in told:
        if any(uid == known for known in snapshot.subjects):
            await node.told(uid, name, address)


def without_closed(found: dict[str, object], node: Node) -> dict[str, object]:
    """Addresses of removed pods are closed until somebody has them: that a pod has been there is a part of the state, not of the way."""
    closed = {address.packed for address in node.enforcer.state.closed}
    sets = found["sets"]
    assert isinstance(sets, dict)
    kept = {
        name: {key: data for key, data in elements.items() if key not in closed} if isinstance(elements, dict) else elements
        for name, elements in sets.items()
    }
    return {"sets": kept, "chains": found["chains"]}


@settings(max_examples=15, deadline=None)
@given(first=worlds, between=st.lists(worlds, max_size=3), last=worlds, told=asks)
def test_forwards_backwards_and_squashed_leave_the_same_table(first: World, between: list[World], last: World, told: Asks) -> None:
    """However a state was reached, chains, sets and elements are the same, but for numbers and what is left of time."""

    async def body() -> list[dict[str, object]]:
        ways = ([first, *between, last], [last, *reversed(between), first, last], [last])
        walked = [await walk(way, told, is_told_always=always) for way in ways for always in (False, True)]
        return [without_closed(found, node) for found, node in walked]

    squashed, *others = reversed(asyncio.run(body()))

    assert all(other == squashed for other in others)


@settings(max_examples=10, deadline=None)
@given(states=st.lists(worlds, min_size=1, max_size=4), told=asks)
def test_a_rebuild_changes_nothing(states: list[World], told: Asks) -> None:
    """What is built anew after a flush is what stood before; comparing finds nothing to mend, before and after."""

    async def body() -> None:
        before, node = await walk(states, told, is_told_always=True)
        assert await node.enforcer.compare_now() == 0
        node.kernel.flush_ruleset()
        await node.enforcer.repair("flushed")
        assert await ruleset(node) == before
        assert await node.enforcer.compare_now() == 0

    asyncio.run(body())


@settings(max_examples=10, deadline=None)
@given(states=st.lists(worlds, min_size=1, max_size=3), told=asks, later=worlds)
def test_elements_are_what_the_policy_says(states: list[World], told: Asks, later: World) -> None:
    """After any walk, every element that stands is permitted by the newest policy for a name that its pod was told."""

    async def body() -> None:
        _, node = await walk([*states, later], told, is_told_always=True)
        for row in node.enforcer.grants():
            permits = row.subject.policy.judge(row.claim.name, row.address)
            assert any(permit.rule == row.claim.permit.rule and permit.ports.includes(row.claim.permit.ports) for permit in permits)
            assert row.number is not None

    asyncio.run(body())
