"""The contract of `nft.kernel.Kernel`, kept by the fake, by this kernel, and by this kernel used like one from before 6.3."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import netns
import pytest

from nft import objects as nft
from nft.changes import Add, Change, Discard, Put
from nft.errors import AlreadyExistsError, BusyError, NftError, NoSpaceError, NotFoundError, NotValidError
from nft.fake import FakeKernel
from nft.kernel import Kernel
from nft.netlink import RealKernel
from nft.objects import Element, pack_key
from nft.transaction import Transaction

TABLE = nft.Table("contract")
LIVE = nft.Set(TABLE, "live", ("mark",))
GRANTS = nft.Set(TABLE, "grants", ("ipv4_addr", "inet_proto", "inet_service"), "mark", frozenset({"timeout"}))
SMALL = nft.Set(TABLE, "small", ("ipv6_addr",), flags=frozenset({"timeout"}), size=2)
DEFAULT = nft.Set(TABLE, "fallback", ("inet_service",), flags=frozenset({"timeout"}), timeout_s=60)
COUNTED = nft.Set(TABLE, "counted", ("ipv4_addr",), has_counter=True)
NETS = nft.Set(TABLE, "nets", ("ipv4_addr",), flags=frozenset({"interval"}))
PORTS = nft.Set(TABLE, "ports", ("ipv4_addr", "inet_service"), "mark", flags=frozenset({"interval"}))
PODS = nft.Set(TABLE, "pods", ("ipv4_addr",), "verdict")
BASE = nft.Chain(TABLE, "egress", nft.Hook("filter", "forward", -150))
POLICY = nft.Chain(TABLE, "policy_1")
KEY = pack_key(bytes([192, 0, 2, 1]), b"\6", b"\1\xbb")
OTHER = pack_key(bytes([192, 0, 2, 2]), b"\6", b"\1\xbb")
THIRD = pack_key(bytes([192, 0, 2, 3]), b"\6", b"\1\xbb")
POD = bytes([192, 0, 2, 9])
MINUTE = 60_000


@dataclass
class Lab:
    """A kernel with our table in it, and a hand on its clock."""

    kernel: Kernel
    pass_time: Callable[[float], Awaitable[None]]
    foreign: Callable[[Transaction], None]

    def left_ms(self, of: nft.Set, key: bytes) -> int | None:
        return next(element.expires_ms for element in self.kernel.read_elements(of) if element.key == key)

    def held(self, of: nft.Set) -> dict[bytes, Any]:
        return {element.key: element.data for element in self.kernel.read_elements(of)}


def structure() -> Transaction:
    made = Transaction().add(TABLE).add(BASE).add(POLICY)
    for one in (LIVE, GRANTS, SMALL, DEFAULT, COUNTED, NETS, PORTS, PODS):
        made.add(one)
    return made.add(nft.Rule(BASE, "ip saddr vmap @pods", "slow path")).add(nft.Rule(POLICY, "counter reject"))


async def on_fake(case: Callable[[Lab], Awaitable[None]]) -> None:
    now = [1000.0]

    async def pass_time(seconds: float) -> None:
        now[0] += seconds

    kernel = FakeKernel(lambda: now[0])
    await kernel.apply(structure())
    await case(Lab(kernel, pass_time, kernel.foreign))
    await kernel.close()


def _nft(transaction: Transaction) -> None:
    subprocess.run(["nft", "-f", "-"], input=str(transaction).encode(), check=True)


async def on_real(case: Callable[[Lab], Awaitable[None]], *, as_old: bool) -> None:
    features = nft.Features(renews_by_add=False, has_destroy=False, has_owner=False, version="old") if as_old else None
    kernel = await RealKernel.open(features=features)
    try:
        await kernel.apply(structure())
        await case(Lab(kernel, asyncio.sleep, _nft))
    finally:
        await kernel.close()


def contract(case: Callable[[Lab], Awaitable[None]]) -> Callable[[str], None]:
    @pytest.mark.parametrize("kind", ["fake", "real", "old"])
    def test(kind: str) -> None:
        if kind == "fake":
            asyncio.run(on_fake(case))
            return
        if (reason := netns.why_not()) is not None:
            pytest.skip(f"no network namespaces here: {reason}")
        netns.run_in_netns(lambda: asyncio.run(on_real(case, as_old=kind == "old")))

    test.__name__, test.__doc__ = case.__name__, case.__doc__
    return test


def refused(kernel: Kernel, kind: type[NftError], changes: list[Change], index: int) -> None:
    with pytest.raises(kind) as caught:
        kernel.commit(changes)
    assert caught.value.index == index


@contract
async def test_added_element_stands(lab: Lab) -> None:
    """What was added is read back: key, data, timeout and what is left of it."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])

    (element,) = lab.kernel.read_elements(GRANTS)
    assert element[:4] == (GRANTS, KEY, 7, MINUTE)
    assert element.expires_ms is not None and MINUTE - 5000 < element.expires_ms <= MINUTE
    assert (element.key_end, element.packets, element.bytes) == (None, 0, 0)


