"""Asks a DNS server at a steady rate from a pod, a tenth of it abuse; prints as JSON what it sent and what came back.

    pour.py SERVER RATE SECONDS

Honest: 300 names below many.example.net, both families. Abuse: noise, loops of compression, other opcodes and classes, refused names
that never come twice, and connections that say half a message.
"""

import itertools
import json
import os
import random
import socket
import sys
import threading
import time

STEP_S = 0.01
NAMES = 300


def name(*labels: bytes) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def message(question: bytes, kind: int = 1, flags: bytes = b"\1\0", class_: int = 1) -> bytes:
    return os.urandom(2) + flags + b"\0\1\0\0\0\0\0\0" + question + kind.to_bytes(2) + class_.to_bytes(2)


def honest() -> bytes:
    return message(name(b"h%d" % random.randrange(NAMES), b"many", b"example", b"net"), random.choice((1, 1, 28)))


def abusive(number: int) -> bytes:
    match number % 7:
        case 0:
            return os.urandom(random.randrange(1, 600))
        case 1:
            return os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"
        case 2:
            return message(name(b"www", b"example", b"net"), flags=bytes((random.randrange(256), 0)))
        case 3:
            return message(name(b"version", b"bind"), 16, class_=3)
        case 4:
            return os.urandom(2) + b"\1\0" + b"\xff" * 8 + name(b"a" * 63, b"b" * 63) + b"\0\1\0\1"
        case 5:
            return message(name(b"many", b"example", b"net"), 255)
        case _:
            return message(name(b"u%d" % number, os.urandom(8).hex().encode(), b"example", b"org"))


def read(asked: socket.socket, counts: dict[str, int]) -> None:
    while True:
        try:
            answer = asked.recv(65535)
        except OSError:
            return
        counts[f"rcode {answer[3] & 15}"] = counts.get(f"rcode {answer[3] & 15}", 0) + 1


def half_messages(server: str, until: float) -> None:
    while time.monotonic() < until:
        with socket.create_connection((server, 53), 5) as connection:
            connection.sendall(b"\x01\x00" + os.urandom(20))
            time.sleep(0.2)


def main(server: str, rate: str, seconds: str) -> None:
    counts: dict[str, int] = {"sent": 0, "unsent": 0}
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.connect((server, 53))
    begun = time.monotonic()
    threading.Thread(target=read, args=(asked, counts), daemon=True).start()
    threading.Thread(target=half_messages, args=(server, begun + float(seconds)), daemon=True).start()
    for step in itertools.count(1):
        due = begun + step * STEP_S
        while counts["sent"] < int(step * STEP_S * int(rate)):
            counts["sent"] += 1
            try:
                asked.send(abusive(counts["sent"] // 10) if counts["sent"] % 10 == 0 else honest())
            except OSError:
                counts["unsent"] += 1
        if due > begun + float(seconds):
            break
        time.sleep(max(0.0, due - time.monotonic()))
    time.sleep(1.0)
    print(json.dumps(counts))  # noqa: T201 -- for the test that started it


if __name__ == "__main__":
    main(*sys.argv[1:])
