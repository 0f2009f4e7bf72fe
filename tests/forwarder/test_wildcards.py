"""A7 and A8: what is refused though a wildcard allows the name."""

from dataclasses import replace
from typing import Any

import pytest
from exchanges import SENDER, SETTINGS, T0, ede, ends, rcode
from small_world import UNFILTERED, allow, deny, subject
from wire_messages import ask

from dnsfw.forwarder.events import Ask, Effect, Identified
from dnsfw.forwarder.exchange import Exchange
from dnsfw.forwarder.settings import ForwarderSettings, Refusal
from dnsfw.forwarder.wildcards import has_limits
from dnsfw.policy.model import Mode
from dnsfw.policy.snapshot import Subject

TXT, NULL = 16, 10
NO_TXT = replace(SETTINGS, wildcard_refused_types=(TXT, NULL))
SHORT_NAMES = replace(SETTINGS, wildcard_name_octets=20)
SHORT_LABELS = replace(SETTINGS, wildcard_label_octets=8)
BELOW = subject(allow("*.example.net"))
WRITTEN_OUT = subject(allow("*.example.net", "long-label.example.net", "x.example.net"))
ALL = subject(allow("*"))
CANARY = "use-application-dns.net"


def asked(who: Subject, text: str, qtype: int = 1, settings: ForwarderSettings = SETTINGS) -> tuple[Effect, ...]:
    return Exchange(ask(text, qtype, edns=True), SENDER, settings, T0).handle(Identified(who), T0)


@pytest.mark.parametrize(
    ("text", "qtype", "settings", "reason"),
    [
        pytest.param("x.example.net", TXT, NO_TXT, "type-below-wildcard", id="txt"),
        pytest.param("x.example.net", NULL, NO_TXT, "type-below-wildcard", id="null"),
        pytest.param("12345.example.net", 1, replace(SETTINGS, wildcard_name_octets=18), "length-below-wildcard", id="name"),
        pytest.param("123456789.example.net", 1, SHORT_LABELS, "length-below-wildcard", id="label"),
    ],
)
def test_a7_what_tunnels_are_made_of_is_refused(text: str, qtype: int, settings: ForwarderSettings, reason: str) -> None:
    """REFUSED with EDE 18, on record with its rule, and never asked upstream."""
    sent, record = ends(asked(BELOW, text, qtype, settings))

    assert (rcode(sent), ede(sent)) == (5, [(18, reason)])
    assert (record.decision, record.reason, record.rule) == ("refused", reason, "shop/egress")


@pytest.mark.parametrize(
    ("who", "text", "qtype", "settings"),
    [
        pytest.param(BELOW, "x.example.net", 1, NO_TXT, id="other-types"),
        pytest.param(BELOW, "x.example.net", TXT, SETTINGS, id="off-by-default"),
        pytest.param(BELOW, "12345.example.net", 1, replace(SETTINGS, wildcard_name_octets=19), id="just-short-enough"),
        pytest.param(BELOW, "12345678.example.net", 1, SHORT_LABELS, id="label-just-short-enough"),
        pytest.param(ALL, ".", 1, SHORT_LABELS, id="the-root-has-no-label"),
        pytest.param(WRITTEN_OUT, "x.example.net", TXT, NO_TXT, id="written-out"),
        pytest.param(WRITTEN_OUT, "long-label.example.net", 1, SHORT_NAMES, id="written-out-and-long"),
        pytest.param(subject(allow("*", CANARY)), CANARY, 1, SETTINGS, id="written-out-canary"),
        pytest.param(subject(allow("*.example.net", mode=Mode.AUDIT)), "x.example.net", TXT, NO_TXT, id="audited"),
        pytest.param(subject(deny("*.example.org")), "x.example.net", TXT, NO_TXT, id="open"),
        pytest.param(subject(), CANARY, 1, SETTINGS, id="not-selected"),
        pytest.param(subject(allow(), settings=UNFILTERED), "x.example.net", TXT, NO_TXT, id="filter-off"),
        pytest.param(BELOW, "x.cluster.local", TXT, NO_TXT, id="the-clusters"),
    ],
)
def test_a7_others_are_asked(who: Subject, text: str, qtype: int, settings: ForwarderSettings) -> None:
    """Names that a rule writes out, pods that are not held to their rules, and whatever is within bounds."""
    assert [type(effect) for effect in asked(who, text, qtype, settings)] == [Ask]


@pytest.mark.parametrize("refusal", Refusal)
@pytest.mark.parametrize("qtype", [1, 28, 65])
def test_a8_the_canary_is_nxdomain_under_a_wildcard(qtype: int, refusal: Refusal) -> None:
    """Browsers that ask whether they may use DNS over HTTPS by themselves hear that they may not."""
    sent, record = ends(asked(ALL, CANARY, qtype, replace(SETTINGS, refusal=refusal)))

    assert (rcode(sent), [code for code, _ in ede(sent)]) == (3, [15])
    assert (record.decision, record.reason) == ("refused", "doh-canary")


@pytest.mark.parametrize(
    ("changed", "is_limited"),
    [
        pytest.param({}, False, id="as-it-comes"),
        pytest.param({"wildcard_refused_types": (16,)}, True, id="type"),
        pytest.param({"wildcard_name_octets": 100}, True, id="name"),
        pytest.param({"wildcard_label_octets": 40}, True, id="label"),
    ],
)
def test_limits_are_off_by_default(changed: dict[str, Any], is_limited: bool) -> None:
    """Whoever takes a shorter way asks whether there are any."""
    assert has_limits(ForwarderSettings(listen=(), upstreams=(), **changed)) is is_limited
