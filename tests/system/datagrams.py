"""Datagrams between two places, as programs of their own: `answer ADDRESS PORT COUNT` gives whoever asks COUNT of them, 10 ms apart;
`ask ADDRESS PORT SECONDS` asks until it hears something, and prints the monotonic time at which the last of the answers came, 0 for none.
"""

import socket
import sys
import time

GAP_S = 0.01


def answer(address: str, port: int, count: int) -> None:
    with _socket(address) as own:
        own.bind((address, port))
        while True:
            _, asker = own.recvfrom(100)
            for _ in range(count):
                own.sendto(b"answer", asker)
                time.sleep(GAP_S)


def ask(address: str, port: int, seconds: int) -> None:
    last, until = 0.0, time.monotonic() + seconds
    with _socket(address) as own:
        own.settimeout(10 * GAP_S)
        while time.monotonic() < until:
            try:
                if not last:
                    own.sendto(b"question", (address, port))
                own.recv(100)
            except OSError:
                continue
            last = time.monotonic()
    sys.stdout.write(f"{last}\n")


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


if __name__ == "__main__":
    {"answer": answer, "ask": ask}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
