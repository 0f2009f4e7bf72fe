"""A new snapshot in force: what it takes back is gone at once, what it leaves is not touched, and nothing is inherited."""

import asyncio

import pytest
from enforce_kit import Node, packed
from worlds import deny, peer, pod, rule, where

from dnsfw.enforce import places, reconcile, rejudge
from dnsfw.enforce.targets import Place, place_at
from dnsfw.policy.grants import Granted, NotGranted
from dnsfw.policy.ledger import CLAIMS_A_ROW
from dnsfw.policy.model import Mode, Pod, PodUid, Rule
from nft import objects as nft
from nft.changes import Put
from nft.objects import Chain
from nft.transaction import Transaction

WEB = rule("web", peer("*.example.net", on=["tcp/443"]))
POD = pod("a", "10.0.0.1", uid="a")
OTHER = pod("b", "10.0.0.2", uid="b")
WWW, API = "192.0.2.1", "192.0.2.2"


@pytest.fixture
async def node() -> Node:
    node = Node()
    await node.start([WEB], [POD, OTHER])
    await node.told("a", "www.example.net", WWW)
    await node.told("a", "api.example.net", API)
    await node.told("b", "www.example.net", WWW)
    return node


async def test_change_of_one_pod_looks_at_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change costs what it touches: of many pods with networks of their own, only the one whose rule changes is gone through."""
    looked_at: list[str] = []

    def watched(*args: object) -> Place:
        looked_at.append(str(args[-1]))
        return place_at(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(places, "place_at", watched)
    pods = [pod(f"p{at}", f"10.0.1.{at}", uid=f"p{at}", labels={"app": f"a{at}"}) for at in range(1, 9)]
    rules = [rule(f"r{at}", peer("203.0.113.0/24"), selector=where(app=f"a{at}")) for at in range(1, 9)]
    node = Node()
    await node.start(rules, pods)
    looked_at.clear()
    commits = len(node.kernel.commits)
    await node.change([rule("r1", peer("198.18.0.0/24"), selector=where(app="a1")), *rules[1:]], pods)

    assert set(looked_at) == {"10.0.1.1"}
    touched = {change.key for commit in node.kernel.commits[commits:] for change in commit if change.set.key == ("ipv4_addr",)}
    assert touched == {*packed("10.0.1.1")}


async def test_chain_that_is_held_is_retired_later_and_nothing_else_suffers(node: Node) -> None:
    """Somebody's rule goes to a policy's chain: what else the change was to do is done with the next one."""
    old = next(name for name in (await standing(node)).chains if name.startswith("policy_"))
    table = node.enforcer.state.layout.table
    foreign = Chain(table, "theirs")
    node.kernel.foreign(Transaction().add(foreign).add(nft.Rule(foreign, f"goto {old}")))
    ranged = rule("web", peer("*.example.net", on=["tcp/443", "tcp/8000-9000"]))
    await node.change([ranged], [POD, OTHER])
    assert old in (await standing(node)).chains
    await node.change([WEB, rule("more", peer("x.example.net"))], [POD, OTHER])
    node.kernel.foreign(Transaction().flush(foreign).delete(foreign))
    await node.change([rule("web", peer("*.example.net", on=["tcp/80"]))], [POD, OTHER])
    found = await standing(node)

    assert [name for name in found.chains if name.startswith("policy_")] == [next(iter(node.elements("pods4").values())).data.chain]
    assert not [name for name in found.sets if name.startswith("range_")]
    assert all("range_" not in text for text in found.rules["granted"])


async def standing(node: Node) -> nft.Structure:
    found = await node.kernel.read_structure(node.enforcer.state.layout.table)
    assert found is not None
    return found


async def test_a19_rule_removed_cuts_its_connections(node: Node) -> None:
    """Elements and number leave together: nothing new, and no packet of what lives."""
    flow = node.opens("10.0.0.1", WWW)
    await node.change([], [POD, OTHER])

    assert not node.lets("10.0.0.1", WWW)
    assert not node.lives(flow)


async def test_deny_of_one_name_below_a_wildcard_leaves_the_others(node: Node) -> None:
    """A part is taken back: that part is cut, survivors get another number and live on."""
    cut, survivor, neighbour = node.opens("10.0.0.1", WWW), node.opens("10.0.0.1", API), node.opens("10.0.0.2", WWW)
    assert cut.mark == survivor.mark
    await node.change([WEB, deny("no-www", peer("www.example.net"), selector=where())], [POD, OTHER])

    assert not node.lets("10.0.0.1", WWW)
    assert node.lets("10.0.0.1", API)
    assert (node.lives(cut), node.lives(survivor), node.lives(neighbour)) == (False, True, False)
    assert not node.is_live(cut.mark)


async def test_connection_outlives_its_lease_through_a_partial_revocation(node: Node) -> None:
    """The claim is remembered after its end: it tells that the connection may stay."""
    survivor = node.opens("10.0.0.1", API)
    node.clock.advance(4000)
    await node.enforcer.sweep_now()
    assert not node.lets("10.0.0.1", API)
    await node.change([WEB, deny("no-www", peer("www.example.net"))], [POD, OTHER])

    assert node.lives(survivor)


async def test_ended_claims_without_connections_are_forgotten(node: Node) -> None:
    """What has ended and carries no connection costs no memory."""
    node.clock.advance(4000)
    await node.enforcer.sweep_now()

    assert len(node.enforcer.state.ledger) == 0


async def test_wider_rule_touches_nothing(node: Node) -> None:
    """A pattern more: the number stays, and so does every connection, without a look at conntrack."""
    flow = node.opens("10.0.0.1", WWW)
    await node.change([rule("web", peer("*.example.net", "*.example.org", on=["tcp/443"]))], [POD, OTHER])

    assert node.lives(flow)
    assert flow.mark == node.number("10.0.0.1", WWW)


async def test_port_taken_back(node: Node) -> None:
    """One port of a rule goes: its elements and connections go, the other port's stay."""
    both = rule("web", peer("*.example.net", on=["tcp/443", "tcp/22"]))
    await node.change([both], [POD, OTHER])
    await node.told("a", "www.example.net", WWW)
    web, ssh = node.opens("10.0.0.1", WWW, 443), node.opens("10.0.0.1", WWW, 22)
    await node.change([WEB], [POD, OTHER])

    assert (node.lets("10.0.0.1", WWW, 443), node.lets("10.0.0.1", WWW, 22)) == (True, False)
    assert (node.lives(web), node.lives(ssh)) == (True, False)


