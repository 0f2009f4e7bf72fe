"""U: what upstreams, and those who play them, send that they should not."""

import asyncio
import time
from collections.abc import Callable
from struct import pack

import pytest
from scene import FORGED, FORMERR, IS_TRUE, NOERROR, NOTIMP, NXDOMAIN, POD_A6, REFUSED, SERVFAIL, TRUE, Response, Scene
from upstream import (
    CLOSE,
    Asked,
    Make,
    answer,
    as_query,
    from_elsewhere,
    garbage,
    hold,
    message,
    other_class,
    other_name,
    other_type,
    partly,
    rcode,
    truncated,
    wait,
    wrong_id,
)
from wire_messages import TO_QUESTION, a, aaaa, cname, name, opt, packed, rr, soa

from dnsfw.forwarder.upstream_udp import RUN_S

# A question whose every answer stays away ends as it must within this; the file's tests need no more patience than that.
ANSWER_S = 2
FLAGS = ("--upstream-timeout", "0.3", "--answer-timeout", str(ANSWER_S))
WAYS = ("udp", "tcp")
TRIES = 10


def says(*records: bytes, authority: tuple[bytes, ...] = (), additional: tuple[bytes, ...] = (), flags: int = 0x8180) -> Make:
    """An answer of exactly these records."""

    def make(asked: Asked) -> bytes:
        counts = pack(">6H", asked.id, flags, 1, len(records), len(authority), len(additional))
        return counts + asked.question + b"".join((*records, *authority, *additional))

    return make


