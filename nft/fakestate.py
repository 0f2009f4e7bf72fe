"""The tables that a fake kernel holds, and what it takes to change their structure.

Pure. A transaction works on a copy that takes the original's place when all of it went well.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from nft.errors import AlreadyExistsError, BusyError, NoSpaceError, NotFoundError, NotValidError
from nft.keys import unpack_key
from nft.objects import Chain, Element, Rule, Set, Structure, Table, Verdict
from nft.transaction import Operation, Target

_REFERENCE = re.compile(r"@([A-Za-z_][A-Za-z0-9_.\-/]*)")
_JUMP = re.compile(r"\b(?:goto|jump)\s+([A-Za-z_][A-Za-z0-9_.\-/]*)")

_handles = count(1)


@dataclass(slots=True)
class Stored:
    """An element in its set. `expires_at` None: never. Expired ones stay until they are collected, as in the kernel."""

    data: int | Verdict | None
    timeout_ms: int | None
    expires_at: float | None
    key_end: bytes | None

    def is_live(self, now: float) -> bool:
        return self.expires_at is None or self.expires_at > now


@dataclass(slots=True)
class FakeTable:
    handle: int = field(default_factory=lambda: next(_handles))
    chains: dict[str, tuple[int, Chain]] = field(default_factory=dict)
    rules: dict[str, list[tuple[int, Rule]]] = field(default_factory=dict)
    sets: dict[str, tuple[int, Set]] = field(default_factory=dict)
    elements: dict[str, dict[bytes, Stored]] = field(default_factory=dict)

    def copy(self) -> "FakeTable":
        return FakeTable(
            self.handle,
            dict(self.chains),
            {name: list(rules) for name, rules in self.rules.items()},
            dict(self.sets),
            {name: dict(elements) for name, elements in self.elements.items()},
        )

    def structure(self, table: Table) -> Structure:
        return Structure(
            table,
            {name: of for name, (_, of) in self.sets.items()},
            {name: chain for name, (_, chain) in self.chains.items()},
            {name: tuple(str(rule) for _, rule in rules) for name, rules in self.rules.items()},
        )

    def fingerprint(self) -> int:
        rules = tuple((name, tuple(handle for handle, _ in rules)) for name, rules in self.rules.items())
        return hash((self.handle, tuple(self.chains.items()), rules, tuple(self.sets.items())))

    def verdicts(self) -> Iterator[str]:
        """Chains that elements name, expired and uncollected ones included."""
        for elements in self.elements.values():
            for stored in elements.values():
                if isinstance(stored.data, Verdict) and stored.data.chain:
                    yield stored.data.chain

    def texts(self) -> Iterator[str]:
        return (rule.text for rules in self.rules.values() for _, rule in rules)

    def is_chain_used(self, name: str) -> bool:
        return any(name in _JUMP.findall(text) for text in self.texts()) or name in self.verdicts()

    def is_set_used(self, name: str) -> bool:
        return any(name in _REFERENCE.findall(text) for text in self.texts())


Tables = dict[Table, FakeTable]


def perform(tables: Tables, operation: Operation, now: float) -> None:
    """Do one operation, or raise what the kernel would answer."""
    verb, target = operation.verb, operation.target
    if isinstance(target, Table):
        _table(tables, verb, target)
        return
    table = _home(target)
    if table not in tables:
        raise NotFoundError(f"{operation}: no table {table}")
    match target:
        case Chain():
            _chain(tables[table], verb, target)
        case Rule():
            _rule(tables[table], target)
        case Set():
            _set(tables[table], verb, target)
        case Element():
            _element(tables[table], verb, target, now)
        case _:
            for low, high in target.spans:
                key_end = high if target.set.is_interval else None
                _element(tables[table], verb, Element(target.set, low, key_end=key_end), now)


def _home(target: Target) -> Table:
    match target:
        case Table():  # pragma: no cover -- `perform` has dealt with tables; the type must hear it
            return target
        case Chain() | Set():
            return target.table
        case Rule():
            return target.chain.table
        case _:
            return target.set.table


def _table(tables: Tables, verb: str, table: Table) -> None:
    stands = table in tables
    if verb == "create" and stands:
        raise AlreadyExistsError(f"table {table}")
    if verb in ("delete", "flush") and not stands:
        raise NotFoundError(f"table {table}")
    if verb == "delete":
        del tables[table]
    elif verb == "flush":
        tables[table].rules = {name: [] for name in tables[table].rules}
    elif not stands:
        tables[table] = FakeTable()


def _chain(inside: FakeTable, verb: str, chain: Chain) -> None:
    stands = chain.name in inside.chains
    if verb in ("delete", "flush") and not stands:
        raise NotFoundError(f"chain {chain}")
    if verb == "create" and stands:
        raise AlreadyExistsError(f"chain {chain}")
    if verb == "flush":
        inside.rules[chain.name] = []
    elif verb == "delete":
        _delete_chain(inside, chain)
    elif not stands:
        inside.chains[chain.name] = (next(_handles), chain)
        inside.rules[chain.name] = []
    elif chain.hook is not None and inside.chains[chain.name][1] != chain:
        inside.chains[chain.name] = (inside.chains[chain.name][0], _rehook(inside.chains[chain.name][1], chain))


def _rehook(stands: Chain, wanted: Chain) -> Chain:
    """Of a base chain only the policy can be changed."""
    if stands.hook is None or wanted.hook is None or replace(stands.hook, policy=wanted.hook.policy) != wanted.hook:
        raise AlreadyExistsError(f"chain {stands}: stands with another hook")
    return wanted


def _delete_chain(inside: FakeTable, chain: Chain) -> None:
    rules = inside.rules.pop(chain.name)
    if inside.is_chain_used(chain.name):
        inside.rules[chain.name] = rules
        raise BusyError(f"chain {chain}")
    del inside.chains[chain.name]


def _rule(inside: FakeTable, rule: Rule) -> None:
    if rule.chain.name not in inside.chains:
        raise NotFoundError(f"chain {rule.chain}")
    for name in _REFERENCE.findall(rule.text):
        if name not in inside.sets:
            raise NotFoundError(f"set {rule.chain.table} {name}")
    for name in _JUMP.findall(rule.text):
        if name not in inside.chains:
            raise NotFoundError(f"chain {rule.chain.table} {name}")
    inside.rules[rule.chain.name].append((next(_handles), rule))


def _set(inside: FakeTable, verb: str, of: Set) -> None:
    stands = of.name in inside.sets
    if verb in ("delete", "flush") and not stands:
        raise NotFoundError(f"{of.kind} {of}")
    if verb == "flush":
        inside.elements[of.name] = {}
    elif verb == "delete":
        if inside.is_set_used(of.name):
            raise BusyError(f"{of.kind} {of}")
        del inside.sets[of.name], inside.elements[of.name]
    elif not stands:
        inside.sets[of.name] = (next(_handles), of)
        inside.elements[of.name] = {}
    elif verb == "create" or inside.sets[of.name][1] != of:
        raise AlreadyExistsError(f"{of.kind} {of}")


def _element(inside: FakeTable, verb: str, element: Element, now: float) -> None:
    name = element.set.name
    if name not in inside.sets:
        raise NotFoundError(f"{element.set.kind} {element.set}")
    elements = inside.elements[name]
    stored = elements.get(element.key)
    if verb == "delete":
        if stored is None or not stored.is_live(now):
            raise NotFoundError(f"element of {element.set}")
        del elements[element.key]
        return
    timeout_ms = element.timeout_ms or element.set.default_timeout_ms
    if timeout_ms and not element.set.has_timeout:
        raise NotValidError(f"{element.set} has no flag timeout")
    left_ms = element.expires_ms or timeout_ms
    expires_at = None if left_ms is None else now + left_ms / 1000
    insert(inside, element.set, element.key, Stored(element.data, timeout_ms, expires_at, element.key_end), now)


def insert(inside: FakeTable, of: Set, key: bytes, new: Stored, now: float) -> None:
    """Insert, or renew what stands with the same data; the kernel's refusals otherwise."""
    elements = inside.elements[of.name]
    stored = elements.get(key)
    if isinstance(new.data, Verdict) and new.data.chain and new.data.chain not in inside.chains:
        raise NotFoundError(f"chain {of.table} {new.data.chain}")
    if stored is not None and stored.is_live(now) and (stored.data, stored.key_end) != (new.data, new.key_end):
        raise AlreadyExistsError(f"element of {of}")
    if of.is_interval:
        _check_overlap(of, key, new, now, elements)
    if stored is None and of.size is not None and len(elements) >= of.size:
        raise NoSpaceError(f"{of.kind} {of} holds {of.size} elements")
    elements[key] = new


def _check_overlap(of: Set, key: bytes, new: Stored, now: float, elements: dict[bytes, Stored]) -> None:
    for other, stands in elements.items():
        if other != key and stands.is_live(now) and _overlaps(of, key, new.key_end or key, other, stands.key_end or other):
            raise AlreadyExistsError(f"element of {of}: the interval overlaps with one that stands")


def _overlaps(of: Set, key: bytes, key_end: bytes, other_key: bytes, other_end: bytes) -> bool:
    """Whether two intervals share a key: in a concatenation, whether they do in every field."""
    fields = zip(*(unpack_key(of.key, end) for end in (key, key_end, other_key, other_end)), strict=True)
    return all(low <= other_high and other_low <= high for low, high, other_low, other_high in fields)
