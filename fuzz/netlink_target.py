"""Any bytes as what the kernel sends: datagrams, refusals, elements of sets, connection-tracking entries.

Beside "nothing but CodecError escapes": what was read is packed to the same again, and each quick reader says what the readable one says.
"""

import functools
from collections.abc import Callable
from typing import Any

from harness import Meter, main

LARGEST = 32768  # what the kernel puts into one datagram of a dump


def target(data: bytes, meter: Meter) -> None:
    check_datagram(data, meter)
    check_attributes(data, meter)
    check_elements(data, meter)
    check_flow(data, meter)


def told(call: Callable[..., Any], *args: Any) -> Any:
    """What it returns, or the class of error that it may raise."""
    codec = modules()[0]
    try:
        return call(*args)
    except codec.CodecError:
        return codec.CodecError


def check_datagram(data: bytes, meter: Meter) -> None:
    codec = modules()[0]
    found = meter.run("messages", told, lambda: list(codec.messages(data)))
    if found is codec.CodecError:
        return
    assert sum(len(one.payload) + 16 for one in found) <= len(data)
    assert not codec.is_ack(data, 1) or len(found) == 1
    for one in found:
        told(codec.refusal, one)
        told(codec.dump_errno, one)
        told(codec.body, one)
    if any(one.seq == 0x41 for one in found):
        told(codec.is_ack, data, 0x41)


def check_attributes(data: bytes, meter: Meter) -> None:
    codec = modules()[0]
    found = meter.run("walk", told, lambda: list(codec.walk(data)))
    if found is not codec.CodecError:
        packed = b"".join(codec.attribute(kind, value) for kind, value in found)
        assert list(codec.walk(packed)) == found
    for read in (codec.read_be32, codec.read_be64, codec.read_native32, codec.read_text):
        told(read, data)
    for flags in (0, codec.ACK_TLVS, codec.ACK_TLVS | codec.CAPPED):
        message = codec.Message(codec.ERROR, flags, 1, 0, data)
        refused = told(codec.refusal, message)
        assert refused is codec.CodecError or refused.errno == codec.dump_errno(message)


def check_elements(data: bytes, meter: Meter) -> None:
    """`data` as the list of elements, and as the inside of one, of sets of all kinds."""
    codec, listed, coders, _, _ = modules()
    for packed in (data, codec.nested(1, data) if len(data) < 60000 else b""):
        message = codec.Message(0xA0C, 0, 1, 0, b"\0\0\0\0" + told_nested(packed))
        for of in coders:
            found = meter.run("elements", told, coders[of].read, [message])
            if not of.is_interval:
                slow = told(lambda message=message, of=of: [row.element for row in listed._all_rows(of, [message])])
                assert slow == found, (of, slow, found)
            if found is not codec.CodecError and not of.is_interval:
                check_repacked(of, found)


def check_repacked(of: Any, found: list[Any]) -> None:
    """An element without the kernel's own additions is read as it is packed."""
    codec, _, coders, _, errors = modules()
    coder = coders[of]
    for one in found:
        try:
            packed = coder.pack(one.key, one.data, one.expires_ms)
        except errors.NotValidError:
            continue  # another set's data, or a lease longer than we ever give
        (again,) = coder.read([codec.Message(0xA0C, 0, 1, 0, b"\0\0\0\0" + told_nested(packed))])
        assert (again.key, again.data) == (one.key, one.data)
        assert one.expires_ms is None or again.expires_ms == max(one.expires_ms, 10)


def told_nested(packed: bytes) -> bytes:
    codec, listed, *_ = modules()
    return codec.nested(listed.ELEMENTS, packed) if len(packed) < 60000 else b""


def check_flow(data: bytes, meter: Meter) -> None:
    codec, _, _, (ctcodec, ctquick), _ = modules()
    slow = told(ctcodec.read_flow, data)
    assert meter.run("read_flow", told, ctquick.read_flow_quickly, data) == slow
    mark = told(ctcodec.read_mark, data)
    if slow is codec.CodecError:
        return
    assert len(slow.source) == len(slow.destination) in (4, 16)
    assert slow.identity
    assert ctcodec.mark_request(1, slow, 5, 7)
    assert mark is codec.CodecError or slow.mark == mark or data.count(b"\x08\x00\x08\x00") > 1 or mark == first_mark(data)
    # What names the entry to the kernel again is attributes, hence readable.
    assert list(codec.walk(slow.identity))


def first_mark(data: bytes) -> int:
    """Of an entry with several marks, which no kernel sends, read_mark takes the first and read_flow the last."""
    codec = modules()[0]
    return next((codec.read_be32(value) for kind, value in codec.walk(data[4:]) if kind == 8), 0)


@functools.cache
def modules() -> tuple[Any, ...]:
    from nft import codec, ctcodec, ctquick, elements, errors, listed, objects  # noqa: PLC0415 - atheris instruments what is imported later

    table = objects.Table("t")
    timeout, interval = frozenset({"timeout"}), frozenset({"interval"})
    sets = (
        objects.Set(table, "m", ("ipv4_addr", "inet_proto", "inet_service"), "mark", timeout),
        objects.Set(table, "s", ("ether_addr",), flags=timeout),
        objects.Set(table, "u", ("mark",)),
        objects.Set(table, "v", ("ipv6_addr",), "verdict"),
        objects.Set(table, "n", ("ipv4_addr",), flags=interval),
        objects.Set(table, "p", ("ipv4_addr", "inet_service"), flags=interval),
    )
    return codec, listed, {of: elements.SetCoder(of) for of in sets}, (ctcodec, ctquick), errors


if __name__ == "__main__":
    main("netlink", target, largest=LARGEST)
