"""A7 and A8: an allowed wildcard as a tunnel, and browsers that look for another resolver."""

import pytest
from scene import IS_TRUE, NOERROR, NXDOMAIN, REFUSED, TRUE, Scene
from wire_messages import opt

RULES = """
apiVersion: dnsfw.io/v1alpha1
kind: FQDNEgressRule
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, egress: [{toFQDNs: ["*", "written.out.example.net"]}]}
"""
LABEL, NAME = 30, 60
FLAGS = (
    *("--wildcard-refuse-type", "TXT", "--wildcard-refuse-type", "NULL"),
    *("--max-wildcard-label", str(LABEL), "--max-wildcard-name", str(NAME)),
)
WAYS = ("udp", "tcp")
PROHIBITED, BLOCKED = 18, 15


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("below", "qtype", "reason"),
    [
        pytest.param("", 16, "type-below-wildcard", id="txt"),
        pytest.param("", 10, "type-below-wildcard", id="null"),
        pytest.param("a" * (LABEL + 1) + ".", 1, "length-below-wildcard", id="long-label"),
        pytest.param("a.b.c." * 8, 1, "length-below-wildcard", id="long-name"),
    ],
)
async def test_a7_what_carries_a_tunnel_is_refused(scene: Scene, way: str, below: str, qtype: int, reason: str) -> None:
    """REFUSED with EDE 18, on record, and upstream, which is whom a tunnel speaks to, hears nothing."""
    name = below + scene.name

    response = await scene.ask(name, qtype, way=way, edns=opt())

    assert (response.rcode, response.ede, scene.asked) == (REFUSED, [PROHIBITED], [])
    assert await scene.why(name=name) == [("refused", reason)]


@pytest.mark.parametrize("qtype", [1, 16])
async def test_a7_names_that_a_rule_writes_out_are_not_held_to_it(scene: Scene, qtype: int) -> None:
    """Who has written the name knows what is asked there."""
    scene.upstream.on_udp(TRUE)

    assert (await scene.ask("written.out.example.net", qtype)).rcode == NOERROR
    assert (await scene.ask()).addresses == IS_TRUE


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("qtype", [1, 28])
async def test_a8_the_canary_says_that_there_is_a_resolver(scene: Scene, way: str, qtype: int) -> None:
    """Under `*` too: NXDOMAIN, so that browsers do not go over to DNS over HTTPS by themselves."""
    response = await scene.ask("use-application-dns.net", qtype, way=way, edns=opt())

    assert (response.rcode, response.ede, scene.asked) == (NXDOMAIN, [BLOCKED], [])
    assert ("refused", "doh-canary") in await scene.why(name="use-application-dns.net")
