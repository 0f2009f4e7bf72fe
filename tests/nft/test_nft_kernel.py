"""What only the real kernel can show: our bytes against its listing, the helper's deaths, floods of events, very large batches."""

import asyncio
import ctypes
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import netns
import pytest
import uvloop
from netns import in_netns

from nft import objects as nft
from nft.changes import Add, Change, Discard, Put
from nft.errors import (
    KernelUnreachableError,
    NftError,
    NotFoundError,
    NotPermittedError,
    RefusedError,
    TableOwnedError,
    TooLargeError,
)
from nft.fingerprint import fingerprint
from nft.netlink import RealKernel
from nft.objects import pack_key
from nft.probe import probe
from nft.socket import NetlinkSocket
from nft.structure import Libnftables
from nft.transaction import Transaction

TABLE = nft.Table("t")
MAP = nft.Set(TABLE, "m", ("ipv4_addr", "inet_proto", "inet_service"), "mark", frozenset({"timeout"}))
CHAIN = nft.Chain(TABLE, "c", nft.Hook("filter", "output", 0))


def key(number: int) -> bytes:
    return pack_key(number.to_bytes(4, "big"), b"\x11", b"\0\x35")


def listing(*arguments: str) -> str:
    return subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True).stdout


def structure() -> Transaction:
    return Transaction().add(TABLE).add(MAP).add(CHAIN)


@in_netns
async def test_the_kernel_lists_what_we_packed() -> None:
    """Every kind of key and data, packed by us, is printed by nft as what it means."""
    flows = nft.Set(TABLE, "flows", ("ipv4_addr", "ipv6_addr", "inet_proto", "inet_service"))
    links = nft.Set(TABLE, "links", ("ether_addr", "mark", "ifname"))
    verdicts = nft.Set(TABLE, "v", ("inet_service",), "verdict", frozenset({"timeout"}))
    nets = nft.Set(TABLE, "n", ("ipv6_addr",), flags=frozenset({"interval"}))
    kernel = await RealKernel.open()
    await kernel.apply(structure().add(flows).add(links).add(verdicts).add(nets).add(nft.Chain(TABLE, "elsewhere")))
    flow = pack_key(bytes([192, 0, 2, 1]), bytes(15) + b"\1", b"\6", b"\1\xbb")
    link = pack_key(bytes(range(6)), (0x80000).to_bytes(4, sys.byteorder), b"eth0".ljust(16, b"\0"))
    changes: list[Change] = [Add(flows, flow), Add(links, link), Add(verdicts, b"\0\x50", nft.Verdict("goto", "elsewhere"), 3_600_000)]
    low, high = bytes.fromhex("20010db8") + bytes(12), bytes.fromhex("20010db8") + b"\xff" * 12
    kernel.commit([*changes, Add(nets, low, key_end=high), Add(MAP, key(1), 0x10001, 90_000)])
    await kernel.close()

    printed = listing("--numeric-protocol", "list", "ruleset")
    # Protocols by number: nft looks their names up in /etc/protocols, which a slim machine does not have.
    assert "192.0.2.1 . ::1 . 6 . 443" in printed
    assert '00:01:02:03:04:05 . 0x00080000 . "eth0"' in printed
    assert "80 timeout 1h expires" in printed and ": goto elsewhere" in printed
    assert "2001:db8::/32" in printed
    assert "0.0.0.1 . 17 . 53 timeout 1m30s" in printed and ": 0x00010001" in printed


@in_netns
async def test_probe_leaves_nothing() -> None:
    """The probe finds out what this kernel can do, and no table is left, nor a socket."""
    sockets = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    found = probe()

    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    assert (found.renews_by_add, found.has_destroy, found.has_owner) == (release >= (6, 12), release >= (6, 3), release >= (5, 12))
    assert listing("list", "tables") == ""
    assert len(os.listdir("/proc/self/fd")) == sockets  # noqa: PTH208


@in_netns
async def test_own_commits_wake_nobody() -> None:
    """20,000 commits of ours and one of the helper's do not wake the loop once; one foreign commit does."""
    kernel = await RealKernel.open()
    await kernel.apply(structure())
    told = asyncio.Event()
    kernel.on_foreign_change(told.set)
    for number in range(10_000):
        kernel.commit([Add(MAP, key(number % 100), 1, 60_000)])
        kernel.commit([Discard(MAP, key(number % 100)), Put(MAP, key(200), 1, 60_000)])
    await kernel.apply(Transaction().add(nft.Chain(TABLE, "ours")))
    await asyncio.sleep(0.05)
    assert kernel.wakeups == 0

    listing("flush", "ruleset")
    await asyncio.wait_for(told.wait(), 5)
    assert kernel.wakeups == 1
    await kernel.close()


