"""What main and its workers say to each other: length, kind, body.

Pure. Both ends are one program at one version, parent and child over a socket pair, so pickle and marshal are safe here: marshal for what
goes by the thousand (0.4 µs an ask, pickle 1.1), pickle for what is said now and then.
Always true: a frame comes out whole and as it was put in, however the bytes are cut on the way.
"""

import marshal
import pickle
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from dnsfw.audit.frames import Batch
from dnsfw.audit.record import Gap
from dnsfw.clock import Instant, WallTime
from dnsfw.forwarder.service import ForwarderStats
from dnsfw.forwarder.settings import Endpoint, ForwarderSettings
from dnsfw.names import Name
from dnsfw.policy.grants import Granted, GrantOutcome, NotGranted
from dnsfw.policy.ledger import RowKey
from dnsfw.policy.model import PodUid, PolicySettings, World
from dnsfw.policy.reasons import Reason

_HEADER = struct.Struct("=IB")
_VERSION = 4  # of marshal; the older ones are slower (audit.frames)


class Kind(IntEnum):
    """From main: CHARGE, WORLD, IN_FORCE, TROUBLE, OUTCOMES, FORGET, STOP. From a worker: the others."""

    CHARGE = 0
    WORLD = 1
    IN_FORCE = 2
    TROUBLE = 3
    OUTCOMES = 4
    FORGET = 5
    STOP = 6
    HERE = 7
    SWITCHED = 8
    ASKS = 9
    RECORDS = 10
    GAP = 11
    STATS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a worker is, said once. doors: each endpoint with the numbers of its UDP and TCP socket, which the worker was born with."""

    number: int
    forwarder: ForwarderSettings
    doors: tuple[tuple[Endpoint, int, int], ...]
    batch_records: int
    batch_s: float
    log_format: str
    log_level: str


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a snapshot is compiled from; the same here and there gives the same snapshot (policy.compile)."""

    serial: int
    world: World
    settings: PolicySettings
    wall: WallTime


class RemoteAsk(NamedTuple):
    """`Grants.request` from afar: `number` tells its outcome from others', `serial` is of the snapshot that it was decided by."""

    number: int
    serial: int
    uid: PodUid
    name: Name
    addresses: tuple[bytes, ...]
    ttl: int


class Said(NamedTuple):
    """The outcome of the ask with this number."""

    number: int
    outcome: GrantOutcome


def pack(kind: Kind, body: bytes = b"") -> bytes:
    return _HEADER.pack(len(body), kind) + body


class FrameReader:
    """Takes bytes as they come, gives whole frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        self._bytes += data
        start, size = 0, len(self._bytes)
        try:
            while size - start >= _HEADER.size:
                length, kind = _HEADER.unpack_from(self._bytes, start)
                if size - start - _HEADER.size < length:
                    return
                start += _HEADER.size + length
                yield Kind(kind), bytes(self._bytes[start - length : start])
        finally:
            del self._bytes[:start]


def pack_asks(asks: Iterable[RemoteAsk]) -> bytes:
    return marshal.dumps([tuple(ask) for ask in asks], _VERSION)


def asks_of(body: bytes) -> list[RemoteAsk]:
    return [RemoteAsk(*ask) for ask in marshal.loads(body)]  # noqa: S302 -- from our own child, see above


def pack_outcomes(said: Sequence[Said]) -> bytes:
    return marshal.dumps([(each.number, *_plain(each.outcome)) for each in said], _VERSION)


def outcomes_of(body: bytes) -> list[Said]:
    return [Said(number, _outcome(*rest)) for number, *rest in marshal.loads(body)]  # noqa: S302 -- from our own parent, see above


def _plain(outcome: GrantOutcome) -> tuple[float | str, int | str, int]:
    if isinstance(outcome, Granted):
        return outcome.until, outcome.ttl, outcome.grants
    return outcome.reason.value, outcome.detail, 0


def _outcome(first: Instant | str, second: int | str, count: int) -> GrantOutcome:
    return NotGranted(Reason(first), str(second)) if isinstance(first, str) else Granted(first, int(second), count)


def pack_row(key: RowKey) -> bytes:
    return marshal.dumps(key, _VERSION)


def row_of(body: bytes) -> RowKey:
    uid, address = marshal.loads(body)  # noqa: S302 -- from our own parent, see above
    return uid, address


def pack_batch(batch: Batch) -> bytes:
    return marshal.dumps(tuple(batch), _VERSION)


def batch_of(body: bytes) -> Batch:
    return Batch(*marshal.loads(body))  # noqa: S302 -- from our own child, see above


Value = Charge | News | ForwarderStats | Gap | int | float


def pack_value(value: Value) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def value_of(body: bytes) -> Any:  # noqa: ANN401 -- one of Value; which one, the kind of the frame says
    return pickle.loads(body)  # noqa: S301 -- from our own parent or child, see above
