"""Messages as bytes, for tests: every count and length can lie."""

from struct import pack

import dns.message

from dnsfw.forwarder.answer import Answer, parse_response
from dnsfw.forwarder.respond import HIGHEST_LIMIT, make_response
from dnsfw.forwarder.wire import AAAA, CNAME, SOA, A, Query, parse_query
from dnsfw.names import parse_name

QNAME = "www.example.net"
TO_QUESTION = b"\xc0\x0c"
ASKED, ANSWERED = 0x0100, 0x8180


def name(text: str) -> bytes:
    return bytes(parse_name(text))


def header(ident: int = 7, flags: int = ASKED, *, qd: int = 1, an: int = 0, ns: int = 0, ar: int = 0) -> bytes:
    return pack(">6H", ident, flags, qd, an, ns, ar)


def question(text: str = QNAME, qtype: int = A, qclass: int = 1) -> bytes:
    return name(text) + pack(">HH", qtype, qclass)


def rr(owner: bytes, rtype: int, rdata: bytes, ttl: int = 60, *, rclass: int = 1, length: int | None = None) -> bytes:
    return owner + pack(">HHIH", rtype, rclass, ttl, len(rdata) if length is None else length) + rdata


def opt(payload: int = 1232, ttl: int = 0, options: bytes = b"", owner: bytes = b"\0") -> bytes:
    """`ttl` is extended rcode, version and flags."""
    return rr(owner, 41, options, ttl=ttl, rclass=payload)


def query(*additional: bytes, text: str = QNAME, qtype: int = A, qclass: int = 1, flags: int = ASKED, ident: int = 7) -> bytes:
    return header(ident, flags, ar=len(additional)) + question(text, qtype, qclass) + b"".join(additional)


def parsed(data: bytes) -> Query:
    read = parse_query(data)
    assert isinstance(read, Query), read
    return read


def ask(text: str = QNAME, qtype: int = A, *, edns: bool = False, do: bool = False, payload: int = 1232) -> Query:
    additional = [opt(payload, ttl=0x8000 if do else 0)] if edns or do else []
    return parsed(query(*additional, text=text, qtype=qtype))


def response(
    *answers: bytes,
    authority: tuple[bytes, ...] = (),
    additional: tuple[bytes, ...] = (),
    text: str = QNAME,
    qtype: int = A,
    flags: int = ANSWERED,
    ident: int = 0,
) -> bytes:
    counts = header(ident, flags, an=len(answers), ns=len(authority), ar=len(additional))
    return counts + question(text, qtype) + b"".join((*answers, *authority, *additional))


def a(address: str, ttl: int = 60, owner: bytes | str = TO_QUESTION) -> bytes:
    owner = name(owner) if isinstance(owner, str) else owner
    return rr(owner, A, bytes(map(int, address.split("."))), ttl)


def aaaa(address: bytes, ttl: int = 60, owner: bytes = TO_QUESTION) -> bytes:
    return rr(owner, AAAA, address, ttl)


def cname(owner: bytes | str, target: bytes | str, ttl: int = 60) -> bytes:
    owner = name(owner) if isinstance(owner, str) else owner
    return rr(owner, CNAME, name(target) if isinstance(target, str) else target, ttl)


def soa(minimum: int, ttl: int = 60) -> bytes:
    return rr(name("example.net"), SOA, b"\0\0" + pack(">5I", 1, 2, 3, 4, minimum), ttl)


def packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


def read(data: bytes, text: str = QNAME, qtype: int = A) -> Answer:
    answer = parse_response(data, question(text, qtype))
    assert isinstance(answer, Answer), answer
    return answer


def answered(query_: Query, data: bytes, *, limit: int = HIGHEST_LIMIT, **rest) -> bytes:
    return make_response(query_, data, read(data, qtype=query_.qtype), limit=limit, **rest)


def ttls(data: bytes) -> list[int]:
    message = dns.message.from_wire(data, one_rr_per_rrset=True)
    return [rrset.ttl for section in message.sections[1:] for rrset in section]
