"""A network namespace that a test keeps for as long as it likes, with sockets made in it and programs running in it.

    with Place(addresses=("fd00:a::1",)) as place:
        program = place.start(["dnsfw", "run", ...], output=log)
        client = place.socket(socket.AF_INET, socket.SOCK_DGRAM, bind=("127.0.1.1", 0))

A child process holds the namespace and passes sockets on; a socket stays where it was made, whoever uses it. Always true: what runs inside
ends with the Place. The host's own network is never touched.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import netns
import pytest

_MESSAGE_BYTES = 1 << 20
_CLOSE_S = 5.0


class Place:
    """`addresses`: more of them for lo, beside 127.0.0.0/8 and ::1."""

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        if (reason := netns.why_not()) is not None:
            pytest.skip(f"no network namespaces here: {reason}")
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, __file__, str(theirs.fileno()), *addresses]
            self._holder = subprocess.Popen(argv, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True)
        self._call("hello")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._control.close()
        try:
            self._holder.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait()

    def socket(self, family: int, kind: int, bind: tuple[str, int] | None = None, *, protocol: int = 0) -> socket.socket:
        """Without waiting (O_NONBLOCK), bound if asked for."""
        _, (descriptor,) = self._call("socket", family=family, kind=kind, protocol=protocol)
        made = socket.socket(family, kind, fileno=descriptor)
        made.setblocking(False)
        if bind is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
            made.bind(bind)
        return made

    def start(self, argv: Sequence[str], output: BinaryIO) -> "Running":
        reply, _ = self._call("start", (output.fileno(),), argv=list(argv), cwd=str(Path.cwd()))
        return Running(self, int(reply["pid"]))

    def poll(self, pid: int) -> int | None:
        status: int | None = self._call("poll", pid=pid)[0]["status"]
        return status

    def signal(self, pid: int, number: int) -> None:
        self._call("signal", pid=pid, number=number)

    def _call(self, do: str, descriptors: Sequence[int] = (), **fields: Any) -> tuple[dict[str, Any], list[int]]:
        socket.send_fds(self._control, [json.dumps({"do": do, **fields}).encode()], list(descriptors))
        message, received, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 1)
        reply: dict[str, Any] = json.loads(message or b'{"error": "the holder has ended"}')
        if "error" in reply:
            raise OSError(reply["error"])
        return reply, received


class Running:
    """A program in a Place."""

    def __init__(self, place: Place, pid: int) -> None:
        self._place = place
        self.pid = pid

    def poll(self) -> int | None:
        return self._place.poll(self.pid)

    def signal(self, number: signal.Signals) -> None:
        self._place.signal(self.pid, number)


def _hold(control: socket.socket, addresses: Sequence[str]) -> None:
    """The child: does what it is told until the other end is closed."""
    netns.enter()
    for address in addresses:
        family = "-6" if ":" in address else "-4"
        subprocess.run(["ip", family, "addr", "add", address, "dev", "lo", *(["nodad"] if family == "-6" else [])], check=True)
    started: dict[int, subprocess.Popen[bytes]] = {}
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 1)
        if not message:
            break
        reply, made = _obey(json.loads(message), descriptors, started)
        socket.send_fds(control, [json.dumps(reply).encode()], [made.fileno()] if made else [])
        if made is not None:
            made.close()
    for process in started.values():
        process.terminate()
    for process in started.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_CLOSE_S - 1)
        process.kill()


def _obey(
    wanted: dict[str, Any], descriptors: list[int], started: dict[int, subprocess.Popen[bytes]]
) -> tuple[dict[str, Any], socket.socket | None]:
    match wanted:
        case {"do": "socket", "family": family, "kind": kind, "protocol": protocol}:
            return {}, socket.socket(family, kind, protocol)
        case {"do": "start", "argv": argv, "cwd": cwd}:
            process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=descriptors[0], stderr=descriptors[0])
            os.close(descriptors[0])
            started[process.pid] = process
            return {"pid": process.pid}, None
        case {"do": "poll", "pid": pid}:
            return {"status": started[pid].poll()}, None
        case {"do": "signal", "pid": pid, "number": number}:
            started[pid].send_signal(number)
    return {}, None


if __name__ == "__main__":
    _hold(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