async def test_two_rules_on_one_address(node: Node) -> None:
    """The rule whose number the element bears goes; the other still allows it, so connections live on under its number."""
    second = rule("second", peer("www.example.net", on=["tcp/443"]))
    await node.change([WEB, second], [POD, OTHER])
    await node.told("a", "www.example.net", WWW)
    flow = node.opens("10.0.0.1", WWW)
    await node.change([second], [POD, OTHER])

    assert node.lets("10.0.0.1", WWW)
    assert node.lives(flow)
    assert not node.lets("10.0.0.1", API)


async def test_renamed_rule_keeps_connections(node: Node) -> None:
    """The same content under another name is another rule; what it allows lives on under its number."""
    flow = node.opens("10.0.0.1", WWW)
    await node.change([rule("renamed", peer("*.example.net", on=["tcp/443"]))], [POD, OTHER])

    assert node.lives(flow)
    assert node.lets("10.0.0.1", WWW)


async def test_a6_address_given_to_another_pod_inherits_nothing(node: Node) -> None:
    """Removed and re-used in one save: no element, no connection, a new number."""
    flow = node.opens("10.0.0.1", WWW)
    await node.change([WEB], [pod("c", "10.0.0.1", uid="c"), OTHER])

    assert not node.lets("10.0.0.1", WWW)
    assert not node.lives(flow)
    assert isinstance(await node.told("c", "www.example.net", WWW), Granted)
    assert node.lets("10.0.0.1", WWW)
    assert not node.lives(flow)


async def test_a6_removed_address_stays_closed(node: Node) -> None:
    """Until another pod has it, it is judged, and reaches nothing."""
    await node.change([WEB], [OTHER])
    assert node.is_closed("10.0.0.1")

    await node.change([WEB], [OTHER, pod("c", "10.0.0.1", uid="c", labels={"free": "yes"}, namespace="elsewhere")])
    assert packed("10.0.0.1")[0] not in node.elements("selected4")


