"""Tables, chains, rules, sets, elements: what stands, or should stand, in the kernel.

Pure values, valid from birth: a name that could end a command or begin another is refused when the value is made.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from nft.errors import NotValidError
from nft.keys import TYPES, key_length, pack_key

__all__ = [
    "Chain", "Element", "Features", "Hook", "Rule", "Set", "Structure", "Table", "Verdict", "pack_key",
]  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-/]{0,254}")
_COMMENT = re.compile(r'[^"\\\x00-\x1f\x7f]{0,120}')
_ENDS_A_RULE = re.compile(r"[;#\x00-\x1f\x7f]")
_FAMILIES = frozenset({"inet", "ip", "ip6", "arp", "bridge", "netdev"})
_SET_FLAGS = frozenset({"interval", "timeout", "dynamic", "constant"})
_MOST_PARTS = 5  # libnftables packs the types into one number of 32 bits, 6 each, and silently loses what is more
_POLICIES = frozenset({"accept", "drop"})
_TERMINAL = frozenset({"accept", "drop", "return", "continue"})


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise NotValidError(f"{kind} name {name!r}: letters, digits and _ . - / only, a letter or _ first, at most 255")


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    family: str = "inet"

    def __post_init__(self) -> None:
        _check_name("table", self.name)
        if self.family not in _FAMILIES:
            raise NotValidError(f"table {self.name}: no such family: {self.family!r}")

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain hangs."""

    type: str
    hook: str
    priority: int
    policy: str = "accept"

    def __post_init__(self) -> None:
        _check_name("chain type", self.type)
        _check_name("hook", self.hook)
        if self.policy not in _POLICIES:
            raise NotValidError(f"a chain's policy is accept or drop, not {self.policy!r}")

    def __str__(self) -> str:
        return f"type {self.type} hook {self.hook} priority {self.priority:d}; policy {self.policy};"


@dataclass(frozen=True, slots=True)
class Chain:
    table: Table
    name: str
    hook: Hook | None = None

    def __post_init__(self) -> None:
        _check_name("chain", self.name)

    def __str__(self) -> str:
        return f"{self.table} {self.name}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule in nft's own words, without its comment."""

    chain: Chain
    text: str
    comment: str = ""

    def __str__(self) -> str:
        return f'{self.text} comment "{self.comment}"' if self.comment else self.text

    def __post_init__(self) -> None:
        if not self.text.strip() or _ENDS_A_RULE.search(self.text):
            raise NotValidError(f"rule {self.text!r}: one line, and neither ; nor #")
        if self.text.count('"') % 2 or self.text.count("{") != self.text.count("}"):
            raise NotValidError(f"rule {self.text!r}: a quote or a brace stands alone")
        if not _COMMENT.fullmatch(self.comment):
            raise NotValidError(f'comment {self.comment!r}: at most 120 printable characters, neither " nor \\')


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: str
    chain: str | None = None

    def __post_init__(self) -> None:
        if self.kind in ("goto", "jump") and self.chain is not None:
            _check_name("chain", self.chain)
        elif self.kind not in _TERMINAL or self.chain is not None:
            raise NotValidError(f"no such verdict: {self}")

    def __str__(self) -> str:
        return self.kind if self.chain is None else f"{self.kind} {self.chain}"


@dataclass(frozen=True, slots=True)
class Set:
    """A set, or a map when `data` is given. `timeout_s` is the default of elements that bring none of their own."""

    table: Table
    name: str
    key: tuple[str, ...]
    data: Literal["mark", "verdict"] | None = None
    flags: frozenset[str] = frozenset()
    timeout_s: float | None = None
    size: int | None = None
    has_counter: bool = False
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        _check_name("set", self.name)
        if not self.key or (unknown := [name for name in self.key if name not in TYPES]):
            raise NotValidError(f"set {self.name}: no such key type: {', '.join(unknown) if self.key else 'none given'}")
        if len(self.key) > _MOST_PARTS:
            raise NotValidError(f"set {self.name}: a key has at most {_MOST_PARTS} parts")
        if self.data not in (None, "mark", "verdict"):
            raise NotValidError(f"map {self.name}: data is mark or verdict, not {self.data!r}")
        if not self.flags <= _SET_FLAGS:
            raise NotValidError(f"set {self.name}: no such flag: {', '.join(sorted(self.flags - _SET_FLAGS))}")
        if self.timeout_s is not None and ("timeout" not in self.flags or self.timeout_s <= 0):
            raise NotValidError(f"set {self.name}: a default timeout is positive and needs the flag timeout")
        if self.size is not None and self.size <= 0:
            raise NotValidError(f"set {self.name}: a size is positive")
        object.__setattr__(self, "_hash", hash((self.table, self.name)))

    # Sets key the dictionaries of the hot path: hashing all fields each time costs 1 µs, this 0.06.
    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"{self.table} {self.name}"

    @property
    def kind(self) -> Literal["set", "map"]:
        return "set" if self.data is None else "map"

    @property
    def key_length(self) -> int:
        return key_length(self.key)

    @property
    def has_timeout(self) -> bool:
        return "timeout" in self.flags

    @property
    def is_interval(self) -> bool:
        return "interval" in self.flags

    @property
    def default_timeout_ms(self) -> int | None:
        return None if self.timeout_s is None else round(self.timeout_s * 1000)


class Element(NamedTuple):
    """One element. `expires_ms` is what is left of `timeout_ms`; no timeout: it stands until it is deleted.

    `key_end` is the last key of an interval (itself inside), in sets with the flag interval.
    """

    set: Set
    key: bytes
    data: int | Verdict | None = None
    timeout_ms: int | None = None
    expires_ms: int | None = None
    key_end: bytes | None = None
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Structure:
    """What stands in one table, but for elements and counters.

    Rules, by chain, are the lines that the kernel's listing prints, comments included: compare two readings, not a reading
    with what was written.
    """

    table: Table
    sets: Mapping[str, Set]
    chains: Mapping[str, Chain]
    rules: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What this kernel can do; the operator sees it in `status`."""

    renews_by_add: bool  # adding an element that stands gives it a new timeout (6.12 on)
    has_destroy: bool  # a delete that does not mind a missing element (6.3 on)
    has_owner: bool  # tables that belong to a socket (`flags owner`, 5.12 on)
    version: str
