"""B: what clients send that they should not, over UDP and TCP."""

import socket
from struct import pack
from typing import Any

import pytest
from scene import (
    BADVERS,
    FORMERR,
    IS_TRUE,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    POD_A,
    POD_A6,
    REFUSED,
    SERVER,
    STRANGER,
    TRUE,
    Scene,
    resident_kb,
)
from upstream import answer
from wire_messages import a, header, name, opt, query, question, rr

from dnsfw.demo import packets
from dnsfw.names import format_name

WAYS = [pytest.param("udp", id="udp"), pytest.param("tcp", id="tcp")]


def case(ident: str, data: bytes) -> Any:
    return pytest.param(data, id=ident)


LABEL_63 = b"\x3f" + b"a" * 63
BROKEN = [
    case("b4-noquestions", header(qd=0)),
    case("b4-dupquestion", header(qd=2) + question() + question()),
    case("b4-twoquestionnames", header(qd=2) + question() + question("other.example.net")),
    case("b4-twoquestiontypes", header(qd=2) + question() + question(qtype=28)),
    case("b4-twoquestionclasses", header(qd=2) + question() + question(qclass=3)),
    case("b5-65535-questions", header(qd=65535) + question()),
    case("b5-65535-answers", header(an=65535) + question()),
    case("b5-65535-authorities", header(ns=65535) + question()),
    case("b5-65535-additionals", header(ar=65535) + question() + opt()),
    case("b5-65535-everything", header(qd=65535, an=65535, ns=65535, ar=65535) + question()),
    case("b6-qtypeasanswer", header(an=1) + question() + a("192.0.2.66")),
    case("b6-dupans", header(an=2) + question() + a("192.0.2.66") + a("192.0.2.66")),
    case("b6-authority", header(ns=1) + question() + a("192.0.2.66")),
    case("b7-label-of-64", header() + b"\x40" + b"a" * 64 + b"\0\0\1\0\1"),
    case("b7-label-type-0x80", header() + b"\x80a\0\0\1\0\1"),
    case("b7-nametoolong", header() + LABEL_63 * 3 + b"\x3e" + b"a" * 62 + b"\0\0\1\0\1"),
    case("b7-no-terminator", header() + b"\x03www\x07example\x03net"),
    case("b7-no-type", header() + name("www.example.net")),
    case("b8-pointer-to-itself", header() + b"\xc0\x0c\0\1\0\1"),
    case("b8-pointer-forward", header() + b"\xc0\x12\0\1\0\1" + name("www.example.net")),
    case("b8-pointer-loop", header() + b"\x01a\xc0\x10\xc0\x0e\0\1\0\1"),
    case("b8-chain-of-127", header() + b"".join(pack(">H", 0xC000 | 14 + 2 * place) for place in range(127)) + b"\0\0\1\0\1"),
    case("b8-into-the-header", header() + b"\xc0\x00\0\1\0\1"),
    case("b8-behind-a-label", header() + b"\x03www\xc0\x0c\0\1\0\1"),
    case("b13-two-opt", query(opt(), opt())),
    case("b13-optwrongname", query(opt(owner=b"\1a\0"))),
    case("b13-option-longer-than-the-rest", query(opt(options=pack(">HH", 10, 9) + b"12345678"))),
    case("b13-half-an-option", query(opt(options=b"\0\x0a\0"))),
    case("b15-tsig-behind-the-end", query(rr(b"\0", 250, b"", length=1, rclass=255))),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", BROKEN)
async def test_broken_queries_get_formerr(scene: Scene, way: str, data: bytes) -> None:
    """B4-B8, B13, B15: a header with the query's id and FORMERR, a record that says so, and nothing upstream."""
    response = await scene.exchange(data, way)

    assert (response.id, response.rcode, len(response.data)) == (7, FORMERR, 12)
    assert scene.asked == []


@pytest.mark.parametrize("size", range(12))
async def test_b1_shorter_than_a_header_is_dropped(scene: Scene, size: int) -> None:
    """Nothing comes back for 0 to 11 bytes: the first datagram back answers the next query. (Over TCP: B17.)"""
    scene.upstream.on_udp(TRUE)
    client = scene.client()

    await client.send(query(text=scene.name)[:size], query(text=scene.name, ident=77))

    assert (await client.receive()).id == 77
    assert size == 0 or scene.metric("dnsfw_forwarder_dropped_total", reason="shorter than a header")


@pytest.mark.parametrize("way", WAYS)
async def test_b2_responses_are_dropped(scene: Scene, way: str) -> None:
    """Two forwarders must not talk to each other forever: QR=1 gets no answer, and the connection lives on."""
    scene.upstream.on_udp(TRUE)
    client = scene.client(way)

    await client.send(query(text=scene.name, flags=0x8180), query(text=scene.name, ident=77))

    assert (await client.receive()).id == 77
    assert scene.metric("dnsfw_forwarder_dropped_total", reason="a response")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("opcode", [pytest.param(number, id=f"opcode-{number}") for number in (1, 2, 4, 5, 6, 15)])
async def test_b3_other_opcodes_are_not_implemented(scene: Scene, way: str, opcode: int) -> None:
    """IQUERY, STATUS, NOTIFY, UPDATE, DSO and what has no name: NOTIMP with their own opcode, never forwarded."""
    response = await scene.exchange(query(text=scene.name, flags=opcode << 11), way)

    assert (response.id, response.rcode, response.data[2] >> 3 & 15) == (7, NOTIMP, opcode)
    assert scene.asked == []


@pytest.mark.parametrize("way", WAYS)
async def test_b5_counts_cost_nothing(scene: Scene, way: str) -> None:
    """A thousand messages that promise 262,140 records each leave the program no larger than before (64 kB a message would be 64 MB)."""
    promise = header(qd=1, an=65535, ns=65535, ar=65535) + question()
    client = scene.client(way)

    async def thousand() -> int:
        for _ in range(20):
            await client.send(*50 * [promise])
            for _ in range(50):
                assert (await client.receive()).rcode == FORMERR
        return resident_kb(scene)

    before = await thousand()
    assert await thousand() - before < 8_000


ODD_OCTETS = [b"\0", b".", b"\\", b" ", b"\xff", "é".encode(), b"\n", b'"', b"*"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("octets", [pytest.param(octets, id=octets.hex()) for octets in ODD_OCTETS])
async def test_b9_any_octet_is_compared_as_it_is(scene: Scene, way: str, octets: bytes) -> None:
    """Below the wildcard it is a name like others; `a.example.net` within one label matches no rule; the audit shows it escaped."""
    scene.upstream.on_udp(TRUE)
    label = scene.name.split(".")[0].encode() + octets + b"b"
    below = bytes((len(label),)) + label + b"\x07example\x03net\0"
    beside = b"\x01" + octets[:1] + b"\x0fa" + octets[:1] + b"example.net" + b"\0\0" + b"\0"

    answered = await scene.exchange(header() + below + b"\0\1\0\1", way)
    refused = await scene.exchange(header() + beside + b"\0\1\0\1", way)

    assert (answered.addresses, refused.rcode) == (IS_TRUE, NXDOMAIN)
    # In a filter an asterisk is a wildcard's, so one that is meant is escaped.
    (record,) = await scene.records(name=format_name(below).replace("*", "\\042"))
    assert record["name"].isascii() and record["name"].isprintable()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("qclass", [0, 3, 4, 254, 255])
async def test_b10_other_classes_are_refused(scene: Scene, way: str, qclass: int) -> None:
    """Only IN is served; nobody learns our version or upstream's."""
    response = await scene.exchange(query(text="version.bind", qtype=16, qclass=qclass), way)

    assert (response.rcode, response.message.answer) == (REFUSED, [])
    assert scene.asked == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("qtype", [0, 41, 249, 250, 251, 252, 253])
async def test_b11_meta_types_are_refused(scene: Scene, way: str, qtype: int) -> None:
    """OPT, TKEY, TSIG, IXFR, AXFR, MAILB, MAILA and the reserved ones go nowhere."""
    response = await scene.ask(qtype=qtype, way=way, edns=opt())

    assert (response.rcode, response.ede) == (REFUSED, [21])
    assert scene.asked == []


@pytest.mark.parametrize("way", WAYS)
async def test_b11_any_is_answered_by_us(scene: Scene, way: str) -> None:
    """RFC 8482: one HINFO, the same over UDP and TCP; nothing granted, nobody amplified."""
    response = await scene.ask(qtype=255, way=way)

    assert [int(rrset.rdtype) for rrset in response.message.answer] == [13]
    assert (scene.asked, scene.grants()) == ([], [])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("qtype", [10, 16, 99, 65280, 65535])
async def test_b11_unknown_types_are_forwarded_and_grant_nothing(scene: Scene, way: str, qtype: int) -> None:
    """Even if upstream answers them with addresses."""
    scene.upstream.on_udp(TRUE)

    response = await scene.ask(qtype=qtype, way=way)

    assert (response.rcode, scene.asked, scene.grants()) == (NOERROR, [f"udp {scene.name}"], [])


@pytest.mark.parametrize("way", WAYS)
async def test_b12_the_tail_goes_nowhere(scene: Scene, way: str) -> None:
    """What follows the message is ignored: answered as without it, and upstream sees nothing of it."""
    scene.upstream.on_udp(TRUE)

    response = await scene.exchange(query(text=scene.name) + b"TAIL" * 50, way)

    assert response.addresses == IS_TRUE
    assert b"TAIL" not in scene.upstream.asked[0].data and b"TAIL" not in response.data


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rtype", [24, 250])
@pytest.mark.parametrize("is_last", [True, False], ids=["last", "not-last"])
@pytest.mark.parametrize("rclass", [1, 255])
async def test_b15_signatures_do_no_harm(scene: Scene, way: str, rtype: int, is_last: bool, rclass: int) -> None:
    """TSIG and SIG(0), at their place or not: the question is answered, unsigned; the signature is not sent on."""
    scene.upstream.on_udp(TRUE)
    signature = rr(name("key.example.net"), rtype, b"SIGNATURE", rclass=rclass)
    additional = [opt(), signature] if is_last else [signature, opt()]

    response = await scene.exchange(query(*additional, text=scene.name), way)

    assert response.addresses == IS_TRUE
    assert b"SIGNATURE" not in scene.upstream.asked[0].data


@pytest.mark.parametrize("way", WAYS)
async def test_b16_the_same_id_a_thousand_times(scene: Scene, way: str) -> None:
    """A thousand queries with one id from one port: each answered to its own question."""
    scene.upstream.on_udp(TRUE)
    client = scene.client(way)
    names = {f"n{number}.{scene.name}" for number in range(1000)}
    wanted, answered = sorted(names), set()

    for start in range(0, 1000, 50):
        await client.send(*(query(text=each) for each in wanted[start : start + 50]))
        for _ in range(50):
            response = await client.receive()
            assert (response.id, response.addresses) == (7, IS_TRUE)
            answered.add(str(response.message.question[0].name).rstrip("."))

    assert answered == names


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("message", [query(), query(qclass=3), header(qd=0)], ids=["proper", "other-class", "broken"])
async def test_b18_strangers_are_refused(scene: Scene, way: str, message: bytes) -> None:
    """A source that is no pod gets REFUSED, whatever it asks: no open resolver, no oracle."""
    response = await scene.exchange(message, way, STRANGER)

    assert response.rcode == REFUSED
    assert scene.asked == []


@pytest.mark.parametrize("port", [53, 1, 65535])
async def test_b18_a_pod_may_ask_from_any_port(scene: Scene, port: int) -> None:
    """Source port 53 is a pod's own affair: it is answered, once, and what it sends back is dropped (B2)."""
    scene.upstream.on_udp(TRUE)
    client = scene.client(port=port)

    await client.send(query(text=scene.name))
    first = await client.receive()
    await client.send(first.data, query(text=scene.name, ident=77))

    assert (first.addresses, (await client.receive()).id) == (IS_TRUE, 77)


async def test_b18_source_port_0_is_dropped(scene: Scene) -> None:
    """Nobody can be answered there: dropped and counted, not asked upstream."""
    with scene.bench.place.socket(socket.AF_INET, socket.SOCK_RAW, protocol=socket.IPPROTO_RAW) as raw:
        raw.sendto(packets.udp(POD_A, SERVER[0], 0, SERVER[1], query(text=scene.name)), SERVER)

    assert await scene.until(lambda: scene.metric("dnsfw_forwarder_dropped_total", reason="source port 0"))
    assert scene.asked == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pod", [POD_A, POD_A6], ids=["ipv4", "ipv6"])
async def test_b19_a_search_list_over_both_families(scene: Scene, way: str, pod: str) -> None:
    """Five names, A and AAAA each, at once: ten answers, the last name's with addresses, the others refused and never sent on."""
    scene.upstream.on_udp(answer("192.0.2.1"))
    searched = ("shop.svc.cluster.test", "svc.cluster.test", "cluster.test", "corp.test")
    names = [f"{scene.name}.{domain}" for domain in searched] + [scene.name]
    client = scene.client(way, pod)

    await client.send(*(query(text=each, qtype=qtype, ident=number) for number, each in enumerate(names) for qtype in (1, 28)))
    rcodes = sorted([(response.id, response.rcode) for response in [await client.receive() for _ in range(10)]])

    assert rcodes == sorted(2 * [(number, NXDOMAIN) for number in range(4)] + 2 * [(4, NOERROR)])
    assert scene.asked == 2 * [f"udp {scene.name}"]


EDNS = [
    # (what the client sends, rcode, whether DO comes back): the eight queries of ISC's EDNS compliance test, each with what RFC 6891 says
    pytest.param(b"", NOERROR, None, id="b13-plain-dns"),
    pytest.param(opt(), NOERROR, 0, id="b13-edns0"),
    pytest.param(opt(ttl=1 << 16), BADVERS, 0, id="b13-edns1"),
    pytest.param(opt(options=pack(">HH", 100, 0)), NOERROR, 0, id="b13-edns-unknown-option"),
    pytest.param(opt(ttl=1 << 16, options=pack(">HH", 100, 0)), BADVERS, 0, id="b13-edns1-unknown-option"),
    pytest.param(opt(ttl=0x0080), NOERROR, 0, id="b13-edns-unknown-flag"),
    pytest.param(opt(ttl=1 << 16 | 0x0080), BADVERS, 0, id="b13-edns1-unknown-flag"),
    pytest.param(opt(ttl=0x8000), NOERROR, 1, id="b13-edns-do"),
    pytest.param(opt(ttl=100 << 16), BADVERS, 0, id="b13-edns100"),
    pytest.param(opt(options=pack(">HH", 65001, 0) * 250), NOERROR, 0, id="b13-250-options"),
    pytest.param(opt(options=pack(">HH8s", 10, 8, b"01234567")), NOERROR, 0, id="b13-cookie"),
    pytest.param(opt(options=pack(">HHHBB3s", 8, 7, 1, 24, 0, b"\xc0\0\x02")), NOERROR, 0, id="b13-ecs"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("sent", "rcode", "do"), EDNS)
async def test_b13_edns_compliance(scene: Scene, way: str, sent: bytes, rcode: int, do: int | None) -> None:
    """OPT is answered by OPT of version 0, DO by DO; no option, unknown flag or version is echoed, and none goes upstream."""
    scene.upstream.on_udp(TRUE)

    message = (await scene.ask(way=way, edns=sent)).message

    assert (message.rcode(), bool(message.answer)) == (rcode, rcode == NOERROR)
    if do is None:
        assert message.edns == -1
    else:
        assert (message.edns, message.ednsflags & 0xFFFF, message.payload) == (0, do << 15, 1232)
        assert [int(option.otype) for option in message.options if int(option.otype) != 15] == []
    for asked in scene.upstream.asked:
        assert asked.data.endswith(opt(ttl=(do or 0) << 15))
    assert len(scene.asked) == (rcode == NOERROR)


async def test_b13_a_thousand_options_over_tcp(scene: Scene) -> None:
    """4,000 bytes of unknown options are stepped over."""
    scene.upstream.on_udp(TRUE)

    response = await scene.ask(way="tcp", edns=opt(options=pack(">HH", 65001, 0) * 1000))

    assert response.addresses == IS_TRUE


LARGE = answer(*(f"198.51.100.{number}" for number in range(100)))  # 1,600 bytes of records


@pytest.mark.parametrize(
    ("payload", "limit"), [(None, 512), (0, 512), (511, 512), (512, 512), (1000, 1000), (1232, 1232), (4096, 1232), (65535, 1232)]
)
async def test_b14_udp_answers_fit_the_buffer(scene: Scene, payload: int | None, limit: int) -> None:
    """What the client can take, between 512 and 1232: a longer answer is TC without records; over TCP it comes whole."""
    scene.upstream.on_udp(LARGE)
    edns = b"" if payload is None else opt(payload)
    fitting = (limit - 12 - len(question(scene.name)) - len(edns)) // 16

    over_udp = await scene.ask(edns=edns)
    over_tcp = await scene.ask(edns=edns, way="tcp")
    scene.upstream.on_udp(answer(*(f"203.0.113.{number}" for number in range(fitting))))
    just_fitting = await scene.ask(f"n{scene.name[1:]}", edns=edns)

    assert (over_udp.is_truncated, over_udp.addresses, len(over_tcp.addresses)) == (True, [], 100)
    assert (just_fitting.is_truncated, len(just_fitting.addresses)) == (False, fitting)
    assert len(just_fitting.data) <= limit