async def test_a6_pod_with_another_address_starts_with_nothing(node: Node) -> None:
    """The same UID elsewhere: what it had goes, where it was stays closed, and where it is nothing is open yet."""
    flow = node.opens("10.0.0.1", WWW)
    moved = pod("a", "10.0.0.9", uid="a")
    await node.change([WEB], [moved, OTHER])

    assert node.is_closed("10.0.0.1")
    assert not node.lives(flow)
    assert not any(key.startswith(packed("10.0.0.1")[0]) for key in node.elements("port4"))
    assert not node.lets("10.0.0.9", WWW)
    await node.told("a", "www.example.net", WWW)
    assert node.lets("10.0.0.9", WWW)


async def test_a6_heir_is_granted_while_its_predecessor_is_cleared_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many elements of the pod before it at the same address are still to go: none of them takes along what the heir was told."""
    monkeypatch.setattr(reconcile, "AT_ONCE", 1)
    monkeypatch.setattr(reconcile, "BATCH", 1)
    node, addresses = Node(), [f"192.0.2.{last}" for last in range(1, 40)]
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", *addresses)
    changing = asyncio.create_task(node.change([WEB], [pod("c", "10.0.0.1", uid="c")]))
    await until_a_part_is_written(node, changing)
    assert not any(node.lets("10.0.0.1", address) for address in addresses)
    await node.told("c", "www.example.net", *addresses[-5:])
    assert not changing.done()
    await changing

    assert [address for address in addresses if node.lets("10.0.0.1", address)] == addresses[-5:]


@pytest.mark.parametrize("turns", range(5))
async def test_what_is_told_while_new_rules_are_judged_is_judged_too(monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    """Under the old rules it was right; when the new ones are in force, it is gone, its connection with it."""
    monkeypatch.setattr(rejudge, "ROWS_A_SLICE", 1)
    node = Node()
    await node.start([WEB], [POD])
    for last in range(1, 5):
        await node.told("a", "api.example.net", f"192.0.2.{last}")
    changing = asyncio.create_task(node.change([rule("web", peer("api.example.net", on=["tcp/443"]))], [POD]))
    for _ in range(turns):
        await asyncio.sleep(0)
    await node.told("a", "www.example.net", "192.0.2.4", "192.0.2.9")
    flow = node.opens("10.0.0.1", "192.0.2.9")
    await changing

    assert not node.lets("10.0.0.1", "192.0.2.9")
    assert not (flow.mark and node.lives(flow))
    assert node.lets("10.0.0.1", "192.0.2.4")


async def test_edited_rule_leaves_rows_that_mean_the_same(node: Node) -> None:
    """The same objects, the same elements; and a second edit, a hot answer and a revocation find them as if they had been made anew."""
    api, other = peer("*.example.net", on=["tcp/443"]), peer("other.example.org", on=["tcp/443"])
    await node.change([rule("web", api)], [POD])
    await node.told("a", "www.example.net", WWW)
    ledger, uid, (address,) = node.enforcer.state.ledger, PodUid("a"), packed(WWW)
    (before,), flow = ledger.row(uid, address), node.opens("10.0.0.1", WWW)
    for edited in (rule("web", api, other), rule("web", other, api), rule("web", api)):
        await node.change([edited], [POD])
        assert ledger.row(uid, address)[0] is before
    await node.told("a", "www.example.net", WWW)
    assert node.lets("10.0.0.1", WWW)
    assert node.lives(flow)

    await node.change([rule("web", other)], [POD])

    assert ledger.row(uid, address) == ()
    assert not node.lets("10.0.0.1", WWW)
    assert not node.lives(flow)


async def test_address_of_two_pods_keeps_nothing_when_they_become_selected(node: Node) -> None:
    """Their rules' CIDRs allow it, but whose connection it is nobody can say."""
    pods = [POD, pod("c", "10.0.0.1", uid="c")]
    await node.change([], pods)
    flow = node.connects("10.0.0.1", "203.0.113.5", 22, 0)
    await node.change([rule("nets", peer("203.0.113.0/24", on=["tcp/22"]))], pods)

    assert not node.lives(flow)


