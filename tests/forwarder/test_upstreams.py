"""Asking upstreams over real sockets of loopback; the other side plays a script."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from itertools import count

import pytest
from upstream import (
    CLOSE,
    Make,
    ScriptedUpstream,
    answer,
    as_query,
    from_elsewhere,
    garbage,
    hold,
    other_class,
    other_name,
    other_type,
    partly,
    rcode,
    truncated,
    wrong_id,
)

from dnsfw.clock import SystemClock
from dnsfw.forwarder.bursts import Unsent
from dnsfw.forwarder.inquiry import Failure, Inquiry, Outcome, Reply, UpstreamQuery
from dnsfw.forwarder.line import FEW, Line, Work
from dnsfw.forwarder.server import State
from dnsfw.forwarder.settings import Endpoint
from dnsfw.forwarder.timers import Timers
from dnsfw.forwarder.upstream_udp import RUN, RUN_S, PoolLimits
from dnsfw.forwarder.upstreams import Upstreams, UpstreamSettings
from dnsfw.names import parse_name
from dnsfw.policy.reasons import Reason

A = b"\x00\x01\x00\x01"
TRUE = answer("192.0.2.1")
FORGED = answer("192.0.2.66")


class Asker:
    """Upstreams, and a way to await them."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams
        self.clock = SystemClock()

    def ask(self, name: str = "www.example.net", seconds: float = 10.0) -> "asyncio.Future[Outcome]":
        key = parse_name(name) + A
        message = bytes.fromhex("000001000001000000000000") + key
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.upstreams.ask(UpstreamQuery(message, key, key + b"\x00"), self.clock.now() + seconds, future.set_result)
        return future

    @property
    def servers(self):
        return self.upstreams.stats().servers


@asynccontextmanager
async def asking(*endpoints: Endpoint, under_way: int = 0, **settings) -> AsyncIterator[Asker]:
    loop, clock = asyncio.get_running_loop(), SystemClock()
    timers = Timers(loop, clock)
    upstreams = Upstreams(UpstreamSettings(addresses=endpoints, **settings), loop, clock, timers, Line(loop, clock, lambda: under_way))
    try:
        yield Asker(upstreams)
    finally:
        upstreams.close()
        timers.close()
        await asyncio.sleep(0)


_NOBODYS = count(1)


def nobody() -> Endpoint:
    """Where nobody listens, and nobody comes to: at an address of loopback that no other test has, for the kernel gives a port of 127.0.0.1
    that is free to whoever asks next.
    """
    return Endpoint(ip_address(f"127.{1 + os.getpid() % 250}.{os.getpid() // 250 % 250}.{next(_NOBODYS)}"), 5399)


def addresses_of(outcome: Outcome) -> bytes:
    assert isinstance(outcome, Reply), outcome
    return outcome.data[-4:]


ONE = bytes((192, 0, 2, 1))


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """A limit of the process at what is open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 -- what is waited for is a counter
            await asyncio.sleep(0.01)


async def test_where_much_is_under_way_an_answer_takes_its_turn() -> None:
    """It is the same answer, told once."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint, under_way=FEW + 1) as asker:
        upstream.on_udp(TRUE)

        assert addresses_of(await asker.ask()) == ONE


