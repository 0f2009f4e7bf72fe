"""What the guard lets through between a pod and the outside: packets with the judging table's mark, and others when that table is gone."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from ct_entries import packed
from three_nodes import OUT4, OUT6, POD4, POD6, Nodes, apart, connect_tcp, nft, passes, run

from nft.changes import Change, Discard, Put
from nft.conntrack import Conntrack
from nft.netlink import RealKernel
from nft.objects import Set, Table
from nft.owned import guard_program

MARKING = """
table inet judge {
  set selected4 { type ipv4_addr; }
  set selected6 { type ipv6_addr; }
  chain forward { type filter hook forward priority mangle;
    ct state invalid drop
    meta mark set meta mark | 0x10 accept
  }
}
"""
SHORT_S = 0.15
GUARD = guard_program("guard", -149, 0x10)


class Scene:
    """A pod that the guard selects, one connection of each kind in each direction, opened while all packets were marked."""

    def __init__(self, kernel: RealKernel, pod: str, outside: str, stack: ExitStack) -> None:
        self.kernel, self.pod, self.outside, self.suffix = kernel, pod, outside, "6" if ":" in pod else "4"
        self.nodes = Nodes()
        nft(MARKING)
        kernel.create_owned(GUARD)
        kernel.commit([Put(found, packed(pod)) for found in self.both_tables()])
        open_ = stack.enter_context
        self.udp, self.udp_far = open_(self.nodes.pod.udp(pod, 4000)), open_(self.nodes.outside.udp(outside, 53))
        self.ask, self.answer = open_(self.nodes.outside.udp(outside, 4001)), open_(self.nodes.pod.udp(pod, 54))
        self.tcp = open_(self.nodes.pod.tcp(pod))
        self.tcp_far = open_(connect_tcp(self.tcp, open_(self.nodes.outside.tcp(outside, 80))))
        self.visit = open_(self.nodes.outside.tcp(outside))
        self.visited = open_(connect_tcp(self.visit, open_(self.nodes.pod.tcp(pod, 80))))

    def both_tables(self) -> tuple[Set, Set]:
        """The judging table's set, which libnftables made, and the guard's."""
        name = f"selected{self.suffix}"
        return Set(Table("judge"), name, ("ipv6_addr" if self.suffix == "6" else "ipv4_addr",)), GUARD.set_named(name)

    def egress(self, wait_s: float = SHORT_S) -> list[bool]:
        """Does it pass: UDP out, UDP back, TCP out, TCP back."""
        pairs = ((self.udp, self.udp_far, (self.outside, 53)), (self.udp_far, self.udp, (self.pod, 4000)))
        udp = [passes(sender, receiver, target, wait_s) for sender, receiver, target in pairs]
        return [*udp, passes(self.tcp, self.tcp_far, None, wait_s), passes(self.tcp_far, self.tcp, None, wait_s)]

    def ingress(self) -> list[bool]:
        """The same for what the outside has opened: a question and its answer, both ways of a stream."""
        udp = [passes(self.ask, self.answer, (self.pod, 54)), passes(self.answer, self.ask, (self.outside, 4001))]
        return [*udp, passes(self.visit, self.visited), passes(self.visited, self.visit)]

    def change(self, *changes: Change) -> None:
        self.kernel.commit(changes)


@pytest.fixture(params=[(POD4, OUT4), (POD6, OUT6)], ids=["ipv4", "ipv6"])
def play(request: pytest.FixtureRequest) -> Callable[[Callable[[Scene], None]], None]:
    """Runs a scene in namespaces of its own."""

    async def run_scene(scene: Callable[[Scene], None]) -> None:
        kernel = await RealKernel.open()
        try:
            with ExitStack() as stack:
                scene(Scene(kernel, *request.param, stack))
        finally:
            await kernel.close()

    return lambda scene: apart(lambda: asyncio.run(run_scene(scene)))


def test_marked_packets_pass(play: Callable[[Callable[[Scene], None]], None]) -> None:
    """The guard has no say while the judging table stands."""

    def scene(at: Scene) -> None:
        assert at.egress(2) == [True] * 4
        assert at.ingress() == [True] * 4

    play(scene)


def test_f12_flushed_ruleset_closes_what_selected_pods_opened(play: Callable[[Callable[[Scene], None]], None]) -> None:
    """When others flush, what a selected pod opened stands still both ways and nothing new begins; what the outside opens lives."""

    def scene(at: Scene) -> None:
        assert at.egress(2) == at.ingress() == [True] * 4

        run("nft flush ruleset")

        assert at.egress() == [False] * 4
        assert at.ingress() == [True] * 4
        with at.nodes.pod.tcp(at.pod) as fresh, at.nodes.outside.tcp(at.outside, 81) as listener:
            fresh.settimeout(SHORT_S)
            with pytest.raises(TimeoutError):
                connect_tcp(fresh, listener)
        with at.nodes.outside.tcp(at.outside) as visitor, at.nodes.pod.tcp(at.pod, 81) as server, connect_tcp(visitor, server) as visited:
            assert passes(visitor, visited)

    play(scene)


def test_f12_streams_go_on_when_the_table_is_back(play: Callable[[Callable[[Scene], None]], None]) -> None:
    """The guard delays; it does not cut."""

    def scene(at: Scene) -> None:
        run("nft flush ruleset")
        assert not passes(at.udp, at.udp_far, (at.outside, 53), SHORT_S)

        nft(MARKING)

        assert at.egress(2) == [True] * 4

    play(scene)


def test_what_conntrack_forgot_does_not_return_as_the_outsides(play: Callable[[Callable[[Scene], None]], None]) -> None:
    """After `conntrack -F` the far end's next segment would begin a connection the other way round (nf_conntrack_tcp_loose)."""

    def scene(at: Scene) -> None:
        run("nft flush ruleset")
        with Conntrack() as conntrack:
            assert conntrack.delete(conntrack.flows(source=packed(at.pod))) > 0

        assert not passes(at.tcp_far, at.tcp, None, SHORT_S)
        assert not passes(at.tcp, at.tcp_far, None, SHORT_S)

    play(scene)


