"""A restart takes over the table that stands: what the journal vouches for is kept, everything else goes, and nothing is flushed."""

import errno
import io
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from enforce_kit import Node, packed, ruleset
from worlds import deny, peer, pod, rule

from dnsfw.enforce import journal
from dnsfw.enforce.found import sort_numbers
from dnsfw.enforce.journal import Journal
from dnsfw.enforce.numbers import Holder, Meaning
from dnsfw.policy.grants import Granted, NotGranted
from dnsfw.policy.model import PodUid, RuleRef
from nft.changes import Change, Put
from nft.errors import NftError
from nft.objects import Chain, Rule, Set, Table
from nft.transaction import Transaction

WEB = rule("web", peer("*.example.net", on=["tcp/443", "tcp/8000-8010", "icmp"]))
NETS = rule("nets", peer("203.0.113.0/24", on=["tcp/22"]))
POD = pod("a", "10.0.0.1", "2001:db8:1::1", uid="a")
OTHER = pod("b", "10.0.0.2", uid="b")
WWW = "192.0.2.1"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path)
    await node.start([WEB, NETS], [POD, OTHER])
    await node.told("a", "www.example.net", WWW, "2001:db8::80")
    yield node
    node.enforcer.close()


async def test_what_still_stands_is_kept(node: Node) -> None:
    """Same rules, same pods: elements, numbers and connections are as before, without asking anything."""
    flow = node.opens("10.0.0.1", WWW)
    before, deadline = await ruleset(node), node.elements("port4")
    await node.restart([WEB, NETS], [POD, OTHER])

    assert await ruleset(node) == before
    assert node.elements("port4") == deadline
    assert node.lives(flow)
    assert all("delete table inet dnsfw\n" not in text for text in node.kernel.applied)


async def test_what_is_adopted_lasts_no_longer_than_it_would_have(node: Node) -> None:
    """A restart renews nothing."""
    node.clock.advance(50)
    await node.restart([WEB, NETS], [POD, OTHER])
    node.clock.advance(25)

    assert not node.lets("10.0.0.1", WWW)


async def test_adopted_grants_are_renewed_by_the_next_answer(node: Node) -> None:
    """The pod asks again: the same number, a new lease, a name."""
    before = node.number("10.0.0.1", WWW)
    await node.restart([WEB, NETS], [POD, OTHER])
    await node.told("a", "www.example.net", WWW, ttl=600)

    assert node.number("10.0.0.1", WWW) == before
    assert max(element.expires_ms or 0 for element in node.elements("port4").values()) == 610_000


async def test_rule_changed_while_down_is_enforced(node: Node) -> None:
    """Its content differs from the journal's: elements and number go; another rule's connections live on."""
    named, static = node.opens("10.0.0.1", WWW), static_flow(node, "203.0.113.5")
    await node.restart([rule("web", peer("api.example.net", on=["tcp/443"])), NETS], [POD, OTHER])

    assert not node.lets("10.0.0.1", WWW)
    assert (node.lives(named), node.lives(static)) == (False, True)


async def test_cidr_changed_while_down_keeps_what_it_still_allows(node: Node) -> None:
    """Connections are judged by today's CIDRs before the old number goes."""
    inside, outside = static_flow(node, "203.0.113.5"), static_flow(node, "203.0.113.200")
    await node.restart([WEB, rule("nets", peer("203.0.113.0/25", on=["tcp/22"]))], [POD, OTHER])

    assert (node.lives(inside), node.lives(outside)) == (True, False)


async def test_cluster_deny_added_while_down_voids_what_it_may_touch(node: Node) -> None:
    """The kernel holds no names, so nothing says that the Deny does not mean this address."""
    await node.restart([WEB, NETS, deny("new", peer("www.example.net"))], [POD, OTHER])

    assert not node.lets("10.0.0.1", WWW)


async def test_f4_pod_replaced_while_down_inherits_nothing(node: Node) -> None:
    """Another UID at the same address: elements and numbers of the first go."""
    flow = node.opens("10.0.0.1", WWW)
    await node.restart([WEB, NETS], [pod("c", "10.0.0.1", uid="c"), OTHER])

    assert not node.lets("10.0.0.1", WWW)
    assert not node.lives(flow)


