"""Told when someone else has changed nftables in this network namespace.

Touches one netlink socket and the running loop. A filter inside the kernel drops all but the one message that ends each
commit (NEWGEN), and of those the ones of our own ports, so that 50,000 commits/s of ours wake nobody. The message names the
port of the committing socket, which is unique in the namespace whatever pid namespace we live in. Lost events count as a change.
"""

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import Callable, Iterable

from nft import codec
from nft.errors import KernelUnreachableError

_NETFILTER = 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_GROUP = 7  # NFNLGRP_NFTABLES
_ATTACH_FILTER = 26
_NEW_GENERATION = codec.NFTABLES << 8 | 15
_LOAD_HALF, _LOAD_WORD, _IF_EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06
_TYPE_OFFSET, _PORT_OFFSET = 4, 12
_MOST_PORTS = 100  # a jump in the filter reaches 255 instructions


class Watch:
    """Calls back on the loop after each burst of foreign commits."""

    def __init__(self, own_ports: Iterable[int]) -> None:
        self._own = set(own_ports)
        self._calls: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self.wakeups = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETFILTER)
        try:
            self._attach()
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP)
        except OSError as error:
            self._socket.close()
            raise KernelUnreachableError(f"netlink events: {error}") from error

    def call(self, call: Callable[[], None]) -> None:
        """Must be called on the loop that shall call back."""
        self._calls.append(call)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._socket.fileno(), self._read)

    def own(self, ports: Iterable[int]) -> None:
        """Whose commits are ours from now on."""
        if (wanted := set(ports)) != self._own:
            self._own = wanted
            self._attach()

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
        self._calls.clear()
        self._socket.close()

    def _read(self) -> None:
        self.wakeups += 1
        if self._drain():
            for call in tuple(self._calls):
                call()

    def _drain(self) -> bool:
        """Whether there was a foreign commit, or may have been."""
        is_foreign = False
        for _ in range(1000):  # then the loop has its turn; what is left wakes us again
            try:
                datagram = self._socket.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                is_foreign = True  # ENOBUFS: events were lost
                continue
            is_foreign = is_foreign or any(found.port not in self._own for found in codec.messages(datagram))
        return is_foreign

    def _attach(self) -> None:
        program = _program(sorted(self._own)[:_MOST_PORTS])
        buffer = ctypes.create_string_buffer(b"".join(program))
        filter_ = struct.pack("HL", len(program), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, filter_)


def _program(ports: list[int]) -> list[bytes]:
    """Classic BPF: pass NEWGEN of other ports."""
    count = len(ports)
    checks = [_instruction(_IF_EQUAL, _as_loaded(port, 4), count - at, 0) for at, port in enumerate(ports)]
    return [
        _instruction(_LOAD_HALF, _TYPE_OFFSET),
        _instruction(_IF_EQUAL, _as_loaded(_NEW_GENERATION, 2), 0, count + 2),
        _instruction(_LOAD_WORD, _PORT_OFFSET),
        *checks,
        _instruction(_RETURN, 0xFFFF_FFFF),
        _instruction(_RETURN, 0),
    ]


def _as_loaded(value: int, size: int) -> int:
    """The filter loads as the network orders bytes; netlink's headers are in the machine's order."""
    return int.from_bytes(value.to_bytes(size, sys.byteorder), "big")


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