async def test_pod_that_becomes_selected_keeps_what_is_allowed(node: Node) -> None:
    """Its open connections are judged like new ones; port 53 is ours, whatever network is allowed."""
    await node.change([], [POD, OTHER])
    far = {"allowed": ("203.0.113.5", 443), "dns": ("203.0.113.5", 53), "other": ("198.18.0.1", 443)}
    flows = {what: node.connects("10.0.0.1", address, port, 0) for what, (address, port) in far.items()}
    await node.change([rule("net", peer("203.0.113.0/24"))], [POD, OTHER])

    assert {what for what, flow in flows.items() if node.lives(flow)} == {"allowed"}


async def test_pod_that_found_no_number_gets_one_when_there_are_some() -> None:
    """Its networks were closed for want of a number; a later change, of whomever, opens them."""
    node = Node(ct_mask=0x1 << 16)
    here, there = rule("web", peer("*.example.net"), selector=where(app="web")), pod("b", "10.0.0.2", uid="b", labels={"app": "web"})
    lone = rule("net", peer("203.0.113.0/24"), selector=where(app="net"))
    starved = pod("a", "10.0.0.1", uid="a", labels={"app": "net"})
    await node.start([here], [there])
    await node.told("b", "www.example.net", WWW)
    await node.change([here, lone], [there, starved])
    assert not rule_numbers(node)
    await node.change([here, lone], [starved])
    await node.enforcer.sweep_now()
    await node.enforcer.sweep_now()
    await node.change([here, lone], [starved, pod("d", "10.0.0.4", uid="d")])

    assert rule_numbers(node) == {*packed("10.0.0.1")}


def rule_numbers(node: Node) -> set[bytes]:
    """The addresses that have a number for some rule's networks."""
    return {key for of in node.enforcer.standing_sets() if of.name.startswith("rule_") for key in node.elements(of.name)}


async def test_two_live_pods_with_one_address_are_both_closed(node: Node) -> None:
    """Nobody can say whose packets these are."""
    await node.change([WEB], [POD, pod("c", "10.0.0.1", uid="c"), OTHER])

    assert node.is_closed("10.0.0.1")
    await node.change([WEB], [POD, OTHER])
    assert not node.is_closed("10.0.0.1")
    assert isinstance(await node.told("a", "www.example.net", WWW), Granted)


async def test_pod_that_leaves_the_selection_is_untouched(node: Node) -> None:
    """No rule selects it any more: it is in none of the sets that judge."""
    chosen = rule("web", peer("*.example.net", on=["tcp/443"]), selector=where(app="chosen"))
    await node.change([chosen], [POD, OTHER])

    assert not node.elements("selected4")
    assert not node.elements("port4")
    assert packed("10.0.0.1")[0] in node.elements("known4")


async def test_revoked_peer_does_not_come_back_as_ingress(node: Node) -> None:
    """Inbound from the revoked peer is cut until it is granted again."""
    pair = b"".join(packed("10.0.0.1", WWW))
    await node.change([WEB, deny("no-www", peer("www.example.net"))], [POD, OTHER])
    assert pair in node.elements("cut4")

    await node.change([WEB], [POD, OTHER])
    await node.told("a", "www.example.net", WWW)
    assert pair not in node.elements("cut4")


NETS = rule("net", peer("203.0.113.0/24", on=["tcp/443"]))
AUDITED = rule("web", peer("*.example.net", on=["tcp/443"]), mode=Mode.AUDIT)
DENIED = deny("no-www", peer("www.example.net"))


@pytest.mark.parametrize(
    ("rules", "pods"),
    [
        pytest.param([], [POD, OTHER], id="unselected"),
        pytest.param([AUDITED], [POD, OTHER], id="audited"),
        pytest.param([WEB, rule("net", peer("192.0.2.0/24", on=["tcp/443"]))], [POD, OTHER], id="network-allowed"),
        pytest.param([], [pod("c", "10.0.0.1", uid="c"), OTHER], id="unselected-heir"),
    ],
)
async def test_revoked_peer_comes_back_with_what_no_longer_refuses_it(node: Node, rules: list[Rule], pods: list[Pod]) -> None:
    """Answers are not all: pods that no rule selects are not touched, Audit refuses nothing, networks are permissions."""
    pair = b"".join(packed("10.0.0.1", WWW))
    await node.change([WEB, DENIED], [POD, OTHER])
    assert pair in node.elements("cut4")
    await node.change(rules, pods)

    assert pair not in node.elements("cut4")


