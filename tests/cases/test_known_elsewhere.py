"""K: what other resolvers and firewalls have been caught by, played against this one (docs/cases.md names whom)."""

import asyncio
from struct import pack

import pytest
from scene import FORGED, IS_TRUE, NOERROR, NXDOMAIN, SERVFAIL, TRUE, Scene
from test_bad_answers import says
from upstream import Asked, answer, hold, message, truncated
from wire_messages import TO_QUESTION, a, cname, name, opt, packed, query, rr

FLAGS = ("--upstream-timeout", "0.3", "--answer-timeout", "2")
WAYS = ("udp", "tcp")
CD, AD, RD = 0x0010, 0x0020, 0x0100
MANY = 200


def unfolding(asked: Asked) -> bytes:
    """Two kilobytes, each record of them two pointers to a name of 100 labels and an address to be taken out: 55 kB spelled out."""
    place = 12 + len(asked.question) + 12
    to_long = pack(">H", 0xC000 | place)
    long = rr(TO_QUESTION, 2, b"\1a" * 100 + TO_QUESTION)
    return says(long, a("169.254.169.254"), a("192.0.2.1"), *[rr(TO_QUESTION, 17, to_long + to_long)] * 120)(asked)


@pytest.mark.parametrize("way", WAYS)
async def test_k1_pointers_that_unfold(scene: Scene, way: str) -> None:
    """What unfolds beyond what the client takes is TC; a hundred more such questions hold up nobody else."""
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(unfolding)
    first = await scene.ask(way=way)
    client = scene.client("udp")
    await client.send(*[scene.query(ident=number) for number in range(100)])

    other = await scene.ask("not.allowed.example.org", way=way)

    assert (first.is_truncated, first.addresses, other.rcode) == (way == "udp", ["192.0.2.1"] * (way == "tcp"), NXDOMAIN)
    assert {(await client.receive()).id for _ in range(100)} == set(range(100))


@pytest.mark.parametrize("flags", [RD, RD | CD, RD | AD])
async def test_k2_identical_questions_are_asked_once(scene: Scene, flags: int) -> None:
    """No birthday: two hundred of one question on their way at the same time would be as many ids to be guessed."""
    gate = asyncio.Event()
    scene.upstream.on_udp(hold(gate), TRUE)
    client = scene.client()
    await client.send(*(query(text=scene.name, ident=number, flags=flags) for number in range(MANY)))
    await client.send(query(text="not.allowed.example.org", ident=MANY))
    assert (await client.receive()).id == MANY  # what came before it has been seen
    await scene.upstream.has_been_asked(1)
    ways = len(scene.upstream.asked)
    gate.set()
    answers = [await client.receive() for _ in range(MANY)]

    assert 1 <= ways <= 3  # tries after 0.3 s
    assert all(each.addresses == IS_TRUE for each in answers)


async def test_k3_what_was_asked_without_validation_is_nobody_elses(scene: Scene) -> None:
    """An answer to CD is kept for those who ask with CD: upstream would tell the others that it is bogus."""
    scene.upstream.once_udp(FORGED)
    scene.upstream.on_udp(lambda asked: message(asked, flags=0x8182))

    unchecked = await scene.exchange(query(text=scene.name, flags=RD | CD))
    checked = await scene.exchange(query(text=scene.name, flags=RD))

    assert (unchecked.addresses, checked.rcode, checked.addresses) == (["192.0.2.66"], SERVFAIL, [])


async def test_k4_an_answer_kept_from_tcp_fits_the_next_client_too(scene: Scene) -> None:
    """Large over TCP, then small datagrams: TC, not a datagram beyond what was asked for, nor a part of the answer without TC."""
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(answer(*(f"198.51.100.{number}" for number in range(100))))

    over_tcp, plain, large = await scene.ask(way="tcp"), await scene.ask(), await scene.ask(edns=opt(4096))

    assert len(over_tcp.addresses) == 100
    assert [(each.is_truncated, each.addresses) for each in (plain, large)] == [(True, []), (True, [])]
    assert len(scene.asked) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_k5_tc_over_tcp_ends_there(scene: Scene, way: str) -> None:
    """Nobody goes around in circles: TC is passed on, nothing of it granted, nothing of it kept."""
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(says(a("192.0.2.66"), flags=0x8380))

    first = await scene.ask(way=way)
    scene.upstream.on_udp(TRUE)

    assert (first.is_truncated, scene.grants()) == (True, [])
    assert (await scene.ask(way=way)).addresses == IS_TRUE


@pytest.mark.parametrize("way", WAYS)
async def test_k6_aliases_in_other_letters_are_the_same(scene: Scene, way: str) -> None:
    """An alias to Alias.Example.ORG leads to the addresses of aLIAS.example.org."""
    scene.upstream.on_udp(says(cname(TO_QUESTION, b"\5Alias\7Example\3ORG\0"), a("192.0.2.1", owner=b"\5aLIAS\7example\3org\0")))

    response = await scene.ask(way=way)

    assert (response.addresses, scene.grants()) == (IS_TRUE, IS_TRUE)


