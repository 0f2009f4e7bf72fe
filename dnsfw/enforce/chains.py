"""The table's chains that do not depend on any policy, as a function of its layout.

Pure. The way of a forwarded packet: port 53 is never forwarded for pods we answer, nor taken by anyone else on the node; what stays inside
the cluster passes; a connection lives while the number in its conntrack mark is in `live`; a packet of a selected pod that bears none is
judged by its policy's chain, or refused where it has none; whatever else belongs to a selected pod is dropped.
Every way that accepts goes through `pass`, which sets the packet mark that the guard table asks for.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address

from dnsfw.enforce.layout import FAMILIES, V4, V6, Family, Layout, family_of
from dnsfw.policy.model import IPAddress
from dnsfw.policy.ports import Piece
from dnsfw.policy.protected import Mask
from nft.objects import Chain, Hook, Rule

MANGLE, RAW, BEFORE_DSTNAT = -150, -300, -110
"""Hook priorities; conntrack stands at -200, kube-proxy's dnat at -100; ours must see the pod's port 53 first."""

TCP_SYN_ONLY = "tcp flags & (fin | syn | rst | ack) != syn"
# By number: names need /etc/protocols, which a slim image does not have (Debian's package netbase).
NAMED_PROTOCOLS = "{ 6, 17, 132, 1, 58 }"
TCP_AND_UDP = "{ 6, 17 }"
TUNNELS = "{ 4, 41, 47, 97, 137 }"
"""IP in IP, 6in4, GRE, EtherIP, MPLS in IP."""
TUNNEL_PORTS = "{ 4754, 4789, 6081, 6635, 8472 }"
"""GRE in UDP, VXLAN, Geneve, MPLS in UDP, VXLAN as Linux and flannel have it."""
IS_ICMP = "meta l4proto { 1, 58 }"


def is_live(layout: Layout) -> str:
    """The decision that a connection bears is in force."""
    return f"ct mark & {layout.settings.ct_mask:#010x} @{layout.live.name}"


def granted_body(layout: Layout, ranges: frozenset[Piece]) -> tuple[str, ...]:
    """What DNS has told the pod. Port 853 only by an element that names it: the wider maps come behind its return (design §1)."""
    body: list[str] = []
    for family in FAMILIES:
        sets, pair = layout.sets_of(family), f"{family.ip} saddr . {family.ip} daddr"
        body.append(f"ct mark set {pair} . meta l4proto . th dport map @{sets.port.name} goto admitted")
    body.append(f"meta l4proto {TCP_AND_UDP} th dport 853 return")
    for family in FAMILIES:
        sets, pair = layout.sets_of(family), f"{family.ip} saddr . {family.ip} daddr"
        body.append(f"ct mark set {pair} map @{sets.any.name} goto admitted")
        body.append(f"ct mark set {pair} . meta l4proto map @{sets.protocol.name} goto admitted")
        body.append(f"meta l4proto != {NAMED_PROTOCOLS} ct mark set {pair} map @{sets.other.name} goto admitted")
        for piece in sorted(ranges):
            match = f"meta l4proto {piece.protocol} th dport {piece.low}-{piece.high}"
            body.append(f"{match} ct mark set {pair} map @{layout.range_set(family, piece).name} goto admitted")
    return tuple(body)


def refuse_body(layout: Layout) -> tuple[str, ...]:
    return (
        f"ip saddr @{layout.v4.refused.name}",
        f"ip6 saddr @{layout.v6.refused.name}",
        "meta l4proto 6 reject with tcp reset",
        "reject with icmpx admin-prohibited",
    )


def open_body(layout: Layout) -> tuple[str, ...]:
    """The end of a policy that refuses nothing by default: the connection gets the pod's `open` number; none was free: closed."""
    opens = tuple(f"ct mark set {family.ip} saddr map @{layout.sets_of(family).open.name} goto admitted" for family in FAMILIES)
    return (*opens, "goto refuse")


def admitted_body(layout: Layout) -> tuple[str, ...]:
    """An element gives a number; only a live one opens a connection, so elements of a number that has left are inert before they are
    gone.
    """
    return (f"{is_live(layout)} goto pass", "goto refuse")


def pass_body(layout: Layout) -> tuple[str, ...]:
    return (f"meta mark set meta mark | {layout.settings.packet_mark:#010x} accept",)


def egress_body(layout: Layout) -> tuple[str, ...]:
    """The forward hook: what most packets are, then each family's own chain, so that no packet is asked about the other's."""
    # No connection to port 53 ever bears a number, so the first passes none of them.
    return (f"ct state established {is_live(layout)} goto pass", *(f"meta nfproto ipv{of.digit} goto egress{of.digit}" for of in FAMILIES))


