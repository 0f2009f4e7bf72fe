"""The ledger: which pod was told which address for which name, and until when that may be used.

Pure: reads no clock, touches no kernel. `with_claims` says what a row would become and `standings` what elements that means; the owner
commits
these to the kernel, and only then calls `accept`.
Always true: an element lasts as long as the longest claim on its permission (max-merge), and a row that was accepted stands in the kernel.

Claims that have ended are kept until `forget`: a connection outlives its lease (NPEP-133), and when a part of a rule is taken back,
the claim is what tells whether that connection may stay.
"""

from collections.abc import Collection, Iterable, Iterator
from math import inf
from typing import Final, NamedTuple

from dnsfw.clock import Instant
from dnsfw.names import Name
from dnsfw.policy.model import PodUid, RuleRef
from dnsfw.policy.ports import Piece
from dnsfw.policy.snapshot import Permit

CLAIMS_A_ROW = 64  # not final, see hot.MOST_PLANS
"""With more names than this on one address of one pod (object stores, CDNs), those that end first are forgotten, but for the one that holds
a rule's ports open for longest: every element stands as it was told, and a name taken back closes what only forgotten ones still allow.
"""


_NEVER: Final = -inf
ADOPTED: Final = b"\xff"
"""How the names of claims begin that were found in the kernel at start: no label has 255 bytes, so no name does."""


class Claim:
    """One name's permission on the row's address; never changed. A class, not a named tuple: each new name makes one (ADR 0010)."""

    __slots__ = ("name", "permit", "until")

    def __init__(self, permit: Permit, name: Name, until: Instant) -> None:
        self.permit = permit
        self.name = name
        self.until = until

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Claim) and (self.permit, self.name, self.until) == (other.permit, other.name, other.until)

    def __repr__(self) -> str:
        return f"Claim({self.permit!r}, {self.name!r}, {self.until!r})"


class Standing(NamedTuple):
    """What a permission's element says in the kernel: the rule whose number it bears, and when it ends."""

    rule: RuleRef
    until: Instant


RowKey = tuple[PodUid, bytes]
"""The pod, and the address that it was told."""


Row = tuple[Claim, ...]
NO_ROW: Final[Row] = ()


def is_adopted(name: Name) -> bool:
    """The kernel keeps no names: such a claim stands only as long as the rule's content it was granted under."""
    return name[:1] == ADOPTED


def standings(row: Row) -> dict[Piece, Standing]:
    """The elements of a row. The claim that lasts longest names the rule; of several, the first by name, whatever came first.

    So a connection never bears the number of a rule whose own lease was over when it began.
    """
    found: dict[Piece, Standing] = {}
    for claim in row:
        rule, until = claim.permit.rule, claim.until
        for piece in claim.permit.pieces:
            before = found.get(piece)
            if before is None or before.until < until or (before.until == until and _comes_before(rule, before.rule)):
                found[piece] = Standing(rule, until)
    return found


def _comes_before(rule: RuleRef, other: RuleRef) -> bool:
    return (rule.namespace, rule.name, rule.uid) < (other.namespace, other.name, other.uid)


def with_claims(row: Row, claims: Iterable[Claim]) -> Row:
    """The row with these claims on top; the same rule and name are one claim: its newest permit, its latest end."""
    merged = {(claim.permit.rule, claim.name): claim for claim in row}
    for claim in claims:
        key = (claim.permit.rule, claim.name)
        before = merged.get(key)
        merged[key] = claim if before is None or before.until <= claim.until else Claim(claim.permit, claim.name, before.until)
    return tuple(merged.values()) if len(merged) <= CLAIMS_A_ROW else _bounded(merged.values())


def _bounded(claims: Iterable[Claim]) -> Row:
    """As many as the bound allows; more only where each stands for something else, which the rules alone can bring about.

    A claim that held other ports than all that are kept would leave its connections behind without anything that tells when they must end.
    """
    ordered = sorted(claims, key=lambda claim: claim.until)
    longest = {(claim.permit.rule, claim.permit.pieces): claim for claim in ordered}
    needed = set(map(id, longest.values()))
    spare = [claim for claim in ordered if id(claim) not in needed]
    room = max(0, CLAIMS_A_ROW - len(longest))
    return (*spare[len(spare) - min(room, len(spare)) :], *longest.values())


def loses_claims(before: Row, claims: Iterable[Claim], after: Row) -> bool:
    """Whether the row had no room for all: what `with_claims` made of it lacks a claim that it was made of."""
    return len(after) >= CLAIMS_A_ROW and len({(claim.permit.rule, claim.name) for claim in (*before, *claims)}) > len(after)


def is_claim_of(claim: Claim, permit: Permit, name: Name) -> bool:
    """Whether it is this name's, on the same ports by the same rule."""
    same = claim.permit
    return claim.name == name and (same is permit or (same.rule == permit.rule and same.ports == permit.ports))


_Kept = Claim | Row
"""A row as it is kept: its only claim, as nearly all have, without a tuple around it. 64 bytes of 300 less, and half the objects for the
collector to look at.
"""
_NOTHING: Final[dict[bytes, _Kept]] = {}  # of a pod without rows; never written


class Ledger:
    """All rows, by pod and address. Held by one owner."""

    def __init__(self) -> None:
        self._rows: dict[PodUid, dict[bytes, _Kept]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Rows, those with ended claims included."""
        return self._count

    def row(self, pod: PodUid, address: bytes) -> Row:
        kept = self._rows.get(pod, _NOTHING).get(address, NO_ROW)
        return (kept,) if isinstance(kept, Claim) else kept

    def knows(self, pod: PodUid, address: bytes) -> bool:
        """Whether there is a row."""
        return address in self._rows.get(pod, _NOTHING)

    def ends(self, pod: PodUid, address: bytes, permit: Permit, name: Name) -> Instant:
        """Until when this name's claim on this permission stands, or stood; -infinity where there is none."""
        kept = self._rows.get(pod, _NOTHING).get(address)
        if kept is None:
            return _NEVER
        if isinstance(kept, Claim):
            return kept.until if is_claim_of(kept, permit, name) else _NEVER
        return next((claim.until for claim in kept if is_claim_of(claim, permit, name)), _NEVER)

    def addresses_of(self, pod: PodUid) -> Collection[bytes]:
        """Those that have a row, as they come and go."""
        return self._rows.get(pod, _NOTHING)

    def rows_of(self, pod: PodUid) -> Iterator[tuple[bytes, Row]]:
        for address, kept in self._rows.get(pod, _NOTHING).items():
            yield address, (kept,) if isinstance(kept, Claim) else kept

    def pods(self) -> Iterator[PodUid]:
        return iter(self._rows)

    def accept(self, rows: dict[RowKey, Row]) -> None:
        """Take rows that the kernel has acknowledged; an empty one is dropped."""
        for (pod, address), row in rows.items():
            if not row:
                self._drop(pod, address)
                continue
            if (held := self._rows.get(pod)) is None:
                held = self._rows[pod] = {}
            self._count += address not in held
            held[address] = row[0] if len(row) == 1 else row

    def _drop(self, pod: PodUid, address: bytes) -> None:
        held = self._rows.get(pod)
        if held is None or held.pop(address, None) is None:
            return
        self._count -= 1
        if not held:
            del self._rows[pod]

    def clear(self) -> None:
        self._rows = {}
        self._count = 0

    def remove_pod(self, pod: PodUid) -> None:
        self._count -= len(self._rows.pop(pod, _NOTHING))
