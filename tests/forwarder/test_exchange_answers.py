"""What becomes of upstream's answer."""

from dataclasses import replace
from math import inf

import dns.message
import pytest
from exchanges import (
    AUDITED,
    METADATA,
    NOBODY,
    ONE,
    OPEN,
    OVER_TCP,
    SELECTED,
    SENDER,
    SETTINGS,
    T0,
    UNTOUCHED,
    ede,
    ends,
    exchange_of,
    rcode,
    replied,
    run,
    through,
)
from small_world import SOURCE, UNFILTERED, allow, deny, subject
from wire_messages import ANSWERED, TO_QUESTION, a, ask, cname, header, name, opt, packed, question, response, rr, soa

from dnsfw.audit.record import QueryRecord
from dnsfw.forwarder.account import Sender
from dnsfw.forwarder.events import (
    Ask,
    EnsureGrants,
    GrantsSettled,
    Identified,
)
from dnsfw.forwarder.rewrite import MAX_REWRITTEN
from dnsfw.forwarder.wire import Query
from dnsfw.policy.grants import Granted
from dnsfw.policy.model import Mode, RuleRef
from dnsfw.policy.snapshot import Subject


def test_answer_waits_for_the_kernel() -> None:
    """Addresses of an allowed name are granted before they are answered."""
    exchange = exchange_of()
    data = response(cname(TO_QUESTION, "b.net", 300), a(ONE, 90, "b.net"))

    assert exchange.handle(Identified(SELECTED), T0) == (Ask(exchange.query),)
    assert exchange.handle(replied(data, SELECTED), T0 + 0.5) == (EnsureGrants(SELECTED, exchange.query.name, (packed(ONE),), 90),)
    sent, record = ends(exchange.handle(GrantsSettled(Granted(until=inf, ttl=30, grants=2), SELECTED), T0 + 0.75))

    assert sent == response(cname(TO_QUESTION, "b.net", 30), a(ONE, 30, "b.net"), ident=7)
    assert record == QueryRecord(
        5.0,
        "shop",
        "app",
        "u1",
        SOURCE,
        "udp",
        "www.example.net",
        1,
        "allowed",
        "allowed",
        "shop/egress",
        0,
        ONE,
        "",
        "b.net",
        30,
        2,
        500_000,
        250_000,
    )
    assert exchange.is_done


def test_ttl_is_the_smaller_of_upstreams_and_the_grants() -> None:
    """A grant that is longer than the TTL changes nothing in the answer."""
    reply = replied(response(a(ONE, 9)), SELECTED)
    data, record = ends(run(exchange_of(), Identified(SELECTED), reply, GrantsSettled(Granted(until=inf, ttl=30, grants=1), SELECTED)))

    assert (data, record.ttl) == (response(a(ONE, 9), ident=7), 9)


def test_cached_answer_is_granted_for_what_remains() -> None:
    """The age is taken off the TTL that is granted and answered; no time was spent upstream."""
    exchange = exchange_of()
    exchange.handle(Identified(SELECTED), T0)

    (ensure,) = exchange.handle(replied(response(a(ONE, 90)), SELECTED, age=20, is_cached=True), T0 + 1)
    data, record = ends(exchange.handle(GrantsSettled(Granted(until=inf, ttl=80, grants=1), SELECTED), T0 + 1))
    assert ensure == EnsureGrants(SELECTED, exchange.query.name, (packed(ONE),), 70)
    assert (data, record.ttl, record.upstream_us, record.install_us) == (response(a(ONE, 70), ident=7), 70, 0, 0)


def test_waits_are_recorded_in_microseconds() -> None:
    """Three seconds are three million, upstream and in the kernel."""
    exchange = exchange_of()
    exchange.handle(Identified(SELECTED), T0)
    exchange.handle(replied(response(a(ONE)), SELECTED), T0 + 3)
    _, record = ends(exchange.handle(GrantsSettled(Granted(until=inf, ttl=60, grants=1), SELECTED), T0 + 5))

    assert (record.upstream_us, record.install_us) == (3_000_000, 2_000_000)


