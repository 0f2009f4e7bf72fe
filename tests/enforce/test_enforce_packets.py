"""The main table alone, as on a kernel that has no owned tables: real packets between a pod, the node and the outside."""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address
from itertools import count

import pytest
from enforce_kit import LISTENER4, LISTENER6
from three_nodes import OUT4, OUT6, POD4, POD6, Nodes, apart, connect_tcp, passes
from worlds import SETTINGS, peer, pod, rule

from dnsfw.clock import SystemClock
from dnsfw.enforce.enforcer import Enforcer
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.enforce.targets import mark_key
from dnsfw.names import parse_name
from dnsfw.policy.compile import compile_snapshot
from dnsfw.policy.grants import Granted, GrantOutcome
from dnsfw.policy.model import LeaseLimits, PodUid, Rule, World
from nft.changes import Discard, Put
from nft.conntrack import Conntrack
from nft.netlink import RealKernel
from nft.probe import probe

SHORT_S = 0.15
WEB = rule("web", peer("www.example.net"))
ONE_PORT = rule("web", peer("www.example.net", on=["udp/4000"]))


class Site:
    """A pod under rules, and the outside."""

    def __init__(self, enforcer: Enforcer, own: str, far: str, stack: ExitStack) -> None:
        self.enforcer, self.own, self.far = enforcer, own, far
        self.nodes, self._stack, self._serial = Nodes(), stack, 0
        self.pod = pod("a", own, uid="a")

    async def rules(self, *rules: Rule, is_there: bool = True) -> None:
        self._serial += 1
        before = self.enforcer.snapshot
        world = World(rules=rules, pods=(self.pod,) if is_there else ())
        snapshot = compile_snapshot(world, SETTINGS, 0.0, self._serial, before)
        await (self.enforcer.start if before is None else self.enforcer.apply)(snapshot)

    async def told(self, ttl: int = 60) -> None:
        assert self.enforcer.snapshot is not None
        subject = self.enforcer.snapshot.subjects[PodUid("a")]
        outcome: asyncio.Future[GrantOutcome] = asyncio.get_running_loop().create_future()
        self.enforcer.request(subject, parse_name("www.example.net"), [ip_address(self.far).packed], ttl, outcome.set_result)
        assert isinstance(await outcome, Granted)

    def udp(self, port: int = 0) -> tuple[socket.socket, socket.socket]:
        """One in the pod, one outside."""
        own, far = self.nodes.pod.udp(self.own, port), self.nodes.outside.udp(self.far, port)
        return self._stack.enter_context(own), self._stack.enter_context(far)

    def raw(self) -> tuple[socket.socket, socket.socket]:
        spaces = ((self.nodes.pod, self.own), (self.nodes.outside, self.far))
        near, far = (self._stack.enter_context(space.open(at, socket.SOCK_RAW, socket.IPPROTO_TCP)) for space, at in spaces)
        return near, far


Play = Callable[[Callable[[Site], Awaitable[None]]], None]


@pytest.fixture(params=[(POD4, OUT4), (POD6, OUT6)], ids=["ipv4", "ipv6"])
def play(request: pytest.FixtureRequest) -> Play:
    """Runs a scene in namespaces of its own."""

    async def run_scene(scene: Callable[[Site], Awaitable[None]]) -> None:
        kernel = await RealKernel.open(features=replace(probe(), has_owner=False))
        try:
            with ExitStack() as stack, Conntrack() as connections:
                enforcer = Enforcer(EnforceSettings(listener4=LISTENER4, listener6=LISTENER6), kernel, connections, SystemClock())
                await scene(Site(enforcer, *request.param, stack))
        finally:
            await kernel.close()

    return lambda scene: apart(lambda: asyncio.run(run_scene(scene)))


def test_packet_that_conntrack_cannot_place_reaches_no_selected_pod(play: Play) -> None:
    """It could belong to what the pod has opened and is revoked (here: a segment whose checksum is wrong)."""

    async def scene(at: Site) -> None:
        near, far = at.raw()
        segment = struct.pack(">HHIIBBHHH", 80, 9, 1, 1, 5 << 4, 0x10, 100, 0xBAD, 0)

        def arrives(wait_s: float) -> bool:
            near.settimeout(wait_s)
            far.sendto(segment, (at.own, 0))
            try:
                return near.recv(100).endswith(segment)
            except TimeoutError:
                return False

        await at.rules()
        assert arrives(2)
        await at.rules(WEB)
        assert not arrives(SHORT_S)

    play(scene)


def test_revoked_peer_is_told_nothing_on_what_it_opened_itself(play: Play) -> None:
    """The pod could go on over a connection that the peer had opened to it; granted again, that one lives again, too."""

    async def scene(at: Site) -> None:
        await at.rules(WEB)
        await at.told()
        own, far = at.udp(4000)
        asked, asker = at.udp(4001)
        assert passes(own, far, (at.far, 4000))
        assert passes(asker, asked, (at.own, 4001)) and passes(asked, asker, (at.far, 4001))

        await at.rules(rule("web", peer("other.example.net")))
        assert not passes(asked, asker, (at.far, 4001), SHORT_S)
        assert not passes(asker, asked, (at.own, 4001), SHORT_S)
        assert not passes(own, far, (at.far, 4000), SHORT_S)
        assert not passes(far, own, (at.own, 4000), SHORT_S)

        await at.rules(WEB)
        await at.told()
        assert passes(asked, asker, (at.far, 4001))

    play(scene)


