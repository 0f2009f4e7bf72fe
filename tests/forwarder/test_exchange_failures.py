"""Rules that change under way, and what goes wrong."""

from dataclasses import replace
from ipaddress import ip_address
from math import inf

import pytest
from exchanges import AUDITED, CHANGED, NOBODY, ONE, OPEN, SELECTED, T0, UNTOUCHED, ede, ends, exchange_of, rcode, replied, run
from small_world import allow, subject
from wire_messages import a, ask, packed, response

from dnsfw.forwarder.events import (
    Aborted,
    DeadlinePassed,
    Effect,
    EnsureGrants,
    Event,
    GrantsSettled,
    Identified,
    UpstreamFailed,
)
from dnsfw.forwarder.exchange import MAX_DECISIONS
from dnsfw.policy.grants import Granted, NotGranted
from dnsfw.policy.model import PodUid
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Stance, Subject


def test_rules_changed_while_upstream_was_asked() -> None:
    """The newest snapshot decides when the answer comes: no grant is asked for, no address leaves."""
    data, record = ends(run(exchange_of(), Identified(SELECTED), replied(response(a(ONE)), NOBODY)))

    assert (rcode(data), record.decision, record.addresses) == (3, "refused", "")


def test_rules_changed_for_a_pod_without_grants() -> None:
    """An open pod's name denied meanwhile is refused as well."""
    asked = ask("x.example.org")
    data, _ = ends(run(exchange_of(asked), Identified(UNTOUCHED), replied(response(a(ONE), text="x.example.org"), OPEN, asked=asked)))

    assert rcode(data) == 3


def test_pod_gone_while_upstream_was_asked() -> None:
    """Nobody is there to answer to; nobody is waited for again."""
    data, record = ends(run(exchange_of(), Identified(SELECTED), replied(response(a(ONE)), Reason.UNKNOWN_POD)))

    assert (rcode(data), record.reason, record.pod) == (2, "unknown-pod", "")


def test_a6_heir_of_the_address_gets_no_answer_that_it_did_not_ask_for() -> None:
    """The pod is gone, another has its address and even its labels: no grant for that one, no answer."""
    heir = Subject(replace(SELECTED.pod, uid=PodUid("heir")), SELECTED.policy)
    data, record = ends(run(exchange_of(), Identified(SELECTED), replied(response(a(ONE)), heir)))

    assert (rcode(data), record.reason, record.addresses) == (2, "unknown-pod", "")


def test_rules_changed_before_the_grant() -> None:
    """The exchange decides again with the answer in hand: refused under the new rules, granted under the new subject."""
    again = subject(allow("www.example.net"))
    refused = run(exchange_of(), Identified(SELECTED), replied(response(a(ONE)), SELECTED), GrantsSettled(CHANGED, NOBODY))
    asked_again = run(exchange_of(), Identified(SELECTED), replied(response(a(ONE)), SELECTED), GrantsSettled(CHANGED, again))

    assert rcode(ends(refused)[0]) == 3
    assert asked_again == (EnsureGrants(again, ask().name, (packed(ONE),), 60),)


def test_rules_changed_between_the_ack_and_its_news() -> None:
    """What was granted a moment ago is revoked already: no address of it leaves; under other rules or addresses it is asked for anew."""
    granted = Granted(until=inf, ttl=60, grants=1)
    moved = replace(SELECTED, pod=replace(SELECTED.pod, addresses=(ip_address("10.0.0.77"),)))

    def after(identity: Subject | Reason) -> tuple[Effect, ...]:
        return run(exchange_of(), Identified(SELECTED), replied(response(a(ONE)), SELECTED), GrantsSettled(granted, identity))

    assert rcode(ends(after(NOBODY))[0]) == 3
    assert rcode(ends(after(Reason.KERNEL_FAILED))[0]) == 2
    assert after(moved) == (EnsureGrants(moved, ask().name, (packed(ONE),), 60),)


def test_rules_that_change_all_the_time() -> None:
    """Bounded: then SERVFAIL, and no address."""
    exchange = exchange_of(ask(edns=True))
    run(exchange, Identified(SELECTED), replied(response(a(ONE)), SELECTED))
    for _ in range(MAX_DECISIONS):
        (effect,) = exchange.handle(GrantsSettled(CHANGED, SELECTED), T0)
        assert isinstance(effect, EnsureGrants)
    data, record = ends(exchange.handle(GrantsSettled(CHANGED, SELECTED), T0))

    assert (rcode(data), ede(data), record.reason) == (2, [(0, "rules-changed")], "rules-changed")


def test_waits_add_up() -> None:
    """The time spent on installing is the sum over all decisions."""
    exchange = exchange_of()
    settled = GrantsSettled(Granted(until=inf, ttl=60, grants=1), SELECTED)
    _, record = ends(run(exchange, Identified(SELECTED), replied(response(a(ONE)), SELECTED), GrantsSettled(CHANGED, SELECTED), settled))

    assert (record.upstream_us, record.install_us) == (250_000, 500_000)