def test_age_never_makes_a_ttl_negative() -> None:
    """An answer older than its TTL has none left."""
    ensure = through(SELECTED, response(a(ONE, 90)))[0]
    exchange = exchange_of()
    exchange.handle(Identified(SELECTED), T0)
    (aged,) = exchange.handle(replied(response(a(ONE, 90)), SELECTED, age=91), T0)

    assert isinstance(ensure, EnsureGrants) and isinstance(aged, EnsureGrants)
    assert (ensure.ttl, aged.ttl) == (90, 0)


@pytest.mark.parametrize(
    ("asked", "data", "ttl"),
    [
        pytest.param(ask(qtype=16), response(rr(TO_QUESTION, 16, b"\1a", 33), a(ONE), qtype=16), 33, id="u16-txt"),
        pytest.param(ask(), response(authority=(soa(5),)), -1, id="nodata"),
        pytest.param(ask(), response(a(ONE, 44), flags=ANSWERED | 3), 44, id="u7-nxdomain-with-address"),
        pytest.param(ask(), response(a(ONE, 44), flags=ANSWERED | 0x200), 44, id="u6-truncated"),
        pytest.param(ask(), response(a(ONE, 44, "other.example.net")), 44, id="u8-off-the-chain"),
        pytest.param(ask(), response(additional=(a(ONE),)), -1, id="u13-additional"),
        pytest.param(ask(), response(flags=ANSWERED | 2), -1, id="servfail"),
        pytest.param(ask(), response(flags=ANSWERED | 15), -1, id="highest-rcode"),
    ],
)
def test_answers_without_grantable_addresses_pass(asked: Query, data: bytes, ttl: int) -> None:
    """They are relayed as they are, and nothing is granted."""
    sent, record = ends(through(SELECTED, data, asked=asked))

    assert sent == b"\0\7" + data[2:]
    assert (record.decision, record.addresses, record.grants, record.ttl) == ("allowed", "", 0, ttl)


def test_b13_upstreams_word_about_edns_is_not_the_clients() -> None:
    """An extended rcode speaks of our hop."""
    data, record = ends(through(SELECTED, response(additional=(opt(ttl=1 << 24),)), asked=ask(edns=True)))

    assert (rcode(data), ede(data), record.reason) == (2, [(23, "upstream-failed")], "upstream-failed")


@pytest.mark.parametrize(
    ("who", "text", "decision", "reason"),
    [
        (UNTOUCHED, "www.example.net", "passed", "not-selected"),
        (OPEN, "www.example.net", "allowed", "allowed"),
        (SELECTED, "db.cluster.local", "passed", "cluster-name"),
        (NOBODY, "5.0.0.10.in-addr.arpa", "passed", "cluster-name"),
        (subject(allow("*.example.net"), settings=UNFILTERED), "www.example.org", "passed", "dns-filter-off"),
        (AUDITED, "www.example.org", "would-refuse", "audit-mode"),
    ],
)
def test_answers_that_need_no_grant(who, text: str, decision: str, reason: str) -> None:
    """Open and untouched pods, names of the cluster, no filter, and what Audit would refuse: answered at once."""
    asked = ask(text)
    data, record = ends(through(who, response(a(ONE, 50), text=text), asked=asked))

    assert data == response(a(ONE, 50), text=text, ident=7)
    assert (record.decision, record.reason, record.addresses, record.ttl, record.grants) == (decision, reason, ONE, 50, 0)


TRIED = replace(allow("*.example.org", mode=Mode.AUDIT), ref=RuleRef(namespace="shop", name="tried", uid="r3"))
TRIED_DENY = replace(deny("*.example.net"), mode=Mode.AUDIT)


@pytest.mark.parametrize(
    ("who", "text", "said"),
    [
        pytest.param(subject(allow("*.example.net"), TRIED), "www.example.org", ("refused", "audit-mode", "shop/tried"), id="would-allow"),
        pytest.param(subject(allow("*.example.net"), TRIED), "www.example.com", ("refused", "no-rule", ""), id="would-not-either"),
        pytest.param(
            subject(allow("*.example.net"), TRIED_DENY), "www.example.net", ("would-refuse", "audit-mode", "never"), id="would-deny"
        ),
        pytest.param(subject(TRIED_DENY), "www.example.net", ("would-refuse", "audit-mode", "never"), id="would-deny-of-an-open-pod"),
        pytest.param(
            subject(allow("*.example.net"), TRIED, settings=UNFILTERED),
            "www.example.org",
            ("passed", "audit-mode", "shop/tried"),
            id="would-allow-unfiltered",
        ),
    ],
)
def test_the_record_names_the_audit_rule_that_would_change_the_outcome(who: Subject, text: str, said: tuple[str, str, str]) -> None:
    """Beside an enforced rule an Audit rule changes nothing, but what it would have made of the question is recorded."""
    exchange = exchange_of(ask(text))
    effects = exchange.handle(Identified(who), T0)
    if isinstance(effects[0], Ask):
        effects = exchange.handle(replied(response(a(ONE, 50), text=text), who, asked=exchange.query), T0)
    if isinstance(effects[0], EnsureGrants):
        effects = exchange.handle(GrantsSettled(Granted(until=inf, ttl=30, grants=1), who), T0)
    _, record = ends(effects)

    assert (record.decision, record.reason, record.rule) == said


