"""How permits lie in the kernel's maps: where port ranges are cut, and which range maps a policy may ever need.

Pure. Always true: every RANGE piece of every permit of a policy is among its `ranges`, so that no map is made in the middle of a query.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from dnsfw.policy.model import Action
from dnsfw.policy.ports import Cuts, Kind, Piece, PortSet, elementary, partial_protocols, restricted, union
from dnsfw.policy.prepare import Prepared

_MEMORY = 64  # different results that one rule's ports may have; mostly one, and a full memory is emptied


@dataclass(frozen=True, slots=True)
class Layout:
    """Cuts, and the pieces found with them: cutting takes 20 µs, remembering none of it."""

    cuts: Cuts
    _known: dict[PortSet, tuple[Piece, ...]] = field(default_factory=dict, compare=False, repr=False)

    def pieces(self, ports: PortSet) -> tuple[Piece, ...]:
        if (pieces := self._known.get(ports)) is None:
            if len(self._known) >= _MEMORY:
                self._known.clear()
            pieces = self._known[ports] = ports.pieces(self.cuts)
        return pieces


Layouts = Mapping[frozenset[PortSet], Layout]


def layouts_of(rules: Sequence[Prepared]) -> Layouts:
    """By the ports that a rule has: cut at its own boundaries, and at those of the cluster rules, which take away from it."""
    cluster = Cuts.of(set(chain.from_iterable(each.ports for each in rules if each.rule.is_cluster))).points
    return {own: Layout(Cuts.of(own, cluster)) for own in {each.ports for each in rules}}


def ranges_of(rules: Sequence[Prepared], layouts: Layouts) -> frozenset[Piece]:
    """Every RANGE piece that a permit can have.

    A permit is a union of peers' ports without a union of cluster peers' ports. Of a protocol that it holds as a whole it is one piece, so
    ranges come up only where a peer of its own, or a cluster peer that takes away, holds the protocol in part.
    """
    taken = _partial(chain.from_iterable(own for own in {each.ports for each in rules if each.rule.is_cluster}))
    ranges: set[Piece] = set()
    for own in {each.ports for each in rules if each.rule.action is Action.ALLOW}:
        needed = union(restricted(ports, partial_protocols(ports) | taken) for ports in own)
        ranges.update(piece for piece in elementary(needed, layouts[own].cuts) if piece.kind is Kind.RANGE)
    return frozenset(ranges)


def _partial(sets: Iterable[PortSet]) -> frozenset[int]:
    return frozenset(chain.from_iterable(partial_protocols(each) for each in sets))