async def test_an_answer_in_line_whose_question_has_ended_is_told_to_nobody() -> None:
    """Its asker has heard already that there is none."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint, under_way=FEW + 1) as asker:
        future = asker.ask()
        (inquiry,), (server,) = asker.upstreams._in_flight, asker.upstreams._servers
        asker.upstreams.on_reply(server, inquiry, bytes(12))
        assert not future.done()
        asker.upstreams.close()
        await asyncio.sleep(0.01)

        assert await future == Failure(Reason.STOPPING, "stopping")


class NoNetwork:
    """In place of `Bursts`: nothing leaves."""

    def send(self, _connected: socket.socket, messages: list[bytes]) -> list[Unsent]:
        return [(message, errno.ENETUNREACH) for message in messages]


class Asking(Work):
    """Asks for `count` names in one go, then does `then`."""

    def __init__(self, asker: Asker, count: int, then: Callable[[], object]) -> None:
        self.asker, self.count, self.then = asker, count, then
        self.futures: list[asyncio.Future[Outcome]] = []

    def do(self, _first: object, _second: object, /) -> None:
        self.futures.extend(self.asker.ask(f"n{number}.example.net") for number in range(self.count))
        self.then()


def ask_in_a_turn(asker: Asker, count: int, then: Callable[[], object] = lambda: None) -> "list[asyncio.Future[Outcome]]":
    """`count` questions within one turn of the line; `then` before it ends."""
    asking = Asking(asker, count, then)
    line = asker.upstreams._line
    line.put_question("pod", asking, None, None)
    line._take_turn()
    return asking.futures


async def test_questions_of_one_turn_leave_together() -> None:
    """Each is answered as one that leaves alone."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(TRUE)

        assert {addresses_of(outcome) for outcome in await asyncio.gather(*ask_in_a_turn(asker, 200))} == {ONE}
        assert Counter(upstream.names()) == Counter(f"n{number}.example.net" for number in range(200))


async def test_questions_that_cannot_leave_go_elsewhere_at_once() -> None:
    """Where the network says no only when the turn ends, too."""
    async with ScriptedUpstream() as alive, asking(nobody(), alive.endpoint, try_seconds=600.0) as asker:
        alive.on_udp(TRUE)
        asker.upstreams._servers[0].udp._bursts = NoNetwork()

        assert {addresses_of(outcome) for outcome in await asyncio.gather(*ask_in_a_turn(asker, 5))} == {ONE}
        assert asker.servers[0].state is State.DOWN


async def test_a_waiter_that_breaks_costs_itself_alone() -> None:
    """Whoever else could not leave is told, and the next turn's questions leave."""
    async with asking(nobody(), rounds=1) as asker:
        pool = asker.upstreams._servers[0].udp
        pool._bursts = NoNetwork()
        broken: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))

        def give_up(inquiry: Inquiry, _number: int) -> None:
            asker.upstreams._give_up(inquiry, "")
            if len(broken) < 2:
                raise ZeroDivisionError

        pool._on_unsent = give_up
        outcomes = await asyncio.gather(*ask_in_a_turn(asker, 40), *ask_in_a_turn(asker, 40))

        assert {outcome.reason for outcome in outcomes if isinstance(outcome, Failure)} == {Reason.UPSTREAM_FAILED}
        assert [type(each["exception"]) for each in broken] == [ZeroDivisionError] * 2


async def test_a_pause_is_no_silence() -> None:
    """What could not leave is asked again behind the pause, not when a try would have been over; nobody's silence is noted."""
    async with asking(nobody(), try_seconds=0.02, round_pause_seconds=0.2, rounds=2, failures_to_down=99) as asker:
        asker.upstreams._servers[0].udp._bursts = NoNetwork()
        begun = asker.clock.now()
        (future,) = ask_in_a_turn(asker, 1)
        outcome = await future

        assert isinstance(outcome, Failure)
        assert asker.clock.now() - begun >= 0.2
        assert asker.servers[0].timeouts == 0


async def test_what_ends_before_it_leaves_does_not_leave() -> None:
    """Its port is closed, and its asker has heard."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        futures = ask_in_a_turn(asker, 3, asker.upstreams.close)

        assert await asyncio.gather(*futures) == [Failure(Reason.STOPPING, "stopping")] * 3
        assert upstream.names() == []


async def test_what_waits_at_a_port_that_is_closed_goes_another_way() -> None:
    """Strangers have found it: the questions that it would have carried are asked over TCP, and not from there."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_tcp(TRUE)
        pool = asker.upstreams._servers[0].udp

        def expose() -> None:
            for carrier in list(pool._leaving):  # two, where a busy machine took more than RUN_S
                for _ in range(3):
                    pool._on_stranger(carrier)

        assert {addresses_of(outcome) for outcome in await asyncio.gather(*ask_in_a_turn(asker, 3, expose))} == {ONE}


