"""Records, filters and deadlines that the audit's tests share."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from dnsfw.audit.filters import AuditFilter
from dnsfw.audit.query import read_records
from dnsfw.audit.record import Gap, QueryRecord

T0 = 1_800_000_000.0

_ALLOWED = QueryRecord(
    at=T0,
    namespace="shop",
    pod="app1",
    pod_uid="uid-1",
    source="192.0.2.1",
    transport="udp",
    name="www.example.net",
    qtype=1,
    decision="allowed",
    reason="allowed",
    rule="shop/app1",
    rcode=0,
    addresses="198.51.100.7",
    removed="",
    chain="",
    ttl=30,
    grants=1,
    upstream_us=350,
    install_us=12,
)


def query(**changes: object) -> QueryRecord:
    return _ALLOWED._replace(**changes)


def numbered(count: int, start: int = 0) -> list[QueryRecord]:
    return [query(at=T0 + number / 1000, name=f"n{number}.example.net") for number in range(start, start + count)]


def entries(path: Path, **wanted: object) -> list[QueryRecord | Gap]:
    return list(read_records(path, AuditFilter(**wanted)))


def names(path: Path, **wanted: object) -> list[str]:
    return [entry.name for entry in entries(path, **wanted) if isinstance(entry, QueryRecord)]


def gaps(path: Path) -> list[Gap]:
    return [entry for entry in entries(path) if isinstance(entry, Gap)]


async def until(condition: Callable[[], bool], deadline: float = 10.0) -> None:
    """Poll; a test that needs this waits for another process."""
    ends = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < ends, "the deadline has passed"
        await asyncio.sleep(0.02)