@pytest.mark.parametrize("is_first", [True, False])
async def test_address_taken_by_a_second_pod_while_down_serves_neither(node: Node, is_first: bool) -> None:
    """Nobody can say whose packets these are: elements, numbers and connections go, by names and by CIDRs, and none comes back."""
    named, static = node.opens("10.0.0.1", WWW), static_flow(node, "203.0.113.5")
    twin = pod("c", "10.0.0.1", uid="c")
    await node.restart([WEB, NETS], [POD, twin] if is_first else [twin, POD])

    assert not node.lets("10.0.0.1", WWW)
    assert (node.lives(named), node.lives(static)) == (False, False)
    assert node.elements("port4") == {}
    assert await node.enforcer.compare_now() == 0


async def test_pod_removed_while_down_stays_closed(node: Node) -> None:
    """Its address was judged, so it stays so until somebody has it."""
    await node.restart([WEB, NETS], [OTHER])

    assert node.is_closed("10.0.0.1")


async def test_no_journal_no_adoption(node: Node, tmp_path: Path) -> None:
    """Numbers that nothing explains are worth nothing, and are not given out while connections bear them."""
    flow = node.opens("10.0.0.1", WWW)
    (tmp_path / "journal").unlink()
    await node.restart([WEB, NETS], [POD, OTHER])

    assert not node.lets("10.0.0.1", WWW)
    assert not node.lives(flow)
    await node.told("a", "www.example.net", WWW)
    assert node.number("10.0.0.1", WWW) != flow.mark


async def test_adopted_number_is_not_given_to_another(tmp_path: Path) -> None:
    """A connection bears it at the start, and has ended two sweeps later: the number is still its holder's alone."""
    node = Node(tmp_path, ct_mask=0x3 << 16)
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", WWW)
    flow = node.opens("10.0.0.1", WWW)
    await node.restart([WEB], [POD, OTHER])
    node.connections.forget(flow)
    await node.enforcer.sweep_now()
    await node.enforcer.sweep_now()
    more = [rule(name, peer(f"{name}.example.org", on=["tcp/443"])) for name in ("one", "two", "three")]
    await node.change([WEB, *more], [POD, OTHER])
    outcomes = [await node.told("b", f"{each.ref.name}.example.org", f"198.18.0.{last}") for last, each in enumerate(more)]

    assert node.number("10.0.0.1", WWW) == flow.mark
    assert all(node.number("10.0.0.2", f"198.18.0.{last}") != flow.mark for last in range(len(more)))
    assert [type(outcome) for outcome in outcomes] == [Granted, Granted, NotGranted]
    node.enforcer.close()


async def test_younger_of_two_numbers_is_kept(node: Node) -> None:
    """A crash between a number and its successor leaves two for one holder: only the later one stands."""
    (number, meaning), *_ = node.enforcer.state.numbers.live()
    snapshot = node.enforcer.snapshot
    assert snapshot is not None
    found = sort_numbers([number, 99], {99: meaning, number: meaning}, snapshot)

    assert (found.kept, found.spent) == ({number: meaning}, {99: meaning})


async def test_element_with_another_pods_number_is_stray(node: Node) -> None:
    """What the journal says of a number is true of its holder's elements alone."""
    ((key, element),) = node.elements("port4").items()
    theirs = packed("10.0.0.2")[0] + key[4:]
    node.kernel.commit([Put(element.set, theirs, element.data, 60_000)])
    assert node.lets("10.0.0.2", WWW)
    await node.restart([WEB, NETS], [POD, OTHER])

    assert node.lets("10.0.0.1", WWW)
    assert not node.lets("10.0.0.2", WWW)


