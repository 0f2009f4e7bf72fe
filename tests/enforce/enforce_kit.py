"""An enforcer on a fake kernel that keeps the real one's rules, with a clock that the test moves.

`Node` is the notation: say what the world is, what DNS has told whom, and read what the kernel would let through.
"""

import asyncio
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from worlds import SETTINGS

from dnsfw.clock import ManualClock
from dnsfw.enforce.enforcer import Enforcer
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.names import parse_name
from dnsfw.policy.compile import compile_snapshot
from dnsfw.policy.grants import GrantOutcome
from dnsfw.policy.model import Pod, PodUid, Rule, World
from dnsfw.policy.snapshot import Snapshot, Subject
from nft.conntrack import FakeConntrack, Flow
from nft.fake import FakeKernel
from nft.objects import Element
from nft.transaction import Transaction

LISTENER4, LISTENER6 = (IPv4Address("192.0.2.53"), 53), (IPv6Address("2001:db8::53"), 53)
TCP = 6


def packed(*addresses: str) -> tuple[bytes, ...]:
    return tuple(ip_address(address).packed for address in addresses)


class Node:
    """One node: its kernel and connections outlive the enforcer, as they outlive the process."""

    def __init__(self, tmp_path: Path | None = None, **settings: object) -> None:
        self.clock = ManualClock()
        self.kernel = FakeKernel(self.clock.now)
        self.connections = FakeConntrack()
        journal = None if tmp_path is None else tmp_path / "journal"
        self.settings = EnforceSettings(listener4=LISTENER4, listener6=LISTENER6, journal=journal, **settings)  # type: ignore[arg-type]
        self.enforcer = self._enforcer()
        self._serial = 0

    async def start(self, rules: Iterable[Rule], pods: Iterable[Pod]) -> None:
        await self.enforcer.start(self.compiled(rules, pods, None))

    async def restart(self, rules: Iterable[Rule], pods: Iterable[Pod]) -> None:
        """Killed and started again: the guard goes with the socket, the main table stays."""
        self.enforcer.close()
        guard = self.enforcer.state.guard.table
        assert guard is not None
        self.kernel.foreign(Transaction().delete(guard.table))  # what the kernel does when an owner's socket closes
        self.enforcer = self._enforcer()
        await self.enforcer.start(self.compiled(rules, pods, None))

    async def change(self, rules: Iterable[Rule], pods: Iterable[Pod]) -> None:
        await self.enforcer.apply(self.compiled(rules, pods, self.enforcer.snapshot))

    def compiled(self, rules: Iterable[Rule], pods: Iterable[Pod], previous: Snapshot | None) -> Snapshot:
        self._serial += 1
        return compile_snapshot(World(rules=tuple(rules), pods=tuple(pods)), SETTINGS, self.clock.wall(), self._serial, previous)

    def subject(self, uid: str) -> Subject:
        snapshot = self.enforcer.snapshot
        assert snapshot is not None
        return snapshot.subjects[PodUid(uid)]

    async def told(self, uid: str, name: str, *addresses: str, ttl: int = 60) -> GrantOutcome:
        """DNS has answered this pod; the outcome is what the answer waits for."""
        return await self.ensure(self.subject(uid), name, *addresses, ttl=ttl)

    def ensure(self, subject: Subject, name: str, *addresses: str, ttl: int = 60) -> "asyncio.Future[GrantOutcome]":
        """The same for a subject of any snapshot, not waited for."""
        future = asyncio.get_running_loop().create_future()
        self.enforcer.request(subject, parse_name(name), packed(*addresses), ttl, future.set_result)
        return future

    # What the kernel would do

    def number(self, source: str, destination: str, port: int = 443, protocol: int = TCP) -> int | None:
        """The mark that a new connection would get from an element, by any of the grants' maps; None: no element lets it through."""
        pair = b"".join(packed(source, destination))
        keys = {
            "port": pair + bytes((protocol, 0, 0, 0)) + port.to_bytes(2, "big") + b"\0\0",
            "protocol": pair + bytes((protocol, 0, 0, 0)),
            "any": pair,
        }
        family = 4 if len(pair) == 8 else 6
        for kind, key in keys.items():
            found = self.elements(f"{kind}{family}").get(key)
            if found is not None and isinstance(found.data, int):
                return found.data
        return None

    def is_live(self, mark: int) -> bool:
        return mark.to_bytes(4, sys.byteorder) in self.elements("live")

    def lets(self, source: str, destination: str, port: int = 443) -> bool:
        """Whether a new connection would pass by an element whose number is live."""
        mark = self.number(source, destination, port)
        return mark is not None and self.is_live(mark)

    def is_closed(self, address: str) -> bool:
        """Judged, without a policy: the chain refuses what has none."""
        (key,) = packed(address)
        digit = 4 if len(key) == 4 else 6
        return key in self.elements(f"selected{digit}") and not any(key in self.elements(f"{name}{digit}") for name in ("pods", "known"))

    def elements(self, name: str) -> dict[bytes, Element]:
        found = next((of for of in self.enforcer.standing_sets() if of.name == name), None)
        return {} if found is None else {element.key: element for element in self.kernel.read_elements(found)}

    def opens(self, source: str, destination: str, port: int = 443) -> Flow:
        """A connection begins, and bears the mark that its element gives it."""
        mark = self.number(source, destination, port)
        return self.connects(source, destination, port, mark or 0)

    def connects(self, source: str, destination: str, port: int, mark: int) -> Flow:
        own, far = packed(source, destination)
        family = 2 if len(own) == 4 else 10
        flow = Flow(family, TCP, own, far, 40_000, port, far, port, mark, own + far + port.to_bytes(2, "big"))
        self.connections.add(flow)
        return flow

    def lives(self, flow: Flow) -> bool:
        """Whether the connection's next packet passes because its number is live."""
        now = next(each for each in self.connections.flows() if each.identity == flow.identity)
        return bool(now.mark) and self.is_live(now.mark)

    def _enforcer(self) -> Enforcer:
        return Enforcer(self.settings, self.kernel, self.connections, self.clock)


async def ruleset(node: Node) -> dict[str, object]:
    """What stands, with numbers replaced by what they mean and times left out: equal states have equal rulesets."""
    structure = await node.kernel.read_structure(node.enforcer.state.layout.table)
    assert structure is not None
    numbers, shift = node.enforcer.state.numbers, node.settings.shift

    def meaning(data: object) -> str:
        if not isinstance(data, int):
            return str(data)
        found = numbers.meaning(data >> shift)
        return f"{found.holder} at {found.basis}" if found else f"unknown number {data >> shift}"

    contents: dict[str, object] = {}
    for name in structure.sets.keys() - {"cut4", "cut6"}:  # what has been revoked is history, and ends by itself
        elements = node.elements(name)
        if name == "live":
            contents[name] = sorted(meaning(int.from_bytes(key, sys.byteorder)) for key in elements)
        else:
            contents[name] = {key: meaning(each.data) for key, each in elements.items()}
    return {"sets": contents, "chains": dict(structure.rules)}