@pytest.mark.parametrize(
    ("rules", "pods"),
    [
        pytest.param([WEB, DENIED, NETS], [POD, OTHER], id="another-network"),
        pytest.param([AUDITED, deny("first", peer("192.0.2.0/24"))], [POD, OTHER], id="denied-in-audit"),
        pytest.param([WEB, DENIED], [pod("c", "10.0.0.1", uid="c"), OTHER], id="selected-heir"),
    ],
)
async def test_revoked_peer_stays_out_of_what_still_refuses_it(node: Node, rules: list[Rule], pods: list[Pod]) -> None:
    """A change that gives nothing at its address is no reason to let it in."""
    await node.change([WEB, DENIED], [POD, OTHER])
    await node.change(rules, pods)

    assert b"".join(packed("10.0.0.1", WWW)) in node.elements("cut4")


async def test_revoked_peer_that_knocks_on_is_remembered(node: Node) -> None:
    """In the kernel each knock makes the cut last longer; granted again, however late, the peer is let in."""
    pair = b"".join(packed("10.0.0.1", WWW))
    await node.change([WEB, DENIED], [POD, OTHER])
    (cut,) = {of for of in node.enforcer.standing_sets() if of.name == "cut4"}
    node.clock.advance(3000)
    node.kernel.commit([Put(cut, pair)])  # as `update` in the chain does
    node.clock.advance(1000)
    await node.enforcer.sweep_now()
    assert node.enforcer.stats().cut == 1
    await node.change([WEB], [POD, OTHER])
    await node.told("a", "www.example.net", WWW)
    assert pair not in node.elements("cut4")

    await node.change([WEB, DENIED], [POD, OTHER])
    node.clock.advance(4000)
    await node.enforcer.sweep_now()
    assert node.enforcer.stats().cut == 0


async def test_static_networks_have_numbers_without_any_answer(node: Node) -> None:
    """toCIDRs: the chain gives the pod's number for the rule, and a network taken back cuts what it carried."""
    wide = rule("net", peer("203.0.113.0/24", on=["tcp/22"]))
    narrow = rule("net", peer("203.0.113.0/25", on=["tcp/22"]))
    await node.change([WEB, wide], [POD, OTHER])
    (held,) = {of for of in node.enforcer.standing_sets() if of.name.startswith("rule_") and of.name.endswith("_4")}
    mark = node.elements(held.name)[packed("10.0.0.1")[0]].data
    assert isinstance(mark, int)
    inside, outside = node.connects("10.0.0.1", "203.0.113.5", 22, mark), node.connects("10.0.0.1", "203.0.113.200", 22, mark)
    await node.change([WEB, narrow], [POD, OTHER])

    assert (node.lives(inside), node.lives(outside)) == (True, False)
    assert b"".join(packed("10.0.0.1", "203.0.113.200")) in node.elements("cut4")


async def test_deny_only_closes_what_it_names_and_cuts_it(node: Node) -> None:
    """A cluster Deny alone: everything else is open, and connections to the rest live on."""
    await node.change([deny("first", peer("198.18.0.0/15"))], [POD, OTHER])
    mark = node.elements("open4")[packed("10.0.0.1")[0]].data
    assert isinstance(mark, int)
    kept, cut = node.connects("10.0.0.1", "192.0.2.77", 80, mark), node.connects("10.0.0.1", "203.0.113.9", 80, mark)
    await node.change([deny("first", peer("198.18.0.0/15", "203.0.113.0/24"))], [POD, OTHER])

    assert (node.lives(kept), node.lives(cut)) == (True, False)


async def test_audit_mode_that_turns_into_enforce(node: Node) -> None:
    """What was open by Audit is judged; connections that the rule allows live on."""
    await node.change([rule("web", peer("*.example.net", on=["tcp/443"]), mode=Mode.AUDIT)], [POD, OTHER])
    await node.told("a", "www.example.net", WWW)
    allowed = node.opens("10.0.0.1", WWW)
    mark = node.elements("open4")[packed("10.0.0.1")[0]].data
    assert isinstance(mark, int)
    stray = node.connects("10.0.0.1", "203.0.113.9", 80, mark)
    assert node.lives(stray)
    await node.change([WEB], [POD, OTHER])

    assert (node.lives(allowed), node.lives(stray)) == (True, False)