async def test_number_of_a_stray_element_is_given_to_nobody(node: Node, tmp_path: Path) -> None:
    """Its journal is lost: no commit of the restart leaves an old grant open under a number of today's rules."""
    (tmp_path / "journal").unlink()
    layout, commit = node.enforcer.state.layout, node.kernel.commit
    was_open: list[bool] = []

    def watched(changes: Sequence[Change]) -> None:
        commit(changes)
        live = {int.from_bytes(each.key, sys.byteorder) for each in node.kernel.read_elements(layout.live)}
        was_open.append(any(stray.data in live for stray in node.kernel.read_elements(layout.v4.port)))

    node.kernel.commit = watched  # type: ignore[method-assign]  # looks at the kernel after each commit
    await node.restart([rule(name, peer("198.18.0.0/15")) for name in ("one", "two", "three")], [POD, OTHER])

    assert was_open[0]  # the earlier table, before it was touched
    assert not any(was_open[1:])


async def test_foreign_elements_are_taken_away(node: Node) -> None:
    """An element that somebody slipped in while we were down is not adopted, whatever number it bears."""
    ((key, element),) = [(key, each) for key, each in node.elements("port4").items() if each.data]
    forged = key[:4] + packed("198.18.0.1")[0] + key[8:]
    node.kernel.commit([Put(element.set, forged, 0x77770000, 60_000)])
    await node.restart([WEB, NETS], [POD, OTHER])

    assert forged not in node.elements("port4")


async def test_foreign_rules_are_taken_away(node: Node) -> None:
    """A rule that accepts everything does not survive the start: our chains are written anew."""
    before = await ruleset(node)
    node.kernel.foreign(Transaction().add(Rule(chain=Chain(table=node.enforcer.state.layout.table, name="pass"), text="accept")))
    assert await ruleset(node) != before
    await node.restart([WEB, NETS], [POD, OTHER])

    assert await ruleset(node) == before


async def test_table_of_another_version_is_replaced() -> None:
    """Sets of another shape cannot be adopted; the table is made anew in one transaction, and closed meanwhile."""
    node = Node()
    table = Table(name="dnsfw")
    node.kernel.foreign(Transaction().add(table).add(Set(table=table, name="live", key=("ipv4_addr",))))
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", WWW)

    assert node.lets("10.0.0.1", WWW)


async def test_f12_flushed_table_comes_back_with_everything(node: Node) -> None:
    """Chains, small sets, grants and live numbers; no connection lost."""
    flow, before = node.opens("10.0.0.1", WWW), await ruleset(node)
    node.kernel.flush_ruleset()
    await node.enforcer.repair("flushed")

    assert await ruleset(node) == before
    assert node.lives(flow)


async def test_hooks_come_last_in_a_rebuild(node: Node) -> None:
    """No packet meets half a table: the base chains are made when all elements stand."""
    node.kernel.flush_ruleset()
    before = len(node.kernel.applied)
    await node.enforcer.repair("flushed")
    first, last = node.kernel.applied[before], node.kernel.applied[-1]

    assert "hook forward" not in first
    assert "hook forward" in last


async def test_f3_rebuild_is_tried_again(node: Node) -> None:
    """The first attempt meets an error, the second succeeds; trouble is over only then."""
    node.kernel.flush_ruleset()
    node.kernel.fail_apply(NftError("not now"))
    await node.enforcer.repair("flushed")

    assert node.enforcer.trouble == ""
    assert node.lets("10.0.0.1", WWW)


async def test_new_rules_that_the_kernel_refuses_leave_everything_closed(node: Node) -> None:
    """A transaction that fails at the switch: nothing is granted, and a rebuild brings the new rules, not the old ones."""
    flow = node.opens("10.0.0.1", WWW)
    node.kernel.fail_commit(NftError("out of memory"))
    await node.change([NETS], [POD, OTHER])
    assert node.enforcer.trouble != ""

    await node.enforcer.repair(node.enforcer.trouble)
    assert node.enforcer.trouble == ""
    assert not node.lets("10.0.0.1", WWW)
    assert not node.lives(flow)


async def test_foreign_changes_of_elements_are_mended(node: Node) -> None:
    """Added, removed, changed, prolonged: the comparison puts each right."""
    before = await ruleset(node)
    ((key, element),) = list(node.elements("port4").items())
    pods = next(of for of in node.enforcer.standing_sets() if of.name == "pods4")
    node.kernel.commit(
        [
            Put(element.set, key[:4] + packed("198.18.0.1")[0] + key[8:], element.data, 60_000),
            Put(element.set, key, element.data, 86_400_000),
            Put(pods, packed("10.0.0.9")[0], node.elements("pods4")[packed("10.0.0.1")[0]].data),
        ]
    )

    assert await node.enforcer.compare_now() == 3
    assert await ruleset(node) == before
    assert await node.enforcer.compare_now() == 0