def family_body(layout: Layout, family: Family) -> tuple[str, ...]:
    """The order of the rules is the promise, see the module's docstring; within a rule what is cheap stands before what is looked up."""
    live, ip, sets = is_live(layout), family.ip, layout.sets_of(family)
    body = [
        f"meta l4proto {TCP_AND_UDP} th dport 53 ct direction original {ip} saddr @{sets.asks.name} goto refuse",
        f"{ip} saddr @{sets.selected.name} {ip} daddr @{sets.internal.name} goto pass",
        f"{ip} daddr @{sets.selected.name} {ip} saddr @{sets.internal.name} goto pass",
        f"ct state invalid {ip} saddr @{sets.selected.name} drop",
        f"ct state invalid {ip} daddr @{sets.selected.name} drop",
        f"ct direction original {ip} daddr . {ip} saddr @{sets.cut.name} "
        f"update @{sets.cut.name} {{ {ip} daddr . {ip} saddr timeout {layout.settings.cut_s}s }} drop",
        f"ct direction reply {ip} saddr . {ip} daddr @{sets.cut.name} drop",
        # An ICMP error counts as part of the connection that it quotes, in its direction, whoever sends it: a pod could quote its
        # neighbour's, and so reach that one's peer (as an answer, where the peer had opened it), or give that one's connection its
        # own number. Errors come to selected pods (path MTU), none leaves them. What a conntrack helper expects is related too, and
        # is judged like anything new.
        f"ct state related {IS_ICMP} {ip} saddr @{sets.selected.name} drop",
        # Between two selected pods, what answers is also the other's revoked connection: a live one has passed above.
        f"ct direction reply {ip} saddr @{sets.selected.name} {ip} daddr @{sets.selected.name} drop",
        f"ct direction reply {ip} saddr @{sets.selected.name} goto pass",
        f"ct state new {live} goto pass",
        f"ct state related {ip} daddr @{sets.selected.name} {live} goto pass",
        f"{ip} saddr vmap @{sets.pods.name}",
        # Who is judged and has no policy: addresses that nobody has, or two.
        f"{ip} saddr @{sets.selected.name} goto refuse",
        f"ct direction reply {ip} daddr @{sets.selected.name} drop",
        f"ct state new {TCP_SYN_ONLY} {ip} daddr @{sets.selected.name} drop",
    ]
    for interface in layout.settings.interfaces:
        unknown = f'iifname "{interface}" {ip} saddr != @{sets.known.name} {ip} daddr != @{sets.internal.name}'
        # What conntrack cannot place has no direction: the last of them would not match it.
        body += [
            f"{unknown} ct state invalid,untracked drop",
            f"{unknown} {IS_ICMP} ct state related drop",
            f"{unknown} ct direction original goto refuse",
        ]
    return tuple(body)


def can_be_sent_to(address: IPAddress) -> bool:
    """Forwarded packets cannot be sent to loopback (the kernel calls them martians), nor to an address that is none."""
    return not address.is_loopback and not address.is_unspecified


def intercept_body(layout: Layout) -> tuple[str, ...]:
    """Port 53 of selected pods, to anyone, comes to our listener; `redirect` drops on an interface without an address, dnat works (design
    §2).
    """
    body: list[str] = []
    for family, listener in ((V4, layout.settings.listener4), (V6, layout.settings.listener6)):
        if listener is None or not can_be_sent_to(listener[0]):
            continue
        address, port = listener
        target = f"{address}:{port}" if family is V4 else f"[{address}]:{port}"
        elsewhere = f"{family.ip} daddr != {address} " if port == 53 else ""
        asks = layout.sets_of(family).asks.name
        # The port first: each new connection comes by here, and nearly none is a question.
        body += [f"{protocol} dport 53 {family.ip} saddr @{asks} {elsewhere}dnat {family.ip} to {target}" for protocol in ("udp", "tcp")]
    return tuple(body)


def own_body(layout: Layout) -> tuple[str, ...]:
    """The node's own addresses are no way round: another resolver on the node is asked by no pod that we answer, whether we have no
    listener of the family, or the pod has asked it since before it was selected (an address is translated when a connection begins).
    """
    return tuple(text for family in FAMILIES for text in _own_of(layout, family))


def _own_of(layout: Layout, family: Family) -> Iterator[str]:
    own = [address for address in layout.settings.own if len(address.packed) == family.size]
    asked = f"meta l4proto {TCP_AND_UDP} th dport 53"
    yield from (f"{family.ip} daddr {address} {asked} accept" for address in own)
    yield f"{family.ip} saddr @{layout.sets_of(family).asks.name} ct direction original {asked} goto refuse"


def direct_body(layout: Layout) -> tuple[str, ...]:
    """Questions to our own port 53 go past conntrack, so that no flood of connections, a pod's or anybody's, stops the node's DNS.

    Not those that we take from another resolver (`intercept`): their answers are translated back. The node's own processes ask over
    loopback, whose packets bear a connection before they arrive.
    """
    # The address first: nearly no packet is for us.
    return tuple(
        f'{ip} daddr {address} iifname != "lo" meta l4proto {TCP_AND_UDP} th dport 53 '
        f"update @{direct} {{ {ip} saddr . meta l4proto . th sport }} notrack"
        for ip, address, direct in _own_addresses(layout)
    )


