"""The netlink socket that element changes and dumps go over.

Touches one NETLINK_NETFILTER socket of this network namespace; belongs to one thread. The kernel works while `send` runs
and its answers wait when it returns, so nothing here waits but for the kernel's own locks; a missing answer is an error
at once or, in a dump, after `timeout_s`. Always true: what an earlier, broken-off request left behind is never taken for an answer.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final

from nft import codec
from nft.codec import CodecError, Message, Refusal
from nft.errors import InterruptedDumpError, KernelUnreachableError, NftError, TooLargeError, from_errno

_NETFILTER: Final = 12  # the socket module has no name for NETLINK_NETFILTER
_SOL_NETLINK: Final = 270
_CAP_ACK: Final = 10
_EXT_ACK: Final = 11
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_RECEIVE: Final = 65536  # a dump's datagrams have at most 32 KiB
_RECEIVE_BUFFER: Final = 1 << 20  # room for one refusal a message; what does not fit is reported as lost
_OVERHEAD: Final = 1024  # the kernel wants the batch to leave room for its own bookkeeping
_ATTEMPTS: Final = 20  # of a dump that foreign commits keep changing


class NetlinkSocket:
    """One request at a time, each answered before the call returns."""

    def __init__(self, timeout_s: float = 5.0, is_given_up: Callable[[], bool] = lambda: False) -> None:
        """`is_given_up`: asked before each datagram of a long answer, whether anybody still wants the rest."""
        self._is_given_up = is_given_up
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
            self._socket.bind((0, 0))
            self._socket.connect((0, 0))
        except OSError as error:
            raise KernelUnreachableError(f"netlink: {error}; is nf_tables in this kernel") from error
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6)))
        self._timeout_s = timeout_s
        self._grow(_SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self._seq = int.from_bytes(os.urandom(3), "big")
        self.port: int = self._socket.getsockname()[0]

    def close(self) -> None:
        self._socket.close()

    def sequence(self, count: int) -> int:
        """The first of `count` numbers for messages."""
        first = self._seq
        if first + count >= 0xFFFF_FFFF:
            first = 1
        self._seq = first + count
        return first

    def transact(self, batch: bytes, first: int, last: int) -> list[Refusal]:
        """Send a whole batch; its first message has number `first`, `last` is the one that asks for the acknowledgement.

        No refusal: the kernel has done it. A refusal with number `first` concerns the batch as a whole.
        """
        self._send(batch)
        refusals: list[Refusal] = []
        lost = False
        while True:
            try:
                datagram = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return self._without_last(refusals, lost)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelUnreachableError(f"netlink: {error}") from error
                lost = True
                continue
            if not refusals and codec.is_ack(datagram, last):
                return refusals  # what nearly all are: 1 µs less than the way below
            for found in codec.messages(datagram):
                if found.type != codec.ERROR or not first <= found.seq <= last:
                    continue
                answer = codec.refusal(found)
                if answer.errno:
                    refusals.append(answer)
                if found.seq == last:
                    return refusals

    def _without_last(self, refusals: list[Refusal], lost: bool) -> list[Refusal]:
        """All answers are read, the last message's is not among them: refused as a whole, or answers were lost."""
        if refusals:
            return refusals
        raise KernelUnreachableError("netlink: the answer was lost" if lost else "netlink: the kernel gave no answer")

    def dump(self, kind: int, family: int, attributes: bytes = b"", *, may_be_torn: bool = False) -> list[Message]:
        """All objects that the kernel lists for this request, from one moment unless they `may_be_torn` by commits in between."""
        deadline = time.monotonic() + self._timeout_s
        for _ in range(_ATTEMPTS):
            found, is_torn = self._dump_once(kind, family, attributes)
            if may_be_torn or not is_torn:
                return found
            if time.monotonic() > deadline:
                break
        raise InterruptedDumpError("netlink: what stands kept changing while it was read; try again")

    def _dump_once(self, kind: int, family: int, attributes: bytes) -> tuple[list[Message], bool]:
        seq = self.sequence(1)
        self._send(codec.message(kind, codec.REQUEST | codec.DUMP, seq, family, attributes))
        found: list[Message] = []
        is_torn = False
        for answer in self._answers(seq):
            is_torn = is_torn or bool(answer.flags & codec.DUMP_INTR)
            if answer.type not in (codec.DONE, codec.ERROR):
                found.append(answer)
                continue
            if (number := codec.dump_errno(answer)) not in (0, errno.EINTR):
                raise from_errno(number, "netlink dump")
            is_torn = is_torn or number == errno.EINTR
            break
        return found, is_torn

    def dump_parts(self, kind: int, family: int, attributes: bytes = b"") -> Iterator[list[Message]]:
        """The same datagram by datagram, torn or not."""
        seq = self.sequence(1)
        self._send(codec.message(kind, codec.REQUEST | codec.DUMP, seq, family, attributes))
        while True:
            part = [found for found in codec.messages(self._receive()) if found.seq == seq]
            if part and part[-1].type in (codec.DONE, codec.ERROR):
                if (number := codec.dump_errno(part.pop())) not in (0, errno.EINTR):
                    raise from_errno(number, "netlink dump")
                yield part
                return
            yield part

    def get(self, kind: int, family: int, attributes: bytes) -> Message | None:
        """One object; None if there is no such thing."""
        seq = self.sequence(1)
        self._send(codec.message(kind, codec.REQUEST, seq, family, attributes))
        for answer in self._answers(seq):
            if answer.type != codec.ERROR:
                return answer
            number = codec.refusal(answer).errno
            if number == errno.ENOENT:
                return None
            raise from_errno(number, "netlink request")
        raise KernelUnreachableError("netlink: the kernel gave no answer")

    def _answers(self, seq: int) -> Iterator[Message]:
        while True:
            for found in codec.messages(self._receive()):
                if found.seq == seq:
                    yield found

    def _receive(self) -> bytes:
        """The next datagram of a long answer."""
        if self._is_given_up():
            raise KernelUnreachableError("netlink: given up")
        try:
            return self._socket.recv(_RECEIVE)
        except BlockingIOError as error:
            raise KernelUnreachableError(f"netlink: no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            raise KernelUnreachableError(f"netlink: {error}") from error

    def _send(self, data: bytes) -> None:
        if len(data) + _OVERHEAD > self._room:
            self._make_room(len(data) + _OVERHEAD)
        try:
            self._socket.send(data)
        except OSError as error:
            raise _translated(error, len(data)) from error

    def _make_room(self, size: int) -> None:
        self._grow(_SO_SNDBUFFORCE, socket.SO_SNDBUF, size)
        self._room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        if self._room < size:
            raise TooLargeError(f"netlink: a batch of {size} bytes, {self._room} allowed; split it, or raise net.core.wmem_max")

    def _grow(self, force: int, plain: int, size: int) -> None:
        """Beyond the limit where we may (CAP_NET_ADMIN of the machine), up to the limit where we may not."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, force, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, plain, size)


def _translated(error: OSError, size: int) -> NftError:
    if error.errno in (errno.EMSGSIZE, errno.ENOMEM, errno.ENOBUFS):
        return TooLargeError(f"netlink: a batch of {size} bytes: {error.strerror}")
    return KernelUnreachableError(f"netlink: {error}")


__all__ = ["CodecError", "NetlinkSocket"]
