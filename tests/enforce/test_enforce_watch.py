"""The enforcer at work on its own: it notices what others do, mends it, and goes on trying where the kernel refuses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from enforce_kit import Node, ruleset
from worlds import peer, pod, rule

from dnsfw.enforce.uninstall import uninstall
from dnsfw.policy.grants import NotGranted
from nft.changes import Change, Discard
from nft.errors import KernelUnreachableError, NftError
from nft.objects import Element, Set

WEB = rule("web", peer("*.example.net", on=["tcp/443"]))
POD = pod("a", "10.0.0.1", uid="a")
WWW = "192.0.2.1"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node whose enforcer runs."""
    node = Node(tmp_path)
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", WWW)
    running = asyncio.create_task(node.enforcer.run())
    yield node
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    node.enforcer.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Poll, to a deadline that a loaded machine meets as well."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 -- what is waited for has no event of its own
            await asyncio.sleep(0.005)


async def test_f12_flush_is_noticed_and_mended(node: Node) -> None:
    """Someone else flushes the ruleset: everything is back, and grants are given again."""
    before = await ruleset(node)
    node.kernel.flush_ruleset()
    await until(lambda: node.enforcer.stats().rebuilds == 1 and not node.enforcer.trouble)

    assert await ruleset(node) == before
    assert node.lets("10.0.0.1", WWW)


async def test_f12_elements_taken_by_others_come_back(node: Node) -> None:
    """A foreign commit that leaves the structure alone is followed by a comparison."""
    (of,) = {of for of in node.enforcer.standing_sets() if of.name == "pods4"}
    ((key, _),) = node.elements("pods4").items()
    node.kernel.commit([Discard(of, key)])
    node.kernel._notify()  # the event of that commit
    await until(lambda: node.enforcer.stats().mended == 1)

    assert key in node.elements("pods4")


async def test_f3_rebuild_goes_on_until_it_succeeds(node: Node) -> None:
    """While the kernel refuses, nothing is granted, and `trouble` says why; then all is well again."""
    for _ in range(6):
        node.kernel.fail_apply(NftError("no memory"))
    node.kernel.flush_ruleset()
    await until(lambda: "no memory" in node.enforcer.trouble)
    await until(lambda: not node.enforcer.trouble)

    assert node.lets("10.0.0.1", WWW)


async def test_new_rules_that_could_not_be_prepared_come_into_force_later(node: Node) -> None:
    """The structure is refused once: the old rules are rebuilt, then the new ones are applied, without another save."""
    newer = rule("web", peer("api.example.net", on=["tcp/443"]))
    node.kernel.fail_apply(NftError("not now"))
    await node.change([newer], [POD])
    assert node.enforcer.trouble != ""
    await until(lambda: not node.enforcer.trouble and not node.lets("10.0.0.1", WWW))

    await node.told("a", "api.example.net", "192.0.2.2")
    assert node.lets("10.0.0.1", "192.0.2.2")


async def test_f3_answer_that_is_lost_leads_to_a_rebuild(node: Node) -> None:
    """The kernel has done it and nobody was told: no grant is said, and nothing of it is left that a later revocation could miss."""
    commit = node.kernel.commit

    def done_but_unheard(changes: Sequence[Change]) -> None:
        commit(changes)
        raise KernelUnreachableError("the answer was lost")

    node.kernel.commit = done_but_unheard  # type: ignore[method-assign]  # a kernel between the two failures that the fake knows
    outcome = await node.told("a", "new.example.net", "192.0.2.3")
    node.kernel.commit = commit  # type: ignore[method-assign]
    assert isinstance(outcome, NotGranted)
    assert "the answer was lost" in node.enforcer.trouble
    await until(lambda: not node.enforcer.trouble)

    assert not node.lets("10.0.0.1", "192.0.2.3")
    assert node.lets("10.0.0.1", WWW)


