"""Questions and answers as JSON lines over a socket pair: how the laboratory talks with the processes that it has in its namespaces.

The asking side may be used from many threads; each question has its own future. Answers come in any order.
Always true: a future is resolved with the answer, or with `LineError` when the other side failed or is gone.
"""

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict, is_dataclass
from typing import Any

from dnsfw.demo.wires import Json
from dnsfw.errors import DnsfwError

Command = Callable[..., Any]


class LineError(DnsfwError):
    """The other side could not do what it was asked, or has ended."""


class Line:
    """The asking side."""

    def __init__(self, end: socket.socket, name: str) -> None:
        self._end = end
        self._name = name
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._open: dict[int, Future[Any]] = {}
        self._is_over = False
        threading.Thread(target=self._listen, name=f"line to {name}", daemon=True).start()

    def ask(self, command: str, /, **arguments: Json) -> "Future[Any]":
        future: Future[Any] = Future()
        with self._lock:
            if self._is_over:
                raise LineError(f"{self._name} has ended")
            number = next(self._numbers)
            self._open[number] = future
            self._end.sendall(json.dumps([number, command, arguments]).encode() + b"\n")
        return future

    def close(self) -> None:
        try:
            self._end.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster

    def _listen(self) -> None:
        with self._end.makefile("rb") as lines:
            for number, result, error in _until_broken(lines):
                future = self._open.pop(number)
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(LineError(f"{self._name}: {error}"))
        with self._lock:
            self._is_over = True
            left, self._open = self._open, {}
        for future in left.values():
            future.set_exception(LineError(f"{self._name} has ended"))
        self._end.close()


def serve(end: socket.socket, commands: Mapping[str, Command]) -> None:
    """The answering side: one thread a question, until the asking side is gone."""
    lock = threading.Lock()

    def answer(number: int, command: str, arguments: dict[str, Any]) -> None:
        reply = perform(commands, number, command, arguments)
        with lock:
            end.sendall(reply)

    with end.makefile("rb") as lines:
        for question in _until_broken(lines):
            threading.Thread(target=answer, args=question, daemon=True).start()


def perform(commands: Mapping[str, Command], number: int, command: str, arguments: dict[str, Any]) -> bytes:
    """Do what was asked and put the result, or what went wrong, into a line."""
    try:
        result, error = commands[command](**arguments), None
    except Exception as failure:
        result, error = None, f"{command}: {type(failure).__name__}: {failure}"
    return json.dumps([number, result, error], default=_plain).encode() + b"\n"


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _until_broken(lines: Iterable[bytes]) -> Iterator[list[Any]]:
    try:
        for line in lines:
            yield json.loads(line)
    except (OSError, ValueError):  # the other side was killed, perhaps in the middle of a line
        return