@pytest.mark.parametrize("torn", ["", "[1", "nonsense\n[2]\n", '[3, "a"]\n', "\xff\n"], ids=["empty", "cut", "words", "short", "bytes"])
def test_journal_passes_over_what_is_torn(tmp_path: Path, torn: str) -> None:
    """A crash in the middle of a line costs that line."""
    path = tmp_path / "journal"
    meaning = Meaning(Holder(PodUid("a"), RuleRef(namespace="shop", name="web")), "basis")
    journal = Journal(path)
    journal.rewrite([(7, meaning)])
    journal.note(8, meaning)
    journal.note(7, None)
    journal.close()
    with path.open("a", encoding="latin-1") as file:
        file.write(torn)

    found = Journal(path).read()
    assert found in ({8: meaning}, {})
    assert found == {8: meaning} or torn == "\xff\n"


def test_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """F8: a disk that refuses is a problem to show, not a reason to stop."""
    path = tmp_path / "folder"
    path.mkdir()
    journal = Journal(path)
    journal.rewrite([])

    assert "folder" in journal.problem


MEANT = Meaning(Holder(PodUid("a"), RuleRef(namespace="shop", name="web")), "basis")


def test_journal_that_could_not_follow_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: a number's newer meaning could not be written, so a restart must not find the older one; with room again, all is written anew."""
    journal = Journal(tmp_path / "journal")
    journal.rewrite([(7, MEANT)])
    with monkeypatch.context() as full:
        full.setattr(journal, "_file", FullDisk())
        journal.note(7, None)
    assert journal.problem
    assert Journal(tmp_path / "journal").read() == {}
    assert journal.is_mostly_history(1)
    journal.rewrite([(8, MEANT)])

    assert journal.problem == ""
    assert not journal.is_mostly_history(1)
    assert Journal(tmp_path / "journal").read() == {8: MEANT}
    journal.close()


class FullDisk(io.StringIO):
    def write(self, _: str, /) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_journal_that_cannot_begin_anew_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: the numbers of this life would be read with the meanings of the last one."""
    journal = Journal(tmp_path / "journal")
    journal.rewrite([(7, MEANT)])
    journal.close()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", refuse)
    later = Journal(tmp_path / "journal")
    later.rewrite([])

    assert later.problem
    assert later.read() == {}
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]


def test_journal_of_another_mask_is_not_believed(tmp_path: Path) -> None:
    """The bits that were one pod's number are another number now."""
    journal = Journal(tmp_path / "journal", 0xFFFF0000)
    journal.rewrite([(7, MEANT)])
    journal.close()

    assert Journal(tmp_path / "journal", 0xFFFF0000).read() == {7: MEANT}
    assert Journal(tmp_path / "journal", 0xFF000000).read() == {}


async def test_journal_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods come and go: the file is written anew now and then, and says what it said."""
    monkeypatch.setattr(journal, "HISTORY_LINES", 10)
    node = Node(tmp_path)
    await node.start([WEB, NETS], [POD])
    for round_ in range(20):
        await node.change([WEB, NETS], [POD, pod("b", "10.0.0.2", uid=f"b{round_}")])
        await node.enforcer.sweep_now()

    assert len((tmp_path / "journal").read_text().splitlines()) <= 20
    assert Journal(tmp_path / "journal", node.settings.ct_mask).read() == dict(node.enforcer.state.numbers.live())
    node.enforcer.close()


def static_flow(node: Node, remote: str):
    (held,) = {of for of in node.enforcer.standing_sets() if of.name.startswith("rule_") and of.name.endswith("_4")}
    mark = node.elements(held.name)[packed("10.0.0.1")[0]].data
    assert isinstance(mark, int)
    return node.connects("10.0.0.1", remote, 22, mark)
