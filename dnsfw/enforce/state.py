"""All that enforcement holds, in one place, touched by the loop's thread only.

Whoever changes it first commits to the kernel. Always true: where the kernel may hold anything else than this says, `trouble` is set, and
nothing is granted until it has been brought back in line.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from dnsfw.clock import Clock
from dnsfw.enforce.asked import View
from dnsfw.enforce.cuts import Cuts
from dnsfw.enforce.guard import Guard
from dnsfw.enforce.journal import Journal
from dnsfw.enforce.layout import Layout
from dnsfw.enforce.numbers import Numbers
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.enforce.targets import Place
from dnsfw.policy.ledger import Ledger, RowKey
from dnsfw.policy.model import IPAddress, PodUid, RuleRef
from dnsfw.policy.snapshot import Snapshot
from nft.changes import Change
from nft.conntrack import Connections
from nft.errors import KernelUnreachableError, NftError
from nft.kernel import Kernel
from nft.objects import Set

RECENT_COMMITS = 1024
CLOSED_ADDRESSES = 65_536
"""Addresses of removed pods that stay closed; beyond, the oldest is let go (IPv6 pods need never reuse one)."""
CUT_PAIRS = 1 << 19
"""Half of what the kernel's set holds, since what traffic renews there outlives what we know; beyond, the oldest is let go. Pods that come
and go with many grants would fill the set otherwise, and a full set refuses every change of rules.
"""


class Followers(Protocol):
    """Whoever decides elsewhere by what is in force here (dnsfw.workers); nobody is waited for without a bound."""

    async def follow(self, snapshot: Snapshot) -> None:
        """Returns when nobody decides by an older snapshot any more; the kernel is narrowed only then."""
        ...

    def in_force(self, snapshot: Snapshot) -> None:
        """The kernel has it: what the snapshot permits can be granted from now on."""
        ...

    def tell_trouble(self, trouble: str) -> None:
        """`State.trouble` is another."""
        ...

    def forget(self, key: RowKey) -> None:
        """The row was full and has lost a claim before its end."""
        ...


class Nobody:
    """No followers: this process answers all queries itself."""

    async def follow(self, snapshot: Snapshot) -> None: ...

    def in_force(self, snapshot: Snapshot) -> None: ...

    def tell_trouble(self, trouble: str) -> None: ...

    def forget(self, key: RowKey) -> None: ...


@dataclass(slots=True)
class State(View):
    """snapshot: the newest in force. placed, live: the small sets as the kernel has them, by address, and the numbers in force.
    stale: addresses at which they may be others by now. starved: pods that found no number for their rules' CIDRs.
    cut: revoked peers, against their return as ingress. closed: addresses of removed pods, oldest first. trouble: why
    nothing may be granted now, "" when all is well. alarm: wakes whoever mends.
    deferred: changes of elements that may wait, since their numbers are dead or survivors' (a newer change of the same element replaces
    them).
    written: rows written while a new snapshot is being judged, None otherwise.
    followers: who decides by this state in other processes.
    """

    settings: EnforceSettings
    layout: Layout
    kernel: Kernel
    connections: Connections
    clock: Clock
    journal: Journal
    numbers: Numbers
    guard: Guard
    ledger: Ledger = field(default_factory=Ledger)
    snapshot: Snapshot | None = None
    placed: dict[bytes, Place] = field(default_factory=dict)
    live: set[int] = field(default_factory=set)
    stale: set[IPAddress] = field(default_factory=set)
    starved: set[PodUid] = field(default_factory=set)
    cut: Cuts = field(default_factory=Cuts)
    closed: dict[IPAddress, None] = field(default_factory=dict)
    trouble: str = "starting"
    alarm: asyncio.Event = field(default_factory=asyncio.Event)
    commits: int = 0
    commit_failures: int = 0
    commit_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_COMMITS))
    written: set[RowKey] | None = None
    deferred: dict[tuple[Set, bytes], Change] = field(default_factory=dict)
    followers: Followers = field(default_factory=Nobody)

    def is_behind(self) -> bool:
        return bool(self.deferred)

    def commit(self, changes: Sequence[Change]) -> None:
        """One transaction, acknowledged when this returns; NftError: nothing of it has happened, or nobody knows, and `trouble` says so."""
        if not changes:
            return
        begun = perf_counter()
        try:
            self.kernel.commit(changes)
        except NftError as error:
            self.commit_failures += 1
            if isinstance(error, KernelUnreachableError):
                self.distrust(f"the kernel did not say what became of a change: {error}")
            raise
        for change in changes if self.deferred else ():
            self.deferred.pop((change.set, change.key), None)
        self.commits += 1
        self.commit_seconds.append(perf_counter() - begun)

    def distrust(self, why: str) -> None:
        """The kernel may not hold what we think: nothing is granted until it has been mended."""
        self.say_trouble(why)
        self.alarm.set()

    def say_trouble(self, trouble: str) -> None:
        """How it stands from now on; "": all is well again."""
        self.trouble = trouble
        self.followers.tell_trouble(trouble)

    def numbers_of(self, pod: PodUid) -> Callable[[RuleRef], int | None]:
        """Rule -> this pod's number for it."""
        return lambda rule: self.numbers.of_rule(pod, rule)

    def close_address(self, address: IPAddress) -> None:
        self.closed.pop(address, None)
        self.closed[address] = None
        self.stale.add(address)
        while len(self.closed) > CLOSED_ADDRESSES:
            oldest = next(iter(self.closed))
            del self.closed[oldest]
            self.stale.add(oldest)
