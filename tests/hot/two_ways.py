"""One forwarder on an enforcer over a fake kernel, with or without the hot path; the test moves its clock and is its upstream.

All times are the test's, so that two of them that live through the same must send, record and install the same, byte for byte.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from enforce_kit import Node
from record_frames import rows_of, whole
from worlds import cluster, peer, rule, where

from dnsfw.audit.frames import FrameReader
from dnsfw.audit.pipeline import AuditPipeline
from dnsfw.audit.record import QueryRecord
from dnsfw.audit.settings import AuditSettings
from dnsfw.clock import Instant
from dnsfw.forwarder.inquiry import Failure, Outcome, Reply, UpstreamQuery
from dnsfw.forwarder.perform import Performer
from dnsfw.forwarder.service import Forwarder
from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.hot import Hot
from dnsfw.names import parse_name
from dnsfw.policy.model import Action, LeaseLimits, Mode, Pod, PodUid, Rule
from dnsfw.policy.reasons import Reason

TEAM = "shop"
SOURCES = ("10.244.0.1", "10.244.0.2", "2001:db8:c1::2", "10.244.0.9", "10.244.0.77")
"""Of pod a, of pod b (two), of a pod that no rule selects, of nobody."""
CANARY = "use-application-dns.net"
NAMES = ("www.example.net", "api.example.net", "deep.www.example.org", "refused.example.com", "svc.cluster.example", CANARY)
_OPT = b"\0\0\x29\x10\0\0\0\0\0\0\0"
_DO = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"
_MANY = 100_000  # records; one batch holds what a test asks for


def pods(is_contested: bool = False) -> list[Pod]:
    def pod(name: str, *addresses: str, labels: Mapping[str, str]) -> Pod:
        return Pod(uid=PodUid(f"uid-{name}"), namespace=TEAM, name=name, addresses=tuple(map(ip_address, addresses)), labels=labels)

    found = [
        pod("a", SOURCES[0], labels={"app": "x"}),
        pod("b", SOURCES[1], SOURCES[2], labels={"app": "x"}),
        pod("plain", SOURCES[3], labels={}),
    ]
    return [*found, pod("twin", SOURCES[0], labels={"app": "x"})] if is_contested else found


def worlds() -> list[tuple[list[Rule], list[Pod]]]:
    """What may be in force, one after the other."""
    web = rule(
        "web",
        peer("*.example.net", on=["tcp/443", "udp/1-9"]),
        selector=where(app="x"),
        limits=LeaseLimits(min_seconds=20, max_seconds=45, grace_seconds=5),
    )
    both = rule("both", peer("*.example.net", "*.example.org", "192.0.2.0/28"), selector=where(app="x"))
    watched = rule("watched", peer("www.example.net"), selector=where(app="x"), mode=Mode.AUDIT)
    all_names = rule("all", peer("*"), selector=where(app="x"))
    never = cluster("never", Action.DENY, peer("api.example.net", "192.0.2.1/32"))
    return [
        ([web], pods()),
        ([web, both], pods()),
        ([watched], pods()),
        ([web, never], pods()),
        ([web], pods(is_contested=True)),
        ([], pods()),
        ([all_names], pods()),
    ]


@dataclass(frozen=True)
class Said:
    """What upstream says about any name for a while. addresses: of the type asked for; alias: a name they belong to.

    opt: whether its OPT is none, the last record, or before another one, or says that the rcode is beyond the header's (BADVERS).
    must_be_zero: the header's bit of that name is not.
    """

    rcode: int = 0
    addresses: tuple[str, ...] = ("192.0.2.1",)
    ttl: int = 60
    alias: bool = False
    is_truncated: bool = False
    is_silent: bool = False
    opt: str = ""
    must_be_zero: bool = False


def message(asked: UpstreamQuery, said: Said) -> bytes:
    question, qtype = asked.key, asked.key[-4] << 8 | asked.key[-3]
    owner = b"\xc0\x0c"
    records = []
    if said.alias:
        target = parse_name("alias.example.edu")
        records.append(owner + _record(5, said.ttl, target))
        owner = (0xC000 | len(question) + 24).to_bytes(2, "big")  # the alias's target stands there
    size = {1: 4, 28: 16}.get(qtype, 0)
    packed = [ip_address(address).packed for address in said.addresses]
    records += [owner + _record(qtype, said.ttl, one) for one in packed if len(one) == size]
    flags = 0x8180 | said.rcode | (0x0200 if said.is_truncated else 0) | (0x0040 if said.must_be_zero else 0)
    soa = b"" if records else b"\xc0\x0c" + _record(6, said.ttl, b"\0\0" + bytes(16) + said.ttl.to_bytes(4, "big"))
    additional = {"": [], "last": [_GLUE, _UPSTREAM_OPT], "first": [_UPSTREAM_OPT, _GLUE], "extended": [_BADVERS]}[said.opt]
    counts = (1, len(records), 1 if soa else 0, len(additional))
    head = b"\0\0" + flags.to_bytes(2, "big") + b"".join(count.to_bytes(2, "big") for count in counts)
    return head + question + b"".join(records) + soa + b"".join(additional)


def _record(rtype: int, ttl: int, rdata: bytes) -> bytes:
    return rtype.to_bytes(2, "big") + b"\0\x01" + ttl.to_bytes(4, "big") + len(rdata).to_bytes(2, "big") + rdata


_GLUE = b"\xc0\x0c" + _record(1, 77, bytes((192, 0, 2, 200)))
_UPSTREAM_OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
_BADVERS = b"\0\0\x29\x04\xd0\1\0\0\0\0\0"


def query(name: str, qtype: int, ident: int, flags: int, edns: int) -> bytes:
    """edns: none, one, one with DO; two records at most, the last one cut short at 3."""
    opt = (b"", _OPT, _DO, _OPT[:-1])[edns]
    body = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0" + qtype.to_bytes(2, "big") + b"\0\x01"
    return ident.to_bytes(2, "big") + flags.to_bytes(2, "big") + b"\0\x01\0\0\0\0" + (b"\0\x01" if opt else b"\0\0") + body + opt


class Upstream:
    """In place of the sockets: answers as the test says, at once or, while it `is_slow`, when told."""

    def __init__(self) -> None:
        self.says = Said()
        self.asked = 0
        self.is_slow = False
        self._due: list[Callable[[], None]] = []

    def ask(self, asked: UpstreamQuery, _deadline: Instant, then: Callable[[Outcome], None]) -> None:
        self.asked += 1
        silent = Failure(Reason.UPSTREAM_TIMEOUT, "silent")
        self._due.append(partial(then, silent if self.says.is_silent else Reply(message(asked, self.says), "upstream", 0.0)))
        if not self.is_slow:
            self.answer()

    def answer(self) -> None:
        """What was asked, in its order."""
        due, self._due = self._due, []
        for each in due:
            each()


class OneWay:
    """Everything behind the sockets."""

    def __init__(self, *, is_hot: bool, settings: ForwarderSettings) -> None:
        self.node = Node()
        self.audit = AuditPipeline(AuditSettings(path=Path("not-written"), batch_records=_MANY))
        self._records: list[QueryRecord] = []
        self.sent: list[tuple[bytes, object]] = []
        self.hot: Hot | None = None
        self.upstream = Upstream()
        self._settings = settings
        self._is_hot = is_hot

    async def start(self) -> None:
        state = self.node.enforcer.state
        await self.node.start(*worlds()[0])
        self.forwarder = Forwarder(
            self._settings,
            snapshot=lambda: state.snapshot,
            grants=self.node.enforcer,
            sink=self.audit.sink,
            clock=self.node.clock,
            interface_of=lambda _source: None,
            unready=lambda: Reason.KERNEL_FAILED if state.trouble else None,
            fast=self._fast if self._is_hot else None,
        )
        self.forwarder._performer.upstreams = self.upstream

    def _fast(self, performer: Performer) -> Hot:
        node = self.node
        self.hot = Hot(self._settings, performer, node.enforcer.state, node.enforcer, self.audit, node.clock)
        return self.hot

    @property
    def records(self) -> list[QueryRecord]:
        """As the writer would read them."""
        backlog = self.audit._backlog
        backlog.cut()
        while (data := backlog.next_to_send()) is not None:
            for frame in FrameReader().feed(data):
                self._records += map(whole, rows_of(frame))
                backlog.acknowledge(frame.number)
        return self._records

    def send(self, data: bytes, address: object) -> None:
        """The way back to the client."""
        self.sent.append((data, address))

    async def ask(self, data: bytes, source: str) -> None:
        self.forwarder.handle(data, source, "udp", self, source.encode())
        await self.settle()

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def change(self, world: int) -> None:
        await self.node.change(*worlds()[world])
        self.forwarder.snapshot_changed()

    def elements(self) -> Mapping[str, object]:
        return {of.name: sorted(self.node.kernel.read_elements(of), key=lambda one: one.key) for of in self.node.enforcer.standing_sets()}

    def counts(self) -> tuple[object, ...]:
        stats = self.forwarder.stats()
        return stats.queries, stats.by_decision, stats.by_reason, stats.cache.hits, self.upstream.asked, stats.cache.misses

    @property
    def hot_answers(self) -> int:
        return self.hot.shots if self.hot is not None else 0

    @property
    def fresh_answers(self) -> int:
        return self.hot.fresh.taken if self.hot is not None else 0


async def live_through(steps: Sequence[Callable[[OneWay], object]], settings: ForwarderSettings) -> tuple[OneWay, OneWay]:
    """The same steps, with the hot path and without it."""
    both = OneWay(is_hot=True, settings=settings), OneWay(is_hot=False, settings=settings)
    for one in both:
        await one.start()
        for step in steps:
            await step(one)
        one.forwarder._close()
    return both
