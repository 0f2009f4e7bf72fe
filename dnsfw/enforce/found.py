"""What an earlier process has left in the kernel, read back as claims: elements whose number still means what the journal says.

Pure. Always true: nothing is adopted whose rule, surroundings or pod's addresses are not exactly those under which it was granted.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dnsfw.clock import Instant
from dnsfw.enforce.layout import Layout, family_of
from dnsfw.enforce.numbers import Holder, Meaning
from dnsfw.enforce.rejudge import bases_of, is_contested
from dnsfw.enforce.targets import basis_at, static_holders
from dnsfw.names import Name
from dnsfw.policy.ledger import ADOPTED, Claim, Row, RowKey, with_claims
from dnsfw.policy.model import LeaseLimits, PodUid
from dnsfw.policy.ports import ICMP, ICMPV6, SCTP, TCP, UDP, Kind, Piece, PortEntry, PortSet, ports_of
from dnsfw.policy.snapshot import Permit, Snapshot, Subject
from nft.objects import Element, Set

PROTOCOL_NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP", ICMP: "ICMP"}
ALL_NAMED = ports_of([PortEntry(name) for name in PROTOCOL_NAMES.values()])


@dataclass(slots=True)
class Found:
    """kept/spent: numbers that still stand, and those that do not. met: every number that opens connections, or that an element bears.

    rows: what the kept elements come to. stray: elements to take away.
    """

    kept: dict[int, Meaning] = field(default_factory=dict)
    spent: dict[int, Meaning] = field(default_factory=dict)
    met: set[int] = field(default_factory=set)
    rows: dict[RowKey, Row] = field(default_factory=dict)
    stray: list[Element] = field(default_factory=list)


def sort_numbers(live: Iterable[int], journal: Mapping[int, Meaning], snapshot: Snapshot) -> Found:
    """Which of the numbers that are live in the kernel still mean what they did; none of a pod whose address another one has, too."""
    found = Found()
    standing: dict[PodUid, dict[Holder, str]] = {}
    taken: set[Holder] = set()
    # A crash between a number and its successor leaves two for one holder: the younger, later in the journal, is kept.
    ages = {number: age for age, number in enumerate(journal)}
    found.met.update(live)
    for number in sorted(found.met, key=lambda number: -ages.get(number, -1)):
        meaning = journal.get(number)
        if meaning is None:
            continue
        subject = snapshot.subjects.get(meaning.holder.pod)
        if subject is not None and subject.pod.uid not in standing:
            standing[subject.pod.uid] = {} if is_contested(subject, snapshot) else _bases(subject)
        bases = {} if subject is None else standing[subject.pod.uid]
        still = bases.get(meaning.holder) == meaning.basis and meaning.holder not in taken
        taken |= {meaning.holder} if still else set()
        (found.kept if still else found.spent)[number] = meaning
    return found


def sort_elements(found: Found, layout: Layout, snapshot: Snapshot, elements: Iterable[Element], now: Instant) -> None:
    """Elements of kept numbers become claims; all others are stray."""
    by_address = {address.packed: subject for subject in snapshot.subjects.values() for address in subject.pod.addresses}
    for element in elements:
        number = element.data >> layout.shift if isinstance(element.data, int) else 0
        found.met.add(number)
        meaning, piece = found.kept.get(number), piece_of(layout, element.set, element.key)
        size = address_size(element.set)
        source, destination = element.key[:size], element.key[size : 2 * size]
        subject = by_address.get(source)
        if meaning is None or piece is None or subject is None or subject.pod.uid != meaning.holder.pod or element.expires_ms is None:
            found.stray.append(element)
            continue
        key = (subject.pod.uid, destination)
        claim = Claim(_permit(meaning, piece), _name(piece), now + element.expires_ms / 1000)
        found.rows[key] = with_claims(found.rows.get(key, ()), (claim,))


def address_size(of: Set) -> int:
    """Bytes of an address in this set's keys."""
    return 4 if of.key[0] == "ipv4_addr" else 16


def piece_of(layout: Layout, of: Set, key: bytes) -> Piece | None:
    """The permission that an element of this set stands for; None if the set is none of the grants'."""
    size = address_size(of)
    sets = layout.sets_of(family_of(key[:size]))
    rest = key[2 * size :]
    if of.name == sets.port.name:
        port = int.from_bytes(rest[4:6], "big")
        return Piece(Kind.PORT, rest[0], port, port)
    if of.name == sets.protocol.name:
        protocol = ICMP if rest[0] == ICMPV6 else rest[0]
        return Piece(Kind.PROTOCOL, protocol, 0, 0 if protocol == ICMP else 65535)
    if of.name == sets.other.name:
        return Piece(Kind.OTHER)
    if of.name == sets.any.name:
        return Piece(Kind.ANY, 0, 0, 65535)
    return range_of(of.name)


def range_of(set_name: str) -> Piece | None:
    """`range_6_8000_9000_4` -> its piece; None for any other name."""
    match set_name.split("_"):
        case ["range", protocol, low, high, "4" | "6"] if protocol.isdecimal() and low.isdecimal() and high.isdecimal():
            return Piece(Kind.RANGE, int(protocol), int(low), int(high))
    return None


def ports_of_piece(piece: Piece) -> PortSet:
    match piece.kind:
        case Kind.ANY:
            return PortSet.ANY
        case Kind.OTHER:
            return PortSet.ANY - ALL_NAMED
        case Kind.PROTOCOL:
            return ports_of([PortEntry(PROTOCOL_NAMES[piece.protocol])])
        case Kind.PORT | Kind.RANGE:
            return ports_of([PortEntry(PROTOCOL_NAMES[piece.protocol], piece.low, piece.high)])


def _bases(subject: Subject) -> dict[Holder, str]:
    granted = {Holder(subject.pod.uid, rule): basis_at(subject, basis) for rule, basis in bases_of(subject.policy).items()}
    return granted | static_holders(subject)


def _permit(meaning: Meaning, piece: Piece) -> Permit:
    basis = meaning.basis.partition("@")[0]
    return Permit(rule=meaning.holder.rule, ports=ports_of_piece(piece), pieces=(piece,), limits=LeaseLimits(), basis=basis)


def _name(piece: Piece) -> Name:
    return Name(ADOPTED + f"{piece.kind.value} {piece.protocol} {piece.low} {piece.high}".encode())


def grant_sets(layout: Layout, standing: Iterable[Set]) -> Iterator[Set]:
    """Which of the sets that stand hold grants."""
    names = {of.name for of in (*layout.v4.grants(), *layout.v6.grants())}
    return (of for of in standing if of.name in names or range_of(of.name) is not None)
