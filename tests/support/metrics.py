"""The running program's metrics, read over its Unix socket.

Touches one socket file, which any network namespace of the same machine reaches.
"""

import socket
from pathlib import Path

PATIENCE_S = 10.0


def fetch_metrics(api: Path) -> str:
    """The body of GET /metrics."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(api))
        connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        response = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = response.partition("\r\n\r\n")
    assert head.split()[1] == "200", head
    return body


def sum_of(metrics: str, name: str, **labels: str) -> float:
    """The sum of the samples of that name that have these labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    lines = [line for line in metrics.splitlines() if line.startswith(name) and all(label in line for label in wanted)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
