"""Who asks, whether the name may be asked, and what happens before there is an answer."""

import dns.message
import pytest
from exchanges import NOBODY, OPEN, OVER_TCP, SELECTED, SENDER, T0, ede, ends, exchange_of, rcode, run
from small_world import POD, SOURCE, TWIN, allow, deny, snapshot, subject
from wire_messages import ask, header, opt, query

from dnsfw.audit.record import QueryRecord
from dnsfw.forwarder.events import (
    Ask,
    Identified,
    Record,
    WaitForPod,
    identify,
)
from dnsfw.forwarder.exchange import reject, unread
from dnsfw.forwarder.settings import ForwarderSettings, Refusal
from dnsfw.forwarder.wire import Rejected, parse_query
from dnsfw.policy.reasons import Reason


@pytest.mark.parametrize(
    ("snapshot_", "source", "is_pod_interface", "identity"),
    [
        pytest.param(None, SOURCE, True, Reason.NOT_READY, id="no-snapshot"),
        pytest.param(snapshot(), "10.1.0.6", False, Reason.UNKNOWN_SOURCE, id="b18-stranger"),
        pytest.param(snapshot(), "10.1.0.6", True, Reason.UNKNOWN_POD, id="unknown-on-a-pods-interface"),
        pytest.param(snapshot(pods=(POD, TWIN)), SOURCE, True, Reason.ADDRESS_CONFLICT, id="two-pods-of-one-address"),
        pytest.param(snapshot(pods=(POD, TWIN)), "10.1.0.6", True, Reason.UNKNOWN_POD, id="conflict-elsewhere"),
        pytest.param(snapshot(pods=(POD, TWIN)), "fe80::1%eth0", False, Reason.UNKNOWN_SOURCE, id="scoped-address"),
    ],
)
def test_who_is_nobody(snapshot_, source: str, is_pod_interface: bool, identity: Reason) -> None:
    """Each way of being no pod has its reason."""
    assert identify(snapshot_, source, is_pod_interface=is_pod_interface) is identity


def test_a_pod_is_itself() -> None:
    """A known address is its pod, wherever the query comes in."""
    now = snapshot()

    assert identify(now, SOURCE, is_pod_interface=False) is now.by_source[SOURCE]


@pytest.mark.parametrize(
    ("reason", "code", "decision", "info"),
    [
        (Reason.UNKNOWN_SOURCE, 5, "refused", 18),
        (Reason.ADDRESS_CONFLICT, 2, "failed", 14),
        (Reason.NOT_READY, 2, "failed", 14),
        (Reason.KERNEL_FAILED, 2, "failed", 14),
    ],
)
def test_b18_nobody_is_turned_away(reason: Reason, code: int, decision: str, info: int) -> None:
    """Identity comes first: who is no servable pod gets no decision, and nothing goes upstream."""
    data, record = ends(run(exchange_of(ask(edns=True)), Identified(reason)))

    assert (rcode(data), ede(data)) == (code, [(info, reason.value)])
    assert record == QueryRecord(
        5.0, "", "", "", SOURCE, "udp", "www.example.net", 1, decision, reason.value, "", code, "", "", "", -1, 0, 0, 0
    )


def test_unknown_pod_is_waited_for() -> None:
    """Up to two seconds; then the query takes its usual way."""
    exchange = exchange_of()

    assert exchange.handle(Identified(Reason.UNKNOWN_POD), T0) == (WaitForPod(T0 + 2.0),)
    assert exchange.handle(Identified(SELECTED), T0 + 1) == (Ask(exchange.query),)


def test_the_wait_ends_with_the_deadline() -> None:
    """Nobody is waited for longer than a client waits for an answer."""
    settings = ForwarderSettings(listen=(), upstreams=(), answer_seconds=1.5)

    assert exchange_of(settings=settings).handle(Identified(Reason.UNKNOWN_POD), T0) == (WaitForPod(T0 + 1.5),)


def test_unknown_pod_stays_unknown() -> None:
    """SERVFAIL, not REFUSED: the client may ask again."""
    data, record = ends(run(exchange_of(ask(edns=True)), Identified(Reason.UNKNOWN_POD), Identified(Reason.UNKNOWN_POD)))

    assert (rcode(data), ede(data), record.reason, record.decision) == (2, [(14, "unknown-pod")], "unknown-pod", "failed")


@pytest.mark.parametrize(("refusal", "code"), [(Refusal.NXDOMAIN, 3), (Refusal.REFUSED, 5)])
def test_refused_name_is_not_asked(refusal: Refusal, code: int) -> None:
    """NXDOMAIN, or REFUSED by setting, with EDE 15; nothing goes upstream."""
    settings = ForwarderSettings(listen=(), upstreams=(), refusal=refusal)
    data, record = ends(run(exchange_of(ask("evil.example.org", edns=True), settings=settings), Identified(SELECTED)))

    assert (rcode(data), ede(data)) == (code, [(15, None)])
    assert (record.decision, record.reason, record.rcode, record.namespace, record.pod, record.pod_uid) == (
        "refused",
        "no-rule",
        code,
        "shop",
        "app",
        "u1",
    )


