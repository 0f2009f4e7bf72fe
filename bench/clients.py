"""The two ends of a connection, in one process: what lies between them is measured, and no other core's wake-up.

Touches sockets, and moves from the outside namespace, where it is started, to the pods'; prints one number for whoever started it.
A wake-up takes 10 µs on a virtual machine, and a connect to another process brings none, one or two of them, as it happens.
"""

import os
import socket
import struct
import sys
import time
from ipaddress import ip_address
from statistics import median

from dnsfw.demo.namespaces import NEW_NETWORK, setns

PORT = 443
_RESET = struct.pack("ii", 1, 0)  # linger of 0 s: no TIME_WAIT fills the table
_PAYLOAD = bytes(64)


def connects(pods: str, first: str, count: int) -> float:
    """Median of a connect, in µs, to one address after the other."""
    address, took = int(ip_address(first)), []
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("0.0.0.0", PORT))  # noqa: S104 -- in a namespace of our own
        listening.listen()
        _enter(pods)
        for at in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                target = str(ip_address(address + at)), PORT
                begun = time.perf_counter()
                made.connect(target)
                took.append(time.perf_counter() - begun)
                listening.accept()[0].close()
    return median(took) * 1e6


def packets(pods: str, address: str, count: int) -> float:
    """Packets a second of one flow. A veth hands each one through to the other end before `send` returns; nobody reads them there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("0.0.0.0", PORT))  # noqa: S104 -- as above
        _enter(pods)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.connect((address, PORT))
            send = made.send
            begun = time.perf_counter()
            for _ in range(count):
                send(_PAYLOAD)
            return count / (time.perf_counter() - begun)


def _enter(namespace: str) -> None:
    """For sockets to come; one that is open stays where it was opened."""
    opened = os.open(namespace, os.O_RDONLY)
    try:
        setns(opened, NEW_NETWORK)
    finally:
        os.close(opened)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["connects", pods, first, count]:
            print(connects(pods, first, int(count)))
        case ["packets", pods, address, count]:
            print(packets(pods, address, int(count)))