@pytest.mark.parametrize(("sender", "is_truncated"), [(SENDER, True), (OVER_TCP, False)])
def test_b14_large_answers_are_truncated_over_udp_alone(sender: Sender, is_truncated: bool) -> None:
    """What is not answered is not on record as answered."""
    data, record = ends(through(UNTOUCHED, response(*[a(f"192.0.2.{octet}") for octet in range(40)]), sender=sender))

    assert bool(data[2] & 2) is is_truncated
    assert len(record.addresses.split()) == (0 if is_truncated else 40)
    assert record.transport == sender.transport


def test_u6_what_is_cut_for_the_client_opens_nothing() -> None:
    """Addresses that cannot fit its datagram: TC at once, no grant; over TCP both. Nor does each such query cost what they would."""
    addresses = [f"198.51.100.{number}" for number in range(100)]
    over_udp, over_tcp = (through(SELECTED, response(*map(a, addresses)), sender=sender) for sender in (SENDER, OVER_TCP))

    sent, record = ends(over_udp)
    assert (sent[2] & 2, len(sent), record.decision, record.addresses, record.grants) == (2, 33, "allowed", "", 0)
    assert over_tcp == (EnsureGrants(SELECTED, ask().name, tuple(map(packed, addresses)), 60),)


def test_u14_address_types_of_ipv6() -> None:
    """AAAA grants as A does, and reads as IPv6 in the record."""
    asked = ask(qtype=28)
    address = bytes.fromhex("20010db8000000000000000000000001")
    reply = replied(response(rr(TO_QUESTION, 28, address), qtype=28), SELECTED, asked=asked)
    _, record = ends(run(exchange_of(asked), Identified(SELECTED), reply, GrantsSettled(Granted(until=inf, ttl=60, grants=1), SELECTED)))

    assert record.addresses == "2001:db8::1"


def test_u15_protected_addresses_are_taken_out() -> None:
    """Of a selected pod's answer; the rest is granted and answered."""
    exchange = exchange_of()
    (ensure,) = run(exchange, Identified(SELECTED), replied(response(a(METADATA), a(ONE), additional=(a(METADATA),)), SELECTED))
    data, record = ends(exchange.handle(GrantsSettled(Granted(until=inf, ttl=60, grants=1), SELECTED), T0))

    assert isinstance(ensure, EnsureGrants)
    assert ensure.addresses == (packed(ONE),)
    assert data == response(a(ONE), ident=7)
    assert (record.addresses, record.removed, record.decision) == (ONE, METADATA, "allowed")


@pytest.mark.parametrize("address", [METADATA, "127.0.0.1", "10.9.9.9", "0.1.2.3", "224.0.0.1"])
def test_u15_nothing_left_is_nodata(address: str) -> None:
    """NODATA with EDE 15: the name exists, its addresses are closed."""
    data, record = ends(through(SELECTED, response(cname(TO_QUESTION, "b.net"), a(address, owner="b.net")), asked=ask(edns=True)))
    message = dns.message.from_wire(data)

    assert (message.rcode(), message.answer, ede(data)) == (0, [], [(15, None)])
    assert (record.decision, record.reason, record.removed, record.addresses, record.chain, record.ttl) == (
        "refused",
        "protected-address",
        address,
        "",
        "b.net",
        -1,
    )


def test_lists_in_the_record_are_separated_by_spaces() -> None:
    """Addresses taken out and aliases alike, in order."""
    data = response(cname(TO_QUESTION, "b.net"), cname("b.net", "c.net"), a(METADATA, owner="c.net"), a("127.0.0.1", owner="c.net"))
    _, record = ends(through(SELECTED, data))

    assert (record.removed, record.chain) == (f"{METADATA} 127.0.0.1", "b.net c.net")


