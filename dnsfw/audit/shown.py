"""A record as JSON says it: the same words from the API, from `-o json` and from `-o yaml`.

Pure.
"""

import re
from datetime import UTC, datetime

from dnsfw.audit.record import Gap, QueryRecord
from dnsfw.clock import WallTime

Shown = dict[str, str | int | float | list[str] | None]

# IANA's DNS parameters; what is not here is shown as RFC 3597 §5 writes it.
_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 10: "NULL", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 17: "RP", 28: "AAAA", 29: "LOC",
    33: "SRV", 35: "NAPTR", 39: "DNAME", 41: "OPT", 43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3",
    52: "TLSA", 64: "SVCB", 65: "HTTPS", 99: "SPF", 249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR", 253: "MAILB", 254: "MAILA",
    255: "ANY", 257: "CAA",
}  # fmt: skip
_NUMBERS = {name: number for number, name in _TYPES.items()}
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}


def type_name(number: int) -> str:
    return _TYPES.get(number) or f"TYPE{number}"


def type_number(name: str) -> int | None:
    """The other way round; None for what is no type."""
    if match := re.fullmatch(r"TYPE([0-9]{1,5})", name):
        return number if (number := int(match[1])) < 65536 else None
    return _NUMBERS.get(name)


def rcode_name(number: int) -> str | None:
    return None if number < 0 else _RCODES.get(number) or f"RCODE{number}"


def moment(at: WallTime) -> str:
    """RFC 3339, UTC, milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(entry: QueryRecord | Gap) -> Shown:
    return _gap(entry) if isinstance(entry, Gap) else _query(entry)


def _gap(gap: Gap) -> Shown:
    return {"kind": "gap", "since": moment(gap.since), "until": moment(gap.until), "lost": gap.lost, "why": gap.why}


def _query(record: QueryRecord) -> Shown:
    return {
        "kind": "query",
        "time": moment(record.at),
        "namespace": record.namespace,
        "pod": record.pod,
        "podUid": record.pod_uid,
        "source": record.source,
        "transport": record.transport,
        "name": record.name,
        "type": type_name(record.qtype),
        "decision": record.decision,
        "reason": record.reason,
        "rule": record.rule,
        "rcode": rcode_name(record.rcode),
        "addresses": record.addresses.split(),
        "removed": record.removed.split(),
        "chain": record.chain.split(),
        "ttl": None if record.ttl < 0 else record.ttl,
        "grants": record.grants,
        "upstreamMs": record.upstream_us / 1000,
        "installMs": record.install_us / 1000,
    }
