"""Which records of a block a filter takes.

Pure. What rules out a whole block is asked first, and of a column only what is left is looked at.
"""

from collections.abc import Sequence

from dnsfw.audit.blocks import Block
from dnsfw.audit.filters import AuditFilter
from dnsfw.names import NameError_, Pattern, format_name, parse_name

Places = Sequence[int]


def matching(block: Block, wanted: AuditFilter) -> Places:
    """Their places in the block, in its order; `limit` is not looked at."""
    places: Places = range(block.records)
    if wanted.namespace is not None or wanted.pod is not None:
        askers = {number for number, (namespace, pod, *_) in enumerate(block.askers) if _is_of(wanted, namespace, pod)}
        places = _among(places, block.asker_ids, askers) if askers else ()
    if places and wanted.decision is not None:
        verdicts = {number for number, (decision, *_) in enumerate(block.verdicts) if decision == wanted.decision}
        places = _among(places, block.verdict_ids, verdicts) if verdicts else ()
    if places and (wanted.since is not None or wanted.until is not None):
        places = _within(places, block.times, wanted)
    return _named(places, block, wanted.pattern) if places and wanted.pattern is not None else places


def _is_of(wanted: AuditFilter, namespace: str, pod: str) -> bool:
    return wanted.namespace in (None, namespace) and wanted.pod in (None, pod)


def _among(places: Places, column: Sequence[int], ids: set[int]) -> Places:
    return [place for place in places if column[place] in ids]


def _within(places: Places, times: Sequence[float], wanted: AuditFilter) -> Places:
    since = float("-inf") if wanted.since is None else wanted.since
    until = float("inf") if wanted.until is None else wanted.until
    return [place for place in places if since <= times[place] <= until]


def _named(places: Places, block: Block, pattern: Pattern) -> Places:
    suffix = format_name(pattern.name)
    if not block.holds(suffix):
        return ()
    names, tail = block.names, f".{suffix}"
    left = {block.own_ids[place] for place in places}
    if pattern.is_wildcard:
        owns = {own for own in left if names[own].endswith(tail) and _is_below(names[own], tail, pattern)}
    else:
        owns = {own for own in left if names[own] == suffix}
    return _among(places, block.own_ids, owns)


def _is_below(name: str, tail: str, pattern: Pattern) -> bool:
    """The text decides, but for an escaped dot before the suffix: `a\\.example.net` is no child of example.net."""
    if name[-len(tail) - 1 : -len(tail)] != "\\":
        return True
    try:
        return pattern.matches(parse_name(name))
    except NameError_:
        return False