@contract
async def test_add_renews_for_longer(lab: Lab) -> None:
    """The same data again: exactly the new timeout from now, here a longer one."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])
    lab.kernel.commit([Add(GRANTS, KEY, 7, 10 * MINUTE)])

    (element,) = lab.kernel.read_elements(GRANTS)
    assert element.timeout_ms == 10 * MINUTE
    assert (element.expires_ms or 0) > 9 * MINUTE


@contract
async def test_add_renews_for_shorter(lab: Lab) -> None:
    """The same data again: exactly the new timeout from now, here a shorter one."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, 10 * MINUTE)])
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])

    assert (lab.left_ms(GRANTS, KEY) or 0) <= MINUTE


@contract
async def test_add_renews_with_equal_timeout(lab: Lab) -> None:
    """An equal timeout begins anew too: the kernel alone would change nothing."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])
    await lab.pass_time(0.2)
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])

    assert (lab.left_ms(GRANTS, KEY) or 0) > MINUTE - 150


@contract
async def test_default_timeout_renews(lab: Lab) -> None:
    """No timeout in a set with a default means the default, from now."""
    port = (443).to_bytes(2, "big")
    lab.kernel.commit([Add(DEFAULT, port)])
    await lab.pass_time(0.2)
    lab.kernel.commit([Add(DEFAULT, port)])

    (element,) = lab.kernel.read_elements(DEFAULT)
    assert element.timeout_ms == MINUTE
    assert (element.expires_ms or 0) > MINUTE - 150


@contract
async def test_add_without_timeout_takes_one_away(lab: Lab) -> None:
    """No timeout in a set without a default: it stands until it is deleted, even if it had one before."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE), Add(GRANTS, OTHER, 7)])
    lab.kernel.commit([Add(GRANTS, KEY, 7)])

    assert {(element.timeout_ms, element.expires_ms) for element in lab.kernel.read_elements(GRANTS)} == {(None, None)}


@contract
async def test_add_gives_a_timeout_to_what_had_none(lab: Lab) -> None:
    """An element that would never have expired gets the timeout it is given."""
    lab.kernel.commit([Add(GRANTS, KEY, 7)])
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])

    left = lab.left_ms(GRANTS, KEY)
    assert left is not None and left <= MINUTE


@contract
async def test_other_data_is_refused_and_named(lab: Lab) -> None:
    """Other data is an error that names its change, and nothing of the commit has happened."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])
    changes: list[Change] = [
        Add(LIVE, b"\1\0\0\0"),
        Add(GRANTS, OTHER, 7, MINUTE),
        Add(GRANTS, KEY, 8, MINUTE),
        Add(GRANTS, THIRD, 7, MINUTE),
    ]

    refused(lab.kernel, AlreadyExistsError, changes, 2)
    refused(lab.kernel, AlreadyExistsError, [Add(GRANTS, KEY, 8, MINUTE)], 0)
    assert lab.held(GRANTS) == {KEY: 7}
    assert lab.held(LIVE) == {}


@contract
async def test_put_replaces_whatever_stood(lab: Lab) -> None:
    """Put ends as exactly this: over other data, over the same, and where nothing stood."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE), Add(GRANTS, OTHER, 8, MINUTE)])
    lab.kernel.commit([Put(GRANTS, KEY, 8, 2 * MINUTE), Put(GRANTS, OTHER, 8, 2 * MINUTE), Put(GRANTS, THIRD, 8, 2 * MINUTE)])

    assert lab.held(GRANTS) == {KEY: 8, OTHER: 8, THIRD: 8}
    assert all((element.expires_ms or 0) > MINUTE for element in lab.kernel.read_elements(GRANTS))


