"""A connection that stays open and counts: the pod pushes, the far end pushes, or both.

Touches one socket and two threads of its own. Always true: what is reported as arrived came from the socket at that moment.
"""

import errno
import socket
import threading
from contextlib import suppress

from dnsfw.clock import SystemClock
from dnsfw.demo.results import Outcome, Stream

now = SystemClock().now


class OpenStream:
    """push_ms: how often the pod sends, 0 for never again after the greeting; pull_ms: how often the far end shall."""

    def __init__(self, token: str, address: str, port: int, protocol: str, *, push_ms: int, pull_ms: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        self._is_tcp = protocol == "tcp"
        self._peer = (address, port)
        # A datagram says each time whose it is; a connection only once.
        self._greeting = f"STREAM {token} {pull_ms}\n".encode()
        self._push_s = push_ms / 1000
        self._sent = 0
        self._arrived_at: list[float] = []
        self._ended = ""
        self._ended_at: float | None = None
        self._stop = threading.Event()

    def open(self, timeout: float) -> Outcome:
        started = now()
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(self._peer)
            if self._is_tcp:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._send(self._greeting)
        except OSError as error:
            self._end(error)
            return Outcome(
                what="timeout" if isinstance(error, TimeoutError) else "refused", ms=(now() - started) * 1000, detail=self._ended
            )
        self._socket.settimeout(None)
        threading.Thread(target=self._receive, daemon=True).start()
        if self._push_s:
            threading.Thread(target=self._push, daemon=True).start()
        return Outcome(what="connected", ms=(now() - started) * 1000)

    def report(self) -> Stream:
        return Stream(sent=self._sent, arrived_at=list(self._arrived_at), ended=self._ended, ended_at=self._ended_at)

    def close(self) -> Stream:
        self._stop.set()
        report = self.report()
        with suppress(OSError):  # already over
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        return report

    def _push(self) -> None:
        while not self._stop.wait(self._push_s):
            try:
                self._send(b"%015d\n" % self._sent if self._is_tcp else self._greeting)
            except OSError as error:
                if self._is_tcp:
                    self._end(error)
                    return
                # UDP reports the ICMP error of the packet before; pushing on is what shows whether anything still passes.
                self._note(error)

    def _receive(self) -> None:
        while not self._stop.is_set():
            try:
                data = self._socket.recv(65535)
            except OSError as error:
                if self._is_tcp or self._stop.is_set():
                    self._end(error)
                    return
                self._note(error)
                continue
            if not data and self._is_tcp:
                self._end(None)
                return
            self._arrived_at.append(now())

    def _send(self, data: bytes) -> None:
        self._socket.send(data)
        self._sent += 1

    def _end(self, error: OSError | None) -> None:
        self._note(error)
        self._stop.set()

    def _note(self, error: OSError | None) -> None:
        if self._ended_at is None and not self._stop.is_set():
            self._ended = "closed" if error is None else errno.errorcode.get(error.errno or 0, type(error).__name__)
            self._ended_at = now()