async def test_no_number_comes_back_while_the_kernel_is_not_known(node: Node) -> None:
    """What has left our books may still stand in the kernel, elements of it too: until it is mended, it is given to nobody."""
    node.kernel.hold = asyncio.Event()  # the mending waits
    numbers = node.enforcer.state.numbers
    (number,) = numbers.live_numbers()
    node.enforcer.state.distrust("as after a lost answer")
    numbers.leave(number)
    await node.enforcer.sweep_now()
    await node.enforcer.sweep_now()

    assert number in numbers.left
    node.kernel.hold.set()


async def test_f12_what_others_do_during_the_start_is_noticed() -> None:
    """Between taking the table over and watching it lies no moment in which a flush goes unseen."""
    node = Node()
    node.kernel.on_commit = node.kernel._notify
    await node.start([WEB], [POD])
    node.kernel.on_commit = None

    assert node.enforcer.state.alarm.is_set()


async def test_f12_long_sets_are_not_listed_after_each_foreign_commit(node: Node) -> None:
    """Whoever changes nftables all day costs a look at the small sets; the large ones keep their share of a core."""
    node.enforcer._compare_took = 10.0  # as beside 100,000 grants
    listed: list[Set] = []

    async def listing(of: Set) -> AsyncIterator[list[Element]]:
        listed.append(of)
        yield []

    node.kernel.iter_elements = listing  # type: ignore[method-assign]  # only to see that it is not asked
    (of,) = {of for of in node.enforcer.standing_sets() if of.name == "pods4"}
    ((key, _),) = node.elements("pods4").items()
    node.kernel.commit([Discard(of, key)])
    node.kernel._notify()
    await until(lambda: node.enforcer.stats().mended == 1)

    assert not listed


async def test_stop_waits_for_a_rebuild_but_not_for_ever(node: Node) -> None:
    """A table without its hooks is not left behind, unless the kernel does not answer at all."""
    node.kernel.hold = asyncio.Event()
    node.kernel.flush_ruleset()
    await until(lambda: node.enforcer.trouble != "")
    await node.enforcer.at_rest(0.01)
    assert node.enforcer.trouble
    asyncio.get_running_loop().call_later(0.01, node.kernel.hold.set)
    await node.enforcer.at_rest(10)

    assert not node.enforcer.trouble
    assert node.lets("10.0.0.1", WWW)


async def test_counts_of_a_table_that_is_away(node: Node) -> None:
    """Whoever asks how it stands gets an answer, above all when it does not stand."""
    node.kernel.hold = asyncio.Event()
    node.kernel.flush_ruleset()

    assert node.enforcer.refusals() == {}
    node.kernel.hold.set()


async def test_refused_packets_are_counted_by_pod(node: Node) -> None:
    """Every judged pod has its counters, at nothing yet."""
    assert {str(address): counts for (_, address), counts in node.enforcer.refusals().items()} == {"10.0.0.1": (0, 0)}


async def test_stats_tell_how_it_stands(node: Node) -> None:
    """Grants, numbers and commits as they are."""
    stats = node.enforcer.stats()

    assert (stats.trouble, stats.grants, stats.numbers, stats.has_guard) == ("", 1, 1, True)
    assert stats.commits == len(node.kernel.commits)
    assert stats.commit_p99_us >= stats.commit_p50_us > 0
    assert node.enforcer.since_compared() is not None


async def test_uninstall_leaves_nothing(tmp_path: Path) -> None:
    """The table, the marks and the journal go; what was not there is no error."""
    node = Node(tmp_path)
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", WWW)
    node.opens("10.0.0.1", WWW)
    node.enforcer.close()
    removed = await uninstall(node.settings, node.kernel, node.connections)
    again = await uninstall(node.settings, node.kernel, node.connections)

    assert (removed.table, removed.connections, removed.journal) == (True, 1, True)
    assert (again.table, again.connections, again.journal) == (False, 0, False)
    assert node.connections.marks_in_use(0xFFFF0000) == set()
    assert await node.kernel.read_structure(node.enforcer.state.layout.table) is None