@pytest.mark.parametrize(
    "false",
    [
        pytest.param(garbage(b""), id="u1-empty"),
        pytest.param(garbage(b"\x00"), id="u1-one-byte"),
        pytest.param(lambda asked: asked.data[:2], id="u1-id-alone"),
        pytest.param(lambda asked: TRUE(asked)[:11], id="u1-short-header"),
        pytest.param(lambda asked: TRUE(asked)[:14], id="u1-short-question"),
        pytest.param(garbage(b"\xff" * 600), id="u1-garbage"),
        pytest.param(wrong_id(FORGED), id="u2-wrong-id"),
        pytest.param(from_elsewhere(FORGED), id="u2-wrong-source-port"),
        pytest.param(other_name(FORGED), id="u3-other-name"),
        pytest.param(other_type(FORGED), id="u3-other-type"),
        pytest.param(other_class(FORGED), id="u3-other-class"),
        pytest.param(as_query(FORGED), id="u5-query-sent-back"),
    ],
)
async def test_u1_u2_u3_u5_what_is_no_answer_is_ignored(false: Make) -> None:
    """Two datagrams that are no answer of ours do not keep the true one from arriving, and are nobody's fault."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(false, false, TRUE)

        outcome = await asker.ask()

        assert addresses_of(outcome) == ONE
        assert upstream.names("tcp") == []
        assert asker.servers[0].state is State.UP
        assert asker.servers[0].mismatches == (0 if isinstance(false, from_elsewhere) else 2)


async def test_u2_the_third_stranger_closes_the_port_and_the_question_goes_over_tcp() -> None:
    """Nobody gets more than three guesses at one port: a right guess after them finds it closed."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(wrong_id(FORGED), wrong_id(FORGED), wrong_id(FORGED), FORGED)
        upstream.on_tcp(TRUE)

        outcome = await asker.ask()

        assert addresses_of(outcome) == ONE
        assert upstream.names("tcp") == ["www.example.net"]
        assert asker.servers[0].state is State.UP


async def test_u2_forgeries_never_take_an_upstream_down() -> None:
    """A hundred questions, each met by three forgeries: all answered truly, no timeout, no refusal."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(*3 * [wrong_id(FORGED)])
        upstream.on_tcp(TRUE)

        outcomes = [await asker.ask(f"n{number}.example.net") for number in range(100)]

        assert {addresses_of(outcome) for outcome in outcomes} == {ONE}
        assert (asker.servers[0].state, asker.servers[0].timeouts, asker.servers[0].refusals) == (State.UP, 0, 0)


async def test_u2_without_tcp_an_exposed_question_is_asked_from_another_port() -> None:
    """Where upstream has no TCP, the question goes out once more over UDP, from a port that nobody knows yet."""
    async with ScriptedUpstream(has_tcp=False) as upstream, asking(upstream.endpoint) as asker:
        upstream.once_udp(*3 * [wrong_id(FORGED)])
        upstream.on_udp(TRUE)

        outcome = await asker.ask()

        assert addresses_of(outcome) == ONE
        assert upstream.asked[0].port != upstream.asked[1].port


async def test_questions_go_out_on_many_ports_with_many_ids() -> None:
    """Ports and ids cannot be guessed from the former ones, but of questions at the same time few share a port."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(TRUE)

        for number in range(150):
            await asker.ask(f"n{number}.example.net")
            await asyncio.sleep(2 * RUN_S)
        apart = {asked.port for asked in upstream.asked}
        await asyncio.gather(*(asker.ask(f"m{number}.example.net") for number in range(150)))
        at_once = Counter(asked.port for asked in upstream.asked[150:])

        assert len(apart) > 32
        assert at_once.most_common(1)[0][1] <= 4 * RUN  # a port may be drawn more than once
        assert len(at_once) >= 150 / RUN / 2
        assert len({asked.id for asked in upstream.asked}) > 290


