"""The network of the laboratory as a list of values: links, addresses, routes and sysctls in named network namespaces.

Pure. They travel to the keeper as JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""What travels as JSON between the laboratory and its processes: whoever receives it makes a value of it."""
MESSAGE_SIZE = 200_000
"""The most that one message to the keeper, or back, may have."""


@dataclass(frozen=True, slots=True)
class Link:
    """A pair of virtual interfaces, one end in each place, both up."""

    place: str
    interface: str
    peer_place: str
    peer_interface: str


@dataclass(frozen=True, slots=True)
class Unlink:
    place: str
    interface: str


@dataclass(frozen=True, slots=True)
class Address:
    place: str
    interface: str
    address: str


@dataclass(frozen=True, slots=True)
class Route:
    """To `network` by `interface`; `kind` "local" makes every address of the network one of this place."""

    place: str
    network: str
    interface: str
    gateway: str = ""
    kind: str = "unicast"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """`key` below /proc/sys/net, with slashes."""

    place: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Up:
    place: str
    interface: str


Wire = Link | Unlink | Address | Route | Sysctl | Up
_KINDS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in (Link, Unlink, Address, Route, Sysctl, Up)}


def to_json(wires: Sequence[Wire]) -> list[list[str]]:
    return [[type(wire).__name__, *(getattr(wire, field) for field in wire.__slots__)] for wire in wires]


def from_json(rows: Sequence[Sequence[str]]) -> list[Wire]:
    return [_KINDS[kind](*fields) for kind, *fields in rows]
