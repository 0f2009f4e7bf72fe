"""Real connections through a forwarding node: what the table shows of them, and that a rewritten mark is what packets bear."""

import ctypes
import re
import socket
import struct

import pytest
from ct_entries import entry, packed, payload
from three_nodes import OUT4, OUT6, POD4, POD6, SERVICE4, SERVICE6, Nodes, apart, connect_tcp, nft, passes, run

from nft import ctcodec
from nft.conntrack import Conntrack, ConntrackError, Flow

MASK = 0xFFFF_0000
RULES = """
table inet t {
  chain raw { type filter hook prerouting priority raw;
    udp dport 700 ct zone set 7
  }
  chain translate { type nat hook prerouting priority dstnat;
    ip daddr 192.0.2.130 tcp dport 80 dnat ip to 192.0.2.66:8080
    ip6 daddr 2001:db8:3::2 tcp dport 80 dnat ip6 to [2001:db8:2::2]:8080
  }
  chain hide { type nat hook postrouting priority srcnat;
    ip saddr 192.0.2.2 udp dport 900 snat ip to 192.0.2.65
  }
  chain forward { type filter hook forward priority filter;
    ct mark & 0xffff0000 == 0x00050000 counter
    ct mark 0 ct mark set 0x00000003
  }
}
"""


def marked_packets() -> int:
    found = re.search(r"counter packets (\d+)", run("nft list chain inet t forward"))
    assert found is not None
    return int(found[1])


def only(flows: list[Flow]) -> Flow:
    assert len(flows) == 1, flows
    return flows[0]


def echo_request(kind: int, identifier: int) -> bytes:
    """An ICMP echo request; the kernel fills in the checksum of ICMPv6."""
    words = struct.pack(">BBHHH", kind, 0, 0, identifier, 1)
    total = sum(struct.unpack(">4H", words))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack(">BBHHH", kind, 0, checksum, identifier, 1)


def test_connections_as_they_are_shown_and_marked() -> None:
    """UDP, TCP and ICMP, of both families, translated and in zones; a rewritten mark is what the next packet's rule sees."""

    def body() -> None:
        nodes = Nodes()
        with Conntrack() as conntrack:
            assert conntrack.flows() == [], "conntrack sleeps while no rule needs it"
            nft(RULES)
            for source, target in ((POD4, OUT4), (POD6, OUT6)):
                udp(nodes, conntrack, source, target)
                echo(nodes, conntrack, source, target)
            translated(nodes, conntrack, POD4, SERVICE4, OUT4)
            translated(nodes, conntrack, POD6, SERVICE6, OUT6)
            hidden_source(nodes, conntrack)
            zone(nodes, conntrack)

    apart(body)


def udp(nodes: Nodes, conntrack: Conntrack, source: str, target: str) -> None:
    before = marked_packets()
    with nodes.pod.udp(source, 4000) as pod, nodes.outside.udp(target, 53) as outside:
        pod.connect((target, 53))
        assert passes(pod, outside)
        flow = only([flow for flow in conntrack.flows(source=packed(source)) if flow.protocol == 17])
        assert flow[1:8] == (17, packed(source), packed(target), 4000, 53, packed(target), 53)

        assert conntrack.set_mark([flow], 0x50000, MASK) == 1
        assert passes(pod, outside)
        assert passes(outside, pod, (source, 4000))
        assert marked_packets() == before + 2

        assert only(conntrack.flows(source=packed(source), mark=0x50000, mark_mask=MASK)).mark == 0x50003, "low bits are kept"
        assert conntrack.delete([flow]) == 1


def echo(nodes: Nodes, conntrack: Conntrack, source: str, target: str) -> None:
    protocol, kind = (58, 128) if ":" in source else (1, 8)
    with nodes.pod.open(source, socket.SOCK_RAW, protocol) as pod:
        pod.sendto(echo_request(kind, 77), (target, 0))
        while protocol == 58 and pod.recv(100)[0] != 129:
            pass
    flow = only([flow for flow in conntrack.flows(source=packed(source)) if flow.protocol == protocol and flow.source_port == 77])
    assert (flow.destination_port, flow.remote) == (kind << 8, packed(target))
    assert (conntrack.set_mark([flow], 0x60000, MASK), conntrack.delete([flow])) == (1, 1)


def translated(nodes: Nodes, conntrack: Conntrack, source: str, service: str, server: str) -> None:
    with nodes.pod.tcp(source) as pod, nodes.outside.tcp(server, 8080) as listener, connect_tcp(pod, listener, (service, 80)) as accepted:
        flow = only([flow for flow in conntrack.flows(source=packed(source)) if flow.protocol == 6])
        assert (flow.destination, flow.destination_port) == (packed(service), 80)
        assert (flow.remote, flow.remote_port) == (packed(server), 8080)

        before = marked_packets()
        assert conntrack.set_mark([flow], 0x50000, MASK) == 1
        assert passes(pod, accepted)
        assert passes(accepted, pod)
        assert marked_packets() > before


def hidden_source(nodes: Nodes, conntrack: Conntrack) -> None:
    with nodes.pod.udp(POD4, 4001) as pod, nodes.outside.udp(OUT4, 900) as outside:
        assert passes(pod, outside, (OUT4, 900))
    flow = only([flow for flow in conntrack.flows(source=packed(POD4)) if flow.destination_port == 900])
    assert (flow.source_port, flow.remote, flow.remote_port) == (4001, packed(OUT4), 900)
    assert conntrack.set_mark([flow], 0x70000, MASK) == 1
    assert 0x70000 in conntrack.marks_in_use(MASK)


def zone(nodes: Nodes, conntrack: Conntrack) -> None:
    with nodes.pod.udp(POD4, 4002) as pod, nodes.outside.udp(OUT4, 700) as outside:
        assert passes(pod, outside, (OUT4, 700))
    flow = only([flow for flow in conntrack.flows() if flow.destination_port == 700])
    assert conntrack.set_mark([flow], 0x80000, MASK) == 1
    assert only(conntrack.flows(mark=0x80000, mark_mask=MASK)).identity == flow.identity
    assert conntrack.delete([flow]) == 1


def test_without_privilege() -> None:
    """Whoever lacks CAP_NET_ADMIN is told so."""

    def body() -> None:
        flow = ctcodec.read_flow(payload(entry()))
        with Conntrack() as conntrack:
            drop_capabilities()
            with pytest.raises(ConntrackError, match="CAP_NET_ADMIN"):
                conntrack.set_mark([flow], 1, 1)

    apart(body)


def drop_capabilities() -> None:
    """Give up all effective and permitted capabilities (capset, version 3)."""
    header = struct.pack("=Ii", 0x2008_0522, 0)
    assert ctypes.CDLL(None).capset(header, bytes(24)) == 0
