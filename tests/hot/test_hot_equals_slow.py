"""The hot path does what the slow path does: same bytes, records, elements and counts, whatever is asked and whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from two_ways import NAMES, SOURCES, OneWay, Said, live_through, query, worlds

from dnsfw.forwarder.settings import ForwarderSettings, Refusal

Step = Callable[[OneWay], Awaitable[None]]
SETTINGS = ForwarderSettings(listen=(), upstreams=())
MANY = tuple(f"192.0.2.{number}" for number in range(100, 140))
ADDRESSES = ("192.0.2.1", "192.0.2.2", "203.0.113.7", "169.254.169.254", "198.51.100.3", "2001:db8::1", "::ffff:192.0.2.9", "fe80::1")


def asks(data: bytes, source: str, times: int = 1) -> Step:
    async def step(one: OneWay) -> None:
        for _ in range(times):
            await one.ask(data, source)

    return step


def passes(seconds: float) -> Step:
    async def step(one: OneWay) -> None:
        one.node.clock.advance(seconds)

    return step


def says(said: Said) -> Step:
    async def step(one: OneWay) -> None:
        one.upstream.says = said

    return step


def changes(world: int) -> Step:
    async def step(one: OneWay) -> None:
        await one.change(world)

    return step


def kernel_fails(trouble: str) -> Step:
    async def step(one: OneWay) -> None:
        one.node.enforcer.state.trouble = trouble

    return step


def is_slow(slow: bool) -> Step:
    """Upstream, from now on; what it owes when it no longer is, comes at once."""

    async def step(one: OneWay) -> None:
        one.upstream.is_slow = slow
        if not slow:
            one.upstream.answer()
            await one.settle()

    return step


SAID = st.builds(
    Said,
    rcode=st.sampled_from((0, 0, 0, *range(16))),
    addresses=st.lists(st.sampled_from(ADDRESSES), max_size=4).map(tuple) | st.just(MANY),
    ttl=st.sampled_from((0, 1, 2, 19, 44, 60, 86_400, 2**31 - 1, 2**31, 2**32 - 1)),
    alias=st.booleans(),
    is_truncated=st.sampled_from((False, False, False, True)),
    is_silent=st.sampled_from((False, False, False, True)),
    opt=st.sampled_from(("", "last", "last", "first", "extended")),
    must_be_zero=st.booleans(),
)
QUERIES = st.builds(
    query,
    st.sampled_from(NAMES) | st.sampled_from(("WWW.example.NET", "other.example.net", "x" * 63 + ".example.net")),
    st.sampled_from((1, 1, 1, 28, 28, 5, 16, 65, 255, 252, 65280)),
    st.integers(0, 0xFFFF),
    st.sampled_from((0x0100, 0x0100, 0x0120, 0x0110, 0x0000, 0x8100, 0x2900)),
    st.integers(0, 3),
)
STEPS = st.one_of(
    st.builds(asks, QUERIES, st.sampled_from(SOURCES), st.integers(1, 4)),
    st.builds(asks, QUERIES, st.sampled_from(SOURCES[:2]), st.integers(2, 4)),
    st.builds(asks, st.binary(max_size=60), st.sampled_from(SOURCES)),
    st.builds(passes, st.floats(0.0, 3.0) | st.sampled_from((0.25, 1.0, 14.0, 45.0, 60.0, 4000.0))),
    st.builds(says, SAID),
    st.builds(changes, st.integers(0, len(worlds()) - 1)),
    st.builds(kernel_fails, st.sampled_from(("", "", "gone"))),
)
PLAIN = query(NAMES[0], 1, 7, 0x0100, 0)
CROWDED = ForwarderSettings(listen=(), upstreams=(), refusal=Refusal.REFUSED, cache_entries=2, in_flight_per_pod=1, cache_max_ttl=30)
FEW_ADDRESSES = ForwarderSettings(listen=(), upstreams=(), addresses_per_answer=2)
SHORT_NAMES = ForwarderSettings(listen=(), upstreams=(), wildcard_name_octets=20)


def compare(steps: list[Step], of: ForwarderSettings = SETTINGS) -> OneWay:
    hot, slow = asyncio.run(live_through(steps, of))
    assert hot.sent == slow.sent
    assert hot.records == slow.records
    assert hot.elements() == slow.elements()
    assert hot.counts() == slow.counts()
    assert slow.hot_answers == 0
    return hot


@settings(max_examples=60, deadline=None)
@given(
    said=SAID,
    steps=st.lists(STEPS, min_size=2, max_size=14),
    of=st.sampled_from((SETTINGS, SETTINGS, SETTINGS, CROWDED, FEW_ADDRESSES, SHORT_NAMES)),
)
def test_hot_path_gives_what_the_slow_path_gives(said: Said, steps: list[Step], of: ForwarderSettings) -> None:
    """Over every rcode, type, expiry, stale snapshot and limit: bytes, records, elements and counts are equal."""
    compare([says(said), *steps], of)


@pytest.mark.parametrize(
    ("said", "source"),
    [
        pytest.param(Said(), SOURCES[0], id="an address"),
        pytest.param(Said(addresses=ADDRESSES[:3]), SOURCES[1], id="three addresses"),
        pytest.param(Said(alias=True), SOURCES[0], id="behind an alias"),
        pytest.param(Said(opt="last"), SOURCES[0], id="with upstream's OPT"),
        pytest.param(Said(opt="first", must_be_zero=True), SOURCES[0], id="with an OPT that others stand behind"),
        pytest.param(Said(addresses=MANY), SOURCES[0], id="more than a client takes, so cut"),
        pytest.param(Said(addresses=("192.0.2.1", "169.254.169.254")), SOURCES[0], id="a protected address taken out"),
        pytest.param(Said(rcode=3, addresses=()), SOURCES[0], id="nxdomain"),
        pytest.param(Said(), SOURCES[3], id="a pod that no rule selects"),
    ],
)
def test_what_is_asked_again_is_answered_by_the_hot_path(said: Said, source: str) -> None:
    """The first asking is upstream's, the second one teaches, the third one is hot; with its own id, and a second older."""
    again = [PLAIN, query(NAMES[0], 1, 0xABCD, 0x0100, 0)]
    hot = compare([says(said), asks(PLAIN, source, 4), passes(1.5), *(asks(data, source) for data in again)])

    assert hot.hot_answers == 4


