"""Grants while queries wait: nothing is said before the kernel has acknowledged it, and nothing is said that it has not."""

import asyncio

import pytest
from enforce_kit import Node, packed
from worlds import peer, pod, rule

from dnsfw.names import parse_name
from dnsfw.policy.grants import Granted, GrantOutcome, NotGranted
from dnsfw.policy.model import LeaseLimits
from dnsfw.policy.reasons import Reason
from nft.changes import Put
from nft.errors import NoSpaceError

WEB = rule("web", peer("*.example.net", on=["tcp/443"]))
POD = pod("a", "10.0.0.1", "2001:db8:1::1", uid="a")
OTHER = pod("b", "10.0.0.2", uid="b")


@pytest.fixture
async def node() -> Node:
    node = Node()
    await node.start([WEB], [POD, OTHER])
    return node


async def test_granted_is_said_after_the_ack(node: Node) -> None:
    """The future is done only when the element stands."""
    commits = len(node.kernel.commits)
    outcome = node.ensure(node.subject("a"), "www.example.net", "192.0.2.1")

    assert not outcome.done()
    assert len(node.kernel.commits) == commits
    assert isinstance(await outcome, Granted)
    assert node.lets("10.0.0.1", "192.0.2.1")


async def test_queries_of_one_turn_share_a_commit(node: Node) -> None:
    """Group commit: ten pods' answers, one transaction, and each has its element."""
    before = len(node.kernel.commits)
    asked = [node.told("a", f"n{index}.example.net", f"192.0.2.{index}") for index in range(1, 11)]

    outcomes = await asyncio.gather(*asked)

    assert all(isinstance(outcome, Granted) for outcome in outcomes)
    assert len(node.kernel.commits) == before + 1
    assert all(node.lets("10.0.0.1", f"192.0.2.{index}") for index in range(1, 11))


async def test_second_asker_joins_the_same_ack(node: Node) -> None:
    """Whoever asks for what is being installed waits for that, and is told no sooner."""
    first = node.ensure(node.subject("a"), "www.example.net", "192.0.2.1")
    second = node.ensure(node.subject("a"), "www.example.net", "192.0.2.1")

    assert not first.done()
    assert not second.done()
    assert await first == await second


async def test_a5_neighbour_gets_nothing(node: Node) -> None:
    """Another pod with the same labels cannot use what only its neighbour was told."""
    await node.told("a", "www.example.net", "192.0.2.1")

    assert not node.lets("10.0.0.2", "192.0.2.1")


async def test_both_families_each_from_its_own_address(node: Node) -> None:
    """An IPv6 address is granted to the pod's IPv6 address, and where the pod has none there is no element."""
    await node.told("a", "www.example.net", "192.0.2.1", "2001:db8::80")
    await node.told("b", "www.example.net", "192.0.2.1", "2001:db8::80")

    assert node.lets("2001:db8:1::1", "2001:db8::80")
    assert len(node.elements("port6")) == 1
    assert len(node.elements("port4")) == 2


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [pytest.param(0, 40, id="zero-a12"), pytest.param(300, 310, id="plain"), pytest.param(2**31 - 1, 3610, id="huge-a13")],
)
async def test_leases_are_clamped(node: Node, ttl: int, seconds: int) -> None:
    """The kernel keeps an address for the clamped TTL and the grace, never for ever."""
    await node.told("a", "www.example.net", "192.0.2.1", ttl=ttl)

    (element,) = node.elements("port4").values()
    assert element.timeout_ms == seconds * 1000


async def test_a12_flood_of_short_ttls_costs_no_commit(node: Node) -> None:
    """While the grant outlives the answer, asking again touches nothing."""
    await node.told("a", "www.example.net", "192.0.2.1", ttl=0)
    before = len(node.kernel.commits)
    for _ in range(100):
        outcome = await node.told("a", "www.example.net", "192.0.2.1", ttl=0)
        assert outcome == Granted(until=node.clock.now() + 40, ttl=0, grants=1)

    assert len(node.kernel.commits) == before


async def test_renewal_before_the_answer_outlives_the_grant(node: Node) -> None:
    """Once the rest is shorter than what is answered, the element is renewed first."""
    await node.told("a", "www.example.net", "192.0.2.1", ttl=60)
    node.clock.advance(15)
    outcome = await node.told("a", "www.example.net", "192.0.2.1", ttl=60)

    assert outcome == Granted(until=node.clock.now() + 70, ttl=60, grants=1)
    (element,) = node.elements("port4").values()
    assert element.expires_ms == 70_000


async def test_a14_shorter_ttl_of_another_name_cuts_nothing(node: Node) -> None:
    """Two names on one address: the longest lease counts."""
    await node.told("a", "long.example.net", "192.0.2.1", ttl=600)
    await node.told("a", "short.example.net", "192.0.2.1", ttl=0)

    (element,) = node.elements("port4").values()
    assert element.expires_ms == 610_000