NO_ANSWERS = [
    pytest.param(garbage(b""), id="u1-empty"),
    pytest.param(garbage(b"\0"), id="u1-one-byte"),
    pytest.param(lambda asked: FORGED(asked)[:11], id="u1-short-header"),
    pytest.param(lambda asked: FORGED(asked)[:14], id="u1-short-question"),
    pytest.param(garbage(b"\xff" * 600), id="u1-garbage"),
    pytest.param(wrong_id(FORGED), id="u2-wrong-id"),
    pytest.param(from_elsewhere(FORGED), id="u2-wrong-source-port"),
    pytest.param(other_name(FORGED), id="u3-other-name"),
    pytest.param(other_type(FORGED), id="u3-other-type"),
    pytest.param(other_class(FORGED), id="u3-other-class"),
    pytest.param(lambda asked: message(asked, question=b"")[:4] + pack(">4H", 0, 1, 0, 0) + a("192.0.2.66"), id="u4-no-question"),
    pytest.param(as_query(FORGED), id="u5-query-sent-back"),
    pytest.param(lambda asked: asked.data, id="u5-our-own-bytes"),
    pytest.param(lambda asked: FORGED(asked)[:2] + b"\xa0" + FORGED(asked)[3:], id="u5-another-opcode"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("false", NO_ANSWERS)
async def test_what_is_no_answer_is_ignored(scene: Scene, way: str, false: Make) -> None:
    """U1-U5: before the true answer come two that are none; the true one is delivered, the false address is nobody's.

    (Over TCP where the port has met a stranger before: three, and it is closed.)
    """
    scene.upstream.on_udp(false, false, TRUE)
    scene.upstream.on_tcp(TRUE)

    response = await scene.ask(way=way)

    assert (response.addresses, scene.grants()) == (IS_TRUE, IS_TRUE)
    assert scene.asked in ([f"udp {scene.name}"], [f"udp {scene.name}", f"tcp {scene.name}"])
    assert scene.status()["upstreams"][0]["state"] == "up"


@pytest.mark.parametrize("false", NO_ANSWERS[5:])
async def test_over_tcp_too(scene: Scene, false: Make) -> None:
    """U2-U5 from upstream's own connection: the true answer behind it counts, or the question is asked again."""
    if isinstance(false, from_elsewhere):
        false = wrong_id(other_name(FORGED))
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(false, TRUE)

    assert (await scene.ask(way="tcp")).addresses == IS_TRUE
    assert scene.grants() == IS_TRUE


async def test_u2_after_three_forgeries_the_question_goes_over_tcp(scene: Scene) -> None:
    """The port that was found is closed: what is guessed there afterwards comes too late, right or wrong."""
    scene.upstream.on_udp(*3 * [wrong_id(FORGED)], FORGED)
    scene.upstream.on_tcp(TRUE)

    assert (await scene.ask()).addresses == IS_TRUE
    assert (scene.asked, scene.grants()) == ([f"udp {scene.name}", f"tcp {scene.name}"], IS_TRUE)
    assert scene.metric("dnsfw_forwarder_upstream_mismatches_total") >= 3
    assert scene.status()["upstreams"][0]["state"] == "up"


async def test_u2_answers_to_another_of_our_ports_are_ignored(scene: Scene) -> None:
    """Right id, right source, right question, but the port of another question of ours."""
    for attempt in range(TRIES):
        gate = asyncio.Event()
        scene.upstream.on_udp(hold(gate), TRUE)
        asking = [asyncio.create_task(scene.ask(f"a{attempt}.{scene.name}"))]
        await scene.upstream.has_been_asked(2 * attempt + 1)
        await asyncio.sleep(2 * RUN_S)  # or both would leave from one port
        asking.append(asyncio.create_task(scene.ask(f"b{attempt}.{scene.name}")))
        await scene.upstream.has_been_asked(2 * attempt + 2)
        one, other = sorted(scene.upstream.asked[-2:], key=lambda asked: asked.name)
        if one.port != other.port:
            break
        gate.set()  # a program that was kept waiting beside others saw both in one run
        await asyncio.gather(*asking)

    assert one.port != other.port
    await scene.upstream.send_to(other.port, FORGED(one))
    gate.set()

    assert [(await each).addresses for each in asking] == [IS_TRUE, IS_TRUE]
    assert scene.grants(f"a{attempt}.{scene.name}") == IS_TRUE


async def test_u3_the_case_of_letters_is_nobodys_secret(scene: Scene) -> None:
    """0x20 is not used (docs/cases.md): an upstream that changes the case is understood, and the client gets its own letters back."""
    scene.upstream.on_udp(lambda asked: TRUE(asked)[:2] + TRUE(asked)[2:].upper())  # the id may look like letters, too
    query = scene.query().replace(b"example", b"ExAmPlE")

    response = await scene.exchange(query)

    assert response.addresses == IS_TRUE
    assert b"ExAmPlE" in response.data


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", [FORMERR, SERVFAIL, NOTIMP])
async def test_u4_an_error_without_question_is_an_error(scene: Scene, way: str, code: int) -> None:
    """Upstream could not read what we sent: its error arrives, with the client's question."""
    scene.upstream.on_udp(lambda asked: pack(">6H", asked.id, 0x8180 | code, 0, 0, 0, 0))

    response = await scene.ask(way=way)

    assert (response.rcode, len(response.message.question), scene.grants()) == (code, 1, [])


@pytest.mark.parametrize("way", WAYS)
async def test_u6_truncated_answers_are_fetched_over_tcp(scene: Scene, way: str) -> None:
    """TC with an address in it: nothing of that is used; the whole comes over TCP."""
    scene.upstream.on_udp(says(a("192.0.2.66"), flags=0x8380))
    scene.upstream.on_tcp(TRUE)

    assert (await scene.ask(way=way)).addresses == IS_TRUE
    assert (scene.asked, scene.grants()) == ([f"udp {scene.name}", f"tcp {scene.name}"], IS_TRUE)


@pytest.mark.parametrize("way", WAYS)
async def test_u6_what_stays_truncated_is_passed_and_grants_nothing(scene: Scene, way: str) -> None:
    """Without TCP upstream, the client gets TC and may try for itself."""
    scene.upstream.on_udp(says(a("192.0.2.66"), flags=0x8380))
    scene.upstream.on_tcp(CLOSE)

    response = await scene.ask(way=way)

    assert (response.is_truncated, scene.grants()) == (True, [])


def named_by_a_ttl(asked: Asked) -> bytes:
    """The second owner is what stands in the first one's TTL: another name a second later."""
    place = 12 + len(asked.question) + 6
    return says(a("192.0.2.66", 0x0161C00C), a("192.0.2.67", owner=pack(">H", 0xC000 | place)))(asked)


ALIAS = "alias.example.org"
OFF_CHAIN = a("192.0.2.66", owner="evil.example.org")
FOUR, SIXTEEN = b"\xc0\0\2\1", bytes(15) + b"\1"
CHAIN = [cname(f"c{number}.example.org" if number else TO_QUESTION, f"c{number + 1}.example.org") for number in range(17)]
NO_GRANTS = [
    # (qtype, what upstream says, the rcode that arrives)
    pytest.param(1, says(a("192.0.2.66"), flags=0x8183), NXDOMAIN, id="u7-nxdomain-with-address"),
    pytest.param(1, says(a("192.0.2.66"), flags=0x8182), SERVFAIL, id="u7-servfail-with-address"),
    pytest.param(1, says(a("192.0.2.66"), flags=0x8185), REFUSED, id="u7-refused-with-address"),
    pytest.param(1, says(a("192.0.2.66"), flags=0x818F), 15, id="u7-rcode-15-with-address"),
    pytest.param(1, says(a("192.0.2.66"), additional=(opt(ttl=1 << 24),)), SERVFAIL, id="u7-badvers-with-address"),
    pytest.param(1, says(OFF_CHAIN), NOERROR, id="u8-owner-off-the-chain"),
    pytest.param(1, says(cname(TO_QUESTION, ALIAS), OFF_CHAIN), NOERROR, id="u8-beside-an-alias"),
    pytest.param(1, says(cname(TO_QUESTION, ALIAS), a("192.0.2.66")), NOERROR, id="u8-owner-before-the-alias"),
    pytest.param(1, says(cname(TO_QUESTION, TO_QUESTION), a("192.0.2.66")), NOERROR, id="u9-alias-of-itself"),
    pytest.param(1, says(cname(TO_QUESTION, ALIAS), cname(ALIAS, TO_QUESTION), a("192.0.2.66", owner=ALIAS)), NOERROR, id="u9-loop-of-two"),
    pytest.param(1, says(*CHAIN, a("192.0.2.66", owner="c17.example.org")), NOERROR, id="u9-chain-of-17"),
    pytest.param(
        1, says(cname(TO_QUESTION, ALIAS), cname(TO_QUESTION, "b.example.org"), a("192.0.2.66", owner=ALIAS)), NOERROR, id="u9-two-aliases"
    ),
    pytest.param(1, says(rr(name("example.net"), 39, name("example.org")), OFF_CHAIN), NOERROR, id="u9-dname-alone"),
    *[pytest.param(1, says(a("192.0.2.1"), rr(TO_QUESTION, 1, bytes(size))), SERVFAIL, id=f"u10-a-of-{size}") for size in (0, 3, 5, 16)],
    *[pytest.param(28, says(aaaa(SIXTEEN), rr(TO_QUESTION, 28, bytes(size))), SERVFAIL, id=f"u10-aaaa-of-{size}") for size in (4, 15, 17)],
    pytest.param(1, says(a("192.0.2.66"), rr(TO_QUESTION, 16, b"", length=9)), SERVFAIL, id="u10-record-behind-the-end"),
    pytest.param(1, lambda asked: (data := TRUE(asked))[:6] + b"\xff\xff" + data[8:], SERVFAIL, id="u10-65535-records"),
    pytest.param(1, says(rr(b"\xc0\xff", 1, FOUR)), SERVFAIL, id="u10-owner-behind-the-end"),
    pytest.param(1, named_by_a_ttl, SERVFAIL, id="u10-owner-in-a-ttl"),
    pytest.param(1, says(authority=(a("192.0.2.66"),)), NOERROR, id="u13-authority"),
    pytest.param(1, says(additional=(a("192.0.2.66"),)), NOERROR, id="u13-additional"),
    pytest.param(1, says(authority=(soa(60),), additional=(aaaa(SIXTEEN), a("192.0.2.66"))), NOERROR, id="u13-both"),
    pytest.param(255, says(a("192.0.2.66"), aaaa(SIXTEEN)), NOERROR, id="u16-any"),
    pytest.param(1, says(aaaa(SIXTEEN)), NOERROR, id="u16-the-other-family"),
    pytest.param(1, says(rr(TO_QUESTION, 1, FOUR, rclass=254)), NOERROR, id="u16-another-class"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("qtype", "said", "arrives"), NO_GRANTS)
async def test_what_grants_nothing(scene: Scene, way: str, qtype: int, said: Make, arrives: int) -> None:
    """U7-U10, U13, U16: passed on or SERVFAIL, as docs/cases.md says; no address is reachable afterwards."""
    scene.upstream.on_udp(said)

    response = await scene.ask(qtype=qtype, way=way)

    assert (response.rcode, scene.grants(), scene.grants(pod="b")) == (arrives, [], [])


GRANTS = [
    pytest.param(says(cname(TO_QUESTION, ALIAS), a("192.0.2.1", owner=ALIAS)), id="u8-through-an-alias"),
    pytest.param(says(a("192.0.2.1"), OFF_CHAIN), id="u8-beside-one-off-the-chain"),
    pytest.param(says(*CHAIN[:16], a("192.0.2.1", owner="c16.example.org")), id="u9-chain-of-16"),
    pytest.param(says(a("192.0.2.1", owner="c3.example.org"), *reversed(CHAIN[:3])), id="u9-out-of-order"),
    pytest.param(
        says(rr(name("example.net"), 39, name("example.org")), cname(TO_QUESTION, ALIAS), a("192.0.2.1", owner=ALIAS)),
        id="u9-dname-with-its-alias",
    ),
    pytest.param(says(*100 * [a("192.0.2.1")]), id="u11-the-same-100-times"),
    pytest.param(says(a("192.0.2.1"), authority=(a("192.0.2.66"),), additional=(a("192.0.2.67"),)), id="u13-beside-other-sections"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("said", GRANTS)
async def test_what_grants_one_address(scene: Scene, way: str, said: Make) -> None:
    """U8, U9, U13: exactly the address to which aliases lead from the question."""
    scene.upstream.on_udp(said)
    scene.upstream.on_tcp(said)

    response = await scene.ask(way=way)

    assert (response.rcode, scene.grants()) == (NOERROR, IS_TRUE)


@pytest.mark.parametrize("count", [1, 100, 1000])
async def test_u11_many_addresses(scene: Scene, count: int) -> None:
    """A thousand addresses a name are answered and granted, all of them."""
    addresses = [f"198.18.{number >> 8}.{number & 255}" for number in range(count)]
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(answer(*addresses))

    response = await scene.ask(way="tcp")

    assert response.addresses == addresses
    assert scene.grants() == addresses


@pytest.mark.parametrize("count", [2000, 4000])
async def test_u11_above_the_limit_the_rest_is_left_out(scene: Scene, count: int) -> None:
    """Beyond --max-addresses-per-answer (1,000): what is answered is what is granted; the rest stands in the record, with the reason."""
    addresses = [f"198.18.{number >> 8}.{number & 255}" for number in range(count)]
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(answer(*addresses))

    response = await scene.ask(way="tcp")

    assert response.addresses == addresses[:1000] == scene.grants()
    (record,) = await scene.records()
    assert (record["decision"], record["reason"], record["grants"]) == ("allowed", "too-many-addresses", 1000)
    assert record["removed"][-1] == f"+{count - 1100}"


TTLS = [
    # (of the alias, of the address, what is answered, seconds that the grant lasts without its grace of 10)
    pytest.param(0, 0, 0, 30, id="0"),
    pytest.param(1, 1, 1, 30, id="1"),
    pytest.param(300, 60, 60, 60, id="mixed"),
    pytest.param(20, 300, 20, 30, id="mixed-alias-shorter"),
    pytest.param(0x7FFFFFFF, 0x7FFFFFFF, 3600, 3600, id="highest"),
    pytest.param(0x80000000, 60, 0, 30, id="high-bit"),
    pytest.param(60, 0xFFFFFFFF, 0, 30, id="all-bits"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("alias", "address", "answered", "least"), TTLS)
async def test_u12_ttls(scene: Scene, way: str, alias: int, address: int, answered: int, least: int) -> None:  # noqa: PLR0917 -- a table
    """The chain's minimum counts, a high bit is 0 (RFC 2181 §8); the grant outlives the answer and never lasts forever."""
    scene.upstream.on_udp(says(cname(TO_QUESTION, ALIAS, alias), a("192.0.2.1", address, ALIAS)))

    response = await scene.ask(way=way)

    (grant,) = scene.bench.api.get("/v1/grants", {"name": scene.name})["items"]
    assert least - 5 <= grant["remaining_s"] <= least + 10
    assert min(rrset.ttl for rrset in response.message.answer) == answered < grant["remaining_s"]


HINTS = name("svc.example.org") + pack(">HHHH", 1, 3, 2, 443) + pack(">HH4s", 4, 4, packed("192.0.2.66")) + pack(">HH16s", 6, 16, SIXTEEN)


@pytest.mark.parametrize("qtype", [64, 65])
@pytest.mark.parametrize(
    "rdata",
    [
        pytest.param(pack(">H", 1) + b"\0" + pack(">HH4s", 4, 4, packed("192.0.2.66")), id="ipv4hint"),
        pytest.param(pack(">H", 1) + b"\0" + pack(">HH16s", 6, 16, SIXTEEN), id="ipv6hint"),
        pytest.param(pack(">H", 0) + name("svc.example.org"), id="alias-mode"),
        pytest.param(pack(">H", 1) + HINTS, id="port-and-both-hints"),
        pytest.param(pack(">H", 1) + b"\0" + pack(">HH8s", 5, 8, b"ech-conf"), id="ech"),
        pytest.param(pack(">H", 1) + b"\0" + pack(">HH3s", 4, 9, b"abc"), id="malformed"),
        pytest.param(b"\0", id="too-short"),
    ],
)
async def test_u14_hints_grant_nothing(scene: Scene, qtype: int, rdata: bytes) -> None:
    """SVCB and HTTPS arrive as upstream said them, byte for byte, and open nothing: clients ask for A and AAAA all the same."""
    scene.upstream.on_udp(says(rr(TO_QUESTION, qtype, rdata), additional=(a("192.0.2.66", owner="svc.example.org"),)))

    response = await scene.ask(qtype=qtype)

    assert rdata in response.data
    assert scene.grants() == []


PROTECTED4 = ["127.0.0.1", "169.254.0.1", "169.254.169.254", "224.0.0.1", "239.255.255.250", "0.1.2.3", "255.255.255.255"]
PROTECTED4.append(".".join("0000"))
EMBEDDED = ["::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:5ef5:79fb:0:0:5601:5601"]
PROTECTED6 = ["::", "::1", "fe80::1", "ff02::1", "fd00:ec2::254", "::ffff:192.0.2.66", *EMBEDDED]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("qtype", "protected", "open_"), [(1, PROTECTED4, "192.0.2.1"), (28, PROTECTED6, "2001:db8::1")], ids=["a", "aaaa"]
)
async def test_u15_protected_addresses_are_taken_out(scene: Scene, way: str, qtype: int, protected: list[str], open_: str) -> None:
    """Beside a proper address: only that one is answered and granted; the record names those taken out."""
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(answer(*protected, open_))

    response = await scene.ask(qtype=qtype, way=way, edns=opt())

    assert (response.addresses, scene.grants()) == ([open_], [open_])
    (record,) = await scene.records()
    assert len(record["removed"]) == len(protected)


@pytest.mark.parametrize("address", [*PROTECTED4, *PROTECTED6])
async def test_u15_nothing_left_is_nodata(scene: Scene, address: str) -> None:
    """A1: rebinding. NODATA with EDE 15, nothing granted, on record."""
    scene.upstream.on_udp(answer(address))

    response = await scene.ask(qtype=28 if ":" in address else 1, edns=opt())

    assert (response.rcode, response.addresses, response.ede, scene.grants()) == (NOERROR, [], [15], [])
    assert await scene.why() == [("refused", "protected-address")]


async def test_u15_other_private_addresses_may_be_granted(scene: Scene) -> None:
    """RFC 1918 and unique local addresses are a partner's as well as ours: only what is said to be protected is."""
    scene.upstream.on_udp(answer("10.1.2.3", "172.16.1.1", "192.168.1.1"))

    assert (await scene.ask()).addresses == ["10.1.2.3", "172.16.1.1", "192.168.1.1"]
    assert len(scene.grants()) == 3


@pytest.mark.parametrize("way", WAYS)
async def test_u17_client_subnet_and_other_options_are_removed(scene: Scene, way: str) -> None:
    """ECS with scope 0, a cookie and the server's name stay between us and upstream; our OPT speaks for us."""
    options = pack(">HHHBB3s", 8, 7, 1, 24, 0, b"\xc0\0\x02") + pack(">HH8s", 10, 8, b"01234567") + pack(">HH3s", 3, 3, b"ns1")
    scene.upstream.on_udp(says(a("192.0.2.1"), additional=(opt(4096, options=options),)))

    with_edns, without = await scene.ask(way=way, edns=opt()), await scene.ask(way=way)

    assert (with_edns.message.edns, with_edns.message.payload, with_edns.message.options) == (0, 1232, ())
    assert (without.message.edns, with_edns.addresses, without.addresses) == (-1, IS_TRUE, IS_TRUE)


async def test_u18_late_and_repeated_answers_are_ignored(scene: Scene) -> None:
    """After our SERVFAIL, and once more after the true answer: nothing is sent to the client, nothing granted or extended."""
    late = f"late.{scene.name}"
    gate = asyncio.Event()
    scene.upstream.on_udp(hold(gate), FORGED)
    client = scene.client()
    await client.send(scene.query(late, ident=1))
    first = await client.receive()
    gate.set()
    scene.upstream.on_udp(TRUE, answer("192.0.2.1", "192.0.2.66", ttl=3000), TRUE)

    await client.send(scene.query(ident=2))
    second = await client.receive()
    await client.send(scene.query(ident=3, qtype=16))

    assert [(first.id, first.rcode), (second.id, second.addresses), (await client.receive()).id] == [(1, SERVFAIL), (2, IS_TRUE), 3]
    assert (scene.grants(late), scene.grants()) == ([], IS_TRUE)
    (grant,) = scene.bench.api.get("/v1/grants", {"name": scene.name})["items"]
    assert grant["remaining_s"] <= 310


@pytest.mark.parametrize("way", WAYS)
async def test_u19_an_answer_that_drips_ends_at_the_deadline(scene: Scene, way: str) -> None:
    """65,535 bytes over TCP, one now and then: the question ends in time, with the TC that there is, and another's is not kept waiting."""
    large = lambda asked: TRUE(asked).ljust(65535, b"\0")  # noqa: E731 -- a step of the script
    scene.upstream.once_udp(truncated())
    scene.upstream.once_tcp(partly(large, 3), *12 * [wait(0.2), garbage(b"")])
    asking, began_at = asyncio.create_task(scene.ask(way=way)), time.monotonic()
    await scene.upstream.has_been_asked(1, "tcp")
    scene.upstream.on_udp(TRUE)

    assert (await scene.ask(scene.fresh(), pod=POD_A6)).addresses == IS_TRUE

    response = await asking
    assert time.monotonic() - began_at < ANSWER_S + 1
    assert (response.is_truncated or response.addresses == IS_TRUE, "192.0.2.66" in scene.grants()) == (True, False)


async def test_u19_the_largest_answer(scene: Scene) -> None:
    """65,535 bytes of records arrive whole over TCP."""
    padding = [rr(TO_QUESTION, 16, b"\xff" + b"x" * 255) for _ in range(230)]
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(says(a("192.0.2.1"), *padding))

    response = await scene.ask(way="tcp")

    assert len(response.data) > 61_000
    assert (response.addresses, scene.grants()) == (IS_TRUE, IS_TRUE)


@pytest.mark.parametrize("way", WAYS)
async def test_u20_questions_on_a_closed_connection_are_asked_again(scene: Scene, way: str) -> None:
    """Upstream closes with the question pending: another connection, the same question."""
    scene.upstream.on_udp(truncated())
    scene.upstream.once_tcp(CLOSE)
    scene.upstream.on_tcp(TRUE)

    assert (await scene.ask(way=way)).addresses == IS_TRUE
    assert scene.asked == [f"{each} {scene.name}" for each in ("udp", "tcp", "tcp")]


async def test_u20_answers_in_the_wrong_order_reach_their_questions(scene: Scene) -> None:
    """Ten questions on one connection, answered last first."""
    gates = [asyncio.Event() for _ in range(10)]
    scene.upstream.on_udp(truncated())
    for number, gate in enumerate(gates):
        scene.upstream.once_tcp(hold(gate), answer(f"192.0.2.{number + 1}"))
    asking = []
    for number in range(10):
        asking.append(asyncio.create_task(scene.ask(f"n{number}.{scene.name}")))
        await scene.upstream.has_been_asked(number + 1, "tcp")

    answers: list[Response] = []
    for gate, asked in zip(reversed(gates), reversed(asking), strict=True):
        gate.set()
        answers.append(await asked)

    assert [each.addresses for each in answers] == [[f"192.0.2.{number}"] for number in range(10, 0, -1)]


@pytest.mark.parametrize(
    "code", [pytest.param(rcode(2), id="servfail"), pytest.param(rcode(5), id="refused"), pytest.param(rcode(3), id="nxdomain")]
)
async def test_upstreams_own_errors_arrive(scene: Scene, code: Callable[[Asked], bytes]) -> None:
    """Beside U7: an error without records is the client's to see, as upstream said it."""
    scene.upstream.on_udp(code)

    assert (await scene.ask()).rcode == code(Asked(scene.query(), "udp", 0))[3] & 15