def answers_body(layout: Layout) -> tuple[str, ...]:
    """The answers go as their questions came. Where the set was full, both are tracked."""
    return tuple(
        f"{ip} saddr {address} meta l4proto {TCP_AND_UDP} th sport 53 {ip} daddr . meta l4proto . th dport @{direct} notrack"
        for ip, address, direct in _own_addresses(layout)
    )


def _own_addresses(layout: Layout) -> Iterator[tuple[str, IPAddress, str]]:
    """Each with its family's word, and the name of the family's set of direct questions."""
    for address in layout.settings.own:
        family = family_of(address.packed)
        yield family.ip, address, layout.sets_of(family).direct.name


def source_body(layout: Layout) -> tuple[str, ...]:
    """What no honest pod sends: another's address, and words to the node about the network.

    A source must belong to the interface it comes from. `::` is the source of duplicate address detection, never forwarded.
    """
    if not layout.settings.interfaces:
        return ()
    from_pods = tuple(f'iifname "{interface}" goto honest' for interface in layout.settings.interfaces)
    # An interface that the names above leave out, say one that a pod with NET_ADMIN has made on the node, is no way round them.
    return from_pods + tuple(f"{family.ip} saddr @{layout.sets_of(family).selected.name} {_NOT_ITS_OWN}" for family in FAMILIES)


_NOT_ITS_OWN = "fib saddr . iif oif missing drop"
_TO_US = "fib daddr type local"
"""Behind what few packets are: a look at the routes costs each packet 0.1 µs."""


def honest_body() -> tuple[str, ...]:
    """What comes from the pods' interfaces, each packet once; there is nothing to say of most after the second line."""
    return (
        f"ip saddr != 0.0.0.0 {_NOT_ITS_OWN}",
        f"ip6 saddr != :: {_NOT_ITS_OWN}",
        # Where kube-proxy has set route_localnet, what listens on loopback could be reached by a forged packet.
        "ip daddr 127.0.0.0/8 drop",
        "meta l4proto 6 accept",
        # What the node would unwrap is judged by nobody: inside, a pod could say whatever source and destination it likes.
        f"udp dport {TUNNEL_PORTS} {_TO_US} drop",
        "meta l4proto 17 accept",
        f"meta l4proto {TUNNELS} {_TO_US} drop",
        # The kernel hands an ICMP error to the socket whose packet it quotes, whoever sends it: a pod could end the forwarder's questions
        # to its upstream. A pod that a redirect or a router advertisement is believed could be that upstream.
        f"meta l4proto 1 icmp type {{ 3, 4, 11, 12 }} {_TO_US} drop",
        f"meta l4proto 58 icmpv6 type {{ 1, 2, 3, 4 }} {_TO_US} drop",
        "meta l4proto 1 icmp type { 5, 9 } drop",
        "meta l4proto 58 icmpv6 type { 134, 137 } drop",
    )


def base_chains(layout: Layout) -> dict[Chain, tuple[str, ...]]:
    """The chains with hooks, and their rules; the source guard stands only where the operator has named interfaces."""
    table = layout.table

    def chain(name: str, type_: str, hook: str, priority: int) -> Chain:
        return Chain(table=table, name=name, hook=Hook(type=type_, hook=hook, priority=priority))

    return {
        chain("source", "filter", "prerouting", RAW): source_body(layout),
        chain("direct", "filter", "prerouting", RAW + 1): direct_body(layout),
        chain("answers", "filter", "output", RAW): answers_body(layout),
        chain("intercept", "nat", "prerouting", BEFORE_DSTNAT): intercept_body(layout),
        chain("own", "filter", "input", MANGLE): own_body(layout),
        chain("egress", "filter", "forward", MANGLE): egress_body(layout),
    }


def embedded_body(masks: Iterable[Mask]) -> tuple[str, ...]:
    """IPv6 addresses that embed a protected IPv4 address where no prefix tells (Teredo's clients, local NAT64)."""
    return tuple(f"ip6 daddr & {IPv6Address(mask.mask)} == {IPv6Address(mask.value)} goto refuse" for mask in masks)


def common_chains(layout: Layout, ranges: frozenset[Piece], masks: Iterable[Mask]) -> dict[Chain, tuple[str, ...]]:
    """The chains that policies go to, in the order in which they name each other."""
    return {
        layout.chain("pass"): pass_body(layout),
        layout.chain("refuse"): refuse_body(layout),
        layout.chain("admitted"): admitted_body(layout),
        layout.chain("embedded"): embedded_body(masks),
        layout.chain("granted"): granted_body(layout, ranges),
        layout.chain("honest"): honest_body(),
        **{layout.chain(f"egress{family.digit}"): family_body(layout, family) for family in FAMILIES},
    }


def rules_of(chain: Chain, body: tuple[str, ...]) -> tuple[Rule, ...]:
    return tuple(Rule(chain=chain, text=text) for text in body)