@in_netns
async def test_another_socket_may_be_ours() -> None:
    """A port that is said to be ours wakes nobody either, and may be said late."""
    kernel, other = await RealKernel.open(), await RealKernel.open()
    await kernel.apply(structure())
    told = asyncio.Event()
    kernel.on_foreign_change(told.set)
    kernel.own_port(other._socket.port)
    other.commit([Add(MAP, key(1), 1)])
    await asyncio.sleep(0.02)
    assert kernel.wakeups == 0

    await other.apply(Transaction().add(nft.Chain(TABLE, "theirs")))
    await asyncio.wait_for(told.wait(), 5)
    await kernel.close()
    await other.close()


@in_netns
async def test_lost_events_are_a_change() -> None:
    """F12: when more foreign commits happen than the socket holds, the call comes all the same."""
    kernel, other = await RealKernel.open(), await RealKernel.open()
    await kernel.apply(structure())
    told = asyncio.Event()
    kernel.on_foreign_change(told.set)
    for number in range(5000):  # more than the receive buffer takes while the loop is not looking
        other.commit([Add(MAP, key(number % 10), 1, 60_000)])

    await asyncio.wait_for(told.wait(), 5)
    await kernel.close()
    await other.close()


FOREIGN = {
    "rule deleted": "delete rule inet t c handle {rule}",
    "chain flushed": "flush chain inet t c",
    "set deleted": "delete map inet t m",
    "table made anew": "delete table inet t; add table inet t",
    "rule inserted": "insert rule inet t c accept",
    "rule replaced": "replace rule inet t c handle {rule} accept",
    "policy": "add chain inet t c {{ policy drop; }}",
    "ruleset flushed": "flush ruleset",
    "dormant": "add table inet t {{ flags dormant; }}",
}


@pytest.mark.parametrize("command", FOREIGN.values(), ids=FOREIGN)
def test_fingerprint_notices(command: str) -> None:
    """Whatever a foreign hand does to the structure changes the fingerprint; what it does elsewhere or to elements does not."""

    async def body() -> None:
        kernel = await RealKernel.open()
        await kernel.apply(structure().add(nft.Rule(CHAIN, "counter drop")).add(nft.Rule(CHAIN, "accept")))
        before = kernel.fingerprint(TABLE)
        listing(
            "add table inet other; add chain inet other c; add rule inet other c accept; add element inet t m { 192.0.2.1 . tcp . 80 : 5 }"
        )
        listing("list ruleset")
        assert kernel.fingerprint(TABLE) == before
        found = json.loads(listing("-j", "list chain inet t c"))["nftables"]
        listing(command.format(rule=next(one["rule"]["handle"] for one in found if "rule" in one)))
        assert kernel.fingerprint(TABLE) != before
        link = NetlinkSocket()
        assert kernel.fingerprint(TABLE) == fingerprint(link, TABLE)  # whatever it remembers of earlier looks
        link.close()
        await kernel.close()

    _isolated(lambda: asyncio.run(body()))


def _isolated(body: Callable[[], None]) -> None:
    if (reason := netns.why_not()) is not None:
        pytest.skip(f"no network namespaces here: {reason}")
    netns.run_in_netns(body)


@in_netns
async def test_helper_that_dies_is_replaced() -> None:
    """F4: a killed helper costs at most the request under way; the next one works."""
    kernel = await RealKernel.open()
    await kernel.apply(structure())
    first = kernel._structure.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    with suppress(KernelUnreachableError):  # one request may be lost, if the death is not known yet
        await kernel.apply(Transaction().add(nft.Chain(TABLE, "before")))
    await kernel.apply(Transaction().add(nft.Chain(TABLE, "after")))
    assert kernel._structure.pid != first
    standing = await kernel.read_structure(TABLE)
    assert standing is not None and "after" in standing.chains
    await kernel.close()


@in_netns
async def test_helper_that_stalls_is_ended() -> None:
    """An answer that does not come in time is an error, and the late one is never taken for the next one's."""
    client = Libnftables(deadline_s=10)
    await client.start()
    stalled = client.pid
    assert stalled is not None
    os.kill(stalled, signal.SIGSTOP)
    client.deadline_s = 0.1
    with pytest.raises(KernelUnreachableError, match=r"within 0\.1 s"):
        await client.run("add table inet late")
    with pytest.raises(ProcessLookupError):
        os.kill(stalled, 0)

    client.deadline_s = 10
    assert await client.run("list tables") == ""
    await client.close()


