"""A comparison takes its time; what happens meanwhile is newer, and wins."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest
from enforce_kit import Node
from worlds import deny, peer, pod, rule

from dnsfw.enforce import upkeep
from dnsfw.policy.grants import Granted
from nft.objects import Element, Set

WEB = rule("web", peer("*.example.net", on=["tcp/443"]))
POD = pod("a", "10.0.0.1", uid="a")
WWW, API = "192.0.2.1", "192.0.2.2"
Meanwhile = Callable[[], Coroutine[object, object, object]]


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    """Two grants, of which one ends soon, and a comparison that pauses after each element."""
    monkeypatch.setattr(upkeep, "SLICE", 1)
    node = Node()
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", WWW, ttl=30)
    await node.told("a", "api.example.net", API, ttl=3600)
    return node


async def compare_while(node: Node, meanwhile: Meanwhile, *, pauses: int) -> None:
    """`meanwhile` begins when the comparison has read the elements and has had its turn so many times."""
    fetch, has_read = node.kernel.fetch_elements, asyncio.Event()

    async def fetched(of: Set) -> list[Element]:
        found = await fetch(of)
        if of.name == "port4":
            has_read.set()
        return found

    node.kernel.fetch_elements = fetched  # type: ignore[method-assign]  # the moment between reading and judging has no other handle
    comparing = asyncio.create_task(node.enforcer.compare_now())
    await has_read.wait()
    for _ in range(pauses):
        await asyncio.sleep(0)
    await meanwhile()
    await comparing


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
