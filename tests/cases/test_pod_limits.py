"""Limits per pod: who is past one is told so and stands in the audit with its reason; the others get all their answers meanwhile."""

import asyncio
import contextlib
import signal
import time
from collections import Counter

import pytest
from scene import IS_TRUE, NOERROR, NXDOMAIN, POD_B, PODS, REFUSED, SERVFAIL, TRUE, Scene
from upstream import answer, hold
from wire_messages import opt, query

IN_FLIGHT, CONNECTIONS, NAMES, RATE, ADDRESSES, GRANTS = 20, 5, 60, 100, 100, 250
FLAGS = (
    *("--max-queries-per-pod", str(IN_FLIGHT), "--max-tcp-connections-per-pod", str(CONNECTIONS)),
    *("--max-names-per-minute", str(NAMES), "--max-queries-per-second", str(RATE)),
    *("--max-addresses-per-answer", str(ADDRESSES), "--max-grants-per-pod", str(GRANTS)),
)
PROHIBITED = 18
MANY = 3000
SPAN_SECONDS = 60.0


async def quiet_pod_is_served(scene: Scene, count: int = 20) -> None:
    """Another pod's own questions, one after the other: every answer whole, every grant there."""
    for number in range(count):
        name = f"quiet{number}.{scene.name}"
        assert (await scene.ask(name, pod=POD_B)).addresses == IS_TRUE
        assert scene.grants(name, pod="b") == IS_TRUE


async def test_a_pod_past_its_queries_in_flight(scene: Scene) -> None:
    """The twenty-first that waits gets SERVFAIL at once; the twenty are answered when upstream answers."""
    gate = asyncio.Event()
    client = scene.client()
    for _ in range(IN_FLIGHT):
        scene.upstream.once_udp(hold(gate), TRUE)
    await client.send(*(query(opt(), text=f"n{number}.{scene.name}", ident=number) for number in range(IN_FLIGHT)))
    await scene.upstream.has_been_asked(IN_FLIGHT)
    scene.upstream.on_udp(TRUE)

    await client.send(query(opt(), text=scene.name, ident=99))
    refused = await client.receive()
    await quiet_pod_is_served(scene, 5)
    gate.set()
    answers = [await client.receive() for _ in range(IN_FLIGHT)]

    assert (refused.id, refused.rcode, refused.ede) == (99, SERVFAIL, [PROHIBITED])
    assert all(each.addresses == IS_TRUE for each in answers)
    assert await scene.why() == [("failed", "queries-in-flight")]


async def test_a_pod_past_its_connections(scene: Scene) -> None:
    """The sixth connection is closed, the five work, and the record says why."""
    scene.upstream.on_udp(TRUE)
    pod = PODS["c"]
    clients = [await scene.client("tcp", pod).connect() for _ in range(CONNECTIONS)]
    for client in clients:
        await client.send(query(text=scene.name))
        assert (await client.receive()).addresses == IS_TRUE

    assert await scene.client("tcp", pod).is_refused()

    assert (await scene.ask(scene.fresh(), pod=POD_B, way="tcp")).addresses == IS_TRUE
    assert ("refused", "too-many-connections") in await scene.why(name="", pod="c", decision="refused")


async def test_a_pod_past_its_names(scene: Scene) -> None:
    """A tunnel's walk through names below a wildcard ends at so many a minute: REFUSED, not asked upstream; names known already go on."""
    scene.upstream.on_udp(answer("192.0.2.1", ttl=0))
    if (left := SPAN_SECONDS - time.monotonic() % SPAN_SECONDS) < 10:
        await asyncio.sleep(left)
    pod = PODS["d"]

    answers = [await scene.ask(f"n{number}.{scene.name}", pod=pod, edns=opt()) for number in range(NAMES + 10)]
    again = await scene.ask(f"n0.{scene.name}", pod=pod)
    await quiet_pod_is_served(scene, 5)

    assert [each.rcode for each in answers] == NAMES * [NOERROR] + 10 * [REFUSED]
    assert (answers[-1].ede, again.addresses) == ([PROHIBITED], IS_TRUE)
    assert f"udp n{NAMES}.{scene.name}" not in scene.asked
    assert await scene.why(name=f"n{NAMES}.{scene.name}") == [("refused", "names-per-minute")]