async def test_numbers_are_not_used_again_while_connections_bear_them() -> None:
    """A number comes back only after a dump that no connection shows it in."""
    node = Node(ct_mask=0x00030000)
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", WWW)
    flow = node.opens("10.0.0.1", WWW)
    for turn in range(2):
        await node.change([], [POD])
        await node.change([WEB], [POD])
        await node.told("a", "www.example.net", WWW)
        assert node.number("10.0.0.1", WWW) != flow.mark, turn
    await node.change([], [POD])
    await node.change([WEB], [POD])
    await node.enforcer.sweep_now()
    await node.enforcer.sweep_now()
    assert (await node.told("a", "www.example.net", WWW)).__class__ is Granted
    assert node.number("10.0.0.1", WWW) != flow.mark


async def test_a_large_revocation_is_in_force_before_its_last_element_is_gone() -> None:
    """More than one transaction holds: the first makes the numbers dead, and what is granted again meanwhile is not taken away."""
    node = Node()
    await node.start([WEB], [POD, OTHER])
    for block in range(9):
        await node.told(
            "a", "www.example.net", *(f"198.18.{block}.{low}" for low in range(256)), *(f"198.19.{block}.{low}" for low in range(256))
        )
    flow = node.opens("10.0.0.1", "198.18.0.1")
    commits = len(node.kernel.commits)
    await node.change([rule("web", peer("*.example.net", on=["tcp/22"]))], [POD, OTHER])

    assert not node.lives(flow)
    assert len(node.kernel.commits) > commits + 2
    assert not node.is_live(flow.mark)
    assert node.lets("10.0.0.1", "198.18.0.1", 22)
    assert not node.lets("10.0.0.1", "198.18.0.1", 443)
    assert await node.enforcer.compare_now() == 0


ONE, TWO = rule("one", peer("one.example.net", on=["tcp/443"])), rule("two", peer("two.example.net", on=["tcp/443"]))


@pytest.mark.parametrize("between", [pytest.param(0, id="beside"), pytest.param(45, id="after")])
async def test_shared_address_closes_with_the_rule_that_held_it_open(between: float) -> None:
    """Two rules have told the address; what only the longer lease allows ends with its rule, connections of that time too."""
    node = Node()
    await node.start([ONE, TWO], [POD])
    await node.told("a", "one.example.net", WWW, ttl=30)
    node.clock.advance(between)
    await node.told("a", "two.example.net", WWW, ttl=3600)
    node.clock.advance(45 - between)
    flow = node.opens("10.0.0.1", WWW)
    await node.change([ONE], [POD])

    assert not node.lets("10.0.0.1", WWW)
    assert not node.is_live(flow.mark)


async def test_shared_address_stays_open_for_the_rule_that_is_left() -> None:
    """The shorter lease still runs: it keeps what it was given, and no more."""
    node = Node()
    await node.start([ONE, TWO], [POD])
    await node.told("a", "one.example.net", WWW, ttl=30)
    await node.told("a", "two.example.net", WWW, ttl=3600)
    await node.change([ONE], [POD])

    assert node.lets("10.0.0.1", WWW)
    node.clock.advance(45)
    assert not node.lets("10.0.0.1", WWW)


async def test_what_finds_no_number_after_a_change_is_not_told() -> None:
    """Numbers run out while rules change: what has lost its own is closed, and no answer says otherwise."""
    node = Node(ct_mask=0x3 << 16)
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", WWW)
    for name in ("one", "two", "three", "four"):
        await node.change([rule(name, peer("*.example.net", on=["tcp/443"]))], [POD])

    assert isinstance(await node.told("a", "www.example.net", WWW), NotGranted)
    assert not node.lets("10.0.0.1", WWW)


