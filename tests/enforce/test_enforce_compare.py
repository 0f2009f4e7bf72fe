"""A comparison takes its time; what happens meanwhile is newer, and wins."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest
from enforce_kit import Node, packed
from worlds import deny, peer, pod, rule

from dnsfw.enforce import compare, upkeep
from dnsfw.policy.grants import Granted
from nft.changes import Discard
from nft.objects import Element, Set

WEB = rule("web", peer("*.example.net", on=["tcp/443"]))
POD = pod("a", "10.0.0.1", uid="a")
WWW, API = "192.0.2.1", "192.0.2.2"
Meanwhile = Callable[[], Coroutine[object, object, object]]


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    """Two grants, of which one ends soon, and a comparison that pauses after each element."""
    monkeypatch.setattr(upkeep, "SLICE", 1)
    monkeypatch.setattr(compare, "SLICE", 1)
    node = Node()
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", WWW, ttl=30)
    await node.told("a", "api.example.net", API, ttl=3600)
    return node


async def compare_while(node: Node, meanwhile: Meanwhile, *, pauses: int) -> int:
    """`meanwhile` begins when the comparison has read the elements and has had its turn so many times; how many it has mended."""
    listing, has_read = node.kernel.iter_elements, asyncio.Event()

    async def listed(of: Set) -> AsyncIterator[list[Element]]:
        async for part in listing(of):
            if of.name == "port4":
                has_read.set()
            yield part

    node.kernel.iter_elements = listed  # type: ignore[method-assign]  # the moment between reading and judging has no other handle
    comparing = asyncio.create_task(node.enforcer.compare_now())
    await has_read.wait()
    for _ in range(pauses):
        await asyncio.sleep(0)
    await meanwhile()
    return await comparing


@pytest.mark.parametrize("pauses", range(5))
async def test_comparison_leaves_alone_what_is_granted_meanwhile(node: Node, pauses: int) -> None:
    """A grant that ends while it is looked at, and is renewed at once, stands when the answer has left."""
    node.clock.advance(39.9999)

    async def renew() -> None:
        node.clock.advance(0.01)
        await asyncio.sleep(0)
        assert isinstance(await node.told("a", "www.example.net", WWW, ttl=30), Granted)

    await compare_while(node, renew, pauses=pauses)

    assert node.lets("10.0.0.1", WWW)


@pytest.mark.parametrize("pauses", range(5))
async def test_comparison_brings_back_nothing_that_is_revoked_meanwhile(node: Node, pauses: int) -> None:
    """What was there when the comparison began to look at the ledger, and is denied since, stays closed."""

    async def told_and_revoked() -> None:
        await node.told("a", "new.example.net", "192.0.2.3")
        await node.change([WEB, deny("no-new", peer("new.example.net", "www.example.net"))], [POD])

    await compare_while(node, told_and_revoked, pauses=pauses)

    assert not node.lets("10.0.0.1", "192.0.2.3")
    assert not node.lets("10.0.0.1", WWW)
    assert node.lets("10.0.0.1", API)


@pytest.mark.parametrize("pauses", range(6))
async def test_comparison_misses_nothing_that_is_granted_meanwhile(node: Node, pauses: int) -> None:
    """The kernel had listed the set by then: a new grant, and one of an address whose first has ended, are not mended but left alone."""
    node.clock.advance(60)

    async def told() -> None:
        await node.told("a", "new.example.net", "192.0.2.3")
        await node.told("a", "www.example.net", WWW)

    assert await compare_while(node, told, pauses=pauses) == 0
    assert node.lets("10.0.0.1", "192.0.2.3")
    assert node.lets("10.0.0.1", WWW)


async def test_comparison_puts_back_what_was_gone_before_it_began(node: Node) -> None:
    """Whatever is granted meanwhile: an element that somebody took away stands again, and counts as one."""
    (of,) = {of for of in node.enforcer.standing_sets() if of.name == "port4"}
    (key,) = [key for key in node.elements("port4") if packed(API)[0] in key]
    node.kernel.commit([Discard(of, key)])

    async def told() -> None:
        await node.told("a", "new.example.net", "192.0.2.3")

    assert await compare_while(node, told, pauses=1) == 1
    assert node.lets("10.0.0.1", API)
