"""What to read from the audit, and how people write it.

Pure: the caller says what time it is.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from dnsfw.audit.errors import AuditError
from dnsfw.audit.record import DECISIONS
from dnsfw.clock import WallTime
from dnsfw.names import ROOT, Pattern, parse_name, parse_pattern, quoted


class FilterError(AuditError):
    """A filter that says nothing we understand; the message says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """None takes everything. `pattern` as in rules: exact, or `*.` and a suffix. `limit`: the newest ones."""

    namespace: str | None = None
    pod: str | None = None
    pattern: Pattern | None = None
    decision: str | None = None
    since: WallTime | None = None
    until: WallTime | None = None
    limit: int | None = None


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhdw])")


def parse_moment(text: str, now: WallTime) -> WallTime:
    """`10m` (before now), or RFC 3339; a date or time without an offset is local."""
    if match := _DURATION.fullmatch(text):
        unit = match[2]
        return now - float(match[1]) * (0.001 if unit == "ms" else _UNITS[unit])
    try:
        return datetime.fromisoformat(text.upper().replace(" ", "T")).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        advice = "write a duration such as 10m, 2h or 1d, or a time such as 2027-01-31T12:00:00Z"
        raise FilterError(f"time {quoted(text)}: {advice}") from error


def parse_name_filter(text: str) -> Pattern | None:
    """An exact name, escaped as the audit shows it, or a pattern; `*` asks for nothing in particular."""
    if "*" in text.replace("\\*", ""):  # what the audit shows as a plain "*" within a label is asked for as "\*"
        pattern = parse_pattern(text)
        return None if pattern.name == ROOT else pattern
    return Pattern(parse_name(text))


def parse_decision(text: str) -> str:
    if text not in DECISIONS:
        raise FilterError(f"decision {quoted(text)}: one of {', '.join(DECISIONS)}")
    return text