@pytest.mark.parametrize("qtype", [1, 28, 255, 16, 65, 65280])
@pytest.mark.parametrize("who", [SELECTED, NOBODY, subject(allow("*"), deny("*.example.org")), subject(deny("*.example.org"))])
def test_a27_all_refusals_are_the_same_bytes(who, qtype: int) -> None:
    """Whatever refuses it, the answer to one question is one and the same; ANY is refused as all else."""
    asked = ask("x.example.org", qtype, edns=True)
    data, _ = ends(run(exchange_of(asked), Identified(who)))

    assert data == ends(run(exchange_of(asked), Identified(NOBODY)))[0]
    assert rcode(data) == 3


def test_refusing_rule_is_on_record() -> None:
    """The record names the rule that the client must not learn."""
    _, record = ends(run(exchange_of(ask("x.example.org")), Identified(OPEN)))

    assert (record.rule, record.reason) == ("never", "denied-by-rule")


def test_without_a_rule_none_is_on_record() -> None:
    """Default-deny is nobody's rule."""
    _, record = ends(run(exchange_of(ask("x.example.org")), Identified(SELECTED)))

    assert (record.rule, record.reason) == ("", "no-rule")


def test_any_is_answered_by_us() -> None:
    """HINFO, nothing upstream, nothing granted (B11)."""
    data, record = ends(run(exchange_of(ask(qtype=255)), Identified(SELECTED)))

    assert "HINFO" in str(dns.message.from_wire(data).answer[0])
    assert (record.decision, record.reason, record.rule, record.qtype) == ("allowed", "allowed", "shop/egress", 255)


def rejected(data: bytes) -> Rejected:
    found = parse_query(data)
    assert isinstance(found, Rejected)
    return found


def test_b1_drops_leave_nothing() -> None:
    """No response, no record: they are counted where they come in."""
    assert reject(rejected(b""), SENDER, SELECTED) == ()


@pytest.mark.parametrize(
    ("data", "code", "decision", "reason", "asked"),
    [
        pytest.param(header(qd=0), 1, "failed", "malformed-query", ("", 0), id="b4-formerr"),
        pytest.param(query(flags=0x2800), 4, "refused", "not-supported", ("", 0), id="b3-notimp"),
        pytest.param(query(qclass=3), 5, "refused", "not-supported", ("www.example.net", 1), id="b10-class"),
        pytest.param(query(qtype=252), 5, "refused", "not-supported", ("www.example.net", 252), id="b11-axfr"),
    ],
)
def test_b3_b4_b10_b11_rejected_queries_are_on_record(data: bytes, code: int, decision: str, reason: str, asked) -> None:
    """One response, one record, as far as the query could be read."""
    sent, record = ends(reject(rejected(data), SENDER, SELECTED))

    assert rcode(sent) == code
    assert record == QueryRecord(5.0, "shop", "app", "u1", SOURCE, "udp", *asked, decision, reason, "", code, "", "", "", -1, 0, 0, 0)


@pytest.mark.parametrize("data", [header(qd=0), query(flags=0x2800), query(qtype=252), query(opt(ttl=1 << 16))])
def test_b18_strangers_get_refused_for_broken_queries_too(data: bytes) -> None:
    """Who is no pod learns nothing about what we can read."""
    sent, record = ends(reject(rejected(data), SENDER, Reason.UNKNOWN_SOURCE))

    assert (rcode(sent), record.rcode, record.decision, record.pod) == (5, 5, "refused", "")
    assert len(sent) <= len(data) + 6


@pytest.mark.parametrize("identity", [Reason.UNKNOWN_POD, Reason.NOT_READY])
def test_rejected_queries_do_not_wait(identity: Reason) -> None:
    """What cannot be judged needs no pod."""
    sent, _ = ends(reject(rejected(header(qd=0)), SENDER, identity))

    assert rcode(sent) == 1


def test_b13_badvers() -> None:
    """The extended rcode is in the OPT; the record keeps what the header says."""
    sent, record = ends(reject(rejected(query(opt(ttl=1 << 16))), SENDER, SELECTED))

    assert dns.message.from_wire(sent).rcode() == 16
    assert record.decision == "refused"


def test_a_connection_that_is_refused_leaves_a_record_alone() -> None:
    """Nobody has asked anything yet: no name, no response, but who came and why not."""
    (effect,) = unread(OVER_TCP, SELECTED, Reason.TOO_MANY_CONNECTIONS)

    assert effect == Record(
        QueryRecord(5.0, "shop", "app", "u1", SOURCE, "tcp", "", 0, "refused", "too-many-connections", "", -1, "", "", "", -1, 0, 0, 0)
    )
