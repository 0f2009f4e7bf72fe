"""A test body in a fresh network namespace of its own.

`@in_netns` runs a test, plain or async, in a forked child that has unshared its network (and, without root, its user)
namespace; fixtures' values go along in memory, the outcome comes back through a pipe. The host's own nftables are never touched.
Where namespaces are not allowed such tests cannot run: they are skipped, and the last line of the report says so loudly.
"""

import asyncio
import ctypes
import fcntl
import functools
import inspect
import os
import pickle
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_NEW_USER, _NEW_NET = 0x1000_0000, 0x4000_0000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def in_netns(test: Callable[..., Any] | None = None, *, timeout_s: float = 60.0) -> Any:
    """Decorate a test: its body runs in a fresh network namespace, with lo up."""
    if test is None:
        return functools.partial(in_netns, timeout_s=timeout_s)

    @functools.wraps(test)
    def isolated(*args: Any, **kwargs: Any) -> None:
        if (reason := why_not()) is not None:
            pytest.skip(f"no network namespaces here: {reason}")
        run_in_netns(lambda: _call(test, args, kwargs), timeout_s)

    return isolated


def run_in_netns(body: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """What `body` returns (pickled) from a forked child in a fresh network namespace; its failure is a failed test here."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reader)
        _be_the_child(body, writer)
    os.close(writer)
    try:
        answer = _read_all(reader, time.monotonic() + timeout_s)
    finally:
        os.close(reader)
        _end(child)
    if answer is None:
        pytest.fail(f"no outcome within {timeout_s:g} s", pytrace=False)
    if not answer:
        pytest.fail("the child ended without an outcome", pytrace=False)
    kind, value = pickle.loads(answer)  # noqa: S301  # from our own child
    if kind == "skipped":
        pytest.skip(value)
    if kind == "failed":
        pytest.fail(value, pytrace=False)
    return value


@functools.cache
def why_not() -> str | None:
    """Why there can be no namespaces here; None if there can."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            enter()
            os.write(writer, b"ok")
        except OSError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    said = os.read(reader, 1000).decode()
    os.close(reader)
    os.waitpid(child, 0)
    return None if said == "ok" else said or "the attempt died"


def enter() -> None:
    """Put this process, which must have one thread only, into a fresh network namespace, lo up."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(_NEW_NET) != 0:
        _enter_as_user(libc)
    _up("lo")


def _enter_as_user(libc: ctypes.CDLL) -> None:
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_USER | _NEW_NET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))
    Path("/proc/self/setgroups").write_bytes(b"deny")
    Path("/proc/self/uid_map").write_bytes(b"0 %d 1" % uid)
    Path("/proc/self/gid_map").write_bytes(b"0 %d 1" % gid)


def _up(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", interface.encode(), 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", interface.encode(), flags | _IFF_UP))


def _be_the_child(body: Callable[[], Any], writer: int) -> None:
    """Never returns: pytest's own end is not for the child."""
    try:
        os.setsid()
        enter()
        outcome = ("passed", body())
    except pytest.skip.Exception as skipped:
        outcome = ("skipped", str(skipped))
    except BaseException:  # an exit or an interrupt in the child is a failure too
        outcome = ("failed", traceback.format_exc())
    try:
        data = pickle.dumps(outcome)
    except Exception:
        data = pickle.dumps(("failed", f"cannot be pickled: {outcome!r}"))
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(data)
    os._exit(0)


def _call(test: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if inspect.iscoroutinefunction(test):
        asyncio.run(test(*args, **kwargs))
    else:
        test(*args, **kwargs)


def _read_all(reader: int, deadline: float) -> bytes | None:
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            if not (piece := os.read(reader, 65536)):
                return data
            data += piece
            if _is_whole(data):
                return data
    return None


def _is_whole(data: bytes) -> bool:
    """Grandchildren may hold the pipe open; the pickle tells its own end."""
    try:
        pickle.loads(data)  # noqa: S301  # from our own child
    except (EOFError, pickle.UnpicklingError):
        return False
    return True


def _end(child: int) -> None:
    """The child and what it left behind: all of its own session's group."""
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what could not be tested."""
    skipped = terminalreporter.stats.get("skipped", [])
    if missed := [report for report in skipped if "no network namespaces here" in str(report.longrepr)]:
        terminalreporter.write_sep("!", red=True, bold=True)
        text = f"NOT TESTED: {len(missed)} tests need network namespaces, which are not allowed here ({why_not()})"
        terminalreporter.write_line(f"{text}; run as root or allow unshare -Urn", red=True, bold=True)
        terminalreporter.write_sep("!", red=True, bold=True)