@contract
async def test_last_put_counts(lab: Lab) -> None:
    """Changes happen in order, also when one commit changes a key several times."""
    lab.kernel.commit(
        [Put(GRANTS, KEY, 1, MINUTE), Put(GRANTS, KEY, 2, MINUTE), Add(GRANTS, OTHER, 1, MINUTE), Put(GRANTS, OTHER, 3, MINUTE)]
    )
    assert lab.held(GRANTS) == {KEY: 2, OTHER: 3}

    lab.kernel.commit([Discard(GRANTS, KEY), Add(GRANTS, KEY, 4, MINUTE), Add(GRANTS, THIRD, 5, MINUTE), Discard(GRANTS, THIRD)])
    assert lab.held(GRANTS) == {KEY: 4, OTHER: 3}


@contract
async def test_discard_does_not_mind(lab: Lab) -> None:
    """What is discarded is gone, whether it stood there or not, and the rest of the commit happens."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])
    lab.kernel.commit([Discard(GRANTS, OTHER), Discard(GRANTS, KEY), Discard(LIVE, b"none"), Add(GRANTS, THIRD, 7, MINUTE)])
    lab.kernel.commit([Discard(GRANTS, KEY)])

    assert lab.held(GRANTS) == {THIRD: 7}


@contract
async def test_elements_of_different_forms_are_read(lab: Lab) -> None:
    """With and without a timeout, side by side in one set, each is read as it is."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE), Add(GRANTS, OTHER, 8)])

    found = {element.key: (element.data, element.timeout_ms) for element in lab.kernel.read_elements(GRANTS)}
    assert found == {KEY: (7, MINUTE), OTHER: (8, None)}
    lab.kernel.commit([Discard(GRANTS, KEY)])
    assert lab.held(GRANTS) == {OTHER: 8}


@contract
async def test_expired_element_is_gone_for_everyone(lab: Lab) -> None:
    """An expired element is not listed, does not refuse other data, and may be put or discarded."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, 50), Add(GRANTS, OTHER, 7, 50), Add(GRANTS, THIRD, 7, 50)])
    await lab.pass_time(0.12)

    assert lab.kernel.read_elements(GRANTS) == []
    lab.kernel.commit([Add(GRANTS, KEY, 8, MINUTE), Put(GRANTS, OTHER, 8, MINUTE), Discard(GRANTS, THIRD)])
    assert lab.held(GRANTS) == {KEY: 8, OTHER: 8}


@contract
async def test_shortest_timeout_expires(lab: Lab) -> None:
    """A timeout of 1 ms, less than the kernel can count, still ends: it must not become "never"."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, 1)])
    await lab.pass_time(0.1)

    assert lab.kernel.read_elements(GRANTS) == []


@contract
async def test_full_set_is_refused(lab: Lab) -> None:
    """A set takes no more than its size; renewing in a full one works, and so does replacing."""
    keys = [bytes(15) + bytes([number]) for number in range(3)]
    refused(lab.kernel, NoSpaceError, [Add(SMALL, key, None, MINUTE) for key in keys], 2)
    assert lab.kernel.read_elements(SMALL) == []

    lab.kernel.commit([Add(SMALL, key, None, MINUTE) for key in keys[:2]])
    lab.kernel.commit([Add(SMALL, keys[0], None, MINUTE), Put(SMALL, keys[1], None, MINUTE)])
    refused(lab.kernel, NoSpaceError, [Add(SMALL, keys[2], None, MINUTE)], 0)
    lab.kernel.commit([Discard(SMALL, keys[0]), Add(SMALL, keys[2], None, MINUTE)])
    assert set(lab.held(SMALL)) == set(keys[1:])