async def test_answered_ttl_ends_before_the_grant(node: Node) -> None:
    """min over the rules that allow: the shorter maximum bounds the answer."""
    short = rule("short", peer("*.example.net", on=["tcp/80"]), limits=LeaseLimits(min_seconds=1, max_seconds=20, grace_seconds=5))
    await node.change([WEB, short], [POD, OTHER])
    outcome = await node.told("a", "www.example.net", "192.0.2.1", ttl=600)

    assert outcome == Granted(until=node.clock.now() + 25, ttl=20, grants=2)


async def test_name_that_is_not_allowed_installs_nothing(node: Node) -> None:
    """Whatever the caller thinks, the newest snapshot decides."""
    outcome = await node.told("a", "www.example.org", "192.0.2.1")

    assert isinstance(outcome, Granted)
    assert outcome.grants == 0
    assert not node.lets("10.0.0.1", "192.0.2.1")


async def test_rules_that_change_meanwhile_send_the_exchange_back(node: Node) -> None:
    """A rule revoked while upstream is being asked: no element, and the exchange decides again."""
    subject = node.subject("a")
    waiting = node.ensure(subject, "www.example.net", "192.0.2.1")
    node.enforcer.state.snapshot = node.compiled([], [POD, OTHER], node.enforcer.snapshot)

    assert await waiting == NotGranted(Reason.RULES_CHANGED)
    assert await node.ensure(subject, "www.example.net", "192.0.2.2") == NotGranted(Reason.RULES_CHANGED)
    assert not node.elements("port4")


async def test_kernel_error_is_no_grant(node: Node) -> None:
    """What the kernel has refused twice is withheld, with its words."""
    node.kernel.fail_commit(NoSpaceError("the set is full"))
    node.kernel.fail_commit(NoSpaceError("still full"))
    outcome = await node.told("a", "www.example.net", "192.0.2.1")

    assert isinstance(outcome, NotGranted)
    assert outcome.reason is Reason.KERNEL_FAILED
    assert "still full" in outcome.detail
    assert not node.enforcer.state.ledger.addresses_of(node.subject("a").pod.uid)


async def test_one_spoiled_grant_does_not_spoil_the_others(node: Node) -> None:
    """A batch that fails is carried out one by one."""
    node.kernel.fail_commit(NoSpaceError("the batch"))
    outcomes = await asyncio.gather(node.told("a", "x.example.net", "192.0.2.1"), node.told("b", "x.example.net", "192.0.2.1"))

    assert all(isinstance(outcome, Granted) for outcome in outcomes)
    assert node.lets("10.0.0.1", "192.0.2.1")
    assert node.lets("10.0.0.2", "192.0.2.1")


async def test_element_of_a_foreign_hand_is_overwritten(node: Node) -> None:
    """Other data under the same key would be EEXIST: the second attempt puts ours in its place."""
    await node.told("a", "www.example.net", "192.0.2.1")
    ((key, element),) = node.elements("port4").items()
    node.kernel.commit([Put(element.set, key, 0x00990000, 1_000_000)])
    node.clock.advance(60)
    await node.told("a", "www.example.net", "192.0.2.1")

    assert node.lets("10.0.0.1", "192.0.2.1")


async def test_kernel_that_stalls_beyond_the_bound_gives_servfail(node: Node) -> None:
    """Never a late release: an ack after the bound is no grant."""
    node.kernel.on_commit = lambda: node.clock.advance(1.5)
    outcome = await node.told("a", "www.example.net", "192.0.2.1")

    assert isinstance(outcome, NotGranted)
    assert outcome.reason is Reason.KERNEL_TIMEOUT


async def test_a11_quota_of_one_pod() -> None:
    """Past its limit a pod gets a clear reason, and its neighbour notices nothing."""
    node = Node(grants_per_pod=2)
    await node.start([WEB], [POD, OTHER])
    await node.told("a", "x.example.net", "192.0.2.1", "192.0.2.2")

    outcome = await node.told("a", "y.example.net", "192.0.2.3")
    neighbour = await node.told("b", "y.example.net", "192.0.2.3")
    same_address = await node.told("a", "y.example.net", "192.0.2.1")

    assert isinstance(outcome, NotGranted)
    assert outcome.reason is Reason.POD_QUOTA
    assert isinstance(neighbour, Granted)
    assert isinstance(same_address, Granted)


async def test_a11_quota_of_the_node() -> None:
    """The node's limit holds for all pods together."""
    node = Node(grants_per_node=1)
    await node.start([WEB], [POD, OTHER])
    await node.told("a", "x.example.net", "192.0.2.1")
    outcome = await node.told("b", "x.example.net", "192.0.2.1")

    assert isinstance(outcome, NotGranted)
    assert outcome.reason is Reason.NODE_QUOTA


async def test_no_free_number_is_closed() -> None:
    """Numbers are never shared: when all are taken, the answer is withheld."""
    node = Node(ct_mask=0x00010000)
    await node.start([WEB], [POD, OTHER])
    await node.told("a", "x.example.net", "192.0.2.1")
    outcome = await node.told("b", "x.example.net", "192.0.2.1")

    assert isinstance(outcome, NotGranted)
    assert outcome.reason is Reason.NO_NUMBER


