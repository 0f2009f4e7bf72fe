"""When an upstream is down and up again, and what may be in flight."""

import pytest

from dnsfw.forwarder.admission import RESERVED, InFlight, Rate
from dnsfw.forwarder.health import MIN_PROBE_SECONDS, Health
from dnsfw.policy.reasons import Reason


def test_so_many_failures_in_a_row_take_an_upstream_down() -> None:
    """Two are borne, the third says that it is down, the fourth says nothing new."""
    health = Health(3, 0.7)

    assert [health.failed(1.0) for _ in range(4)] == [False, False, True, False]
    assert health.is_down


def test_an_answer_in_between_begins_the_count_anew() -> None:
    """Failures count only in a row."""
    health = Health(2, 0.7)
    health.failed(0.5)

    assert not health.heard(10.0)
    assert not health.failed(11.0)
    assert not health.is_down


def test_a_slow_name_is_no_fault_of_an_upstream_that_answers_others() -> None:
    """Silence about one question counts only if nothing was heard since it was asked."""
    health = Health(1, 0.7)
    health.heard(10.0)

    assert not health.failed(9.0)
    assert not health.failed(10.0)
    assert health.failed(10.5)


def test_an_answer_brings_it_back_once() -> None:
    """The first answer says so, the second says nothing new."""
    health = Health(1, 0.7)
    health.failed(0.5)

    assert [health.heard(1.0), health.heard(2.0)] == [True, False]
    assert not health.is_down


def test_probes_come_at_growing_bounded_intervals_and_start_over() -> None:
    """Doubling up to the bound, so neither a busy loop nor a late return; the next time down begins quickly again."""
    health = Health(1, 0.7)
    health.failed(0.5)

    waits = [health.next_probe() for _ in range(5)]
    health.heard(1.0)

    assert waits == [MIN_PROBE_SECONDS, 2 * MIN_PROBE_SECONDS, 4 * MIN_PROBE_SECONDS, 0.7, 0.7]
    assert health.next_probe() == MIN_PROBE_SECONDS


@pytest.mark.parametrize(
    ("entered", "asking", "refusal"),
    [
        pytest.param([], "a", None, id="empty"),
        pytest.param(["a"], "a", None, id="below-its-bound"),
        pytest.param(["a", "a"], "a", Reason.IN_FLIGHT, id="at-its-bound"),
        pytest.param(["a", "a"], "b", None, id="another-is-not-harmed"),
        pytest.param(["a", "b", "b"], "c", None, id="at-the-bound-of-all-but-quiet"),
    ],
)
def test_in_flight_is_bounded_for_each_and_for_all(entered: list[str], asking: str, refusal: Reason | None) -> None:
    """Two for each, three in all."""
    in_flight = InFlight(2, 3)
    for owner in entered:
        in_flight.enter(owner)

    assert in_flight.refusal(asking) is refusal


def test_a_bound_of_one_lets_one_in() -> None:
    """And no second beside it."""
    in_flight = InFlight(1, 3)

    assert in_flight.refusal("a") is None
    in_flight.enter("a")
    assert in_flight.refusal("a") is Reason.IN_FLIGHT


def test_a_crowd_cannot_keep_a_quiet_pod_out() -> None:
    """With all places taken, who has many waits for a place, and who has few gets one of those kept for such."""
    in_flight = InFlight(100, 40)
    for _ in range(40):
        in_flight.enter("crowd")

    assert in_flight.refusal("crowd") is Reason.QUEUE_FULL
    for _ in range(RESERVED):
        assert in_flight.refusal("quiet") is None
        in_flight.enter("quiet")
    assert in_flight.refusal("quiet") is Reason.QUEUE_FULL


def test_a_rate_counts_different_things_of_each_owner() -> None:
    """Two a minute: the third is refused, the first again is not, another owner's is not, and a minute later all is new."""
    rate = Rate(2, 60.0)

    assert [rate.takes("a", thing, 61.0) for thing in ("x", "y", "z", "x")] == [True, True, False, True]
    assert rate.takes("b", "z", 62.0)
    assert not rate.takes("a", "z", 119.0)
    assert rate.takes("a", "z", 121.0)


def test_a_rate_of_zero_takes_all() -> None:
    """Off is off, and remembers nothing."""
    rate = Rate(0, 1.0)

    assert all(rate.takes("a", thing, 0.0) for thing in range(100))


def test_who_leaves_makes_room() -> None:
    """All counted in, all counted out."""
    in_flight = InFlight(2, 3)
    for _ in range(2):
        in_flight.enter("a")

    in_flight.leave("a")
    assert (in_flight.refusal("a"), len(in_flight)) == (None, 1)
    in_flight.leave("a")
    assert len(in_flight) == 0
