"""The helper process: takes nft text over stdin, gives what libnftables says over stdout, one JSON object a line.

The only module that imports `nftables`, whose licence is GPL-2.0-only (docs/adr/0001). Touches nftables of the network
namespace it was started in; ends when its stdin does, so it never outlives who started it.
"""

import json
import sys
from pathlib import Path
from typing import Protocol

_NETFILTER = "12"


class Library(Protocol):
    """What we use of libnftables' binding."""

    def cmd(self, cmdline: str) -> tuple[int, str, str]: ...

    def set_stateless_output(self, val: bool) -> object: ...

    def set_terse_output(self, val: bool) -> object: ...

    def set_numeric_prio_output(self, val: bool) -> object: ...


def main() -> None:
    """Answer each {"text"} with {"rc", "output", "error", "port"}; port is the one whose commits are ours."""
    try:
        nft = _library()
    except Exception as error:
        _answer({"rc": -1, "output": "", "error": f"libnftables: {error}", "port": None})
        return
    for line in sys.stdin:
        rc, output, said = nft.cmd(json.loads(line)["text"])
        _answer({"rc": rc, "output": output, "error": said, "port": _port()})


def _library() -> Library:
    import nftables  # noqa: PLC0415  # a library that is not there is an answer, not a traceback

    nft: Library = nftables.Nftables()
    nft.set_stateless_output(True)
    nft.set_terse_output(True)
    nft.set_numeric_prio_output(True)
    return nft


def _answer(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _port() -> int | None:
    """The netlink port of libnftables' socket: found by the inode, since the kernel need not give it our pid."""
    inodes = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue  # the directory's own descriptor is gone by now
    for line in Path("/proc/self/net/netlink").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] == _NETFILTER and fields[-1] in inodes:
            return int(fields[2])
    return None


if __name__ == "__main__":
    main()
