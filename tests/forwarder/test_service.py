"""The whole forwarder over real sockets of loopback: real policy, scripted upstream, grants that the test gives."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest
from loopback import loopback_of_ours
from upstream import ScriptedUpstream, answer, hold, rcode, truncated, wrong_id
from wire_messages import query

from dnsfw.audit.record import QueryRecord
from dnsfw.clock import SystemClock
from dnsfw.forwarder.doors import ListenError
from dnsfw.forwarder.service import Forwarder, ForwarderStats
from dnsfw.forwarder.settings import Endpoint, ForwarderSettings
from dnsfw.forwarder.timers import TICK_SECONDS
from dnsfw.names import Name, parse_name, parse_pattern
from dnsfw.policy.compile import compile_snapshot
from dnsfw.policy.grants import Granted, GrantOutcome, NotGranted, Told
from dnsfw.policy.model import Peer, Pod, PodUid, PolicySettings, Rule, RuleRef, Selector, World
from dnsfw.policy.ports import PortSet
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Snapshot, Subject

LOOPBACK = ip_address("127.0.0.1")
TRUE = answer("192.0.2.1")
ONE = bytes((192, 0, 2, 1))
SERVFAIL, NXDOMAIN, REFUSED = 2, 3, 5


class FakeGrants:
    """`policy.grants.Grants`: gives what `outcome` says; with `is_slow` only when the test settles it."""

    def __init__(self) -> None:
        self.outcome: GrantOutcome = Granted(1e12, 30, 1)
        self.is_slow = False
        self.asked: list[tuple[str, Name, tuple[bytes, ...]]] = []
        self.waiting: list[Settling] = []

    def request(
        self,
        subject: Subject,
        name: Name,
        addresses: Sequence[bytes],
        ttl: int,  # noqa: ARG002 -- the Protocol's
        then: Told,
    ) -> None:
        self.asked.append((subject.pod.name, name, tuple(addresses)))
        if not self.is_slow:
            then(self.outcome)
            return
        self.waiting.append(Settling(then))

    def request_now(self, subject: Subject, name: Name, addresses: Sequence[bytes], ttl: int, then: Told) -> None:
        self.request(subject, name, addresses, ttl, then)

    def flush(self) -> None:
        """It settles at once, or when the test says so."""


class Settling:
    """An outcome that the test gives."""

    def __init__(self, then: Told) -> None:
        self.set_result = then


def snapshot_of(*pods: tuple[str, str]) -> Snapshot:
    """These pods, all of them allowed `*.example.net` and nothing else."""
    peer = Peer(patterns=(parse_pattern("*.example.net"),), ports=PortSet.ANY)
    rule = Rule(ref=RuleRef(namespace="shop", name="web"), selector=Selector(), peers=(peer,))
    made = [Pod(uid=PodUid(f"uid-{name}"), namespace="shop", name=name, addresses=(ip_address(address),)) for name, address in pods]
    settings = PolicySettings(cluster_domain=parse_name("cluster.local"))
    return compile_snapshot(World(rules=(rule,), pods=tuple(made)), settings, 0.0, 1, None)


@dataclass
class Bench:
    """A forwarder under test, and all that it talks to."""

    grants: FakeGrants = field(default_factory=FakeGrants)
    records: list[QueryRecord] = field(default_factory=list)
    snapshot: Snapshot | None = field(default_factory=lambda: snapshot_of(("a", "127.0.0.1"), ("b", "127.0.0.2")))
    interface: str | None = None
    trouble: Reason | None = None
    forwarder: Forwarder = field(init=False)

    @property
    def address(self) -> tuple[str, int]:
        return str(LOOPBACK), self.forwarder.endpoints[0].port

    @property
    def stats(self) -> ForwarderStats:
        return self.forwarder.stats()

    def words(self) -> list[tuple[str, str]]:
        return [(record.decision, record.reason) for record in self.records]


@asynccontextmanager
async def serving(*upstreams: ScriptedUpstream, **changes) -> AsyncIterator[Bench]:
    bench, clock = Bench(), SystemClock()
    settings = ForwarderSettings(
        listen=(Endpoint(LOOPBACK, 0),),
        upstreams=tuple(upstream.endpoint for upstream in upstreams),
        **{"cache_max_ttl": 0, **changes},
    )
    bench.forwarder = Forwarder(
        settings,
        snapshot=lambda: bench.snapshot,
        grants=bench.grants,
        sink=bench.records.append,
        clock=clock,
        interface_of=lambda _source: bench.interface,
        unready=lambda: bench.trouble,
    )
    await bench.forwarder.start()
    try:
        yield bench
    finally:
        await bench.forwarder.stop(clock.now())
        await asyncio.sleep(0.01)


class Pod_:  # noqa: N801 -- `Pod` is the policy's
    """A client's UDP socket; answers come into `received`."""

    def __init__(self, bench: Bench, source: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind((source, 0))
        self.socket.connect(bench.address)
        self.received: list[bytes] = []
        asyncio.get_running_loop().add_reader(self.socket, lambda: self.received.append(self.socket.recv(65535)))

    def ask(self, name: str = "www.example.net", *, qtype: int = 1, ident: int = 7) -> None:
        self.socket.send(query(text=name, qtype=qtype, ident=ident))

    async def has(self, count: int) -> list[bytes]:
        await eventually(lambda: len(self.received) >= count)
        return self.received

    async def asks(self, name: str = "www.example.net", *, qtype: int = 1) -> bytes:
        before = len(self.received)
        self.ask(name, qtype=qtype)
        return (await self.has(before + 1))[before]

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()


@contextlib.contextmanager
def pod(bench: Bench, source: str = "127.0.0.1"):
    made = Pod_(bench, source)
    try:
        yield made
    finally:
        made.close()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 -- what is waited for is a counter
            await asyncio.sleep(0.005)


def rcode_of(response: bytes) -> int:
    return response[3] & 15


async def test_an_allowed_name_is_answered_once_granted() -> None:
    """Upstream's address, granted to the pod that asked, one record that says all of it."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(TRUE)
        with pod(bench) as client:
            response = await client.asks()

        assert ONE in response and rcode_of(response) == 0
        assert bench.grants.asked == [("a", parse_name("www.example.net"), (ONE,))]
        record = bench.records[0]
        assert (record.pod, record.transport, record.addresses, record.grants) == ("a", "udp", "192.0.2.1", 1)
        assert bench.words() == [("allowed", "allowed")]


async def test_no_answer_leaves_before_the_grant() -> None:
    """While the kernel has not acknowledged, nothing is sent; then the answer."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(TRUE)
        bench.grants.is_slow = True
        with pod(bench) as client:
            client.ask()
            await eventually(lambda: bool(bench.grants.waiting))
            await asyncio.sleep(0.02)
            assert (client.received, bench.records, bench.stats.in_flight) == ([], [], 1)

            bench.grants.waiting[0].set_result(Granted(1e12, 30, 1))

            assert ONE in (await client.has(1))[0]
        assert bench.stats.in_flight == 0


async def test_a_grant_that_fails_is_servfail() -> None:
    """Closed: an error instead of an address."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(TRUE)
        bench.grants.outcome = NotGranted(Reason.KERNEL_FAILED)
        with pod(bench) as client:
            response = await client.asks()

        assert rcode_of(response) == SERVFAIL and ONE not in response
        assert bench.words() == [("failed", "kernel-failed")]


async def test_grants_that_never_settle_end_at_the_deadline() -> None:
    """Even if whoever keeps the grants breaks its promise, the client hears SERVFAIL; what settles later changes nothing."""
    async with ScriptedUpstream() as upstream, serving(upstream, answer_seconds=1.5) as bench:
        upstream.on_udp(TRUE)
        bench.grants.is_slow = True
        with pod(bench) as client:
            response = await client.asks()
            bench.grants.waiting[0].set_result(Granted(1e12, 30, 1))
            await asyncio.sleep(0.02)

            assert rcode_of(response) == SERVFAIL
            assert len(client.received) == 1
        assert bench.words() == [("failed", "kernel-timeout")]


async def test_a_grant_of_which_nothing_is_heard_ends_at_the_deadline() -> None:
    """Silence is no grant."""
    async with ScriptedUpstream() as upstream, serving(upstream, answer_seconds=1.5) as bench:
        upstream.on_udp(TRUE)
        bench.grants.is_slow = True
        with pod(bench) as client:
            client.ask()
            await eventually(lambda: bool(bench.grants.waiting))

            assert rcode_of((await client.has(1))[0]) == SERVFAIL


async def test_a_refused_name_is_never_sent_upstream() -> None:
    """NXDOMAIN from us; upstream hears nothing."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        with pod(bench) as client:
            response = await client.asks("www.example.org")

        assert rcode_of(response) == NXDOMAIN
        assert upstream.asked == []
        assert bench.words() == [("refused", "no-rule")]


@pytest.mark.parametrize(
    ("changes", "rcode_", "reason"),
    [
        pytest.param({"snapshot": None}, SERVFAIL, "not-ready", id="no-policy-yet"),
        pytest.param({"trouble": Reason.KERNEL_FAILED}, SERVFAIL, "kernel-failed", id="no-kernel"),
        pytest.param({"snapshot": snapshot_of()}, REFUSED, "unknown-source", id="b18-unknown-source"),
        pytest.param(
            {"snapshot": snapshot_of(("a", "127.0.0.1"), ("b", "127.0.0.1"))}, SERVFAIL, "address-conflict", id="two-pods-one-address"
        ),
    ],
)
async def test_who_cannot_be_served_is_told_so(changes: dict, rcode_: int, reason: str) -> None:
    """An answer at once, a record, and nothing upstream."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        for word, value in changes.items():
            setattr(bench, word, value)
        with pod(bench) as client:
            response = await client.asks()

        assert rcode_of(response) == rcode_
        assert [record.reason for record in bench.records] == [reason]
        assert upstream.asked == []


async def test_an_unknown_source_on_a_pod_interface_waits_for_its_pod() -> None:
    """The query comes before the pod is known; the new snapshot wakes it."""
    async with ScriptedUpstream() as upstream, serving(upstream, pod_wait_seconds=600.0, answer_seconds=900.0) as bench:
        upstream.on_udp(TRUE)
        known, bench.snapshot, bench.interface = bench.snapshot, snapshot_of(("b", "127.0.0.2")), "veth1"
        with pod(bench) as client:
            client.ask()
            await eventually(lambda: bench.stats.waiting == 1)
            bench.forwarder.snapshot_changed()
            assert bench.stats.waiting == 1

            bench.snapshot = known
            bench.forwarder.snapshot_changed()

            assert ONE in (await client.has(1))[0]
        assert (bench.stats.waiting, bench.words()) == (0, [("allowed", "allowed")])


async def test_a_pod_that_never_becomes_known_is_not_served() -> None:
    """After the wait: SERVFAIL, since a resolver tries again."""
    async with ScriptedUpstream() as upstream, serving(upstream, pod_wait_seconds=0.2) as bench:
        bench.snapshot, bench.interface = snapshot_of(), "veth1"
        with pod(bench) as client:
            response = await client.asks()

        assert rcode_of(response) == SERVFAIL
        assert [record.reason for record in bench.records] == ["unknown-pod"]
        assert bench.stats.waiting == 0


async def test_a5_two_pods_share_the_way_but_not_the_grant() -> None:
    """One datagram upstream; each pod's own grant, each its own record."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(hold(gate), TRUE)
        with pod(bench) as a, pod(bench, "127.0.0.2") as b:
            a.ask()
            b.ask()
            await eventually(lambda: bench.stats.in_flight == 2)
            gate.set()
            responses = await a.has(1) + await b.has(1)

        assert all(ONE in response for response in responses)
        assert len(upstream.asked) == 1
        assert sorted(who for who, _, _ in bench.grants.asked) == ["a", "b"]
        assert sorted(record.pod for record in bench.records) == ["a", "b"]


async def test_the_cache_lies_behind_the_decision() -> None:
    """Asked once upstream, granted at each answer; and a pod that may not, may not from the cache either."""
    async with ScriptedUpstream() as upstream, serving(upstream, cache_max_ttl=600) as bench:
        upstream.on_udp(TRUE)
        with pod(bench) as a, pod(bench, "127.0.0.2") as b, pod(bench, "127.0.0.3") as stranger:
            responses = [await a.asks(), await a.asks(), await b.asks()]
            refused = await stranger.asks()

        assert all(ONE in response for response in responses)
        assert rcode_of(refused) == REFUSED
        assert len(upstream.asked) == 1
        assert [who for who, _, _ in bench.grants.asked] == ["a", "a", "b"]
        assert bench.stats.cache.hits == 2


async def test_b16_the_same_id_a_thousand_times_from_one_port() -> None:
    """Every query is answered, each to its own question."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(TRUE)
        with pod(bench) as client:
            for start in range(0, 1000, 50):
                for number in range(start, start + 50):
                    client.ask(f"n{number}.example.net")
                await client.has(start + 50)

        assert Counter(response[12 : 12 + response[12] + 1] for response in client.received) == Counter(
            bytes((len(label),)) + label for label in (b"n%d" % number for number in range(1000))
        )
        assert {response[:2] for response in client.received} == {b"\x00\x07"}
        assert len(bench.records) == 1000


async def test_b16_a_retransmission_is_a_query_like_any_other() -> None:
    """The same datagram twice while the first is under way: one question upstream, two answers, two records."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(hold(gate), TRUE)
        with pod(bench) as client:
            client.ask()
            client.ask()
            await eventually(lambda: bench.stats.in_flight == 2)
            gate.set()
            await client.has(2)

        assert len(upstream.asked) == 1
        assert len(bench.records) == 2


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_b19_a_search_list_over_both_families(transport: str) -> None:
    """Five names, A and AAAA, all at once: ten answers, each to its question."""
    names = [
        "www.example.net" + suffix for suffix in (".shop.svc.cluster.local", ".svc.cluster.local", ".cluster.local", ".example.org", "")
    ]
    queries = [query(text=name, qtype=qtype, ident=100 + index) for index, name in enumerate(names) for qtype in (1, 28)]
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(lambda asked: (TRUE if asked.name == names[-1] and asked.question[-3] == 1 else rcode(NXDOMAIN))(asked))
        received = await (over_tcp if transport == "tcp" else over_udp)(bench, queries)

        questions = sorted((data[:2], data[12 : data.index(0, 12) + 5]) for data in received)
        assert questions == sorted((data[:2], data[12 : data.index(0, 12) + 5]) for data in queries)
        assert sum(ONE in data for data in received) == 1
        assert {record.transport for record in bench.records} == {transport}


async def over_udp(bench: Bench, queries: Sequence[bytes]) -> list[bytes]:
    with pod(bench) as client:
        for data in queries:
            client.socket.send(data)
        return await client.has(len(queries))


async def over_tcp(bench: Bench, queries: Sequence[bytes]) -> list[bytes]:
    reader, writer = await asyncio.open_connection(*bench.address)
    writer.write(b"".join(len(data).to_bytes(2, "big") + data for data in queries))
    async with asyncio.timeout(20):
        received = [await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")) for _ in queries]
    writer.transport.abort()
    return received


async def test_f1_a_silent_upstream_is_servfail_in_time() -> None:
    """At the deadline at the latest, with the reason on record."""
    async with ScriptedUpstream() as upstream, serving(upstream, answer_seconds=1.5, upstream_seconds=0.1) as bench:
        with pod(bench) as client:
            response = await client.asks()

        assert rcode_of(response) == SERVFAIL
        assert bench.words() == [("failed", "upstream-timeout")]


async def test_u2_forged_answers_reach_nobody() -> None:
    """Forged, forged, forged: the client gets the true answer, the grants never hear of the forger's address."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(*3 * [wrong_id(answer("192.0.2.66"))])
        upstream.on_tcp(TRUE)
        with pod(bench) as client:
            response = await client.asks()

        assert ONE in response
        assert [addresses for _, _, addresses in bench.grants.asked] == [(ONE,)]
        assert bench.stats.upstreams.servers[0].mismatches == 3


async def test_u10_an_answer_that_cannot_be_read_is_servfail() -> None:
    """An address of the wrong length: nothing granted, nothing passed on."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(lambda asked: TRUE(asked)[:-1])
        with pod(bench) as client:
            response = await client.asks()

        assert rcode_of(response) == SERVFAIL
        assert bench.words() == [("failed", "malformed-answer")]
        assert bench.grants.asked == []


async def test_u6_what_stays_truncated_grants_nothing() -> None:
    """Upstream without TCP: the client hears TC, and that is all."""
    async with ScriptedUpstream(has_tcp=False) as upstream, serving(upstream) as bench:
        upstream.on_udp(truncated())
        with pod(bench) as client:
            response = await client.asks()

        assert response[2] & 2
        assert bench.grants.asked == []


async def test_one_pod_past_its_bound_does_not_harm_another() -> None:
    """Two in flight is the bound: the third is told so at once and recorded, the neighbour is served."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream, serving(upstream, in_flight_per_pod=2) as bench:
        upstream.once_udp(hold(gate), TRUE)
        upstream.once_udp(hold(gate), TRUE)
        upstream.on_udp(TRUE)
        with pod(bench) as a, pod(bench, "127.0.0.2") as b:
            a.ask("n1.example.net")
            a.ask("n2.example.net")
            await upstream.has_been_asked(2)
            third = await a.asks("n3.example.net")
            neighbour = await b.asks("n4.example.net")
            gate.set()
            await a.has(3)

            assert rcode_of(third) == SERVFAIL
            assert ONE in neighbour
            assert [rcode_of(response) for response in a.received] == [SERVFAIL, 0, 0]
        assert [record.reason for record in bench.records if record.pod == "a"] == ["queries-in-flight", "allowed", "allowed"]


async def test_what_is_no_query_is_dropped_or_rejected_and_counted() -> None:
    """B1, B2: no answer. B3: NOTIMP, with a record."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        with pod(bench) as client:
            client.socket.send(b"short")
            client.socket.send(query(flags=0x8180))
            client.socket.send(query(flags=0x2100))
            response = (await client.has(1))[0]

            assert rcode_of(response) == 4
            assert len(client.received) == 1
        assert sum(bench.stats.dropped.values()) == 2
        assert (bench.stats.queries, len(bench.records)) == (1, 1)


async def test_stop_finishes_what_is_under_way() -> None:
    """An answer that comes before the deadline still reaches its client."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        upstream.on_udp(hold(gate), TRUE)
        with pod(bench) as client:
            client.ask()
            await upstream.has_been_asked(1)
            stopping = asyncio.create_task(bench.forwarder.stop(SystemClock().now() + 20))
            await asyncio.sleep(0)
            gate.set()
            await stopping

            assert ONE in (await client.has(1))[0]


async def test_stop_answers_what_cannot_be_finished() -> None:
    """SERVFAIL for what is under way at the deadline, and for what comes in meanwhile; all of it on record."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        with pod(bench) as client:
            client.ask("n1.example.net")
            await upstream.has_been_asked(1)
            stopping = asyncio.create_task(bench.forwarder.stop(SystemClock().now() + 0.3))
            await asyncio.sleep(0)
            client.ask("n2.example.net")
            await stopping

            assert [rcode_of(response) for response in await client.has(2)] == [SERVFAIL, SERVFAIL]
        assert bench.words() == 2 * [("failed", "stopping")]


async def test_listening_is_everywhere_or_nowhere() -> None:
    """The second address is taken: the error names it, and the first is free again."""
    host = loopback_of_ours()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        taken.bind((host, 0))
        free.bind((host, 0))
        endpoints = tuple(Endpoint(ip_address(host), each.getsockname()[1]) for each in (free, taken))
        free.close()
        forwarder = Forwarder(
            ForwarderSettings(listen=endpoints, upstreams=()),
            snapshot=lambda: None,
            grants=FakeGrants(),
            sink=lambda _record: None,
            clock=SystemClock(),
            interface_of=lambda _source: None,
            unready=lambda: None,
        )

        with pytest.raises(ListenError, match=str(endpoints[1].port)):
            await forwarder.start()
        await asyncio.sleep(0.01)

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind((host, endpoints[0].port))
            assert again.getsockname()[1] == endpoints[0].port


async def test_a7_different_names_a_minute_are_bounded_where_it_is_set() -> None:
    """The third name is refused and not asked upstream; the first is answered again."""
    async with ScriptedUpstream() as upstream, serving(upstream, names_per_minute=2) as bench:
        upstream.on_udp(TRUE)
        with pod(bench) as client:
            responses = [await client.asks(f"{name}.example.net") for name in ("n1", "n2", "n3", "n1")]

        assert [rcode_of(response) for response in responses] == [0, 0, REFUSED, 0]
        assert bench.words()[2] == ("refused", "names-per-minute")
        assert "n3.example.net" not in upstream.names()


async def test_queries_a_second_are_bounded_where_it_is_set() -> None:
    """Two hundred at once, of which one is taken a second: the others are refused, at once and on record."""
    async with ScriptedUpstream() as upstream, serving(upstream, queries_per_second=1) as bench:
        upstream.on_udp(TRUE)
        with pod(bench) as client:
            for _ in range(200):
                client.ask()
            responses = await client.has(200)

        assert REFUSED in {rcode_of(response) for response in responses}
        assert ("refused", "queries-per-second") in bench.words()


async def test_b17_a_connection_too_many_is_on_record() -> None:
    """Nobody has asked yet: no name, no answer, but the reason and the pod."""
    async with ScriptedUpstream() as upstream, serving(upstream, tcp_connections_per_pod=1) as bench:
        _, first = await asyncio.open_connection(*bench.address)
        reader, second = await asyncio.open_connection(*bench.address)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        first.close()
        second.close()

        record = bench.records[0]
        assert (record.pod, record.transport, record.name, record.rcode) == ("a", "tcp", "", -1)
        assert bench.words() == [("refused", "too-many-connections")]


async def test_late_queries_are_looked_for_by_one_timer() -> None:
    """However often the last query under way ends and another one comes: each one's timer would stay while anything is under way."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        with pod(bench) as client:
            upstream.on_udp(TRUE)
            for number in range(20):
                await client.asks(f"n{number}.example.net")
            upstream.on_udp(hold(gate), TRUE)
            client.ask("held.example.net")
            await upstream.has_been_asked(21)
            await asyncio.sleep(4 * TICK_SECONDS)
            looks = [timer for bucket in bench.forwarder._timers._buckets.values() for timer in bucket if "_end_late" in str(timer.call)]
            gate.set()

        assert len(looks) == 1


async def test_b17_datagrams_crowded_out_are_on_record() -> None:
    """More than one pod may have in line: nobody has read what they ask, so one record says it for a second's worth of them."""
    async with ScriptedUpstream() as upstream, serving(upstream) as bench:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as crowd:
            crowd.connect(bench.address)
            for number in range(100):
                crowd.send(query(text="www.elsewhere.example") + (bytes(2000) if number >= 98 else b""))
            await eventually(lambda: len(bench.records) == 99)

        told = [record for record in bench.records if record.reason == "crowded-out"]
        assert [(record.pod, record.transport, record.name, record.decision, record.rcode) for record in told] == [
            ("a", "udp", "", "refused", -1)
        ]
        assert bench.stats.dropped["too many in line"] == 2
