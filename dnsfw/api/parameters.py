"""Query strings, parsed once: the same filters as on the command line.

Pure. A parameter that is not known is refused: a mistyped filter must not show everything.
"""

from collections.abc import Mapping

from dnsfw.api.sources import GrantsFilter
from dnsfw.audit.filters import AuditFilter, parse_decision, parse_moment, parse_name_filter
from dnsfw.clock import WallTime
from dnsfw.errors import DnsfwError
from dnsfw.names import quoted

DEFAULT_LIMIT = 1_000
MOST_GRANTS = 2_000_000
MOST_RECORDS = 100_000

_GRANTS = frozenset({"namespace", "pod", "name", "limit", "offset"})
_AUDIT = frozenset({"namespace", "pod", "name", "decision", "since", "until", "limit"})


class QueryError(DnsfwError):
    """A query string that asks for nothing we know."""


def grants_filter(query: Mapping[str, str]) -> GrantsFilter:
    _check_known(query, _GRANTS)
    return GrantsFilter(
        namespace=query.get("namespace"),
        pod=query.get("pod"),
        pattern=parse_name_filter(query["name"]) if "name" in query else None,
        limit=_number(query, "limit", DEFAULT_LIMIT, MOST_GRANTS),
        offset=_number(query, "offset", 0, MOST_GRANTS),
    )


def audit_filter(query: Mapping[str, str], now: WallTime) -> AuditFilter:
    _check_known(query, _AUDIT)
    return AuditFilter(
        namespace=query.get("namespace"),
        pod=query.get("pod"),
        pattern=parse_name_filter(query["name"]) if "name" in query else None,
        decision=parse_decision(query["decision"]) if "decision" in query else None,
        since=parse_moment(query["since"], now) if "since" in query else None,
        until=parse_moment(query["until"], now) if "until" in query else None,
        limit=_number(query, "limit", DEFAULT_LIMIT, MOST_RECORDS),
    )


def _check_known(query: Mapping[str, str], known: frozenset[str]) -> None:
    for name in query:
        if name not in known:
            raise QueryError(f"parameter {quoted(name)}: one of {', '.join(sorted(known))}")


def _number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) <= most):
        raise QueryError(f"parameter {name}={quoted(text)}: a number from 0 to {most}")
    return int(text)
