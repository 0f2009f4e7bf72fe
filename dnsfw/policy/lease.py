"""How long a grant lasts. Pure; whole seconds, as they stand in DNS messages.

Always true: a lease ends after the TTL that was answered, and is never 0, which nftables would read as "for ever".
"""

from typing import Final

from dnsfw.policy.model import LeaseLimits

_SIGN: Final = 1 << 31


def effective_ttl(wire: int) -> int:
    """A TTL as it counts: one with the high bit set is 0 (RFC 2181 §8). Taken before the minimum along a chain, or it would not show."""
    return 0 if wire & _SIGN else wire


def answer_bound(ttl: int, limits: LeaseLimits) -> int:
    """The most that may be answered as TTL (the answer itself keeps upstream's where that is less)."""
    return max(limits.min_seconds, min(effective_ttl(ttl), limits.max_seconds))


def lease(bound: int, limits: LeaseLimits) -> int:
    """How long the kernel keeps an address that was answered with at most this TTL (`answer_bound`)."""
    # nftables reads timeout 0 as "never expires" (design §2), and all of the TTL, the minimum and the grace may be 0.
    return max(1, bound + limits.grace_seconds)
