"""A worker says "granted" only while the ledger's owner would."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest
from enforce_kit import packed
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import Pair
from worlds import peer, rule, where

from dnsfw.enforce.asked import Ask
from dnsfw.names import parse_name
from dnsfw.policy import ledger
from dnsfw.policy.grants import Granted, GrantOutcome, NotGranted
from dnsfw.policy.model import LeaseLimits, Pod, PodUid, Rule
from dnsfw.policy.reasons import Reason
from dnsfw.workers import asking, granting, mirror
from dnsfw.workers.frames import RemoteAsk

TEAM = "shop"
NAMES = ("www.example.net", "api.example.net", "deep.www.example.net", "www.example.org")
ADDRESSES = packed("192.0.2.1", "192.0.2.2", "2001:db8::1", "169.254.1.1")


def pods(*addresses: str) -> list[Pod]:
    def pod(name: str, *held: str) -> Pod:
        return Pod(uid=PodUid(f"uid-{name}"), namespace=TEAM, name=name, addresses=tuple(map(ip_address, held)), labels={"app": "x"})

    return [pod("a", *(addresses or ("10.244.0.1", "2001:db8:c1::1"))), pod("b", "10.244.0.2")]


def worlds() -> list[tuple[list[Rule], list[Pod]]]:
    limits = LeaseLimits(min_seconds=1, max_seconds=40, grace_seconds=2)
    web = rule("web", peer("*.example.net", on=["tcp/443"]), selector=where(app="x"), limits=limits)
    both = rule("both", peer("*.example.net", "*.example.org"), selector=where(app="x"))
    return [
        ([web], pods()),
        ([web, both], pods()),
        ([both], pods("10.244.0.1")),
        ([replace(web, limits=LeaseLimits(min_seconds=1, max_seconds=2, grace_seconds=0))], pods()),
    ]


@pytest.fixture
async def pair() -> Pair:
    made = Pair()
    await made.start(*worlds()[0])
    return made


async def outcome_of(pair: Pair, waited: "GrantOutcome | asyncio.Future[GrantOutcome]") -> GrantOutcome:
    await pair.deliver_all()
    return waited.result() if isinstance(waited, asyncio.Future) else waited


Step = Callable[[Pair], Awaitable[None]]


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    return draw(st.lists(st.one_of(_asks(), _waits(), _changes(), _deliveries(), _sweeps()), min_size=3, max_size=25))


def _asks() -> st.SearchStrategy[Step]:
    def made(uid: str, name: str, addresses: Sequence[bytes], ttl: int) -> Step:
        async def step(pair: Pair) -> None:
            ask = Ask(pair.node.subject(uid), parse_name(name), tuple(addresses), ttl)
            said = pair.ask(uid, name, ask.addresses, ttl)
            if isinstance(said, Granted) and not pair.down.frames:
                assert_owner_says_so(pair, ask, said)
            await pair.turn()

        return step

    chosen = st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3, unique=True)
    return st.builds(made, st.sampled_from(["uid-a", "uid-b"]), st.sampled_from(NAMES), chosen, st.sampled_from([0, 1, 5, 60]))


def assert_owner_says_so(pair: Pair, ask: Ask, said: Granted) -> None:
    theirs = pair.node.enforcer.request.__self__._held(ask)
    assert theirs is not None
    assert (theirs.ttl, theirs.grants) == (said.ttl, said.grants)
    assert theirs.until >= said.until


def _waits() -> st.SearchStrategy[Step]:
    def made(seconds: float) -> Step:
        async def step(pair: Pair) -> None:
            pair.node.clock.advance(seconds)

        return step

    return st.builds(made, st.sampled_from([0.1, 0.9, 3.0, 50.0]))


def _changes() -> st.SearchStrategy[Step]:
    def made(number: int) -> Step:
        async def step(pair: Pair) -> None:
            await pair.change(*worlds()[number])

        return step

    return st.builds(made, st.integers(0, len(worlds()) - 1))


def _deliveries() -> st.SearchStrategy[Step]:
    async def up(pair: Pair) -> None:
        pair.deliver_up()

    async def turn(pair: Pair) -> None:
        await pair.turn()

    async def down(pair: Pair) -> None:
        pair.deliver_down()

    async def everything(pair: Pair) -> None:
        await pair.deliver_all()

    return st.sampled_from([up, turn, down, everything, everything])


def _sweeps() -> st.SearchStrategy[Step]:
    async def step(pair: Pair) -> None:
        await pair.node.enforcer.sweep_now()

    return st.just(step)


@settings(max_examples=100, deadline=None)
@given(taken=steps())
def test_mirror_never_says_more_than_the_owner(taken: list[Step]) -> None:
    """Whatever is asked, delivered late, changed, swept or crowded out: each claim of the mirror stands in the ledger for as long."""

    async def live() -> None:
        pair = Pair()
        await pair.start(*worlds()[0])
        for step in taken:
            await step(pair)
            assert list(pair.overstated()) == []
        await pair.deliver_all()
        assert list(pair.overstated()) == []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "CLAIMS_A_ROW", 2)  # so that rows are full
        asyncio.run(live())


async def test_what_is_held_is_not_asked_again(pair: Pair) -> None:
    """The second answer with the same addresses costs no frame, until what is held would end before its TTL."""
    first = await outcome_of(pair, pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20))
    assert first == Granted(1022.0, 20, 1)

    pair.node.clock.advance(1.0)
    assert pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20) == Granted(1022.0, 20, 1)

    pair.node.clock.advance(2.0)
    assert await outcome_of(pair, pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20)) == Granted(1025.0, 20, 1)
    assert pair.node.enforcer.stats().commits >= 2


async def test_asks_of_one_turn_go_as_one_frame(pair: Pair) -> None:
    """And their outcomes come back as one."""
    waited = [pair.ask("uid-a", NAMES[0], (address,), 20) for address in ADDRESSES[:3]]
    await pair.turn()
    assert len(pair.up.frames) == 1
    pair.deliver_up()
    await pair.turn()
    assert len(pair.down.frames) == 1
    pair.deliver_down()

    assert [type(each.result()) for each in waited] == [Granted] * 3


async def test_rules_that_changed_meanwhile(pair: Pair) -> None:
    """What was decided by an older snapshot is not installed; the exchange decides again."""
    waited = pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20)
    await pair.turn()
    await pair.change(*worlds()[1])

    assert await outcome_of(pair, waited) == NotGranted(Reason.RULES_CHANGED)
    assert pair.node.number("10.244.0.1", "192.0.2.1") is None


async def test_pod_that_is_gone_meanwhile(pair: Pair) -> None:
    """It is not known any more: nothing is installed for it."""
    pair.granting.take([RemoteAsk(9, pair.node.enforcer.snapshot.serial, PodUid("uid-gone"), parse_name(NAMES[0]), ADDRESSES[:1], 20)])

    await pair.turn()

    assert len(pair.down.frames) == 1
    pair.deliver_down()
    assert pair.node.enforcer.state.ledger.row(PodUid("uid-gone"), ADDRESSES[0]) == ()


async def test_ask_that_is_ahead_of_the_kernel_waits(pair: Pair) -> None:
    """A worker decides by new rules before they are in force; its grants come when they are."""
    ahead = pair.node.compiled(*worlds()[1], pair.node.enforcer.snapshot)
    pair.mirror.switch(ahead)
    waited = pair.ask("uid-a", NAMES[3], ADDRESSES[:1], 20)
    await pair.turn()
    pair.deliver_up()
    await pair.turn()
    assert not waited.done()

    await pair.node.enforcer.apply(ahead)

    assert isinstance(await outcome_of(pair, waited), Granted)
    assert pair.node.lets("10.244.0.1", "192.0.2.1", 8443)


async def test_ask_that_waited_too_long_is_not_carried_out(pair: Pair) -> None:
    """The pod has been told SERVFAIL by then."""
    ahead = pair.node.compiled(*worlds()[1], pair.node.enforcer.snapshot)
    pair.mirror.switch(ahead)
    waited = pair.ask("uid-a", NAMES[3], ADDRESSES[:1], 20)
    await pair.turn()
    pair.deliver_up()
    pair.timers.run_out()
    pair.node.clock.advance(1.0)
    await pair.node.enforcer.apply(ahead)
    await pair.deliver_all()

    assert waited.result().reason is Reason.KERNEL_TIMEOUT
    assert not pair.node.lets("10.244.0.1", "192.0.2.1", 8443)


async def test_late_outcome_is_nobodys(pair: Pair) -> None:
    """What comes after the deadline changes neither the answer nor the mirror."""
    waited = pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20)
    await pair.turn()
    pair.deliver_up()
    await pair.turn()
    pair.timers.run_out()
    pair.deliver_down()

    assert waited.result().reason is Reason.KERNEL_TIMEOUT
    assert len(pair.mirror.ledger) == 0


async def test_trouble_refuses_at_once(pair: Pair) -> None:
    """A kernel that is not in line grants nothing, however much the mirror holds; when it is again, the mirror still holds."""
    await outcome_of(pair, pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20))
    pair.node.enforcer.state.say_trouble("being rebuilt")
    pair.deliver_down()
    assert pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20) == NotGranted(Reason.KERNEL_FAILED, "being rebuilt")

    pair.node.enforcer.state.say_trouble("")
    pair.deliver_down()
    assert isinstance(pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20), Granted)


async def test_bounds(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many asks under way, a link that is not read, too many that wait for new rules: queue full, at once."""
    monkeypatch.setattr(asking, "MOST_PENDING", 1)
    monkeypatch.setattr(granting, "MOST_PARKED", 0)
    pair.mirror.switch(pair.node.compiled(*worlds()[1], pair.node.enforcer.snapshot))
    parked = pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20)
    assert pair.ask("uid-a", NAMES[0], ADDRESSES[1:2], 20).reason is Reason.QUEUE_FULL
    assert (await outcome_of(pair, parked)).reason is Reason.QUEUE_FULL

    pair.up.has_room = False
    assert pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20).reason is Reason.QUEUE_FULL