async def test_a_port_is_left_after_so_many_uses() -> None:
    """With one socket that may be used three times, nine questions come from three ports, and none is left open but the last."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint, pool=PoolLimits(sockets=1, max_uses=3)) as asker:
        upstream.on_udp(TRUE)

        for number in range(9):
            await asker.ask(f"n{number}.example.net")

        assert len({asked.port for asked in upstream.asked}) == 3
        assert asker.servers[0].udp_opened == 3


async def test_u18_a_late_answer_of_the_first_upstream_still_counts_while_the_question_is_open() -> None:
    """A slow first upstream (F1: 2 s latency) is not asked in vain: whoever answers first is taken."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as slow, ScriptedUpstream() as silent, asking(slow.endpoint, silent.endpoint, try_seconds=0.1) as asker:
        slow.on_udp(hold(gate), TRUE)
        asked = asker.ask()
        await silent.has_been_asked(1)

        gate.set()

        outcome = await asked
        assert addresses_of(outcome) == ONE
        assert isinstance(outcome, Reply) and outcome.server == str(slow.endpoint)


async def test_u18_answers_after_our_timeout_and_duplicates_are_ignored() -> None:
    """What comes after the end is counted as late; it is no stranger, and the next question is answered as ever."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint, failures_to_down=9) as asker:
        upstream.once_udp(hold(gate), TRUE)
        upstream.on_udp(TRUE, TRUE)

        lost = await asker.ask("late.example.net", seconds=0.1)
        gate.set()
        outcome = await asker.ask("www.example.net")
        await eventually(lambda: asker.servers[0].late == 2)

        assert lost == Failure(Reason.UPSTREAM_TIMEOUT, "no upstream has answered", lost.took)
        assert addresses_of(outcome) == ONE
        assert asker.servers[0].mismatches == 0


async def test_identical_questions_in_flight_share_one_way() -> None:
    """Fifty askers, one datagram, fifty answers."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(hold(gate), TRUE)
        asked = [asker.ask() for _ in range(50)]
        await upstream.has_been_asked(1)
        gate.set()

        outcomes = await asyncio.gather(*asked)

        assert {addresses_of(outcome) for outcome in outcomes} == {ONE}
        assert len(upstream.asked) == 1
        assert asker.upstreams.stats().joined == 49


async def test_a_full_table_fails_the_new_question_at_once() -> None:
    """What is in flight is bounded, and who does not fit is told so; afterwards there is room again."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint, max_inquiries=1) as asker:
        upstream.on_udp(hold(gate), TRUE)
        first = asker.ask("a.example.net")

        second = await asker.ask("b.example.net")
        gate.set()
        await first
        third = await asker.ask("c.example.net")

        assert isinstance(second, Failure) and second.reason is Reason.QUEUE_FULL
        assert addresses_of(third) == ONE


async def test_u6_a_truncated_answer_is_fetched_over_tcp() -> None:
    """TC over UDP, then the whole over TCP from the same upstream."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(truncated())
        upstream.on_tcp(TRUE)

        assert addresses_of(await asker.ask()) == ONE
        assert [asked.transport for asked in upstream.asked] == ["udp", "tcp"]


async def test_u6_without_tcp_the_truncated_answer_is_passed_on() -> None:
    """Better than nothing: it says TC, and the exchange grants nothing from it."""
    async with ScriptedUpstream(has_tcp=False) as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(truncated())

        outcome = await asker.ask()

        assert isinstance(outcome, Reply) and outcome.data[2] & 2


async def test_u19_a_tcp_answer_that_drips_ends_at_the_deadline() -> None:
    """The length of 65,535 bytes and then one byte: the question ends with what there is, the connection is given up."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint, try_seconds=0.2) as asker:
        upstream.on_udp(truncated())
        upstream.on_tcp(partly(lambda asked: TRUE(asked).ljust(65535, b"\0"), 100))

        outcome = await asker.ask(seconds=1.0)

        assert isinstance(outcome, Reply) and outcome.data[2] & 2


async def test_u20_questions_pending_on_a_closed_connection_are_asked_again() -> None:
    """Upstream closes instead of answering: another connection, the same question, the answer."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(truncated())
        upstream.once_tcp(CLOSE)
        upstream.on_tcp(TRUE)

        assert addresses_of(await asker.ask()) == ONE
        assert upstream.names("tcp") == 2 * ["www.example.net"]
        assert upstream.tcp_connections == 2