@contract
async def test_missing_set_is_named(lab: Lab) -> None:
    """A set or table that is not there is an error for every kind of change, a discard too."""
    nowhere = nft.Set(TABLE, "nowhere", ("mark",))
    elsewhere = nft.Set(nft.Table("elsewhere"), "live", ("mark",))

    for missing in (nowhere, elsewhere):
        refused(lab.kernel, NotFoundError, [Add(LIVE, b"\1\0\0\0"), Add(missing, b"\1\0\0\0")], 1)
        refused(lab.kernel, NotFoundError, [Discard(missing, b"\1\0\0\0")], 0)
        refused(lab.kernel, NotFoundError, [Put(missing, b"\1\0\0\0")], 0)
        with pytest.raises(NotFoundError):
            lab.kernel.read_elements(missing)
    assert lab.held(LIVE) == {}


@contract
async def test_verdicts_name_chains(lab: Lab) -> None:
    """A verdict map holds jumps to chains that exist, and gives them back as they were."""
    verdicts = {POD: nft.Verdict("goto", "policy_1"), bytes(4): nft.Verdict("drop"), b"\xff" * 4: nft.Verdict("jump", "policy_1")}
    lab.kernel.commit([Add(PODS, key, verdict) for key, verdict in verdicts.items()])

    assert lab.held(PODS) == verdicts
    refused(lab.kernel, NotFoundError, [Put(PODS, POD, nft.Verdict("accept")), Add(PODS, b"abcd", nft.Verdict("goto", "nowhere"))], 1)
    assert lab.held(PODS) == verdicts


@contract
async def test_chain_in_use_is_busy(lab: Lab) -> None:
    """A chain that an element names cannot be deleted; once the element is gone it can, its rules with it."""
    lab.kernel.commit([Add(PODS, POD, nft.Verdict("goto", "policy_1"))])
    with pytest.raises(BusyError):
        await lab.kernel.apply(Transaction().flush(POLICY).delete(POLICY))
    standing = await lab.kernel.read_structure(TABLE)
    assert standing is not None and len(standing.rules["policy_1"]) == 1

    lab.kernel.commit([Discard(PODS, POD)])
    await lab.kernel.apply(Transaction().delete(POLICY))
    standing = await lab.kernel.read_structure(TABLE)
    assert standing is not None and set(standing.chains) == {"egress"}


@contract
async def test_what_rules_name_is_busy(lab: Lab) -> None:
    """A set or chain that a rule names cannot be deleted."""
    await lab.kernel.apply(Transaction().add(nft.Rule(BASE, "ip daddr 192.0.2.1 jump policy_1")))

    with pytest.raises(BusyError):
        await lab.kernel.apply(Transaction().delete(POLICY))
    with pytest.raises(BusyError):
        await lab.kernel.apply(Transaction().delete(PODS))
    await lab.kernel.apply(Transaction().flush(BASE).delete(POLICY).delete(PODS))


@contract
async def test_rules_name_what_stands(lab: Lab) -> None:
    """A rule that names a missing set or chain is refused."""
    for text in ("ip saddr @nowhere accept", "jump nowhere"):
        with pytest.raises(NotFoundError):
            await lab.kernel.apply(Transaction().add(nft.Rule(BASE, text)))
    with pytest.raises(NotFoundError):
        await lab.kernel.apply(Transaction().add(nft.Rule(nft.Chain(TABLE, "nowhere"), "accept")))


@contract
async def test_apply_is_whole_or_nothing(lab: Lab) -> None:
    """A refused operation undoes those before it."""
    before = lab.kernel.fingerprint(TABLE)
    broken = Transaction().add(nft.Chain(TABLE, "new")).flush(BASE).delete(nft.Chain(TABLE, "nowhere"))

    with pytest.raises(NotFoundError):
        await lab.kernel.apply(broken)
    standing = await lab.kernel.read_structure(TABLE)
    assert standing is not None and "new" not in standing.chains and len(standing.rules["egress"]) == 1
    assert lab.kernel.fingerprint(TABLE) == before


@contract
async def test_add_is_idempotent_create_is_not(lab: Lab) -> None:
    """The same structure may be added again; create insists on the first time, and a set keeps its form."""
    before = lab.kernel.fingerprint(TABLE)
    await lab.kernel.apply(Transaction().add(TABLE).add(BASE).add(POLICY).add(GRANTS).add(PODS))
    assert lab.kernel.fingerprint(TABLE) == before

    for existing in (TABLE, POLICY, LIVE):
        with pytest.raises(AlreadyExistsError):
            await lab.kernel.apply(Transaction().create(existing))
    await lab.kernel.apply(Transaction().create(nft.Table("second")).create(nft.Chain(nft.Table("second"), "c")))
    assert lab.kernel.fingerprint(nft.Table("second")) is not None
    with pytest.raises(AlreadyExistsError):
        await lab.kernel.apply(Transaction().add(nft.Set(TABLE, "live", ("ipv6_addr",))))