def test_packet_that_conntrack_cannot_place(play: Callable[[Callable[[Scene], None]], None]) -> None:
    """It could belong to what the pod opened, so it does not reach the pod (here: a segment whose checksum is wrong)."""

    def scene(at: Scene) -> None:
        segment = struct.pack(">HHIIBBHHH", 80, 9, 1, 1, 5 << 4, 0x10, 100, 0xBAD, 0)

        def arrives(wait_s: float) -> bool:
            with ExitStack() as stack:
                far, near = (
                    stack.enter_context(space.open(address, socket.SOCK_RAW, socket.IPPROTO_TCP))
                    for space, address in ((at.nodes.outside, at.outside), (at.nodes.pod, at.pod))
                )
                near.settimeout(wait_s)
                far.sendto(segment, (at.pod, 0))
                try:
                    return near.recv(100).endswith(segment)
                except TimeoutError:
                    return False

        run("nft flush ruleset")
        assert not arrives(SHORT_S)

        at.change(Discard(at.both_tables()[1], packed(at.pod)))
        assert arrives(2)

    play(scene)


def test_pods_and_peers_that_are_not_judged(play: Callable[[Callable[[Scene], None]], None]) -> None:
    """Unmarked packets pass to and from what is internal, and for a pod that is no longer selected; one commit covers both tables."""

    def scene(at: Scene) -> None:
        judged, guarded = at.both_tables()
        internal = GUARD.set_named(f"internal{at.suffix}")
        at.change(Put(internal, packed(at.outside), key_end=packed(at.outside)), Discard(judged, packed(at.pod)))
        run("nft delete table inet judge")
        assert at.egress(2) == [True] * 4

        at.change(Discard(internal, packed(at.outside), packed(at.outside)))
        assert not passes(at.udp, at.udp_far, (at.outside, 53), SHORT_S)

        at.change(Discard(guarded, packed(at.pod)))
        assert passes(at.udp, at.udp_far, (at.outside, 53))

    play(scene)


def test_two_selected_pods_hold_each_other_closed(play: Callable[[Callable[[Scene], None]], None]) -> None:
    """Who answers is selected, too: what either has opened stands still in both directions."""

    def scene(at: Scene) -> None:
        at.change(Put(at.both_tables()[1], packed(at.outside)))
        assert at.egress(2) == at.ingress() == [True] * 4

        run("nft flush ruleset")

        assert at.egress() == at.ingress() == [False] * 4

    play(scene)


def test_flush_of_the_guard_itself_is_the_owners_alone(play: Callable[[Callable[[Scene], None]], None]) -> None:
    """Another process, as our own helper with its own socket is, still changes all other tables."""

    def scene(at: Scene) -> None:
        assert "not permitted" in run("nft flush chain inet guard guard", accept_failure=True)
        run("nft delete table inet judge")
        nft(MARKING)

        assert at.egress(2) == [True] * 4

    play(scene)