async def test_u20_an_upstream_that_always_closes_is_not_asked_forever() -> None:
    """Each connection closed: a bounded number of tries, then the truncated answer as it is."""
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(truncated())
        upstream.on_tcp(CLOSE)

        outcome = await asker.ask()

        assert isinstance(outcome, Reply) and outcome.data[2] & 2
        assert len(upstream.names("tcp")) == 3


async def test_u20_tcp_answers_in_the_wrong_order_reach_their_questions() -> None:
    """Two questions on one connection, the second answered first, with a stranger in between."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(truncated())
        upstream.once_tcp(hold(gate), answer("192.0.2.1"))
        upstream.once_tcp(wrong_id(FORGED), other_name(FORGED), answer("192.0.2.2"))
        first = asker.ask("a.example.net")
        await upstream.has_been_asked(1, "tcp")

        second = await asker.ask("b.example.net")
        gate.set()

        assert addresses_of(second) == bytes((192, 0, 2, 2))
        assert addresses_of(await first) == ONE
        assert upstream.tcp_connections == 1
        assert asker.servers[0].mismatches == 2


@pytest.mark.parametrize("code", [pytest.param(2, id="servfail"), pytest.param(5, id="refused")])
async def test_a_failing_answer_is_checked_once_with_the_next_upstream(code: int) -> None:
    """SERVFAIL and REFUSED may be one upstream's trouble; the next one's word is taken."""
    async with ScriptedUpstream() as first, ScriptedUpstream() as second, asking(first.endpoint, second.endpoint) as asker:
        first.on_udp(rcode(code))
        second.on_udp(TRUE)

        assert addresses_of(await asker.ask()) == ONE
        assert (len(first.asked), len(second.asked)) == (1, 1)
        assert asker.servers[0].state is State.UP


async def test_a_failing_answer_is_passed_on_where_nobody_knows_better() -> None:
    """With the second upstream silent, the first one's SERVFAIL arrives after one try, not at the deadline."""
    async with ScriptedUpstream() as first, ScriptedUpstream() as silent, asking(first.endpoint, silent.endpoint, try_seconds=0.1) as asker:
        first.on_udp(rcode(2))

        outcome = await asker.ask(seconds=60.0)

        assert isinstance(outcome, Reply) and outcome.data[3] & 15 == 2
        assert (len(first.asked), len(silent.asked)) == (1, 1)


async def test_f1_a_dead_upstream_costs_one_try() -> None:
    """A black hole first in order: the other upstream is asked within one retry, and after a few the dead one is passed over."""
    async with ScriptedUpstream() as dead, ScriptedUpstream() as alive, asking(dead.endpoint, alive.endpoint, try_seconds=0.1) as asker:
        alive.on_udp(TRUE)

        outcomes = [await asker.ask(f"n{number}.example.net") for number in range(5)]

        assert {addresses_of(outcome) for outcome in outcomes} == {ONE}
        assert [name for name in dead.names() if name] == ["n0.example.net", "n1.example.net", "n2.example.net"]
        assert asker.servers[0].state is State.DOWN


async def test_f1_a_refusing_upstream_costs_nothing() -> None:
    """ICMP says that nobody listens: the next upstream is asked at once, and soon the first no more."""
    async with ScriptedUpstream() as alive, asking(nobody(), alive.endpoint, try_seconds=2.0) as asker:
        alive.on_udp(TRUE)

        outcomes = [await asker.ask(f"n{number}.example.net", seconds=600.0) for number in range(5)]

        assert {addresses_of(outcome) for outcome in outcomes} == {ONE}
        assert asker.servers[0].state is State.DOWN


async def test_f1_all_refusing_is_a_bounded_number_of_tries() -> None:
    """No busy loop (CoreDNS #7704): a few rounds with pauses, then a failure that says why."""
    async with asking(nobody(), nobody(), round_pause_seconds=0.01, failures_to_down=99) as asker:
        outcome = await asker.ask(seconds=60.0)

        assert isinstance(outcome, Failure) and outcome.reason is Reason.UPSTREAM_FAILED
        # The kernel sends ICMP errors at a bounded rate: where one is held back the try is silent, which is pause enough for one more.
        silent = sum(server.timeouts for server in asker.servers)
        assert all(3 <= server.refusals + server.timeouts <= 3 + silent for server in asker.servers)