@pytest.mark.parametrize(
    "said", [Said(), Said(rcode=3, addresses=()), Said(addresses=()), Said(alias=True)], ids=["address", "nxdomain", "nodata", "alias"]
)
@pytest.mark.parametrize("before", range(len(worlds())))
@pytest.mark.parametrize("after", range(len(worlds())))
def test_what_changes_while_upstream_is_asked_is_heeded(before: int, after: int, said: Said) -> None:
    """Other rules, and another pod with the same address, whatever the answer is: nobody is told by what was in force when it asked."""
    steps: list[Step] = [says(said)]
    for name, source in zip(NAMES[:5], (SOURCES[0], SOURCES[1], SOURCES[0], SOURCES[1], SOURCES[0]), strict=True):
        asked = asks(query(name, 1, 7, 0x0100, 0), source)
        steps += [changes(before), is_slow(True), asked, changes(after), is_slow(False), asked]
    compare(steps)


def test_what_is_asked_once_a_second_is_aimed_each_time() -> None:
    """That costs no more than the fresh path: each question but the first two is hot."""
    once = [passes(1.0), asks(PLAIN, SOURCES[0])]
    hot = compare([asks(PLAIN, SOURCES[0], 3), *once, *once, *once])
    assert (hot.hot_answers, hot.fresh_answers) == (4, 2)


def test_one_pod_teaches_and_the_other_one_still_needs_its_own_grant() -> None:
    """A plan is shared by the pods of a policy, a grant is not: the second pod's first answer waits for its own elements."""
    hot = compare([asks(PLAIN, SOURCES[0], 3), asks(PLAIN, SOURCES[1])])
    assert hot.hot_answers == 1

    hot = compare([asks(PLAIN, SOURCES[0], 3), asks(PLAIN, SOURCES[1], 2)])
    assert hot.hot_answers == 2


@pytest.mark.parametrize(
    ("said", "data"),
    [
        pytest.param(Said(rcode=3, addresses=()), PLAIN, id="no such name"),
        pytest.param(Said(addresses=()), PLAIN, id="no address"),
        pytest.param(Said(addresses=(), alias=True), PLAIN, id="no address behind an alias"),
        pytest.param(Said(), query(NAMES[0], 65, 7, 0x0100, 0), id="HTTPS, whose number is a letter"),
        pytest.param(Said(), query(NAMES[4], 1, 7, 0x0100, 0), id="a service of the cluster"),
        pytest.param(Said(rcode=3, addresses=()), query(f"{NAMES[0]}.{NAMES[4]}", 28, 7, 0x0100, 1), id="what a search list asks"),
    ],
)
def test_what_needs_no_grant_is_the_fresh_path_s(said: Said, data: bytes) -> None:
    """From upstream, and a second later from the cache (an alias without an SOA behind it is not kept)."""
    hot = compare([says(said), asks(data, SOURCES[0]), passes(1.5), asks(data, SOURCES[0])])

    assert hot.fresh_answers == 2


