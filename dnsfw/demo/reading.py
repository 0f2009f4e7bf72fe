"""A DNS answer as a value, read with dnslib: the program under test is not checked by its own reading of DNS.

Pure.
"""

from dnslib import QTYPE, RCODE, DNSRecord

from dnsfw.demo.results import Answer

_EDE = 15  # the option code, RFC 8914


def read(reply: bytes, ms: float) -> Answer:
    message = DNSRecord.parse(reply)
    records = [(str(QTYPE[record.rtype]), record) for record in message.rr]
    errors = [option.data for extra in message.ar if extra.rtype == QTYPE.OPT for option in extra.rdata if option.code == _EDE]
    return Answer(
        rcode=str(RCODE[message.header.rcode]),
        ms=ms,
        addresses=[str(record.rdata) for kind, record in records if kind in ("A", "AAAA")],
        aliases=[str(record.rdata).rstrip(".") for kind, record in records if kind == "CNAME"],
        ttl=min((record.ttl for _, record in records), default=None),
        ede=[int.from_bytes(bytes(data[:2])) for data in errors],
        ede_text="; ".join(bytes(data[2:]).decode(errors="replace") for data in errors),
        is_truncated=bool(message.header.tc),
        raw=reply.hex(),
    )