async def test_many_names_on_one_address_hide_no_permission() -> None:
    """However many names share an address, what was told stands, and what is taken back is cut: here the one rule's other port."""
    ssh, web = peer("ssh.example.org", on=["tcp/22"]), peer("*.example.net", on=["tcp/443"])
    node = Node()
    await node.start([rule("one", web, ssh)], [POD])
    await node.told("a", "ssh.example.org", WWW, ttl=600)
    flow = node.opens("10.0.0.1", WWW, 22)
    for index in range(CLAIMS_A_ROW + 1):
        await node.told("a", f"n{index}.example.net", WWW, ttl=3000)
    assert node.lets("10.0.0.1", WWW, 22)
    await node.change([rule("one", web)], [POD])

    assert node.lets("10.0.0.1", WWW, 443)
    assert not node.lives(flow)


async def test_granted_has_its_element_beside_many_longer_leases() -> None:
    """The answer for one name more, with the shortest lease of all, leaves when its address is open."""
    node = Node()
    await node.start([WEB, rule("ssh", peer("ssh.example.org", on=["tcp/22"]))], [POD])
    for index in range(CLAIMS_A_ROW):
        await node.told("a", f"n{index}.example.net", WWW, ttl=3000)

    assert isinstance(await node.told("a", "ssh.example.org", WWW, ttl=1), Granted)
    assert node.lets("10.0.0.1", WWW, 22)


async def test_denied_pod_keeps_no_number() -> None:
    """A number stands for something; when all of it is taken back, the table is as if it had never been."""
    node = Node()
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", WWW)
    await node.change([WEB, deny("no-www", peer("www.example.net"))], [POD])

    assert not node.elements("live")


async def test_a11_pods_that_come_and_go_fill_no_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Revoked peers are remembered up to a bound, the newest of them: a full set would refuse every change of rules."""
    monkeypatch.setattr(reconcile, "CUT_PAIRS", 3)
    node = Node()
    for pods in range(3):
        await (node.change if pods else node.start)([WEB], [pod("a", "10.0.0.1", uid=f"a{pods}")])
        await node.told(f"a{pods}", "www.example.net", *(f"192.0.2.{10 * pods + index}" for index in range(2)))
    await node.change([WEB], [])

    assert node.elements("cut4").keys() == {b"".join(packed("10.0.0.1", f"192.0.2.{last}")) for last in (11, 20, 21)}
    assert node.enforcer.stats().cut == 3


async def until_a_part_is_written(node: Node, changing: asyncio.Task[None]) -> None:
    while not node.enforcer.state.deferred and not changing.done():  # noqa: ASYNC110 -- it is between two turns of the loop
        await asyncio.sleep(0)


async def test_nothing_is_told_that_a_long_change_has_not_written_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of rules in many transactions: who asks in between gets what the kernel has, or waits for its own."""
    monkeypatch.setattr(reconcile, "AT_ONCE", 1)
    monkeypatch.setattr(reconcile, "BATCH", 1)
    node, addresses = Node(), [f"192.0.2.{last}" for last in range(1, 5)]
    await node.start([WEB], [POD])
    await node.told("a", "www.example.net", *addresses)
    moved = rule("web", peer("*.example.net", on=["tcp/8443"]))
    changing = asyncio.create_task(node.change([moved], [POD]))
    await until_a_part_is_written(node, changing)

    for address in addresses:
        assert isinstance(await node.told("a", "www.example.net", address), Granted)
        assert node.lets("10.0.0.1", address, 8443)
    assert not changing.done()
    await changing
    assert all(node.lets("10.0.0.1", address, 8443) and not node.lets("10.0.0.1", address, 443) for address in addresses)


async def test_what_is_taken_away_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a change is too long for one transaction, the first of them narrows."""
    monkeypatch.setattr(reconcile, "AT_ONCE", 1)
    monkeypatch.setattr(reconcile, "BATCH", 1)
    node = Node()
    await node.start([WEB], [POD])
    await node.told("a", "api.example.net", API, "192.0.2.3", "192.0.2.4")
    await node.told("a", "www.example.net", WWW)
    changing = asyncio.create_task(node.change([WEB, deny("no-www", peer("www.example.net"))], [POD]))
    await until_a_part_is_written(node, changing)

    assert not node.lets("10.0.0.1", WWW)
    await changing
    assert node.lets("10.0.0.1", API)