@pytest.mark.parametrize("octets", [b"a.example.net", b"line\nbreak", b"nul\0octet", b"<script>", b"\xff\xfe", b'"quoted"', b"\x1b[2J"])
async def test_k7_odd_octets_in_an_alias_stay_octets(scene: Scene, octets: bytes) -> None:
    """Names that become others when written without care: relayed as they are, escaped in the audit."""
    target = bytes((len(octets),)) + octets + b"\7example\3org\0"
    scene.upstream.on_udp(says(cname(TO_QUESTION, target), a("192.0.2.1", owner=target)))

    response = await scene.ask()

    assert target in response.data
    (record,) = await scene.records()
    (alias,) = record["chain"]
    assert alias.endswith(".example.org") and alias.count(".") - alias.count("\\.") == 2
    assert alias.isascii() and alias.isprintable() and " " not in alias


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: data[:4] + b"\0\2" + data[6:], id="two-questions"),
        pytest.param(lambda data: data[:12] + b"\xc0\x0c" + data[12 + data[12:].index(b"\0") + 1 :], id="a-pointer-to-itself"),
        pytest.param(lambda data: data[:5] + b"\xff" + data[6:], id="255-questions"),
    ],
)
async def test_k8_answers_to_another_kind_of_question_are_ignored(scene: Scene, spoil) -> None:
    """The question section must be ours, in one piece; the true answer behind it counts."""
    scene.upstream.on_udp(lambda asked: spoil(FORGED(asked)), TRUE)
    scene.upstream.on_tcp(TRUE)

    assert (await scene.ask()).addresses == IS_TRUE
    assert scene.grants() == IS_TRUE


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(says(a("192.0.2.66"), opt()), id="in-the-answer"),
        pytest.param(says(a("192.0.2.66"), authority=(opt(),)), id="in-the-authority"),
        pytest.param(says(a("192.0.2.66"), additional=(opt(), opt())), id="two"),
        pytest.param(says(a("192.0.2.66"), additional=(opt(owner=name("example.net")),)), id="of-a-name"),
    ],
)
async def test_k9_an_opt_where_none_belongs_fails(scene: Scene, said) -> None:
    """Whose extended rcode would count is anybody's guess: nothing is relayed, nothing granted."""
    scene.upstream.on_udp(said)

    assert (await scene.ask(edns=opt())).rcode == SERVFAIL
    assert (scene.grants(), await scene.why()) == ([], [("failed", "malformed-answer")])


async def test_k10_hundreds_of_signatures_are_not_tried(scene: Scene) -> None:
    """A set of keys and signatures made to be tried one with the other (KeyTrap): relayed, since we validate nothing."""
    keys = [rr(TO_QUESTION, 48, pack(">HBB", 257, 3, 13) + bytes(16) + bytes((number & 255, number >> 8))) for number in range(300)]
    signed = pack(">HBBIIIH", 48, 13, 3, 60, 2**31 - 1, 0, 7) + name("example.net") + bytes(24)
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(says(*keys, *[rr(TO_QUESTION, 46, signed + pack(">H", number)) for number in range(300)]))

    response = await scene.ask(qtype=48, way="tcp", edns=opt(ttl=0x8000))

    assert response.data.count(bytes(16)) >= 300
    assert (response.rcode, scene.grants()) == (NOERROR, [])


@pytest.mark.parametrize(
    ("made", "is_plain"),
    [
        pytest.param([rr(b"\0", 16, b"")] * 3000, False, id="records"),
        pytest.param([cname(TO_QUESTION, TO_QUESTION)] * 100, False, id="aliases"),
        pytest.param([a("192.0.2.66", owner=bytes((1, number)) + b"\1a" * 120 + b"\0") for number in range(100)], False, id="labels"),
        pytest.param([a("192.0.2.1")] * 4000, True, id="one-address-4000-times"),
    ],
)
async def test_k11_answers_made_to_be_dear(scene: Scene, made: list[bytes], is_plain: bool) -> None:
    """More records, aliases or labels than an answer has: SERVFAIL at once. One address however often is one address."""
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(says(*made))

    response = await scene.ask(way="tcp", edns=opt())

    assert response.rcode == (NOERROR if is_plain else SERVFAIL)
    assert scene.grants() == (IS_TRUE if is_plain else [])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "additional",
    [
        pytest.param([rr(b"\0", 16, b"")] * 4000, id="records"),
        pytest.param([opt(options=pack(">HH", 65001, 0) * 10_000)], id="options"),
    ],
)
async def test_k11_queries_made_to_be_dear(scene: Scene, way: str, additional: list[bytes]) -> None:
    """More than any client has to say: FORMERR."""
    response = await scene.exchange(query(*additional, text=scene.name), way)

    assert (response.rcode, scene.asked) == (1, [])


def mixed(number: int) -> bytes:
    """The letters in another case for each number up to 127."""
    return bytes(octet ^ (0x20 * (number >> bit & 1)) for bit, octet in enumerate(b"example"))


async def test_k12_a_large_cached_answer_is_no_lever(scene: Scene) -> None:
    """A thousand addresses in the cache, asked for over UDP in ever new letters: each TC at once, and nothing is granted for it."""
    scene.upstream.on_udp(truncated())
    scene.upstream.on_tcp(answer(*(f"198.18.{number >> 8}.{number & 255}" for number in range(1000))))
    client = scene.client()
    letters = [query(text=scene.name, ident=number) for number in range(256)]
    spelled = [data.replace(b"example", mixed(number)) for number, data in enumerate(letters)]

    await scene.ask()
    for start in range(0, 256, 64):
        await client.send(*spelled[start : start + 64])
        assert all([(await client.receive()).is_truncated for _ in range(64)])

    assert scene.grants() == []
    assert len(scene.asked) == 2
    assert packed("198.18.0.1") not in (await scene.ask()).data
