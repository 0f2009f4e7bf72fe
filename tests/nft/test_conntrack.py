"""What `Conntrack` promises: one suite, kept by a real kernel's table and by the fake one."""

from collections.abc import Callable

import pytest
from ct_entries import create, entry, packed, payload
from three_nodes import apart

from nft import conntrack, ctcodec
from nft.conntrack import Connections, Conntrack, FakeConntrack

MASK = 0xFFFF_0000
Begin = Callable[..., None]
Promise = Callable[[Connections, Begin], None]


def with_fake(promise: Promise) -> None:
    fake = FakeConntrack()

    def begin(*bodies: bytes) -> None:
        for body in bodies:
            flow = ctcodec.read_flow(payload(body, 10 if len(body) > 150 else 2))
            fake.add(flow._replace(identity=flow.identity + fake.flows().__len__().to_bytes(4, "big")))

    promise(fake, begin)


def with_kernel(promise: Promise) -> None:
    def body() -> None:
        with Conntrack() as kernel, conntrack._open(2) as link:
            promise(kernel, lambda *bodies: create(link, *bodies))

    apart(body)


@pytest.fixture(params=[with_fake, with_kernel], ids=["fake", "kernel"])
def keeps(request: pytest.FixtureRequest) -> Callable[[Promise], None]:
    return request.param


def test_empty_table(keeps: Callable[[Promise], None]) -> None:
    """Where nothing is tracked (conntrack may be asleep) there is nothing to see or to change, and no error."""

    def promise(connections: Connections, begin: Begin) -> None:
        assert (connections.flows(), connections.marks_in_use(MASK)) == ([], set())
        assert (connections.delete([]), connections.set_mark([], 1, 1)) == (0, 0)

    keeps(promise)


def test_flows_by_source_and_mark(keeps: Callable[[Promise], None]) -> None:
    """A dump holds what was asked for, of both families, and all of it where nothing was asked for."""

    def promise(connections: Connections, begin: Begin) -> None:
        begin(entry("192.0.2.2", 1, 0x10001), entry("192.0.2.3", 2, 0x10002), entry("2001:db8::2", 3, 0x20003))

        def seen(**wanted: object) -> set[int]:
            return {flow.source_port for flow in connections.flows(**wanted)}  # type: ignore[arg-type]

        assert (seen(), seen(source=packed("192.0.2.2")), seen(source=packed("2001:db8::2"))) == ({1, 2, 3}, {1}, {3})
        assert (seen(mark=0x10000, mark_mask=MASK), seen(mark=0x20003), seen(mark=0x10000)) == ({1, 2}, {3}, set())
        assert (seen(mark=0x10000, mark_mask=MASK, source=packed("192.0.2.3")), seen(source=packed("192.0.2.9"))) == ({2}, set())

    keeps(promise)


def test_source_is_a_packed_address(keeps: Callable[[Promise], None]) -> None:
    """A textual address is a mistake of the caller's, not an empty answer."""

    def promise(connections: Connections, begin: Begin) -> None:
        with pytest.raises(ValueError, match="no packed address"):
            connections.flows(source=b"192.0.2.2")

    keeps(promise)


def test_rewritten_mark_keeps_the_bits_outside_the_mask(keeps: Callable[[Promise], None]) -> None:
    """(old & ~mask) | (mark & mask); only entries that were named."""

    def promise(connections: Connections, begin: Begin) -> None:
        begin(entry("192.0.2.2", 1, 0x10001), entry("192.0.2.2", 2, 0x30002), entry("2001:db8::2", 3, 0x10003))
        chosen = [flow for flow in connections.flows() if flow.source_port != 2]

        assert connections.set_mark(chosen, 0x2_FFFF, MASK) == 2
        assert {flow.source_port: flow.mark for flow in connections.flows()} == {1: 0x20001, 2: 0x30002, 3: 0x20003}
        assert connections.marks_in_use(MASK) == {0x20000, 0x30000}

    keeps(promise)


def test_each_entry_its_own_mark_while_it_is_read(keeps: Callable[[Promise], None]) -> None:
    """Changes may be made of a dump that is still under way, over several batches."""

    def promise(connections: Connections, begin: Begin) -> None:
        begin(*(entry("192.0.2.2", port, 5) for port in range(1, 1001)))

        assert connections.set_marks(((flow, flow.source_port % 3 << 16) for flow in connections.iter_flows()), MASK) == 1000
        assert all(flow.mark == (flow.source_port % 3 << 16) + 5 for flow in connections.flows())
        assert connections.marks_in_use(MASK) == {0x10000, 0x20000}

    keeps(promise)


def test_vanished_entries_are_no_error(keeps: Callable[[Promise], None]) -> None:
    """Connections end while we look; what is counted is what stood."""

    def promise(connections: Connections, begin: Begin) -> None:
        begin(*(entry("192.0.2.2", port) for port in range(1, 601)))
        flows = connections.flows()

        assert connections.delete(flows[:350]) == 350
        assert (connections.set_mark(flows, 0x10000, MASK), connections.delete(flows), connections.delete(flows)) == (250, 250, 0)
        assert connections.flows() == []

    keeps(promise)


def test_deletion_spares_a_younger_entry_of_the_same_name(keeps: Callable[[Promise], None]) -> None:
    """An entry that was seen and has ended is not the one that began with the same addresses and ports."""

    def promise(connections: Connections, begin: Begin) -> None:
        begin(entry("192.0.2.2", 1), entry("192.0.2.2", 2))
        seen = [flow for flow in connections.flows() if flow.source_port == 1]
        connections.delete(seen)
        begin(entry("192.0.2.2", 3), entry("192.0.2.2", 1))

        assert (connections.delete(seen), len(connections.flows())) == (0, 3)

    keeps(promise)


def test_dump_that_nobody_reads_to_its_end(keeps: Callable[[Promise], None]) -> None:
    """Whoever has seen enough may ask anew."""

    def promise(connections: Connections, begin: Begin) -> None:
        begin(*(entry("192.0.2.2", port) for port in range(1, 2001)))

        assert next(iter(connections.iter_flows())).protocol == 17
        assert len(connections.flows()) == 2000

    keeps(promise)


def test_dumps_beside_each_other(keeps: Callable[[Promise], None]) -> None:
    """A long dump keeps nobody waiting: others may look and change meanwhile, and it comes to its end."""

    def promise(connections: Connections, begin: Begin) -> None:
        begin(*(entry("192.0.2.2", port) for port in range(1, 2001)))
        slow = iter(connections.iter_flows())
        seen = {next(slow).source_port}

        assert connections.set_mark(connections.flows(), 0x10000, MASK) == 2000
        assert seen | {flow.source_port for flow in slow} == set(range(1, 2001))

    keeps(promise)


def test_fake_forgets_what_ended() -> None:
    """`forget` plays the kernel that ends a connection; the entry is then as any vanished one."""
    fake = FakeConntrack()
    flow = ctcodec.read_flow(payload(entry()))
    fake.add(flow)

    fake.forget(flow)

    assert (fake.flows(), fake.set_mark([flow], 1, 1)) == ([], 0)
    fake.close()
