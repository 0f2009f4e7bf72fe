"""The laboratory's way to its keeper, and processes that run inside.

Touches one child process (the keeper's starter) and the socket to it. Calls are answered in order and take microseconds to milliseconds.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnsfw.clock import SystemClock
from dnsfw.demo.namespaces import NamespacesError, may_without_users
from dnsfw.demo.wires import MESSAGE_SIZE, Json, Wire, to_json
from dnsfw.errors import DnsfwError

_WIRES_AT_ONCE = 500
_REPLY_S = 30.0
_CLOSE_S = 5.0


class LabError(DnsfwError):
    """The laboratory could not do what it was told."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command printed, and how it ended."""

    status: int
    stdout: str
    stderr: str


class Inside:
    """Everything that happens within the namespaces starts here."""

    def __init__(self, *, is_rootless: bool | None = None) -> None:
        if is_rootless is None:
            is_rootless = not may_without_users()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self._control.settimeout(_REPLY_S)
        self._lock = threading.Lock()
        self.places: dict[str, int] = {}
        self.shared: tuple[int, ...] = ()
        self._starter = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-m", "dnsfw.demo.keeper", str(theirs.fileno()), str(int(is_rootless))],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: what is inside ends in order
        )
        theirs.close()
        try:
            reply, self.shared = self._exchange("hello")
        except Exception:
            self.close()
            raise
        self.folder = Path(reply["folder"])

    def add_place(self, name: str) -> None:
        _, (self.places[name],) = self._exchange("place", name=name)

    def lay(self, wires: Sequence[Wire]) -> None:
        for at in range(0, len(wires), _WIRES_AT_ONCE):
            self._call("lay", wires=to_json(wires[at : at + _WIRES_AT_ONCE]))

    def start(
        self, place: str, argv: Sequence[str], *, stdin: int, stdout: int, stderr: int, env: Mapping[str, str] | None = None
    ) -> "Process":
        settings = dict(os.environ if env is None else env)
        reply = self._call("start", (stdin, stdout, stderr), place=place, argv=list(argv), env=settings, cwd=str(Path.cwd()))
        return Process(self, int(reply["pid"]))

    def run(self, place: str, argv: Sequence[str], *, timeout: float = 30.0, stdin: str = "") -> Finished:
        """Like `subprocess.run`, inside; the output goes through memory, not through pipes that somebody has to drain."""
        streams = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        try:
            os.pwrite(streams[0], stdin.encode(), 0)
            process = self.start(place, argv, stdin=streams[0], stdout=streams[1], stderr=streams[2])
            status = process.wait(timeout)
            return Finished(status, *(os.pread(stream, os.fstat(stream).st_size, 0).decode(errors="replace") for stream in streams[1:]))
        finally:
            for stream in streams:
                os.close(stream)

    def signal(self, pid: int, number: int) -> None:
        self._call("signal", pid=pid, number=number)

    def poll(self, pid: int) -> int | None:
        status: int | None = self._call("poll", pid=pid)["status"]
        return status

    def close(self) -> None:
        """End the keeper and with it everything inside; returns when it is gone."""
        self._control.close()
        try:
            self._starter.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._starter.kill()
            self._starter.wait()
        for descriptor in (*self.places.values(), *self.shared):
            os.close(descriptor)
        self.places.clear()

    def _call(self, do: str, descriptors: Sequence[int] = (), **fields: Json) -> dict[str, Any]:
        return self._exchange(do, descriptors, **fields)[0]

    def _exchange(self, do: str, descriptors: Sequence[int] = (), **fields: Json) -> tuple[dict[str, Any], tuple[int, ...]]:
        """The keeper's reply, and the descriptors that came with it."""
        with self._lock:
            try:
                socket.send_fds(self._control, [json.dumps({"do": do, **fields}).encode()], list(descriptors))
                message, received, _, _ = socket.recv_fds(self._control, MESSAGE_SIZE, 8)
            except OSError as error:
                raise LabError(f"the laboratory's keeper does not answer: {error}") from error
        reply: dict[str, Any] = json.loads(message or b'{"error": "it has ended"}')
        if "error" in reply:
            raise (NamespacesError if do == "hello" else LabError)(reply["error"])
        return reply, tuple(received)


class Process:
    """One process inside."""

    def __init__(self, inside: Inside, pid: int) -> None:
        self._inside = inside
        self.pid = pid

    def poll(self) -> int | None:
        return self._inside.poll(self.pid)

    def signal(self, number: signal.Signals) -> None:
        self._inside.signal(self.pid, number)

    def wait(self, timeout: float) -> int:
        """The exit code, negative for a signal, as subprocess has it."""
        clock, patience = SystemClock(), threading.Event()
        deadline = clock.now() + timeout
        while (status := self.poll()) is None:
            if clock.now() > deadline:
                raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
            patience.wait(0.005)
        return status
