"""Port sets as plain Python sets of (protocol, port): slow, obvious, and what the algebra is compared with."""

from hypothesis import strategies as st

from dnsfw.policy.ports import ICMP, MAX_PORT, SCTP, TCP, UDP, Kind, Piece, PortEntry, PortSet, ports_of

OTHER = 0  # stands for every protocol besides tcp, udp, sctp, icmp
NUMBERS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP, "ICMP": ICMP}

# The model looks at the edges, where mistakes are made, and at both sides of everything that a strategy can draw.
PROBES = sorted(
    {0, 1, 2, 21, 22, 23, 442, 443, 444, 799, 800, 801, 851, 852, 853, 854, 855, 899, 900, 901, 7999, 8000, 8001, 9000, 65534, MAX_PORT}
)
EVERY_PROBE = frozenset({(protocol, port) for protocol in (TCP, UDP, SCTP) for port in PROBES} | {(ICMP, 0), (OTHER, 0)})
DOT = frozenset({(TCP, 853), (UDP, 853)})

Model = frozenset[tuple[int, int]]


def model_of_entry(entry: PortEntry) -> Model:
    protocol = NUMBERS[entry.protocol]
    high = entry.port if entry.end_port is None else entry.end_port
    if entry.port is None or high is None or protocol == ICMP:
        return frozenset(point for point in EVERY_PROBE if point[0] == protocol) - DOT
    named = frozenset((protocol, port) for port in PROBES if entry.port <= port <= high)
    return named if entry.port == high else named - DOT


def model_of_entries(entries: list[PortEntry]) -> Model:
    return frozenset().union(*map(model_of_entry, entries)) if entries else EVERY_PROBE - DOT


def model_of(ports: PortSet) -> Model:
    """What the set itself says of each probe."""
    return frozenset((protocol, port) for protocol, port in EVERY_PROBE if ports.contains(*asked(protocol, port)))


def asked(protocol: int, port: int) -> tuple[int, int | None]:
    """The question for a probe: ICMP and other protocols have no ports, 47 (GRE) is one of the others."""
    if protocol == OTHER:
        return 47, None
    return (protocol, None) if protocol == ICMP else (protocol, port)


def model_of_piece(piece: Piece) -> Model:
    match piece.kind:
        case Kind.ANY:
            return EVERY_PROBE - DOT
        case Kind.OTHER:
            return frozenset({(OTHER, 0)})
        case Kind.PROTOCOL:
            return frozenset(point for point in EVERY_PROBE if point[0] == piece.protocol) - DOT
        case _:
            return frozenset((piece.protocol, port) for port in PROBES if piece.low <= port <= piece.high)


PORTS = st.sampled_from([1, 22, 443, 800, 852, 853, 854, 900, 8000, MAX_PORT])
ENTRY = st.one_of(
    st.builds(PortEntry, st.sampled_from(["TCP", "UDP", "SCTP", "ICMP"]), st.none(), st.none()),
    st.builds(PortEntry, st.sampled_from(["TCP", "UDP", "SCTP"]), PORTS, st.none()),
    st.tuples(PORTS, PORTS, st.sampled_from(["TCP", "UDP", "SCTP"])).map(lambda drawn: PortEntry(drawn[2], min(drawn[:2]), max(drawn[:2]))),
)
ENTRIES = st.lists(ENTRY, max_size=4)
PORT_SETS = ENTRIES.map(ports_of)
