"""What the audit needs to know; fixed for the life of the process."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Field by field:

    path: the database; the folder is made when it is missing.
    max_age_s/max_bytes: older records, and the oldest beyond this size, are deleted; the write-ahead log (a few MB) comes on top.
    queue_records: how many may wait for the disk; beyond, records are lost and counted. 200,000 are 4 s at 50,000 queries/s, 40 MB.
    batch_records: records handed on at once. 256 take the loop about 0.2 ms; more would lengthen its longest pause.
    batch_s: how long a lone record waits for others.
    """

    path: Path
    max_age_s: float = 30 * 86_400.0
    max_bytes: int = 1 << 30
    queue_records: int = 200_000
    batch_records: int = 256
    batch_s: float = 0.1
