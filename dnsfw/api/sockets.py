"""The socket that the API listens on.

Touches the file system where the socket is a file. Always true: a socket file is 0600 from its first moment, and one on which somebody
answers is never taken away.
"""

import os
import socket
import stat
from pathlib import Path

from dnsfw.api.settings import ApiAddress, TcpAddress, UnixAddress
from dnsfw.errors import DnsfwError

_BACKLOG = 64
_PROBE_S = 1.0


class ApiListenError(DnsfwError):
    """The API cannot listen where it was told to."""


def listening(address: ApiAddress) -> socket.socket:
    try:
        sock = _tcp(address) if isinstance(address, TcpAddress) else _unix(address.path)
        sock.listen(_BACKLOG)
    except OSError as error:
        raise ApiListenError(f"api {address}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock


def try_address(address: ApiAddress) -> None:
    """Whether one could listen there now; ApiListenError where not."""
    listening(address).close()
    if isinstance(address, UnixAddress):
        address.path.unlink()


def _tcp(address: TcpAddress) -> socket.socket:
    sock = socket.socket(socket.AF_INET if address.host.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(sock, (str(address.host), address.port))


def _unix(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_stale(path)
    mask = os.umask(0o177)
    try:
        return _bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path))
    finally:
        os.umask(mask)


def _bound(sock: socket.socket, name: str | tuple[str, int]) -> socket.socket:
    try:
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ApiListenError(f"api unix:{path}: something that is no socket stands there; remove it, or name another path with --api")
    if _is_answered(path):
        raise ApiListenError(f"api unix:{path}: another dnsfw answers there; stop it, or name another path with --api")
    path.unlink()


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except TimeoutError:
            return True
    return True


def remove_own(path: Path, inode: int | None) -> None:
    """At the end, unless a successor has put its own there."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        return
