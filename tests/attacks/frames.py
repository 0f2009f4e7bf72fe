"""Puts whole Ethernet frames, a line of hex digits each from standard input, on an interface of the namespace it runs in."""

import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((sys.argv[1], 0))
        for line in sys.stdin:
            wire.send(bytes.fromhex(line))
