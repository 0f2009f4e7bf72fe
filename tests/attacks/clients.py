"""TCP clients of a DNS server that a test starts in a pod: many half-open connections, or one with many questions on their way.

clients.py hold SERVER COUNT              opens them all, says two bytes on each, holds them for a while; prints how many were taken
clients.py pipeline SERVER COUNT          asks h0, h1, ... below piped.example.net at once; prints how many were answered, and rightly
"""

import json
import random
import resource
import socket
import sys
import time

HOLD_S = 3.0


def hold(server: str, count: str) -> dict[str, int]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    opened = []
    for _ in range(int(count)):
        connection = socket.socket()
        connection.settimeout(2)
        try:
            connection.connect((server, 53))
            connection.sendall(b"\x00\x40")
        except OSError:
            continue
        opened.append(connection)
    time.sleep(HOLD_S)
    return {"opened": len(opened)}


def pipeline(server: str, count: str) -> dict[str, int]:
    numbers = list(range(int(count)))
    random.shuffle(numbers)
    questions = {}
    with socket.create_connection((server, 53), 10) as connection:
        for number in numbers:
            label = b"h%d" % number
            name = bytes((len(label),)) + label + b"\x05piped\x07example\x03net\x00"
            questions[number] = name
            message = number.to_bytes(2) + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x01\x00\x01"
            connection.sendall(len(message).to_bytes(2) + message)
        answers = [_message(connection) for _ in numbers]
    right = [_is_right(answer, questions) for answer in answers]
    return {"answered": len({answer[:2] for answer in answers}), "matched": sum(right)}


def _message(connection: socket.socket) -> bytes:
    return _exactly(connection, int.from_bytes(_exactly(connection, 2)))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def _is_right(answer: bytes, questions: dict[int, bytes]) -> bool:
    number = int.from_bytes(answer[:2])
    address = socket.inet_aton("198.18.0.0")[:2] + number.to_bytes(2)
    return answer[12:].startswith(questions[number]) and answer.endswith(address)


if __name__ == "__main__":
    print(json.dumps({"hold": hold, "pipeline": pipeline}[sys.argv[1]](*sys.argv[2:])))  # noqa: T201 -- for the test that started it