def test_a6_address_of_a_removed_pod_reaches_nothing(play: Play) -> None:
    """Nobody has it, so it has no policy: what has none and is judged is refused, and its connections have ended both ways."""

    async def scene(at: Site) -> None:
        await at.rules(WEB)
        await at.told()
        own, far = at.udp(4000)
        assert passes(own, far, (at.far, 4000)) and passes(far, own, (at.own, 4000))

        await at.rules(WEB, is_there=False)
        fresh, target = at.udp(4001)
        assert not passes(own, far, (at.far, 4000), SHORT_S)
        assert not passes(far, own, (at.own, 4000), SHORT_S)
        assert not passes(fresh, target, (at.far, 4001), SHORT_S)

    play(scene)


def test_pod_without_an_entry_for_its_policy_is_closed(play: Play) -> None:
    """Somebody takes it out of the map that says who judges it: until that is mended, nobody's word is no permission."""

    async def scene(at: Site) -> None:
        await at.rules(WEB)
        await at.told()
        state, key = at.enforcer.state, ip_address(at.own).packed
        own, far = at.udp(4000)
        state.kernel.commit([Discard(state.layout.sets_of_address(key).pods, key)])
        assert not passes(own, far, (at.far, 4000), SHORT_S)

        assert await at.enforcer.compare_now() == 1
        assert passes(own, far, (at.far, 4000))

    play(scene)


def test_element_alone_opens_nothing(play: Play) -> None:
    """Whatever it says: a dead number, a cut peer, a protected address or a pod without a policy keeps a connection from beginning."""

    async def scene(at: Site) -> None:
        await at.rules(ONE_PORT)
        await at.told()
        state, near, far = at.enforcer.state, ip_address(at.own).packed, ip_address(at.far).packed
        number = state.numbers.of_rule(PodUid("a"), ONE_PORT.ref)
        assert number is not None
        live = mark_key(state.layout, number)
        sets = state.layout.sets_of_address(near)
        cut, protected, pods = sets.cut, sets.protected, sets.pods
        own, target = at.udp(4000)

        state.kernel.commit([Discard(state.layout.live, live)])
        assert not passes(own, target, (at.far, 4000), SHORT_S)
        state.kernel.commit([Put(state.layout.live, live), Put(cut, far + near, None, 60_000)])
        assert not passes(own, target, (at.far, 4000), SHORT_S)
        state.kernel.commit([Discard(cut, far + near), Put(protected, far, None, None, far)])
        assert not passes(own, target, (at.far, 4000), SHORT_S)
        state.kernel.commit([Discard(protected, far, far), Discard(pods, near)])
        assert not passes(own, target, (at.far, 4000), SHORT_S)
        assert await at.enforcer.compare_now() == 1
        assert passes(own, target, (at.far, 4000))

    play(scene)


def test_one_way_datagrams_outlive_their_lease(play: Play) -> None:
    """Nobody answers them, so to conntrack they stay new; an expired element stops new ones, and those that live go on (NPEP-133)."""

    async def scene(at: Site) -> None:
        await at.rules(rule("web", peer("www.example.net"), limits=LeaseLimits(min_seconds=0, max_seconds=1, grace_seconds=0)))
        await at.told(ttl=1)
        own, far = at.udp(4000)
        assert passes(own, far, (at.far, 4000))

        until, ports = time.monotonic() + 10, count(4001)
        while passes(*at.udp(port := next(ports)), (at.far, port), SHORT_S):
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        assert passes(own, far, (at.far, 4000))

    play(scene)


def test_segment_of_a_connection_that_nobody_knows_does_not_come_back(play: Play) -> None:
    """A pod becomes selected, its open connection is not allowed, and conntrack forgets it: the far end's next segment would begin it anew
    as its own (nf_conntrack_tcp_loose).
    """

    async def scene(at: Site) -> None:
        await at.rules()
        with ExitStack() as stack:
            own = stack.enter_context(at.nodes.pod.tcp(at.own))
            far = stack.enter_context(connect_tcp(own, stack.enter_context(at.nodes.outside.tcp(at.far, 80))))
            assert passes(far, own) and passes(own, far)
            await at.rules(WEB)
            far.send(b"more")
            with Conntrack() as connections:
                assert connections.delete(connections.flows(source=ip_address(at.own).packed)) > 0
            far.send(b"and more")
            own.settimeout(3 * SHORT_S)  # the first retransmission comes after 0.2 s

            with pytest.raises(TimeoutError):
                own.recv(100)

    play(scene)