def test_u15_nothing_is_granted_for_what_cannot_be_written() -> None:
    """An answer that is too long to take a protected address out: seen before the grants, and on record with all that it tried."""
    many = [a(f"198.18.{number >> 8}.{number & 255}", owner="b.net") for number in range(MAX_REWRITTEN)]
    data, record = ends(through(SELECTED, response(cname(TO_QUESTION, "b.net"), a(METADATA, owner="b.net"), *many), sender=OVER_TCP))

    assert rcode(data) == 2
    assert (record.decision, record.reason, record.removed, record.chain, record.grants) == (
        "failed",
        "malformed-answer",
        METADATA,
        "b.net",
        0,
    )


def test_what_need_not_be_taken_out_may_be_long() -> None:
    """Where the pod is only audited, nothing is taken out, so nothing is written anew."""
    many = [a(f"198.18.{number >> 8}.{number & 255}", owner="b.net") for number in range(MAX_REWRITTEN)]
    data = response(cname(TO_QUESTION, "b.net"), a(METADATA, owner="b.net"), *many)
    (ensure,) = through(AUDITED, data, sender=OVER_TCP)

    assert isinstance(ensure, EnsureGrants)


def test_u15_off_the_chain_too() -> None:
    """What does not grant is taken out none the less, and leaves the answer as empty as it was."""
    data, record = ends(through(SELECTED, response(a(METADATA, owner="other.example.net"))))

    assert data == response(ident=7)
    assert (record.decision, record.removed) == ("allowed", METADATA)


@pytest.mark.parametrize(
    ("who", "text"),
    [(UNTOUCHED, "www.example.net"), (OPEN, "www.example.net"), (SELECTED, "db.cluster.local")],
)
def test_u15_not_for_open_pods_or_the_clusters_names(who, text: str) -> None:
    """Pods that no rule closes, and the cluster's own names, keep what upstream says."""
    data, record = ends(through(who, response(a("10.9.9.9"), text=text), asked=ask(text)))

    assert data == response(a("10.9.9.9"), text=text, ident=7)
    assert (record.removed, record.addresses) == ("", "10.9.9.9")


def test_u15_audit_records_what_it_would_take_out() -> None:
    """In Audit mode nothing is refused."""
    data, record = ends(through(AUDITED, response(a(METADATA))))

    assert data == response(a(METADATA), ident=7)
    assert (record.decision, record.reason, record.removed, record.addresses) == ("would-refuse", "protected-address", METADATA, METADATA)


def test_u15_audit_grants_the_others() -> None:
    """Protected addresses are never asked for, even where nothing is refused."""
    exchange = exchange_of()
    (ensure,) = run(exchange, Identified(AUDITED), replied(response(a(METADATA), a(ONE)), AUDITED))
    data, record = ends(exchange.handle(GrantsSettled(Granted(until=inf, ttl=60, grants=1), AUDITED), T0))

    assert isinstance(ensure, EnsureGrants)
    assert ensure.addresses == (packed(ONE),)
    assert data == response(a(METADATA), a(ONE), ident=7)
    assert (record.decision, record.grants, record.addresses) == ("would-refuse", 1, f"{METADATA} {ONE}")


MANY = response(*(a(f"198.51.100.{number}") for number in range(4)), text="www.example.net")


@pytest.mark.parametrize("is_granting", [True, False], ids=["selected", "open"])
def test_u11_addresses_beyond_the_limit_are_left_out(is_granting: bool) -> None:
    """What is answered is what was granted; a pod that nothing is granted to has no such limit."""
    who = SELECTED if is_granting else OPEN
    exchange = exchange_of(settings=replace(SETTINGS, addresses_per_answer=3))
    effects = run(exchange, Identified(who), replied(MANY, who))
    if is_granting:
        assert effects == (EnsureGrants(who, exchange.query.name, tuple(packed(f"198.51.100.{each}") for each in range(3)), 60),)
        effects = exchange.handle(GrantsSettled(Granted(until=inf, ttl=60, grants=3), who), T0)

    sent, record = ends(effects)

    assert len(dns.message.from_wire(sent, one_rr_per_rrset=True).answer) == (3 if is_granting else 4)
    assert (record.reason, record.removed) == (("too-many-addresses", "198.51.100.3") if is_granting else ("allowed", ""))
    assert len(record.addresses.split()) == (3 if is_granting else 4)