@pytest.mark.parametrize(
    ("said", "data"),
    [
        pytest.param(Said(rcode=2, addresses=()), PLAIN, id="upstream fails"),
        pytest.param(Said(addresses=("192.0.2.1", "169.254.169.254")), PLAIN, id="a protected address"),
        pytest.param(Said(alias=True), query(NAMES[4], 1, 7, 0x0100, 0), id="a service that is somebody else's"),
        pytest.param(Said(is_truncated=True), PLAIN, id="cut short"),
    ],
)
def test_what_must_be_changed_is_the_exchange_s(said: Said, data: bytes) -> None:
    """The fresh path asks, and hands what it is told to the exchange."""
    compare([says(said), asks(data, SOURCES[0]), passes(1.5), asks(data, SOURCES[0])])


def test_another_pod_s_first_question_leaves_what_is_remembered_alone() -> None:
    """Nothing is learnt or aimed for it anew: with many pods and names that would cost as much as the grant itself."""
    found = []

    async def look(one: OneWay) -> None:
        if one.hot is not None:
            (plan,) = one.hot._kins[SOURCES[0]].plans.values()
            found.append((plan, plan.age, plan.shot))

    compare([asks(PLAIN, SOURCES[0], 3), look, passes(1.5), asks(PLAIN, SOURCES[1]), look])

    before, after = found
    assert before == after
    assert before[2] is not None


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(changes(3), id="a rule denies the name's address"),
        pytest.param(changes(5), id="no rules any more"),
        pytest.param(kernel_fails("gone"), id="the kernel fails"),
        pytest.param(passes(61), id="the answer is too old"),
        pytest.param(changes(4), id="another pod has the address"),
    ],
)
def test_nothing_remembered_outlives_what_it_rests_on(happens: Step) -> None:
    """A changed snapshot, a broken kernel, an expired answer: the slow path decides again."""
    hot = compare([asks(PLAIN, SOURCES[0], 3), happens, asks(PLAIN, SOURCES[0])])

    assert hot.hot_answers == 1


def test_tcp_and_rates_are_the_slow_path_s() -> None:
    """With a limit on a pod's rate every query is counted, hence none is hot."""
    limited = ForwarderSettings(listen=(), upstreams=(), queries_per_second=3)
    hot = compare([asks(PLAIN, SOURCES[0], 6)], limited)

    assert hot.hot_answers == 0


def test_memory_of_questions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters in ever new cases fill nothing: past the bound all is forgotten, and long queries are never remembered."""
    monkeypatch.setattr("dnsfw.hot.MOST_PLANS", 3)
    many = [query(f"{letter}ww.example.net", 1, 1, 0x0100, 0) for letter in "abcdef"]
    long = query("www.example.net", 1, 1, 0x0100, 0) + bytes(400)
    hot = compare([asks(data, SOURCES[0], 2) for data in (*many, long, *many)])

    assert hot.forwarder._fast._count <= 3


def test_answer_grows_older() -> None:
    """A hot answer is aimed anew each second: its TTL, and the record's, are those of its age."""
    hot = compare([asks(PLAIN, SOURCES[3], 3), passes(1.0), asks(PLAIN, SOURCES[3]), passes(7.5), asks(PLAIN, SOURCES[3])])

    assert hot.hot_answers == 3
    assert [record.ttl for record in hot.records] == [60, 60, 60, 59, 51]


def test_lease_that_ends_before_the_answer_is_renewed_first() -> None:
    """Leases of this rule are capped at 45 s and 5 s of grace: 20 s later, what is left of a TTL of 60 outlives what stands."""
    hot = compare([says(Said(ttl=60)), asks(PLAIN, SOURCES[0], 3), passes(20.0), asks(PLAIN, SOURCES[0], 2)])

    assert hot.hot_answers == 2
    assert [record.grants > 0 for record in hot.records] == [True] * 5
