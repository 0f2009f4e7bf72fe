"""B17: what clients do with a TCP connection that they should not."""

import asyncio
import contextlib
import socket

import pytest
from scene import IS_TRUE, NXDOMAIN, POD_B, TRUE, Scene, framed, resident_kb
from upstream import hold
from wire_messages import query

FLAGS = ("--tcp-idle-timeout", "1", "--tcp-message-timeout", "1")


@pytest.mark.parametrize("length", range(12))
async def test_b17_a_length_that_no_message_has_ends_the_connection(scene: Scene, length: int) -> None:
    """B1 over TCP: 0 to 11 bytes are no message, and what follows on this connection is not looked at."""
    scene.upstream.on_tcp(TRUE)
    client = scene.client("tcp")

    await client.write(length.to_bytes(2, "big") + bytes(length) + framed(query(text=scene.name)))

    assert await client.is_closed()
    assert scene.asked == []


async def test_b17_a_message_that_stalls_ends_the_connection(scene: Scene) -> None:
    """A length of 100, ten bytes, and then nothing."""
    client = scene.client("tcp")

    await client.write(b"\0\x64" + bytes(10))

    assert await client.is_closed()


async def test_b17_a_message_that_drips_ends_the_connection(scene: Scene) -> None:
    """Bytes that keep coming one by one do not make a message younger."""
    client = scene.client("tcp")

    with contextlib.suppress(ConnectionError):
        for octet in framed(query(text=scene.name)):
            await client.write(bytes((octet,)))
            await asyncio.sleep(0.1)
    assert await client.is_closed()
    assert scene.asked == []


async def test_b17_an_idle_connection_is_closed(scene: Scene) -> None:
    """After its answer, and from the beginning."""
    scene.upstream.on_udp(TRUE)
    used, unused = scene.client("tcp"), scene.client("tcp")
    await unused.connect()
    await used.send(query(text=scene.name))
    await used.receive()

    assert await asyncio.gather(used.is_closed(), unused.is_closed()) == [True, True]


async def test_b17_the_largest_query(scene: Scene) -> None:
    """65,535 bytes, nearly all of them behind the question, in as many segments as the kernel likes."""
    scene.upstream.on_udp(TRUE)

    response = await scene.exchange(query(text=scene.name).ljust(65535, b"\0"), "tcp")

    assert response.addresses == IS_TRUE


async def test_b17_two_messages_in_one_segment(scene: Scene) -> None:
    """Both are answered."""
    scene.upstream.on_udp(TRUE)
    client = scene.client("tcp")

    await client.send(query(text=scene.name, ident=1), query(text=scene.fresh(), ident=2))

    assert {(await client.receive()).id for _ in range(2)} == {1, 2}


async def test_b17_one_message_in_twenty_segments(scene: Scene) -> None:
    """Cut anywhere, it is one message."""
    scene.upstream.on_udp(TRUE)
    client, message = scene.client("tcp"), framed(query(text=scene.name))

    for start in range(0, len(message), len(message) // 20):
        await client.write(message[start : start + len(message) // 20])
        await asyncio.sleep(0.001)

    assert (await client.receive()).addresses == IS_TRUE


async def test_b17_an_urgent_byte_harms_nobody(scene: Scene) -> None:
    """Out of band, it is no part of a message; whatever becomes of its connection, the next is as ever."""
    scene.upstream.on_udp(TRUE)
    client = await scene.client("tcp").connect()
    client.socket.send(b"!", socket.MSG_OOB)

    await client.send(query(text=scene.name))

    assert (await client.receive()).addresses == IS_TRUE


async def test_b17_reset_while_answers_are_due(scene: Scene) -> None:
    """The client is gone before its fifty answers: they go nowhere, and the queries are on record."""
    gate = asyncio.Event()
    scene.upstream.on_udp(hold(gate), TRUE)
    client = scene.client("tcp")
    await client.send(*(query(text=f"n{number}.{scene.name}") for number in range(50)))
    await scene.upstream.has_been_asked(1)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.close()
    gate.set()

    assert len(await scene.records(50, name=f"*.{scene.name}")) == 50


async def test_b17_half_closed_is_still_answered(scene: Scene) -> None:
    """Who has said everything still hears everything."""
    scene.upstream.on_udp(TRUE)
    client = scene.client("tcp")
    await client.send(*(query(text=f"n{number}.{scene.name}", ident=number) for number in range(20)))
    client.socket.shutdown(socket.SHUT_WR)

    assert {(await client.receive()).id for _ in range(20)} == set(range(20))
    assert await client.is_closed()


async def test_b17_a_flood_without_reading_ends_the_connection(scene: Scene) -> None:
    """Queries as fast as they go and no answer read: the connection ends, the program has not grown by it."""
    client = scene.client("tcp")
    before = resident_kb(scene)
    flood = framed(query(text=f"{scene.name}.{'x' * 60}.{'y' * 60}.example.org")) * 100

    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(20):
            for _ in range(2000):
                await client.write(flood)

    assert await client.is_closed()
    assert resident_kb(scene) - before < 16_000


async def test_b17_a18_half_open_connections_keep_nobody_out(scene: Scene) -> None:
    """Three hundred connections of one pod, each with half a length: another pod's hundred pipelined queries are answered meanwhile."""
    scene.upstream.on_udp(TRUE)
    crowd = [scene.client("tcp") for _ in range(300)]
    for client in crowd:
        with contextlib.suppress(ConnectionError):
            await client.write(b"\0")
    quiet = scene.client("tcp", POD_B)

    await quiet.send(*(query(text=f"n{number}.{scene.name}", ident=number) for number in range(100)))
    answers = [await quiet.receive() for _ in range(100)]

    assert {answer.id for answer in answers} == set(range(100))
    assert all(answer.addresses == IS_TRUE for answer in answers)
    assert len(await scene.records(200, name="", decision="refused")) >= 200
    assert [await client.is_closed() for client in crowd] == 300 * [True]


async def test_b17_pipelined_queries_are_answered_in_any_order(scene: Scene) -> None:
    """What we can answer ourselves does not wait for what upstream is asked."""
    gate = asyncio.Event()
    scene.upstream.on_udp(hold(gate), TRUE)
    client = scene.client("tcp")

    await client.send(query(text=scene.name, ident=1), query(text="not.allowed.example.org", ident=2))
    first = await client.receive()
    gate.set()

    assert (first.id, first.rcode) == (2, NXDOMAIN)
    assert (await client.receive()).addresses == IS_TRUE