def test_u11_audit_answers_them_all() -> None:
    """While a pod is audited, nothing is left out, and what would be stands in the record; three are granted."""
    exchange = exchange_of(settings=replace(SETTINGS, addresses_per_answer=3))
    (wanted,) = run(exchange, Identified(AUDITED), replied(MANY, AUDITED))
    sent, record = ends(exchange.handle(GrantsSettled(Granted(until=inf, ttl=60, grants=3), AUDITED), T0))

    assert isinstance(wanted, EnsureGrants) and len(wanted.addresses) == 3
    assert len(dns.message.from_wire(sent, one_rr_per_rrset=True).answer) == 4
    assert (record.decision, record.reason, record.removed) == ("would-refuse", "too-many-addresses", "198.51.100.3")


def test_a_record_stays_small() -> None:
    """A hundred addresses are written out; how many more there were is told."""
    addresses = [f"198.51.{number >> 8}.{number & 255}" for number in range(300)]
    listed = [
        ends(through(UNTOUCHED, response(*map(a, some)), sender=OVER_TCP))[1].addresses.split() for some in (addresses, addresses[:100])
    ]

    assert listed == [[*addresses[:100], "+200"], addresses[:100]]


def test_audit_refusal_outweighs_a_protected_address() -> None:
    """A name that would be refused is on record as that."""
    asked = ask("www.example.org")
    _, record = ends(through(AUDITED, response(a(METADATA), text="www.example.org"), asked=asked))

    assert (record.decision, record.reason) == ("would-refuse", "audit-mode")


def test_what_cannot_be_rewritten_fails() -> None:
    """An answer with protected addresses and broken data leaves as SERVFAIL, not at all in part."""
    data = response(a(METADATA), rr(TO_QUESTION, 15, b"\0"), qtype=15)
    sent, record = ends(through(SELECTED, data, asked=ask(qtype=15)))

    assert (sent, record.reason, record.decision) == (header(7, 0x8182) + question(qtype=15), "malformed-answer", "failed")


SERVICE = "pay.shop.svc.cluster.local"


def test_external_name_is_judged_as_its_target() -> None:
    """An alias that leaves the cluster domain is granted under the name outside, if that is allowed."""
    asked = ask(SERVICE)
    data = response(
        cname(TO_QUESTION, "in.cluster.local"), cname("in.cluster.local", "www.example.net"), a(ONE, 60, "www.example.net"), text=SERVICE
    )
    (ensure,) = through(SELECTED, data, asked=asked)

    assert ensure == EnsureGrants(SELECTED, name("www.example.net"), (packed(ONE),), 60)


@pytest.mark.parametrize("qtype", [1, 16])
def test_external_name_that_is_refused(qtype: int) -> None:
    """A refused target is a refusal, whatever was asked of it."""
    asked = ask(SERVICE, qtype, edns=True)
    data, record = ends(through(SELECTED, response(cname(TO_QUESTION, "www.example.org"), text=SERVICE, qtype=qtype), asked=asked))

    assert (rcode(data), ede(data)) == (3, [(15, None)])
    assert (record.decision, record.reason) == ("refused", "no-rule")


def test_external_name_may_not_reach_protected_addresses() -> None:
    """Outside the cluster's names the cluster's addresses are closed (A1)."""
    data = response(cname(TO_QUESTION, "www.example.net"), a("10.9.9.9", owner="www.example.net"), text=SERVICE)
    _, record = ends(through(SELECTED, data, asked=ask(SERVICE)))

    assert (record.decision, record.removed) == ("refused", "10.9.9.9")


def test_a10_alias_of_an_allowed_name_is_not_judged() -> None:
    """Where an allowed name's alias leads is its owner's choice; the chain is on record."""
    exchange = exchange_of()
    (ensure,) = run(
        exchange, Identified(SELECTED), replied(response(cname(TO_QUESTION, "x.example.org"), a(ONE, owner="x.example.org")), SELECTED)
    )

    assert ensure == EnsureGrants(SELECTED, exchange.query.name, (packed(ONE),), 60)
