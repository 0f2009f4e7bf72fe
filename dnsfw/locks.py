"""One dnsfw a network namespace and table: two would undo each other's work.

Touches one abstract Unix socket, whose name belongs to the network namespace and is gone with the process.
"""

import socket

from dnsfw.errors import DnsfwError


class AlreadyRunningError(DnsfwError):
    """Another process keeps this table."""


def hold(table: str) -> socket.socket:
    """The right to keep this table, for as long as the socket is open."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        lock.bind(f"\0dnsfw/{table}")
    except OSError as error:
        lock.close()
        raise AlreadyRunningError(
            f"another dnsfw keeps table inet {table} in this network namespace; stop it, or choose --table"
        ) from error
    return lock
