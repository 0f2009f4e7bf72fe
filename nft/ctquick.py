"""The hot path of reading a large connection-tracking table: the common shape of an entry, without a dictionary or a generator.

Pure. Leaves out all but TCP, UDP and their like over IPv4 and IPv6 in the order in which Linux writes them; what differs from that in one
byte of structure goes to `ctcodec.read_flow`, which this must equal for every input: a property test compares the two.
It pays for itself: 10 µs an entry of a TCP connection instead of 30, while which a worker thread holds the loop's interpreter lock.
"""

from struct import Struct

from nft.codec import attribute, nested
from nft.ctcodec import Flow, read_flow

# Attributes' headers and, between them, the values of {IP: {source, destination}, PROTOCOL: {number, source port, destination port}}.
_V4 = Struct(">" + 2 * "12s4s4s4s8sB3x4sH2x4sH2x")
_V6 = Struct(">" + 2 * "12s16s4s16s8sB3x4sH2x4sH2x")
_PLAIN = Struct("=HH")
_U32 = Struct(">I")


def _sample(first: int, size: int) -> bytes:
    """Both tuples as Linux writes them, all values zero; `first` is CTA_IP_V4_SRC or CTA_IP_V6_SRC."""
    addresses = nested(1, attribute(first, bytes(size)), attribute(first + 1, bytes(size)))
    protocol = nested(2, attribute(1, b"\0"), attribute(2, bytes(2)), attribute(3, bytes(2)))
    return nested(1, addresses, protocol) + nested(2, addresses, protocol)


def _headers(shape: Struct, sample: bytes) -> tuple[bytes, ...]:
    return tuple(shape.unpack(sample)[0::2])


_SAMPLE_V4, _SAMPLE_V6 = _sample(1, 4), _sample(3, 16)
_SHAPES = {
    _SAMPLE_V4[:12]: (_V4, _V4.size // 2, _headers(_V4, _SAMPLE_V4)),
    _SAMPLE_V6[:12]: (_V6, _V6.size // 2, _headers(_V6, _SAMPLE_V6)),
}


def read_flow_quickly(payload: bytes) -> Flow:
    """`ctcodec.read_flow`, and CodecError where that raises it."""
    known = _SHAPES.get(payload[4:16])
    if known is None or len(payload) < 4 + known[0].size:
        return read_flow(payload)
    shape, half, headers = known
    values = shape.unpack_from(payload, 4)
    if values[0::2] != headers:
        return read_flow(payload)
    mark = 0
    others = b""
    at, end = 4 + shape.size, len(payload)
    while at < end:
        if end - at < 4:
            return read_flow(payload)
        size, kind = _PLAIN.unpack_from(payload, at)
        if size < 4 or size > end - at:
            return read_flow(payload)
        if kind == 8 and size == 8:  # CTA_MARK
            mark = _U32.unpack_from(payload, at + 4)[0]
        elif kind in (12, 18) and not size % 4:  # CTA_ID, CTA_ZONE
            others += payload[at : at + size]
        elif kind & 0x3FFF in (1, 2, 8, 12, 18):  # the same in another form
            return read_flow(payload)
        at += (size + 3) & ~3
    _, source, _, destination, _, protocol, _, source_port, _, destination_port, _, remote, _, _, _, _, _, remote_port, _, _ = values
    identity = payload[4 : 4 + half] + others
    return Flow(payload[0], protocol, source, destination, source_port, destination_port, remote, remote_port, mark, identity)