async def test_f1_all_silent_ends_at_the_deadline() -> None:
    """Each is tried in turn until time is up, and no question is left behind."""
    async with ScriptedUpstream() as first, ScriptedUpstream() as second, asking(first.endpoint, second.endpoint, try_seconds=0.1) as asker:
        outcome = await asker.ask(seconds=0.5)

        assert isinstance(outcome, Failure) and outcome.reason is Reason.UPSTREAM_TIMEOUT
        assert len(first.asked) >= 2 and len(second.asked) >= 1
        assert asker.upstreams.stats().in_flight == 0


async def test_f1_a_lost_datagram_is_asked_again() -> None:
    """One upstream that loses every other query answers each question."""
    async with ScriptedUpstream() as lossy, asking(lossy.endpoint, try_seconds=0.1) as asker:
        for _ in range(3):
            lossy.once_udp()
            lossy.once_udp(TRUE)

        outcomes = [await asker.ask(f"n{number}.example.net") for number in range(3)]

        assert {addresses_of(outcome) for outcome in outcomes} == {ONE}
        assert asker.servers[0].state is State.UP


async def test_f2_an_upstream_that_returns_is_found_by_a_probe() -> None:
    """Down, then back at the same port: up again without any client asking."""
    gone = nobody()
    async with asking(gone, round_pause_seconds=0.01, probe_max_seconds=0.2) as asker:
        await asker.ask("a.example.net", seconds=60.0)
        assert asker.servers[0].state is State.DOWN

        async with ScriptedUpstream(str(gone.address), gone.port) as back:
            back.on_udp(TRUE)
            await eventually(lambda: asker.servers[0].state is State.UP)

            assert set(back.names()) == {""}
            assert addresses_of(await asker.ask("b.example.net")) == ONE


async def test_f1_a_flapping_upstream_is_used_while_it_answers() -> None:
    """Twice away and back: no question is lost, and in between the first in order answers again."""
    gone = nobody()
    async with ScriptedUpstream() as second, asking(gone, second.endpoint, probe_max_seconds=0.1, failures_to_down=1) as asker:
        second.on_udp(answer("192.0.2.2"))
        seen = []
        for number in range(2):
            seen.append(addresses_of(await asker.ask(f"away{number}.example.net")))
            async with ScriptedUpstream(str(gone.address), gone.port) as first:
                first.on_udp(TRUE)
                await eventually(lambda: asker.servers[0].state is State.UP)
                seen.append(addresses_of(await asker.ask(f"back{number}.example.net")))

        assert seen == 2 * [bytes((192, 0, 2, 2)), ONE]


async def test_upstreams_over_ipv6() -> None:
    """The same over IPv6."""
    async with ScriptedUpstream("::1") as upstream, asking(upstream.endpoint) as asker:
        upstream.on_udp(TRUE)

        assert addresses_of(await asker.ask()) == ONE


async def test_f7_without_descriptors_the_old_ports_serve_on() -> None:
    """Out of descriptors: whoever has a port keeps using it; with none, a failure that says why, and later all is well again."""
    one_use = {"round_pause_seconds": 0.01, "pool": PoolLimits(sockets=1, max_uses=1)}
    async with ScriptedUpstream() as upstream, asking(upstream.endpoint, **one_use) as asker:
        upstream.on_udp(TRUE)
        with no_descriptors_left():
            failed = await asker.ask("a.example.net", seconds=60.0)
        before = await asker.ask("b.example.net")
        with no_descriptors_left():
            during = await asker.ask("c.example.net")

        assert isinstance(failed, Failure) and "too many open files" in failed.detail
        assert (addresses_of(before), addresses_of(during)) == (ONE, ONE)
        assert asker.servers[0].state is State.UP


async def test_closing_fails_what_is_in_flight() -> None:
    """Nobody waits for a question that nobody carries any more."""
    async with ScriptedUpstream() as silent, asking(silent.endpoint) as asker:
        asked = asker.ask()

        asker.upstreams.close()

        outcome = await asked
        assert isinstance(outcome, Failure) and outcome.reason is Reason.STOPPING
