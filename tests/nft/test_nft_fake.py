"""What the fake adds to the contract for the sake of tests, and the pure parts that only the real kernel's way uses."""

import asyncio

import pytest

from nft import objects as nft
from nft.changes import Add, Discard, Put
from nft.errors import (
    AlreadyExistsError,
    BusyError,
    KernelUnreachableError,
    NftError,
    NoSpaceError,
    NotFoundError,
    NotPermittedError,
    NotValidError,
    RefusedError,
    TableOwnedError,
    TooLargeError,
    from_errno,
    from_text,
)
from nft.fake import FakeKernel
from nft.listing import parse_table
from nft.objects import Element
from nft.transaction import Transaction

TABLE = nft.Table("t")
SET = nft.Set(TABLE, "s", ("mark",), flags=frozenset({"timeout"}), size=2)
KEYS = [bytes([number]) * 4 for number in range(4)]


class Desk:
    """A fake kernel and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.kernel = FakeKernel(lambda: self.now)
        asyncio.run(self.kernel.apply(Transaction().add(TABLE).add(SET)))

    def held(self) -> list[bytes]:
        return [element.key for element in self.kernel.read_elements(SET)]


def test_failed_commit_does_nothing() -> None:
    """A failure that a test orders hits the next commit only, and nothing of that commit happens."""
    desk = Desk()
    desk.kernel.fail_commit(KernelUnreachableError("lost"))
    with pytest.raises(KernelUnreachableError):
        desk.kernel.commit([Add(SET, KEYS[0])])
    assert desk.held() == []

    desk.kernel.commit([Add(SET, KEYS[0])])
    assert desk.held() == [KEYS[0]]
    assert desk.kernel.commits == [(Add(SET, KEYS[0]),)]


def test_failed_apply_does_nothing() -> None:
    """The same for a transaction of structure."""
    desk = Desk()
    desk.kernel.fail_apply(BusyError("busy"))
    transaction = Transaction().add(nft.Chain(TABLE, "c"))
    with pytest.raises(BusyError):
        asyncio.run(desk.kernel.apply(transaction))
    asyncio.run(desk.kernel.apply(transaction))

    assert desk.kernel.applied[-1] == str(transaction)
    assert len(desk.kernel.applied) == 2


def test_apply_can_be_held() -> None:
    """A test decides how long libnftables takes; elements go on meanwhile."""

    async def body() -> None:
        desk = await asyncio.to_thread(Desk)
        desk.kernel.hold = asyncio.Event()
        task = asyncio.create_task(desk.kernel.apply(Transaction().add(nft.Chain(TABLE, "c"))))
        await asyncio.sleep(0)
        desk.kernel.commit([Add(SET, KEYS[0])])
        assert not task.done()
        desk.kernel.hold.set()
        await task

    asyncio.run(body())


def test_commit_can_stall() -> None:
    """A commit that takes long is one whose clock moves."""
    desk = Desk()

    def stall() -> None:
        desk.now += 0.2

    desk.kernel.on_commit = stall
    desk.kernel.commit([Add(SET, KEYS[0], None, 1000)])
    assert desk.kernel.read_elements(SET)[0].expires_ms == 1000
    assert desk.now == 100.2


def test_foreign_hands_are_told() -> None:
    """F12: who listens hears of a foreign transaction and of a flushed ruleset; after close nobody does."""
    desk = Desk()
    calls: list[int] = []
    desk.kernel.on_foreign_change(lambda: calls.append(1))
    desk.kernel.foreign(Transaction().delete(SET))
    desk.kernel.flush_ruleset()
    assert len(calls) == 2
    assert desk.kernel.fingerprint(TABLE) is None

    asyncio.run(desk.kernel.close())
    desk.kernel.flush_ruleset()
    assert len(calls) == 2


def test_expired_elements_count_until_collected() -> None:
    """A full set stays full for the second that the collector takes; its expired elements hold chains as well."""
    desk = Desk()
    desk.kernel.commit([Add(SET, KEYS[0], None, 100), Add(SET, KEYS[1], None, 100)])
    desk.now += 0.5
    with pytest.raises(NoSpaceError):
        desk.kernel.commit([Add(SET, KEYS[2], None, 100)])
    assert desk.held() == []

    desk.now += 1
    desk.kernel.commit([Add(SET, KEYS[2], None, 100)])
    assert desk.held() == [KEYS[2]]


def test_expired_verdict_holds_its_chain() -> None:
    """A chain named by an expired, uncollected element is busy; once that is collected it goes."""
    desk = Desk()
    chain = nft.Chain(TABLE, "c")
    verdicts = nft.Set(TABLE, "v", ("mark",), "verdict", frozenset({"timeout"}))
    asyncio.run(desk.kernel.apply(Transaction().add(chain).add(verdicts)))
    desk.kernel.commit([Add(verdicts, KEYS[0], nft.Verdict("goto", "c"), 100)])
    desk.now += 0.5
    with pytest.raises(BusyError):
        asyncio.run(desk.kernel.apply(Transaction().delete(chain)))

    desk.now += 1
    asyncio.run(desk.kernel.apply(Transaction().delete(chain)))
    assert asyncio.run(desk.kernel.read_structure(TABLE)) == nft.Structure(TABLE, {"s": SET, "v": verdicts}, {}, {})


def test_what_was_undone_is_as_before() -> None:
    """A refused commit leaves replaced and discarded elements as they were, timeouts and all."""
    desk = Desk()
    desk.kernel.commit([Add(SET, KEYS[0], None, 5000), Add(SET, KEYS[1], None, 5000)])
    before = desk.kernel.read_elements(SET)
    with pytest.raises(NoSpaceError) as caught:
        desk.kernel.commit([Put(SET, KEYS[0], None, 9000), Discard(SET, KEYS[1]), Add(SET, KEYS[2]), Add(SET, KEYS[3])])

    assert caught.value.index == 3
    assert sorted(desk.kernel.read_elements(SET)) == sorted(before)


def test_structure_wants_what_the_kernel_wants() -> None:
    """A base chain keeps its hook, a timeout needs its flag, a rule's table must be there."""
    desk = Desk()
    base, moved = (nft.Chain(TABLE, "b", nft.Hook("filter", "forward", priority)) for priority in (0, 1))
    bare = nft.Set(TABLE, "bare", ("mark",))
    asyncio.run(desk.kernel.apply(Transaction().add(base).add(bare)))
    with pytest.raises(AlreadyExistsError):
        asyncio.run(desk.kernel.apply(Transaction().add(moved)))
    with pytest.raises(NotValidError):
        asyncio.run(desk.kernel.apply(Transaction().add_element(Element(bare, KEYS[0], None, 5000))))
    with pytest.raises(NotFoundError):
        asyncio.run(desk.kernel.apply(Transaction().add_element(Element(nft.Set(TABLE, "none", ("mark",)), KEYS[0]))))

    assert desk.kernel.features.has_destroy