async def test_nothing_is_granted_in_trouble(node: Node) -> None:
    """While the kernel is not as it should be, even what stands is not renewed."""
    await node.told("a", "www.example.net", "192.0.2.1")
    node.enforcer.state.trouble = "being rebuilt"
    outcome = await node.told("a", "www.example.net", "192.0.2.1")

    assert outcome == NotGranted(Reason.KERNEL_FAILED, "being rebuilt")


async def test_a_long_answer_is_granted_in_parts(node: Node) -> None:
    """Two hundred addresses: several transactions, so that others come in between; said only when every one of them stands."""
    before = len(node.kernel.commits)
    addresses = [f"203.0.113.{number}" for number in range(200)]
    long = asyncio.ensure_future(node.told("a", "long.example.net", *addresses))
    await asyncio.sleep(0)
    short = await node.told("b", "short.example.net", "192.0.2.1")

    assert isinstance(short, Granted)
    outcome = await long
    assert isinstance(outcome, Granted) and outcome.grants == 200
    assert all(node.lets("10.0.0.1", address) for address in addresses)
    assert len(node.kernel.commits) > before


async def test_a_long_answer_that_stands_is_looked_up_in_parts(node: Node) -> None:
    """A thousand addresses asked for again: nothing is written, and what another pod asks for comes before the last part is looked up."""
    addresses = [f"198.18.{number >> 8}.{number & 255}" for number in range(1000)]
    first = await node.told("a", "long.example.net", *addresses)
    commits = node.enforcer.stats().commits

    again = node.ensure(node.subject("a"), "long.example.net", *addresses)
    other = node.ensure(node.subject("b"), "short.example.net", "192.0.2.1")
    node.enforcer.flush()
    node.enforcer.flush()

    assert other.done() and not again.done()
    assert await again == first
    assert node.enforcer.stats().commits == commits + 1


async def test_pods_take_turns_at_the_kernel(node: Node) -> None:
    """With thousands of addresses of one pod waiting, another's single one is granted before most of them."""
    crowd = [
        asyncio.ensure_future(node.told("a", f"n{name}.example.net", *(f"198.18.{name}.{number}" for number in range(250))))
        for name in range(8)
    ]
    await asyncio.sleep(0)

    assert isinstance(await node.told("b", "single.example.net", "192.0.2.1"), Granted)
    assert sum(each.done() for each in crowd) < 4
    assert all(isinstance(outcome, Granted) for outcome in await asyncio.gather(*crowd))


async def test_what_need_not_wait_for_the_turns_end_is_granted_at_once(node: Node) -> None:
    """And once only: the turn's end finds nothing left to do."""
    future = node.ensure(node.subject("a"), "www.example.net", "192.0.2.1")
    assert not future.done()

    node.enforcer.flush()

    assert isinstance(future.result(), Granted) and node.lets("10.0.0.1", "192.0.2.1")
    commits = node.enforcer.stats().commits
    await asyncio.sleep(0.01)
    assert node.enforcer.stats().commits == commits


async def test_who_says_that_nothing_more_comes_is_told_before_that_call_returns(node: Node) -> None:
    """With whatever waited for the turn's end; and nothing is left to do there."""
    earlier, told = node.ensure(node.subject("a"), "www.example.net", "192.0.2.1"), list[GrantOutcome]()

    node.enforcer.request_now(node.subject("b"), parse_name("api.example.net"), packed("192.0.2.2"), 60, told.append)

    assert earlier.done() and isinstance(told[0], Granted) and node.lets("10.0.0.2", "192.0.2.2")
    assert not node.enforcer.stats().commit_failures
    commits = node.enforcer.stats().commits
    await asyncio.sleep(0.01)
    assert node.enforcer.stats().commits == commits


async def test_a_long_answer_past_the_quota_is_refused_as_a_whole() -> None:
    """No part of it is granted."""
    node = Node(grants_per_pod=150)
    await node.start([WEB], [POD])

    outcome = await node.told("a", "long.example.net", *(f"203.0.113.{number}" for number in range(200)))

    assert isinstance(outcome, NotGranted) and outcome.reason is Reason.POD_QUOTA
    assert not node.lets("10.0.0.1", "203.0.113.0")


async def test_a_long_answer_is_not_granted_where_a_part_is_not(node: Node) -> None:
    """The rules change while its parts wait: what was to come is not granted, and the answer is decided again."""
    long = asyncio.ensure_future(node.told("a", "long.example.net", *(f"203.0.113.{number}" for number in range(200))))
    await asyncio.sleep(0)
    await node.change([rule("web", peer("other.example.net"))], [POD, OTHER])

    outcome = await long

    assert isinstance(outcome, NotGranted) and outcome.reason is Reason.RULES_CHANGED


async def test_rows_of_meanwhile_are_named(node: Node) -> None:
    """What is granted while new rules are being judged is judged after them, by pod and address."""
    node.enforcer.state.written = set()
    await node.told("a", "www.example.net", "192.0.2.1")

    assert list(node.enforcer.state.written) == [("a", *packed("192.0.2.1"))]
