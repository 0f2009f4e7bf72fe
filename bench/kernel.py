"""What stands in the kernel, read from it and not from whoever put it there.

Touches nftables of the node's namespace.
"""

import re
from pathlib import Path

from bench.shell import run
from nft import codec
from nft.socket import NetlinkSocket

_GETSETELEM = 13
_KINDS = ("Slab", "VmallocUsed", "Percpu", "PageTables")


def elements(table: str, name: str) -> int:
    return sum(1 for _ in _walk(table, name))


def keys(table: str, name: str) -> set[bytes]:
    """The elements' keys, as the kernel has them."""
    return set(_walk(table, name))


def _walk(table: str, name: str) -> "list[bytes]":
    opened = NetlinkSocket(30.0)
    try:
        wanted = codec.text(1, table) + codec.text(2, name)
        found = opened.dump(_GETSETELEM, codec.FAMILIES["inet"], wanted, may_be_torn=True)
    finally:
        opened.close()
    return [_key(body) for message in found for _, body in codec.walk(codec.body(message)[3])]


def _key(element: bytes) -> bytes:
    return codec.attributes(codec.attributes(element)[1])[1]


def memory_bytes() -> int:
    """All that the kernel has taken for objects and tables; the machine's, so only differences mean something."""
    text = Path("/proc/meminfo").read_text()
    return sum(int(found) << 10 for found in re.findall(rf"^(?:{'|'.join(_KINDS)}):\s+(\d+) kB", text, re.MULTILINE))


def clear() -> None:
    """The node's namespace is ours alone."""
    run(["nft", "flush", "ruleset"])


def add_foreign_chains(count: int) -> None:
    chains = "\n".join(f" chain service{number} {{ ip daddr 192.0.2.{number % 250} counter; }}" for number in range(count))
    run(["nft", "-f", "-"], f"table ip foreign {{\n{chains}\n}}\n")
