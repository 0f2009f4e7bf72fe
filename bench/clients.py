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

from bench.lab import FIRST_PORT
from dnsfw.demo.namespaces import NEW_NETWORK, setns

PORT = 443
_ABUSER = 99  # the number of the pod that sends abuse
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


def abuse(address: str, port: int, rate: int, seconds: float) -> int:
    """Noise, loops of compression, other opcodes and classes, ANY, names that no rule allows; how many were sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
        made.bind(("", FIRST_PORT + _ABUSER))
        made.connect((address, port))
        begun, sent = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < seconds:
            while sent < passed * rate:
                made.send(_hostile(sent))
                sent += 1
            time.sleep(0.01)
    return sent


def _hostile(number: int) -> bytes:
    question = b"\x09%09d\x07example\x03org\0" % number
    kinds = (
        os.urandom(1 + number % 600),
        os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",
        os.urandom(2) + b"\x28\0\0\1\0\0\0\0\0\0" + question + b"\0\1\0\1",
        os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0" + question + b"\0\x10\0\3",
        os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0" + question + b"\0\xff\0\1",
        os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0" + question + b"\0\1\0\1",
    )
    return kinds[number % len(kinds)]


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
        case ["abuse", address, port, rate, seconds]:
            print(abuse(address, int(port), int(rate), float(seconds)))
        case ["packets", pods, address, count]:
            print(packets(pods, address, int(count)))