async def test_full_mirror_begins_anew(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It forgets all it holds; the owner says again what stands."""
    monkeypatch.setattr(mirror, "MOST_ROWS", 1)
    for address in ADDRESSES[:2]:
        await outcome_of(pair, pair.ask("uid-a", NAMES[0], (address,), 20))
    assert len(pair.mirror.ledger) == 1

    commits = pair.node.enforcer.stats().commits
    assert isinstance(await outcome_of(pair, pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20)), Granted)
    assert pair.node.enforcer.stats().commits == commits


async def test_mirror_ends_with_the_owners_claim(pair: Pair) -> None:
    """What stood already is not written again, so it ends earlier than a new lease would."""
    await outcome_of(pair, pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20))
    await pair.change(*worlds()[0])
    pair.node.clock.advance(1.0)

    again = await outcome_of(pair, pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20))

    assert again == Granted(1022.0, 20, 1)
    assert [claim.until for claim in pair.mirror.ledger.row(PodUid("uid-a"), ADDRESSES[0])] == [1022.0]


async def test_row_that_was_full_is_asked_for_each_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner has lost a claim of it before its end: the mirror holds none of it until the rules change."""
    monkeypatch.setattr(ledger, "CLAIMS_A_ROW", 1)
    await outcome_of(pair, pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20))
    assert len(pair.mirror.ledger) == 1

    for name in NAMES[1], NAMES[1], NAMES[0]:
        assert isinstance(await outcome_of(pair, pair.ask("uid-a", name, ADDRESSES[:1], 20)), Granted)
        assert len(pair.mirror.ledger) == 0

    await pair.change(*worlds()[0])
    await outcome_of(pair, pair.ask("uid-a", NAMES[0], ADDRESSES[:1], 20))
    assert len(pair.mirror.ledger) == 1
