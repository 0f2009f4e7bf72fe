"""A question on its way to the upstreams: what it begins with, and how it ends."""

from dnsfw.forwarder.inquiry import Failure, Inquiry, Outcome, UpstreamQuery
from dnsfw.forwarder.timers import Timer
from dnsfw.policy.reasons import Reason

QUERY = UpstreamQuery(b"message", b"key", b"shared", "10.1.0.5", b"eXaCt")
SILENCE = Failure(Reason.UPSTREAM_TIMEOUT, "nobody answered")
T0 = 1000.0


class Released:
    """A socket that keeps which ids it may forget."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def release(self, message_id: int) -> None:
        self.ids.append(message_id)


def inquiry(told: list[Outcome], *order: int) -> Inquiry:
    return Inquiry(QUERY, order or (0,), T0, T0 + 4, told.append)


def test_it_begins_with_the_first_try_at_the_first_upstream() -> None:
    """Of the order that it is given; nothing has been sent, heard or timed yet."""
    begun = inquiry([], 2, 0, 1)

    assert (begun.message, begun.key, begun.shared_key, begun.source, begun.exact) == (b"message", b"key", b"shared", "10.1.0.5", b"eXaCt")
    assert (begun.order, begun.turn, begun.resends, begun.server) == ((2, 0, 1), 0, 0, 2)
    assert (begun.asked_at, begun.tried_at, begun.deadline) == (T0, T0, T0 + 4)
    assert (begun.is_over_tcp, begun.is_done, begun.fallback, begun.timer) == (False, False, None, None)


def test_each_try_goes_to_the_next_upstream() -> None:
    """Round and round."""
    asked = inquiry([], 2, 0)
    servers = []
    for asked.turn in range(3):
        servers.append(asked.server)

    assert servers == [2, 0, 2]


def test_all_who_wait_are_told_once() -> None:
    """Those who joined, too; and none of them again."""
    told: list[Outcome] = []
    asked = inquiry(told)
    asked.join(told.append)

    asked.finish(SILENCE)
    assert (told, asked.is_done) == ([SILENCE, SILENCE], True)
    asked.finish(SILENCE)
    assert told == [SILENCE, SILENCE]


def test_the_end_leaves_nothing_behind() -> None:
    """No timer waits, no socket holds an id for it."""
    first, second, waiting = Released(), Released(), {}
    asked = inquiry([])
    asked.timer = Timer(waiting, lambda: None)
    for carrier, message_id in ((first, 7), (second, 8), (first, 9)):
        asked.carried(carrier, message_id)

    asked.finish(SILENCE)
    asked.finish(SILENCE)
    assert (waiting, asked.timer) == ({}, None)
    assert (first.ids, second.ids) == ([7, 9], [8])


def test_who_has_let_go_is_not_asked_to() -> None:
    """Of this very way: the same id may stand on another socket."""
    first, second = Released(), Released()
    asked = inquiry([])
    for carrier in (first, second):
        asked.carried(carrier, 7)
    asked.let_go(second, 7)
    asked.let_go(first, 8)
    asked.let_go(first, 7)

    asked.finish(SILENCE)
    assert (first.ids, second.ids) == ([], [7])
