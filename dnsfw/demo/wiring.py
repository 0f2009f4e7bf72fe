"""The hands that lay wires.

Touches the network namespaces that it is given, through rtnetlink and /proc/sys/net, and no other.
"""

import os
from collections.abc import Sequence
from ipaddress import ip_interface, ip_network
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2 import IPRoute

from dnsfw.demo import namespaces
from dnsfw.demo.wires import Address, Link, Route, Sysctl, Unlink, Up, Wire

_ONLINK = 4  # RTNH_F_ONLINK
_NODAD = 2  # IFA_F_NODAD: an address that may be used at once


class Wiring:
    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._routes: dict[str, Any] = {}

    def add_place(self, name: str, descriptor: int) -> None:
        home = namespaces.current_network()
        namespaces.setns(descriptor, namespaces.NEW_NETWORK)
        self._places[name] = descriptor
        self._routes[name] = IPRoute()  # its socket stays in the namespace it was opened in
        namespaces.setns(home, namespaces.NEW_NETWORK)
        os.close(home)

    def lay(self, wires: Sequence[Wire]) -> None:
        for wire in wires:
            try:
                self._lay(wire)
            except Exception as error:
                raise OSError(f"{wire}: {error}") from error

    def _lay(self, wire: Wire) -> None:
        route = self._routes[wire.place]
        match wire:
            case Link(_, interface, peer_place, peer_interface):
                peer = {"ifname": peer_interface, "net_ns_fd": self._places[peer_place]}
                route.link("add", ifname=interface, kind="veth", peer=peer, state="up")
                self._lay(Up(peer_place, peer_interface))
            case Unlink(_, interface):
                route.link("del", index=self._index(wire.place, interface))
            case Up(_, interface):
                route.link("set", index=self._index(wire.place, interface), state="up")
            case Address(_, interface, address):
                self._address(wire.place, interface, address)
            case Route():
                self._route(wire)
            case Sysctl(place, key, value):
                self._sysctl(place, key, value)

    def _index(self, place: str, interface: str) -> int:
        return int(self._routes[place].link_lookup(ifname=interface)[0])

    def _address(self, place: str, interface: str, address: str) -> None:
        own = ip_interface(address)
        flags = {"flags": _NODAD} if own.version == 6 else {}
        self._routes[place].addr("add", index=self._index(place, interface), address=str(own.ip), prefixlen=own.network.prefixlen, **flags)

    def _route(self, wire: Route) -> None:
        family = AF_INET6 if ip_network(wire.network).version == 6 else AF_INET
        fields: dict[str, Any] = {"dst": wire.network, "oif": self._index(wire.place, wire.interface), "family": family}
        if wire.gateway:
            fields |= {"gateway": wire.gateway, "flags": _ONLINK}
        elif wire.kind == "unicast" and family == AF_INET:
            fields |= {"scope": "link"}
        if wire.kind == "local":
            fields |= {"type": "local", "table": 255, "scope": "host"}  # the table that source addresses are checked against
        self._routes[wire.place].route("add", **fields)

    def _sysctl(self, place: str, key: str, value: str) -> None:
        home = namespaces.current_network()
        namespaces.setns(self._places[place], namespaces.NEW_NETWORK)
        try:
            (Path("/proc/sys/net") / key).write_text(value)
        finally:
            namespaces.setns(home, namespaces.NEW_NETWORK)
            os.close(home)
