"""Which peers of which pods were revoked and may not come back as ingress (design §2), and what a change of rules gives back.

Pure. Always true: a pair is found by its pod's address without a look at the others.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import islice

from dnsfw.clock import Instant
from dnsfw.policy.model import Action
from dnsfw.policy.ports import PortSet, union
from dnsfw.policy.snapshot import Policy, Stance

Pair = tuple[bytes, bytes]
"""A pod's address, and its peer's."""


class Cuts:
    """The pairs, the oldest first, and when each ends if nobody knocks."""

    def __init__(self) -> None:
        self._until: dict[Pair, Instant] = {}
        self._peers: dict[bytes, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, pair: Pair) -> bool:
        return pair in self._until

    def items(self) -> Iterator[tuple[Pair, Instant]]:
        return iter(tuple(self._until.items()))

    def of(self, source: bytes) -> list[Pair]:
        return [(source, peer) for peer in self._peers.get(source, ())]

    def add(self, pair: Pair, until: Instant) -> None:
        """As the newest."""
        self.discard(pair)
        self._until[pair] = until
        self._peers.setdefault(pair[0], set()).add(pair[1])

    def discard(self, pair: Pair) -> None:
        if self._until.pop(pair, None) is None:
            return
        peers = self._peers[pair[0]]
        peers.discard(pair[1])
        if not peers:
            del self._peers[pair[0]]

    def beyond(self, most: int) -> list[Pair]:
        """The oldest of those that are too many."""
        return list(islice(self._until, max(0, len(self._until) - most)))

    def put_off(self, pair: Pair, until: Instant) -> None:
        """It lasts longer, at its place; one that is gone by now stays gone."""
        if pair in self._until:
            self._until[pair] = until

    def due(self, now: Instant) -> list[Pair]:
        return [pair for pair, until in self._until.items() if until <= now]


def gives_back(before: Policy | None, after: Policy, peer: bytes) -> bool:
    """Whether a policy opens something at this peer by itself that the one before it, if any, did not; answers of DNS aside."""
    return bool(_reach(after, peer) - (PortSet.NONE if before is None else _reach(before, peer)))


def _reach(policy: Policy, peer: bytes) -> PortSet:
    if policy.stance is Stance.UNTOUCHED:
        return PortSet.EVERY
    if policy.stance is Stance.ENFORCE:
        return union(permit.ports for permit in policy.judge_address(peer))
    address = ip_address(peer)
    denied = (step for step in policy.steps if step.action is Action.DENY and any(address in network for network in step.networks))
    return PortSet.EVERY - union(step.ports for step in denied)