async def test_a_pod_past_its_queries_a_second(scene: Scene) -> None:
    """Beyond the rate: REFUSED at once; a second later it is answered again."""
    scene.upstream.on_udp(TRUE)
    pod, seen = PODS["e"], Counter[int]()
    client = scene.client(pod=pod)
    await scene.ask(pod=pod)
    with stopped(scene):
        await client.send(*(query(text=scene.name, ident=number) for number in range(4 * RATE)))
    seen.update([(await client.receive()).rcode for _ in range(4 * RATE)])

    await quiet_pod_is_served(scene, 3)

    assert seen[NOERROR] >= RATE - 1 and seen[REFUSED]
    assert ("refused", "queries-per-second") in await scene.why(decision="refused")
    assert await scene.until_async(lambda: scene.ask(pod=pod), lambda response: response.addresses == IS_TRUE)


async def test_an_answer_past_its_addresses(scene: Scene) -> None:
    """Only what is granted is answered; how many were left out stands in the record."""
    addresses = [f"198.51.100.{number}" for number in range(120)]
    scene.upstream.on_udp(answer(*addresses))

    response = await scene.ask(way="tcp", pod=PODS["f"])

    assert response.addresses == addresses[:ADDRESSES] == scene.grants(pod="f")
    (record,) = await scene.records()
    assert (record["reason"], record["grants"], len(record["removed"])) == ("too-many-addresses", ADDRESSES, 20)


async def test_a11_a_pod_past_its_grants(scene: Scene) -> None:
    """Beyond the quota: SERVFAIL with EDE, no address answered that is not granted; what it has, it keeps; others are not touched."""
    pod = PODS["g"]
    responses = []
    for number in range(4):
        scene.upstream.on_udp(answer(*(f"198.18.{number}.{each}" for each in range(80))))
        responses.append(await scene.ask(f"n{number}.{scene.name}", way="tcp", pod=pod, edns=opt()))
    scene.upstream.on_udp(TRUE)

    await quiet_pod_is_served(scene, 5)

    assert [(each.rcode, len(each.addresses)) for each in responses] == 3 * [(NOERROR, 80)] + [(SERVFAIL, 0)]
    assert responses[3].ede == [PROHIBITED]
    assert len(scene.grants(f"*.{scene.name}", pod="g")) == 240
    assert await scene.why(name=f"n3.{scene.name}") == [("failed", "pod-quota")]


@pytest.mark.parametrize("way", ["udp", "tcp"])
async def test_pods_take_turns(scene: Scene, way: str) -> None:
    """Thousands of one pod's queries lie before another's single one: it is answered after a few of them, not after all.

    The program is stopped while they are sent, so that they really lie there.
    """
    crowd = [scene.client(way) for _ in range(1 if way == "udp" else CONNECTIONS)]
    single = scene.client(way, POD_B)
    if way == "tcp":
        for client in (*crowd, single):
            await client.connect()
            await client.send(query(text="first.example.org"))
            await client.receive()
    before = handled(scene)
    each = MANY // len(crowd)
    with stopped(scene):
        for client in crowd:
            await client.send(*(query(text=f"n{number}.{scene.name}.example.org") for number in range(each)))
        await single.send(query(text=scene.name + ".example.org"))

    response = await single.receive()

    assert response.rcode == NXDOMAIN
    assert handled(scene) - before < MANY / 2


@contextlib.contextmanager
def stopped(scene: Scene):
    scene.bench.process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        scene.bench.process.signal(signal.SIGCONT)


def handled(scene: Scene) -> float:
    """Queries that are over, whatever became of them."""
    return scene.metric("dnsfw_forwarder_queries_total{")


def allowed(scene: Scene) -> float:
    """Queries of all pods that were answered as they wished."""
    return scene.metric("dnsfw_forwarder_queries_total", decision="allowed")


async def test_a_pod_that_asks_as_fast_as_it_can(scene: Scene) -> None:
    """Twenty thousand queries without a pause, more than the limits let through: another pod's questions are all answered meanwhile.

    The first half lies there before the program sees any: twice what a source may have waiting, so that some are past the limits however
    slowly the second half comes. The pod is nobody else's here: it has its minute's names still.
    """
    scene.upstream.on_udp(TRUE)
    flood = scene.client(pod=PODS["h"])

    async def pour(begin: int, end: int) -> None:
        for start in range(begin, end, 100):
            await flood.send(*(query(text=f"n{start + number}.{scene.name}") for number in range(100)))
            await asyncio.sleep(0)

    before = allowed(scene)
    with stopped(scene):
        await pour(0, 10_000)
    pouring = asyncio.create_task(pour(10_000, 20_000))
    await quiet_pod_is_served(scene, 20)
    await pouring

    assert 20 < await scene.until(lambda: allowed(scene) - before, lambda count: count > 20) < 20_000