@in_netns
async def test_cancelled_request_does_not_answer_the_next() -> None:
    """Whoever gives up waiting leaves no answer behind for others."""
    client = Libnftables()
    await client.start()
    await client.run("add table inet a")
    task = asyncio.create_task(client.run("list ruleset"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await client.run("add table inet b") == ""
    await client.close()


@in_netns
async def test_requests_take_turns() -> None:
    """Several at once each get their own answer."""
    client = Libnftables()
    await client.run("add table inet a; add table inet b")
    answers = await asyncio.gather(*(client.run(f"list table inet {name}") for name in "abab"))

    assert [answer.split()[2] for answer in answers] == list("abab")
    await client.close()


@in_netns
async def test_helper_ends_when_closed() -> None:
    """Closing ends the helper, and may be done twice; a helper that does not listen is ended too."""
    for stop in (signal.SIGCONT, signal.SIGSTOP):
        client = Libnftables()
        await client.start()
        pid = client.pid
        assert pid is not None
        os.kill(pid, stop)
        await client.close()
        await client.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@in_netns
def test_helper_does_not_outlive_us() -> None:
    """F4: when we are killed, the helper sees its stdin end, and ends."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        asyncio.run(_start_and_tell(writer))
    helper = int(os.read(reader, 20))
    watch = os.pidfd_open(helper)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    assert select.select([watch], [], [], 5)[0]


async def _start_and_tell(writer: int) -> None:
    client = Libnftables()
    await client.start()
    os.write(writer, str(client.pid).encode())
    await asyncio.sleep(60)


@in_netns
async def test_refusals_have_their_names() -> None:
    """What libnftables prints becomes one of our errors, with its words."""
    kernel = await RealKernel.open()
    await kernel.apply(structure())
    with pytest.raises(RefusedError, match="syntax error"):
        await kernel.apply(Transaction().add(nft.Rule(CHAIN, "no such thing")))
    with pytest.raises(NotFoundError, match="did you mean"):
        await kernel.apply(Transaction().add(nft.Rule(CHAIN, "ip saddr . meta l4proto . th dport @mm accept")))
    await kernel.close()


@in_netns
async def test_very_large_commit_is_one_transaction() -> None:
    """100,000 elements are one batch where the machine lets us; else the error says what to do, and nothing has happened."""
    kernel = await RealKernel.open()
    await kernel.apply(structure())
    changes: list[Change] = [Add(MAP, key(number), 1, 600_000) for number in range(100_000)]
    try:
        kernel.commit(changes)
    except TooLargeError as error:
        assert "wmem_max" in str(error)
        assert kernel.read_elements(MAP) == []
    else:
        assert len(kernel.read_elements(MAP)) == 100_000
    kernel.commit(changes[:1000])
    await kernel.close()


@in_netns
async def test_flood_of_refusals_still_names_the_first() -> None:
    """When the kernel refuses more than we can hold, the first culprit is still told, and the next commit works."""
    kernel = await RealKernel.open()
    await kernel.apply(structure())
    wrong, right = Add(nft.Set(TABLE, "nowhere", ("mark",)), bytes(4)), Add(MAP, key(0), 1)
    alternating: list[Change] = [right, *[wrong, right] * 10_000]
    with pytest.raises(NotFoundError) as caught:
        kernel.commit(alternating)
    assert caught.value.index == 1

    assert kernel.read_elements(MAP) == []
    kernel.commit([right])
    await kernel.close()


@in_netns
async def test_answers_of_a_broken_off_request_are_not_taken() -> None:
    """What an interrupted request left in the socket is not the answer to the next one."""
    kernel = await RealKernel.open()
    await kernel.apply(structure())
    socket = kernel._socket
    coder = kernel._coder(MAP)
    first = socket.sequence(3)
    socket._send(coder.single(12, coder.pack(key(1), 1, None), first))  # and nobody reads the answer
    with pytest.raises(NftError):
        kernel.commit([Add(MAP, key(1), 2)])

    kernel.commit([Add(MAP, key(1), 1)])
    assert [element.data for element in kernel.read_elements(MAP)] == [1]
    await kernel.close()


@contextmanager
def owned_table(name: str) -> Iterator[None]:
    """A table that belongs to another process's socket."""
    command = ["python3", "-u", "-c", OWNER, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"owned\n"
        try:
            yield
        finally:
            process.kill()


OWNER = """
import socket, struct, sys
def attribute(kind, value): return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)
def message(kind, flags, seq, body, family=1, res=0):
    return struct.pack("=IHHIIBBBB", 20 + len(body), kind, flags, seq, 0, family, 0, 0, res) + body
body = attribute(1, sys.argv[1].encode() + bytes(1)) + attribute(2, struct.pack(">I", 2))
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(message(16, 1, 1, b"", 0, 10) + message(0xA00, 0x405, 2, body) + message(17, 1, 3, b"", 0, 10))
print("owned" if struct.unpack_from("=i", s.recv(4096), 16)[0] == 0 else "refused")
sys.stdin.read()
"""


@in_netns
async def test_owned_table_is_told_apart() -> None:
    """F3: EPERM because another process owns the table is not the EPERM of a missing capability."""
    kernel = await RealKernel.open()
    with owned_table("t"):
        with pytest.raises(TableOwnedError):
            kernel.commit([Add(MAP, key(1), 1)])
        with pytest.raises(TableOwnedError):
            await kernel.apply(Transaction().add(CHAIN))
    await kernel.close()


@in_netns
def test_without_the_capability_we_say_so() -> None:
    """F3: without CAP_NET_ADMIN the probe and the helper say what is missing."""
    drop_capabilities()

    with pytest.raises(NotPermittedError) as caught:
        probe()
    assert not isinstance(caught.value, TableOwnedError)
    assert str(caught.value).endswith("Operation not permitted; be root, or have CAP_NET_ADMIN")


def drop_capabilities() -> None:
    """Give up all capabilities of this process, by the system call."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    assert libc.capset(header, data) == 0


@in_netns
def test_works_on_uvloop() -> None:
    """The helper, the events and closing work on uvloop too."""

    async def body() -> None:
        kernel = await RealKernel.open()
        await kernel.apply(structure())
        told = asyncio.Event()
        kernel.on_foreign_change(told.set)
        kernel.commit([Add(MAP, key(1), 1, 60_000)])
        await kernel.apply(Transaction().add(nft.Chain(TABLE, "ours")))
        assert not told.is_set()
        listing("flush", "ruleset")
        await asyncio.wait_for(told.wait(), 5)
        assert await kernel.read_structure(TABLE) is None
        await kernel.close()

    uvloop.run(body())


@in_netns
async def test_dump_while_others_change_is_whole() -> None:
    """A listing read while foreign commits go on is from one moment, or an error; never torn."""
    kernel, other = await RealKernel.open(), await RealKernel.open()
    await kernel.apply(structure())
    kernel.commit([Add(MAP, key(number), 1) for number in range(2000)])
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        other.commit([Put(MAP, key(5), 2), Discard(MAP, key(6))])
        other.commit([Put(MAP, key(6), 1)])
        assert len({element.key for element in kernel.read_elements(MAP)}) == 2000
    await kernel.close()
    await other.close()


@in_netns
def test_closed_socket_is_unreachable() -> None:
    """A socket that broke is an error of the family, for each way of asking."""
    socket = NetlinkSocket()
    socket.close()
    for ask in (lambda: socket.transact(bytes(20), 1, 2), lambda: socket.dump(1, 1), lambda: socket.get(1, 1, b"")):
        with pytest.raises(KernelUnreachableError):
            ask()


@in_netns
def test_readme_example_runs() -> None:
    """The package README's example does what it says."""
    text = (Path(__file__).parents[2] / "nft" / "README.md").read_text(encoding="utf-8")
    example = text.partition("```python\n")[2].partition("```")[0]
    printed = subprocess.run([sys.executable, "-c", example], check=True, capture_output=True, text=True).stdout

    assert "data=131072" in printed


@in_netns
async def test_a_list_that_nobody_waits_for_is_not_read_to_its_end() -> None:
    """Cancelled, `fetch_elements` lets its thread go at the next datagram: a stop does not wait for a long set."""
    kernel = await RealKernel.open()
    await kernel.apply(structure())
    kernel.commit([Add(MAP, key(number), 1, 60_000) for number in range(2000)])
    given_up = iter([False, True])
    socket = NetlinkSocket(5, lambda: next(given_up))

    with pytest.raises(KernelUnreachableError, match="given up"):
        socket.dump(13, 1, kernel._coder(MAP).address)
    assert len(await kernel.fetch_elements(MAP)) == 2000
    socket.close()
    await kernel.close()


@in_netns
async def test_a_long_set_is_listed_in_parts() -> None:
    """Whoever stops in between leaves no socket behind, and a set that is not there is an error."""
    kernel = await RealKernel.open()
    await kernel.apply(structure())
    kernel.commit([Add(MAP, key(number), 1, 60_000) for number in range(2000)])
    assert 1 < len([part async for part in kernel.iter_elements(MAP) if part]) < 20

    before = open_files()
    listing = kernel.iter_elements(MAP)
    assert await anext(listing)
    await listing.aclose()  # type: ignore[attr-defined]  # it is a generator
    for _ in range(500):  # the thread may still hold it
        if open_files() > before:
            await asyncio.sleep(0.01)
    assert open_files() == before

    with pytest.raises(NotFoundError):
        await anext(kernel.iter_elements(replace(MAP, name="nowhere")))
    await kernel.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
