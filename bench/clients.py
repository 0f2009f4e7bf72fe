"""The two ends of a connection: run inside the pods' and the outside namespace.

Touches sockets; prints one number for whoever started it.
"""

import socket
import struct
import sys
import time
from ipaddress import ip_address
from statistics import median

PORT = 443
_RESET = struct.pack("ii", 1, 0)  # linger of 0 s: no TIME_WAIT fills the table
_PAYLOAD = bytes(64)


def listen() -> None:
    """Takes connections and closes them; UDP datagrams are read by nobody and dropped."""
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("0.0.0.0", PORT))  # noqa: S104 -- in a namespace of our own
    taken.listen(1024)
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("0.0.0.0", PORT))  # noqa: S104 -- as above
    while True:
        taken.accept()[0].close()


def connects(first: str, count: int) -> float:
    """Median of a connect, in µs, to one address after the other."""
    address, took = int(ip_address(first)), []
    for at in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            begun = time.perf_counter()
            made.connect((str(ip_address(address + at)), PORT))
            took.append(time.perf_counter() - begun)
    return median(took) * 1e6


def packets(address: str, count: int) -> float:
    """Packets a second of one flow. A veth hands each one through to the other end before `send` returns."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.connect((address, PORT))
        send = made.send
        begun = time.perf_counter()
        for _ in range(count):
            send(_PAYLOAD)
        return count / (time.perf_counter() - begun)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["listen"]:
            listen()
        case ["connects", first, count]:
            print(connects(first, int(count)))
        case ["packets", address, count]:
            print(packets(address, int(count)))
