"""The internet as the laboratory sees it: what names answer, and what reached it.

Touches nothing itself: the process in the internet's namespace does (`internet.py`).
"""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from dnsfw.demo.line import Line
from dnsfw.demo.results import Packet, Query
from dnsfw.demo.wires import Json
from dnsfw.demo.zone import Reply

_REPLY_S = 30.0


class Internet:
    def __init__(self, line: Line) -> None:
        self._line = line

    def ask(self, command: str, **arguments: Json) -> "Future[Any]":
        return self._line.ask(command, **arguments)

    def set(self, name: str, *records: str) -> None:
        """What `name` answers from now on: `60 A 192.0.2.1`, `5 CNAME other.example.net`, or `owner.example.net. 60 A ...`."""
        self.script(name, Reply(records=records))

    def script(self, name: str, *replies: Reply) -> None:
        """One reply a question, in this order; the last one stays."""
        self._do("set", name=name, replies=[asdict(reply) | {"raw": reply.raw.hex()} for reply in replies])

    def remove(self, name: str) -> None:
        self._do("remove", name=name)

    def generate(self, suffix: str, network4: str = "198.18.0.0/15", network6: str = "2001:db8:c::/64", *, ttl: int = 30) -> None:
        """`h17.<suffix>` answers the 17th address of each network."""
        self._do("generate", suffix=suffix, network4=network4, network6=network6, ttl=ttl)

    def listen(self, port: int, protocol: str = "tcp") -> None:
        """Answer on one more port (of every address)."""
        self._do("listen", protocol=protocol, port=port)

    def queries(self, name: str = "") -> list[Query]:
        """The questions that got here, the last 20,000."""
        found = [Query(**query) for query in self._do("queries")]
        return [query for query in found if query.name == name.lower().rstrip(".")] if name else found

    def count(self, name: str) -> int:
        """How often this name was asked here."""
        return int(self._do("count", name=name))

    def arrivals(self, token: str) -> list[float]:
        """When payloads of this stream came."""
        return list(self._do("arrivals", token=token))

    def stop_push(self, token: str) -> None:
        self._do("stop_push", token=token)

    @contextmanager
    def capture(self) -> Iterator[list[Packet]]:
        """What comes over the node's uplink meanwhile; the list is filled at the end. Not for heavy load."""
        self._do("capture")
        packets: list[Packet] = []
        yield packets
        packets += [Packet(**packet) for packet in self._do("captured")]

    def _do(self, command: str, **arguments: Json) -> Json:
        return self.ask(command, **arguments).result(_REPLY_S)
