"""Leases: how long a grant outlives its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.policy.lease import answer_bound, effective_ttl, lease
from dnsfw.policy.model import LeaseLimits

DEFAULT = LeaseLimits()


@pytest.mark.parametrize(
    ("ttl", "bound"),
    [
        pytest.param(0, 30, id="a12-zero"),
        pytest.param(29, 30, id="below"),
        pytest.param(30, 30, id="least"),
        pytest.param(31, 31, id="between"),
        pytest.param(3600, 3600, id="most"),
        pytest.param(3601, 3600, id="above"),
        pytest.param(2**31 - 1, 3600, id="a13-largest"),
        pytest.param(2**31, 30, id="u12-high-bit-is-zero"),
        pytest.param(2**32 - 1, 30, id="u12-all-bits-are-zero"),
    ],
)
def test_u12_lease_is_clamped_ttl_and_grace(ttl: int, bound: int) -> None:
    """TTL clamped to [minSeconds, maxSeconds], plus graceSeconds; the answer may keep the clamped TTL."""
    assert answer_bound(ttl, DEFAULT) == bound
    assert lease(bound, DEFAULT) == bound + 10


@pytest.mark.parametrize(("wire", "ttl"), [(0, 0), (1, 1), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**31 + 5, 0), (2**32 - 1, 0)])
def test_u12_high_bit_makes_a_ttl_zero(wire: int, ttl: int) -> None:
    """RFC 2181 §8."""
    assert effective_ttl(wire) == ttl


@given(st.integers(0, 2**32 - 1), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_a12_a_lease_is_never_for_ever(ttl: int, low: int, more: int, grace: int) -> None:
    """nftables keeps an element with timeout 0 for ever; and no lease ends before what was answered."""
    limits = LeaseLimits(min_seconds=low, max_seconds=low + more, grace_seconds=grace)

    bound = answer_bound(ttl, limits)
    assert lease(bound, limits) >= max(1, bound)


def test_a12_the_least_lease_is_one_second() -> None:
    """Where TTL, minimum and grace are all 0."""
    assert lease(0, LeaseLimits(min_seconds=0, max_seconds=10, grace_seconds=0)) == 1