@contract
async def test_missing_things_cannot_be_deleted(lab: Lab) -> None:
    """Delete and flush insist that the thing is there."""
    for target in (nft.Table("nowhere"), nft.Chain(TABLE, "nowhere"), nft.Set(TABLE, "nowhere", ("mark",))):
        with pytest.raises(NotFoundError):
            await lab.kernel.apply(Transaction().delete(target))
        with pytest.raises(NotFoundError):
            await lab.kernel.apply(Transaction().flush(target))
    with pytest.raises(NotFoundError):
        await lab.kernel.apply(Transaction().add(nft.Chain(nft.Table("nowhere"), "c")))


@contract
async def test_structure_is_read_back(lab: Lab) -> None:
    """Sets and chains are read as they were made, rules as comparable lines with their comments."""
    standing = await lab.kernel.read_structure(TABLE)

    assert standing is not None
    assert standing.sets == {one.name: one for one in (LIVE, GRANTS, SMALL, DEFAULT, COUNTED, NETS, PORTS, PODS)}
    assert standing.chains == {"egress": BASE, "policy_1": POLICY}
    assert standing.rules["egress"] == ('ip saddr vmap @pods comment "slow path"',)
    assert await lab.kernel.read_structure(TABLE) == standing
    assert await lab.kernel.read_structure(nft.Table("nowhere")) is None


@contract
async def test_policy_of_a_chain_can_change(lab: Lab) -> None:
    """A base chain may get another policy, and the fingerprint tells."""
    before = lab.kernel.fingerprint(TABLE)
    closed = nft.Chain(TABLE, "egress", nft.Hook("filter", "forward", -150, "drop"))
    await lab.kernel.apply(Transaction().add(closed))

    standing = await lab.kernel.read_structure(TABLE)
    assert standing is not None and standing.chains["egress"] == closed
    assert lab.kernel.fingerprint(TABLE) != before


@contract
async def test_flush_empties(lab: Lab) -> None:
    """Flush takes elements out of a set, rules out of a chain or table, and leaves the rest."""
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE), Add(LIVE, b"\1\0\0\0")])
    await lab.kernel.apply(Transaction().flush(GRANTS))
    assert (lab.held(GRANTS), len(lab.held(LIVE))) == ({}, 1)

    await lab.kernel.apply(Transaction().flush(TABLE))
    standing = await lab.kernel.read_structure(TABLE)
    assert standing is not None and standing.rules == {"egress": (), "policy_1": ()}
    assert len(lab.held(LIVE)) == 1


@contract
async def test_elements_of_the_structure(lab: Lab) -> None:
    """Networks and ranges, given as text, are read back as first and last key; what was not there cannot be taken out."""
    made = Transaction().add_members(NETS, ["10.0.0.0/8", "192.0.2.1-192.0.2.9", "198.51.100.7", "255.0.0.0/8"])
    await lab.kernel.apply(made.add_members(PORTS, []).add_element(Element(LIVE, b"\1\2\3\4")))

    spans = {(element.key, element.key_end) for element in lab.kernel.read_elements(NETS)}
    single = bytes([198, 51, 100, 7])
    ranges = {(bytes([10, 0, 0, 0]), bytes([10, 255, 255, 255])), (bytes([192, 0, 2, 1]), bytes([192, 0, 2, 9]))}
    assert spans == ranges | {(single, single), (bytes([255, 0, 0, 0]), b"\xff" * 4)}
    await lab.kernel.apply(Transaction().delete_members(NETS, ["10.0.0.0/8"]).delete_element(Element(LIVE, b"\1\2\3\4")))
    assert (len(lab.kernel.read_elements(NETS)), lab.held(LIVE)) == (3, {})
    with pytest.raises(NotFoundError):
        await lab.kernel.apply(Transaction().delete_members(NETS, ["10.0.0.0/8"]))


