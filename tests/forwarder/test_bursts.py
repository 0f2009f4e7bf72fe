"""Datagrams that leave together: the same ones, whether the kernel cuts them or not."""

import errno
import gc
import socket
from collections.abc import Iterator

import pytest

from dnsfw.forwarder.bursts import Bursts


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connected socket, and the one that it sends to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
        far.bind(("127.0.0.1", 0))
        far.settimeout(5)
        near.connect(far.getsockname())
        near.setblocking(False)
        yield near, far


MESSAGES = [bytes([number]) * size for number, size in enumerate([40, 40, 33, 40, 50, 33, 40])]


@pytest.mark.parametrize("is_cut", [True, False])
@pytest.mark.parametrize("messages", [MESSAGES, MESSAGES[:1], [bytes([number]) * 30 for number in range(100)], []])
def test_each_arrives_whole(pair: tuple[socket.socket, socket.socket], messages: list[bytes], is_cut: bool) -> None:
    """Of one length and of several, one and many."""
    near, far = pair
    bursts = Bursts(is_cut=is_cut)

    assert bursts.send(near, messages) == []
    assert sorted(far.recv(999) for _ in messages) == sorted(messages)
    assert bursts.is_cut is is_cut


class Stub:
    """A socket whose calls end as told."""

    def __init__(self, *, ask: OSError | None = None, cut: OSError | None = None, send: dict[bytes, list[OSError]] | None = None) -> None:
        self._ask, self._cut = ask, cut
        self._send = send or {}
        self.sent: list[bytes] = []
        self.asked: list[int] = []
        self.cuts = 0

    def getsockopt(self, _level: int, option: int) -> int:
        self.asked.append(option)
        if self._ask is not None:
            raise self._ask
        return 0

    def sendmsg(self, messages: list[bytes], _ancillary: object) -> None:
        self.cuts += 1
        if self._cut is not None:
            raise self._cut
        self.sent += messages

    def send(self, message: bytes) -> None:
        if errors := self._send.get(message):
            raise errors.pop(0)
        self.sent.append(message)


def test_a_kernel_that_does_not_cut_is_asked_once() -> None:
    """From then on each has a call of its own."""
    stub, bursts = Stub(cut=OSError(errno.EIO, "no sums")), Bursts()

    assert bursts.send(stub, [b"aa", b"bb"]) == []
    assert bursts.send(stub, [b"cc", b"dd"]) == []
    assert (stub.sent, stub.cuts, bursts.is_cut) == ([b"aa", b"bb", b"cc", b"dd"], 1, False)


def test_a_kernel_that_has_no_word_for_it_is_not_told_to() -> None:
    """It would send all as one datagram; it is asked once whether it has."""
    stub, bursts = Stub(ask=OSError(errno.ENOPROTOOPT, "no such option")), Bursts()
    able = Stub()

    assert bursts.send(stub, [b"aa", b"bb"]) == bursts.send(stub, [b"cc", b"dd"]) == []
    assert (stub.sent, stub.cuts, stub.asked, bursts.is_cut) == ([b"aa", b"bb", b"cc", b"dd"], 0, [103], False)
    one = Bursts()
    assert one.send(able, [b"aa", b"bb"]) == one.send(able, [b"cc", b"dd"]) == []
    assert (able.sent, able.cuts, able.asked) == ([b"aa", b"bb", b"cc", b"dd"], 2, [103])


def test_what_cannot_leave_is_no_cycle() -> None:
    """An error knows the frame that it was raised in, and the frame the list of errors: the collector hardly ever looks."""
    stub = Stub(send={b"aa": [OSError(errno.ENETUNREACH, "unreachable") for _ in range(10)]})
    bursts = Bursts(is_cut=False)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            assert bursts.send(stub, [b"aa"]) == [(b"aa", errno.ENETUNREACH)]
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_an_error_of_the_network_is_told_for_each() -> None:
    """A cut burst that fails is sent piece by piece, and each piece speaks for itself."""
    unreachable = OSError(errno.ENETUNREACH, "unreachable")
    stub, bursts = Stub(cut=OSError(errno.ENETUNREACH, "unreachable"), send={b"bb": [unreachable]}), Bursts()

    assert bursts.send(stub, [b"aa", b"bb", b"c"]) == [(b"bb", errno.ENETUNREACH)]
    assert (stub.sent, bursts.is_cut) == ([b"aa", b"c"], True)


def test_what_an_earlier_datagram_met_is_no_fate_of_this_one() -> None:
    """A refusal is told once, to whoever sends next."""
    stub = Stub(send={b"aa": [ConnectionRefusedError()], b"bb": [ConnectionRefusedError(), ConnectionRefusedError()]})

    found = Bursts(is_cut=False).send(stub, [b"aa", b"bb"])
    assert ([message for message, _ in found], stub.sent) == ([b"bb"], [b"aa"])


def test_a_full_buffer_loses_datagrams_and_is_no_error() -> None:
    """As the network may: whoever asked asks again."""
    stub = Stub(cut=BlockingIOError(), send={b"c": [BlockingIOError()]})

    assert Bursts().send(stub, [b"aa", b"bb", b"c"]) == []
    assert stub.sent == []
