"""What one query leaves behind. Plain values only: `marshal` packs it in 0.2 µs, and a row holds nothing that must be looked up."""

from collections.abc import Callable
from typing import Any, NamedTuple


class QueryRecord(NamedTuple):
    """One query, one record.

    at: wall time the query arrived. namespace/pod/pod_uid: "" where the source is no known pod. name: presentation form, escaped.
    decision: "allowed", "refused", "passed" (nothing to judge: pod not selected, or a name of the cluster), "failed" (closed for a reason
    of ours or upstream's) or "would-refuse" (Audit mode). reason: a `policy.reasons.Reason` value. rule: "namespace/name", or "name" for a
    cluster rule, "" where none decided. rcode: of the response sent; -1 where none was. addresses: of the answer as sent, space
    separated; removed: protected addresses that were taken out.
    chain: the aliases between name and addresses, space separated. ttl: as answered, -1 without answer records.
    grants: permissions the answer rests on. upstream_us/install_us: time waited for each, 0 where not asked.
    """

    at: float
    namespace: str
    pod: str
    pod_uid: str
    source: str
    transport: str
    name: str
    qtype: int
    decision: str
    reason: str
    rule: str
    rcode: int
    addresses: str
    removed: str
    chain: str
    ttl: int
    grants: int
    upstream_us: int
    install_us: int


Sink = Callable[[QueryRecord], None]
"""Takes a record and returns at once; never raises, never blocks. What it cannot keep it counts as lost."""

# Of no stated length: compiled code takes a tuple of a stated one apart, and what many records share would be made anew for each.
Asker = tuple[str, ...]
"""Of a record: namespace, pod, pod_uid, source, transport."""
Verdict = tuple[str | int, ...]
"""decision, reason, rule, rcode."""
Own = tuple[str | int, ...]
"""name, qtype, addresses, removed, chain, ttl, grants, upstream_us, install_us."""
Parts = tuple[float, Asker | bytes, Verdict, Own | bytes]
"""A record in four, `at` being the first. bytes: what `audit.frames.pack_part` made of it, by who has the same for many queries.

Who has the others at hand need not write nineteen fields once more for each query, and what many records share is packed once a batch:
0.3 µs for 1.2, of the same name by the same pod.
"""


def parts_of(record: QueryRecord) -> tuple[float, Asker, Verdict, Own]:
    at, namespace, pod, uid, source, transport, name, qtype, decision, reason, rule, rcode, *more = record
    own: tuple[Any, ...] = (name, qtype, *more)
    return at, (namespace, pod, uid, source, transport), (decision, reason, rule, rcode), own


class Gap(NamedTuple):
    """Records that should be here and are not: between `since` and `until`, `lost` many, None where nobody can know.

    why: "queue full" (the disk was too slow, full or away), "unclean end" (killed, or a power cut), "worker ended" (one of several was
    killed, or has failed), "unusable records", "damaged database",
    "outdated database" (of an older version: what was recorded before is in the file that was put aside).
    """

    since: float
    until: float
    lost: int | None
    why: str


DECISIONS = ("allowed", "refused", "passed", "failed", "would-refuse")