@contract
async def test_intervals_can_be_committed(lab: Lab) -> None:
    """Raw changes work with intervals, in plain sets and in concatenations."""
    low, high = pack_key(POD, b"\x1f\x40"), pack_key(POD, b"\x23\x28")
    net = (bytes([10, 0, 0, 0]), bytes([10, 255, 255, 255]))
    lab.kernel.commit([Add(PORTS, low, 7, key_end=high), Add(NETS, net[0], key_end=net[1]), Add(NETS, b"\xff" * 4)])

    assert [element[1:6] for element in lab.kernel.read_elements(PORTS)] == [(low, 7, None, None, high)]
    assert {(element.key, element.key_end) for element in lab.kernel.read_elements(NETS)} == {net, (b"\xff" * 4, b"\xff" * 4)}
    lab.kernel.commit([Put(PORTS, low, 8, key_end=high), Discard(NETS, net[0], net[1])])
    assert (lab.held(PORTS), list(lab.held(NETS))) == ({low: 8}, [b"\xff" * 4])


@contract
async def test_intervals_may_not_overlap(lab: Lab) -> None:
    """An interval that shares keys with another is refused, in a commit and in a transaction; the very same one is not."""
    await lab.kernel.apply(Transaction().add_members(NETS, ["10.0.0.0/8"]).add_members(NETS, ["10.0.0.0/8"]))
    inner = Add(NETS, bytes([10, 1, 0, 0]), key_end=bytes([10, 1, 255, 255]))

    with pytest.raises(AlreadyExistsError):
        await lab.kernel.apply(Transaction().add_members(NETS, ["10.1.0.0/16"]))
    with pytest.raises(AlreadyExistsError):
        await lab.kernel.apply(Transaction().add_members(NETS, ["9.0.0.0-10.0.0.5"]))
    refused(lab.kernel, AlreadyExistsError, [Add(LIVE, b"\1\0\0\0"), inner], 1)
    lab.kernel.commit([Add(NETS, bytes([10, 0, 0, 0]), key_end=bytes([10, 255, 255, 255]))])
    assert len(lab.kernel.read_elements(NETS)) == 1


@contract
async def test_element_of_the_structure_has_its_own_time(lab: Lab) -> None:
    """An element in a structure transaction may bring data, a timeout and what is left of it."""
    await lab.kernel.apply(Transaction().add_element(Element(GRANTS, KEY, 0x80000, 2 * MINUTE, MINUTE)))

    (element,) = lab.kernel.read_elements(GRANTS)
    assert (element.data, element.timeout_ms) == (0x80000, 2 * MINUTE)
    assert element.expires_ms is not None and MINUTE - 5000 < element.expires_ms <= MINUTE


@contract
async def test_counters_are_read(lab: Lab) -> None:
    """A set that counts has a counter in each element."""
    lab.kernel.commit([Add(COUNTED, POD)])

    assert [(element.packets, element.bytes) for element in lab.kernel.read_elements(COUNTED)] == [(0, 0)]


@contract
async def test_fingerprint_sees_structure_only(lab: Lab) -> None:
    """Rules, chains, sets and a re-created table change it; elements, verdicts among them, do not."""
    assert lab.kernel.fingerprint(nft.Table("nowhere")) is None
    seen = [lab.kernel.fingerprint(TABLE)]
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE), Add(PODS, POD, nft.Verdict("goto", "policy_1"))])
    assert lab.kernel.fingerprint(TABLE) == seen[0]
    lab.kernel.commit([Discard(PODS, POD)])

    rule, chain = nft.Rule(POLICY, "accept"), nft.Chain(TABLE, "new")
    steps = [Transaction().add(rule), Transaction().add(chain), Transaction().delete(chain), Transaction().flush(POLICY)]
    steps += [Transaction().delete(NETS), Transaction().delete(TABLE).add(TABLE), Transaction().flush(TABLE).delete(TABLE)]
    for step in steps:
        await lab.kernel.apply(step)
        seen.append(lab.kernel.fingerprint(TABLE))
    assert seen[-1] is None
    assert len({*seen[:2], *seen[4:]}) == len(seen) - 2  # a chain that came and went leaves what was before
    assert seen[2] not in (seen[1], seen[3]) and seen[3] == seen[1]