LISTED = """table inet other {
	chain c {
		drop
	}
}
table inet t {
	flags dormant
	comment "x"

	set s {
		type mark
		size 2
		flags dynamic
		counter
		timeout 1d2h3m4s500ms
		elements = { 0x00000001,
				0x00000002 }
	}

	set odd {
		typeof ip saddr . ct original proto-dst
	}

	map m {
		type ipv4_addr . inet_service : verdict
		flags interval,timeout
	}

	chain c {
		type filter hook forward priority -150; policy accept;
		ip saddr { 192.0.2.1,
				192.0.2.2 } drop
		accept comment "all"
	}

	chain n {
		type filter hook ingress device "lo" priority 0; policy accept;
	}

	chain empty {
	}
}
table inet u {
	chain z {
	}
}
"""


def test_listing_is_read() -> None:
    """Our table is found among others; what we do not know of it is left out, or kept as a line that differs."""
    found = parse_table(TABLE, LISTED)

    assert found is not None
    flags, seconds = frozenset({"dynamic", "timeout"}), 93784.5
    assert found.sets == {
        "s": nft.Set(TABLE, "s", ("mark",), None, flags, seconds, 2, has_counter=True),
        "m": nft.Set(TABLE, "m", ("ipv4_addr", "inet_service"), "verdict", frozenset({"interval", "timeout"})),
    }
    assert found.chains["c"] == nft.Chain(TABLE, "c", nft.Hook("filter", "forward", -150))
    assert found.rules == {
        "c": ("ip saddr { 192.0.2.1, 192.0.2.2 } drop", 'accept comment "all"'),
        "n": ('type filter hook ingress device "lo" priority 0; policy accept;',),
        "empty": (),
    }
    assert parse_table(nft.Table("v"), LISTED) is None
    assert parse_table(TABLE, "") is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Error: Could not process rule: File exists\nadd x", AlreadyExistsError),
        ("Error: interval overlaps with an existing one\n", AlreadyExistsError),
        ("Error: conflicting intervals specified\n", AlreadyExistsError),
        ("Error: No such file or directory; did you mean set 'x' in table inet 't'?\n", NotFoundError),
        ("Error: element does not exist\n", NotFoundError),
        ("Error: Could not process rule: Device or resource busy\n", BusyError),
        ("Error: Could not process rule: Too many open files in system\n", NoSpaceError),
        ("Error: Could not process rule: Operation not permitted\n", TableOwnedError),
        ("netlink: Error: cache initialization failed: Operation not permitted\n", NotPermittedError),
        ("internal:0:0-0: Error: Could not send: No buffer space available", KernelUnreachableError),
        ('Error: syntax error\nadd rule "File exists"\n', RefusedError),
        ("", RefusedError),
    ],
)
def test_words_of_libnftables_become_errors(text: str, kind: type[NftError]) -> None:
    """Each refusal has its class; what the user wrote, printed beneath, does not count."""
    assert type(from_text(text)) is kind


@pytest.mark.parametrize(
    ("number", "index", "kind"),
    [(17, 3, AlreadyExistsError), (1, None, NotPermittedError), (1, 0, TableOwnedError), (90, None, TooLargeError), (22, 1, RefusedError)],
)
def test_errnos_become_errors(number: int, index: int | None, kind: type[NftError]) -> None:
    """Each errno has its class, and keeps the culprit's index."""
    error = from_errno(number, "x", index)

    assert (type(error), error.index) == (kind, index)
