"""The internet's DNS servers, asked by a pod over real sockets."""

import pytest

from dnsfw.demo import topology
from dnsfw.demo.lab import Lab
from dnsfw.demo.zone import Reply

SERVERS = [topology.RESOLVER4, topology.RESOLVER6, "8.8.8.8"]


@pytest.fixture(scope="module")
def pod(shared_lab: Lab):
    return shared_lab.pod("shop/web")


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("is_tcp", [False, True], ids=["udp", "tcp"])
def test_every_address_answers_dns(shared_lab: Lab, pod, server: str, is_tcp: bool) -> None:
    """Any address is a resolver, from that address, over both transports."""
    shared_lab.internet.set("www.example.net", "60 CNAME Real.example.net", "5 MX 10 mail.example.net")
    shared_lab.internet.set("real.example.net", "20 A 192.0.2.7", "30 AAAA 2001:db8::7")

    answer = pod.resolve("WWW.example.net", server=server, is_tcp=is_tcp)

    assert (answer.rcode, answer.aliases, answer.addresses, answer.ttl) == ("NOERROR", ["Real.example.net"], ["192.0.2.7"], 20)
    assert shared_lab.internet.queries("www.example.net")[-1].asked == server


def test_unknown_name_does_not_exist(pod) -> None:
    """Only what was set is there."""
    assert pod.resolve("absent.example.net", server=SERVERS[0]).rcode == "NXDOMAIN"


def test_known_name_without_that_type_is_nodata(shared_lab: Lab, pod) -> None:
    """A name with an A record alone has no AAAA."""
    shared_lab.internet.set("four.example.net", "60 A 192.0.2.4")

    answer = pod.resolve("four.example.net", "AAAA", server=SERVERS[0])

    assert (answer.rcode, answer.addresses) == ("NOERROR", [])


def test_script_plays_in_order_and_the_last_stays(shared_lab: Lab, pod) -> None:
    """Each question takes the next reply: an address that flips between two questions."""
    shared_lab.internet.script("flip.example.net", Reply(records=("0 A 192.0.2.1",)), Reply(records=("0 A 169.254.169.254",)))

    addresses = [pod.resolve("flip.example.net", server=SERVERS[0]).address for _ in range(3)]

    assert addresses == ["192.0.2.1", "169.254.169.254", "169.254.169.254"]
    assert shared_lab.internet.count("flip.example.net") == 3


def test_scripted_failures(shared_lab: Lab, pod) -> None:
    """Codes, silence and delays are the script's."""
    replies = (Reply(rcode="SERVFAIL"), Reply(is_silent=True), Reply(records=("1 A 192.0.2.1",), delay=0.3))
    shared_lab.internet.script("bad.example.net", *replies)
    ask = [pod.resolve("bad.example.net", server=SERVERS[0], timeout=wait) for wait in (1, 0.1, 2)]

    assert [answer.rcode for answer in ask] == ["SERVFAIL", "TIMEOUT", "NOERROR"]
    assert ask[2].ms >= 300


def test_literal_reply_goes_out_as_written(shared_lab: Lab, pod) -> None:
    """Records of another owner and another type, and a TTL past 2^31."""
    records = ("evil.example.org. 4294967295 A 192.0.2.66", "60 TXT hello")
    shared_lab.internet.script("odd.example.net", Reply(records=records, is_literal=True))

    answer = pod.resolve("odd.example.net", "AAAA", server=SERVERS[0])

    assert (answer.addresses, answer.ttl) == (["192.0.2.66"], 60)
    assert "ffffffff" in answer.raw


def test_raw_reply_takes_the_id_of_the_question(shared_lab: Lab, pod) -> None:
    """Any bytes can be an answer."""
    shared_lab.internet.script("raw.example.net", Reply(raw=b"\0\0\x81\x80garbage"))
    query = bytes.fromhex("abcd01000001000000000000") + b"\x03raw\x07example\x03net\x00\x00\x01\x00\x01"

    assert pod.exchange(query, server=SERVERS[0]) == b"\xab\xcd\x81\x80garbage"


def test_long_answer_is_truncated_over_udp_alone(shared_lab: Lab, pod) -> None:
    """1,000 addresses come over TCP."""
    shared_lab.internet.set("big.example.net", *(f"30 A 203.0.{number >> 8}.{number & 255}" for number in range(1000)))
    over_udp = pod.resolve("big.example.net", server=SERVERS[0])
    over_tcp = pod.resolve("big.example.net", server=SERVERS[0], is_tcp=True)

    assert (over_udp.is_truncated, over_udp.addresses) == (True, [])
    assert len(over_tcp.addresses) == 1000


def test_generated_names_have_one_address_each(shared_lab: Lab, pod) -> None:
    """The number in the first label picks the address, in both families."""
    shared_lab.internet.generate("many.example.net", "198.18.0.0/15", "2001:db8:c::/64", ttl=7)
    answer4 = pod.resolve("x258.many.example.net", server=SERVERS[0])
    answer6 = pod.resolve("x258.many.example.net", "AAAA", server=SERVERS[0])

    assert (answer4.addresses, answer4.ttl, answer6.addresses) == (["198.18.1.2"], 7, ["2001:db8:c::102"])


def test_port_can_be_opened_later(shared_lab: Lab, pod) -> None:
    """A test that needs another port opens it."""
    shared_lab.internet.listen(9999)
    shared_lab.internet.listen(9999, "udp")

    assert pod.connect("192.0.2.1", 9999, payload="hello").is_connected
    assert pod.connect("2001:db8::1", 9999, "udp").is_connected
