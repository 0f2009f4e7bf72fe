"""The upstream that all servers share: answers from `zone` as fast as one Python process can.

Touches one UDP socket. A blocking loop without an event loop: 5 µs an answer, so that the servers and not the upstream are measured.
"""

import socket
import sys

from bench.zone import answer

_BUFFER_BYTES = 8 << 20
_SO_RCVBUFFORCE = 33


def main(host: str, port: int) -> None:
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    taken.bind((host, port))
    receive, send = taken.recvfrom, taken.sendto
    while True:
        query, sender = receive(2048)
        send(answer(query), sender)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
