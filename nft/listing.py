"""What `nft list ruleset` prints of one table, to a Structure.

Pure. Never fails on what it does not know: a set of an unknown form is left out, an unknown line of a chain counts as a rule, so
that whoever compares two readings notices either.
"""

import re
from collections.abc import Iterable, Iterator

from nft.errors import NotValidError
from nft.objects import Chain, Hook, Set, Structure, Table

_BLOCK = re.compile(r"\t(set|map|chain) (\S+) \{")
_HOOK = re.compile(r"type (\S+) hook (\S+) priority (-?\d+); policy (accept|drop);")
_DURATION = re.compile(r"(\d+)(ms|d|h|m|s)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def parse_table(table: Table, text: str) -> Structure | None:
    """None if the table is not among those listed."""
    _, head, rest = f"\n{text}".partition(f"\ntable {table} {{\n")
    if not head:
        return None
    sets: dict[str, Set] = {}
    chains: dict[str, Chain] = {}
    rules: dict[str, tuple[str, ...]] = {}
    for kind, name, lines in _blocks(rest.partition("\n}\n")[0]):
        if kind == "chain":
            chains[name], rules[name] = _chain(table, name, lines)
        elif (found := _set(table, name, lines)) is not None:
            sets[name] = found
    return Structure(table, sets, chains, rules)


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Kind, name and inner lines of each block; a line that is indented further continues the one before."""
    block: tuple[str, str, list[str]] | None = None
    for line in text.splitlines():
        if (head := _BLOCK.match(line)) is not None:
            block = (head[1], head[2], [])
        elif block is not None and line == "\t}":
            yield block
            block = None
        elif block is not None and line.startswith("\t\t\t") and block[2]:
            block[2][-1] += " " + line.strip()
        elif block is not None and line.strip():
            block[2].append(line.strip())


def _chain(table: Table, name: str, lines: list[str]) -> tuple[Chain, tuple[str, ...]]:
    hook = _HOOK.fullmatch(lines[0]) if lines else None
    if hook is None:
        return Chain(table, name), tuple(lines)
    return Chain(table, name, Hook(hook[1], hook[2], int(hook[3]), hook[4])), tuple(lines[1:])


def _set(table: Table, name: str, lines: Iterable[str]) -> Set | None:
    said = dict(line.partition(" ")[::2] for line in lines)
    key, _, data = said.get("type", "").partition(" : ")
    flags = frozenset(filter(None, said.get("flags", "").split(",")))
    try:
        return Set(
            table,
            name,
            tuple(key.split(" . ")),
            data or None,  # type: ignore[arg-type]  # Set refuses what it does not know
            flags | {"timeout"} if "timeout" in said else flags,  # nft leaves out the flag where there is a default
            _seconds(said["timeout"]) if "timeout" in said else None,
            int(said["size"]) if "size" in said else None,
            "counter" in said,
        )
    except NotValidError:
        return None


def _seconds(text: str) -> float:
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