@pytest.mark.parametrize(
    ("reason", "info"),
    [
        (Reason.KERNEL_FAILED, 14),
        (Reason.KERNEL_TIMEOUT, 14),
        (Reason.POD_QUOTA, 18),
        (Reason.NODE_QUOTA, 0),
        (Reason.NO_NUMBER, 14),
        (Reason.QUEUE_FULL, 0),
    ],
)
def test_f3_not_granted_is_not_answered(reason: Reason, info: int) -> None:
    """SERVFAIL with EDE, the addresses withheld."""
    asked = ask(edns=True)
    data, record = ends(
        run(exchange_of(asked), Identified(SELECTED), replied(response(a(ONE)), SELECTED), GrantsSettled(NotGranted(reason), SELECTED))
    )

    assert (rcode(data), ede(data)) == (2, [(info, reason.value)])
    assert (record.decision, record.reason, record.addresses, record.rule) == ("failed", reason.value, "", "shop/egress")


def test_audit_is_answered_without_grant() -> None:
    """Nothing is refused in Audit mode, not even for a kernel that fails; the record says so."""
    events = (Identified(AUDITED), replied(response(a(ONE)), AUDITED), GrantsSettled(NotGranted(Reason.KERNEL_FAILED), AUDITED))
    data, record = ends(run(exchange_of(), *events))

    assert AUDITED.policy.stance is Stance.AUDIT
    assert data == response(a(ONE), ident=7)
    assert (record.decision, record.reason, record.grants, record.ttl) == ("would-refuse", "kernel-failed", 0, 60)


@pytest.mark.parametrize(("reason", "info"), [(Reason.UPSTREAM_FAILED, 23), (Reason.UPSTREAM_TIMEOUT, 22), (Reason.MALFORMED_ANSWER, 23)])
def test_f1_upstream_fails(reason: Reason, info: int) -> None:
    """SERVFAIL, with the time it took."""
    data, record = ends(run(exchange_of(ask(edns=True)), Identified(SELECTED), UpstreamFailed(reason)))

    assert (rcode(data), ede(data)) == (2, [(info, reason.value)])
    assert (record.decision, record.reason, record.upstream_us, record.rule) == ("failed", reason.value, 250_000, "shop/egress")


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((), Reason.NOT_READY),
        ((Identified(Reason.UNKNOWN_POD),), Reason.UNKNOWN_POD),
        ((Identified(SELECTED),), Reason.UPSTREAM_TIMEOUT),
        ((Identified(SELECTED), replied(response(a(ONE)), SELECTED)), Reason.KERNEL_TIMEOUT),
    ],
)
def test_f1_deadline(events: tuple[Event, ...], reason: Reason) -> None:
    """After four seconds SERVFAIL, whatever is waited for; the record says what it was."""
    exchange = exchange_of()
    data, record = ends(run(exchange, *events, DeadlinePassed()))

    assert exchange.deadline == T0 + 4.0
    assert (rcode(data), record.reason) == (2, reason.value)


@pytest.mark.parametrize("events", [(), (Identified(SELECTED),), (Identified(SELECTED), replied(response(a(ONE)), SELECTED))])
def test_aborted(events: tuple[Event, ...]) -> None:
    """The service may end it at any time; the record still knows the pod."""
    data, record = ends(run(exchange_of(), *events, Aborted(Reason.STOPPING, SELECTED)))

    assert (rcode(data), record.reason, record.pod) == (2, "stopping", "app")


LATE = [
    Identified(SELECTED),
    replied(response(a(ONE)), SELECTED),
    UpstreamFailed(Reason.UPSTREAM_FAILED),
    GrantsSettled(Granted(until=inf, ttl=60, grants=1), SELECTED),
    DeadlinePassed(),
    Aborted(Reason.STOPPING, SELECTED),
]


@pytest.mark.parametrize("late", LATE, ids=lambda event: type(event).__name__)
def test_u18_what_comes_after_the_end_changes_nothing(late: Event) -> None:
    """Late and second answers: no second response, no second record."""
    exchange = exchange_of()
    run(exchange, Identified(NOBODY))

    assert exchange.handle(late, T0 + 9) == ()


@pytest.mark.parametrize(
    ("events", "late"),
    [
        ((), LATE[1]),
        ((), LATE[2]),
        ((), LATE[3]),
        ((Identified(Reason.UNKNOWN_POD),), LATE[1]),
        ((Identified(SELECTED),), LATE[0]),
        ((Identified(SELECTED),), LATE[3]),
        ((Identified(SELECTED), LATE[1]), LATE[0]),
        ((Identified(SELECTED), LATE[1]), LATE[1]),
        ((Identified(SELECTED), LATE[1]), LATE[2]),
    ],
)
def test_what_is_not_waited_for_is_not_heard(events: tuple[Event, ...], late: Event) -> None:
    """An event that answers another question does nothing."""
    exchange = exchange_of()
    run(exchange, *events)

    assert exchange.handle(late, T0) == ()
    assert not exchange.is_done