@contract
async def test_foreign_changes_are_told_and_ours_are_not(lab: Lab) -> None:
    """A commit of someone else calls back; our own, of elements or structure, do not."""
    told = asyncio.Event()
    lab.kernel.on_foreign_change(told.set)
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])
    lab.kernel.commit([Put(GRANTS, KEY, 8, MINUTE), Discard(GRANTS, OTHER)])
    await lab.kernel.apply(Transaction().add(nft.Chain(TABLE, "ours")))
    await asyncio.sleep(0.02)
    assert not told.is_set()

    lab.foreign(Transaction().add(nft.Table("foreign")))
    await asyncio.wait_for(told.wait(), 5)
    assert told.is_set()


@contract
async def test_deleted_table_is_noticed(lab: Lab) -> None:
    """F12: after a foreign hand took the table, a commit says so, and the same structure can be made again."""
    lab.foreign(Transaction().delete(TABLE))

    refused(lab.kernel, NotFoundError, [Add(GRANTS, KEY, 7, MINUTE)], 0)
    assert lab.kernel.fingerprint(TABLE) is None
    await lab.kernel.apply(structure())
    lab.kernel.commit([Add(GRANTS, KEY, 7, MINUTE)])
    assert lab.held(GRANTS) == {KEY: 7}


@contract
async def test_what_is_not_valid_never_leaves(lab: Lab) -> None:
    """A key of the wrong length, data of the wrong kind, a timeout that is none: refused, named, nothing sent."""
    wrong: list[Change] = [
        Add(GRANTS, KEY[:-1], 7, MINUTE),
        Add(GRANTS, KEY, None, MINUTE),
        Add(GRANTS, KEY, nft.Verdict("drop"), MINUTE),
        Add(GRANTS, KEY, 1 << 32, MINUTE),
        Add(GRANTS, KEY, -1, MINUTE),
        Add(GRANTS, KEY, 7, 0),
        Add(GRANTS, KEY, 7, -5),
        Add(GRANTS, KEY, 7, 1 << 60),
        Add(GRANTS, KEY, 7, MINUTE, key_end=KEY),
        Add(LIVE, b"\1\0\0\0", None, MINUTE),
        Add(LIVE, b"\1\0\0\0", 7),
        Add(PODS, POD, 7),
        Discard(GRANTS, KEY + b"\0"),
        Add(NETS, bytes([10, 0, 0, 0]), key_end=bytes([9, 0, 0, 0])),
    ]
    for change in wrong:
        refused(lab.kernel, NotValidError, [change], 0)
        refused(lab.kernel, NotValidError, [Add(LIVE, b"\1\0\0\0"), change], 1)
    assert lab.held(LIVE) == lab.held(GRANTS) == {}


@contract
async def test_nothing_to_do_is_done(lab: Lab) -> None:
    """Empty commits and transactions are no errors."""
    before = lab.kernel.fingerprint(TABLE)
    lab.kernel.commit([])
    await lab.kernel.apply(Transaction())

    assert lab.kernel.fingerprint(TABLE) == before


@contract
async def test_a_thousand_changes_are_one_commit(lab: Lab) -> None:
    """A commit may be larger than a message; its culprit is still named."""
    keys = [pack_key(number.to_bytes(4, "big"), b"\6", b"\1\xbb") for number in range(3000)]
    lab.kernel.commit([Add(GRANTS, keys[2500], 9, MINUTE)])
    refused(lab.kernel, AlreadyExistsError, [Add(GRANTS, key, 7, MINUTE) for key in keys], 2500)
    assert lab.held(GRANTS) == {keys[2500]: 9}

    lab.kernel.commit([Put(GRANTS, key, 7, MINUTE) for key in keys])
    assert lab.held(GRANTS) == dict.fromkeys(keys, 7)
    assert {element.key for element in await lab.kernel.fetch_elements(GRANTS)} == set(keys)
    assert lab.kernel.has_element(GRANTS, keys[0])
    lab.kernel.commit([Discard(GRANTS, keys[0])])
    assert not lab.kernel.has_element(GRANTS, keys.pop(0))
    assert sorted([element.key async for part in lab.kernel.iter_elements(GRANTS) for element in part]) == sorted(keys)
