"""What the internet's names answer, and how a question becomes bytes of an answer.

Pure. A name has a list of replies: each question takes the next, the last one stays. A reply's records are lines of `ttl TYPE data`, with
the name as owner, or `owner. ttl TYPE data`. Aliases are followed. Plain records are packed once and then only copied: the server must
not be the slow part of a test that asks for 100,000 names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from dnslib import QTYPE, RCODE, RR, DNSBuffer

_FOLLOWED_ALIASES = 16
_OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
WHOLE = 65535
"""The size limit over TCP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer as scripted. is_literal: the records as they stand, whatever was asked. raw: this message instead, with the query's id."""

    records: tuple[str, ...] = ()
    rcode: str = "NOERROR"
    delay: float = 0.0
    is_truncated: bool = False
    is_silent: bool = False
    is_literal: bool = False
    raw: bytes = b""


@dataclass(slots=True)
class Record:
    """`rest` is all behind the owner: type, class, ttl, data."""

    owner: str
    kind: str
    rest: bytes
    target: str = ""

    def packed(self, question: str) -> bytes:
        """In a message that asks for `question`, whose name lies at offset 12."""
        return (b"\xc0\x0c" if self.owner == question else _wire_name(self.owner)) + self.rest


class _UncompressedBuffer(DNSBuffer):  # type: ignore[misc]  # dnslib has no types
    """Pointers would point into another message than the one that a record ends up in."""

    encode_name = DNSBuffer.encode_name_nocompress


@dataclass(slots=True)
class _Script:
    replies: tuple[Reply, ...]
    packed: list[list[Record]]
    position: int = 0

    def take(self) -> tuple[Reply, list[Record]]:
        at = self.position
        self.position = min(at + 1, len(self.replies) - 1)
        return self.replies[at], self.packed[at]


@dataclass(frozen=True, slots=True)
class _Generated:
    """Names `<text><number>.<suffix>` have one address each, the `number`th of the networks."""

    first4: int
    first6: int
    ttl: int


@dataclass(slots=True)
class Zone:
    _scripts: dict[str, _Script] = field(default_factory=dict)
    _generated: dict[str, _Generated] = field(default_factory=dict)

    def set(self, name: str, replies: Sequence[Reply]) -> None:
        name = _canonical(name)
        self._scripts[name] = _Script(tuple(replies), [[_parse(name, line) for line in reply.records] for reply in replies])

    def remove(self, name: str) -> None:
        self._scripts.pop(_canonical(name), None)

    def generate(self, suffix: str, network4: str, network6: str, ttl: int) -> None:
        first4, first6 = (int(ip_network(network).network_address) for network in (network4, network6))
        self._generated[_canonical(suffix)] = _Generated(first4, first6, ttl)

    def answer(self, name: str, qtype: str) -> tuple[Reply, list[Record]]:
        """The scripted reply, and the records that answer the question."""
        script = self._scripts.get(name)
        if script is None:
            generated = list(self._generate(name, qtype))
            return (Reply(), generated) if generated else (self._missing(name), [])
        reply, records = script.take()
        if reply.is_literal:
            return reply, records
        return reply, list(self._follow(name, records, qtype))

    def _follow(self, name: str, records: list[Record], qtype: str) -> Iterator[Record]:
        for _ in range(_FOLLOWED_ALIASES):
            yield from (record for record in records if record.kind in (qtype, "CNAME") or record.owner != name)
            targets = [record.target for record in records if record.kind == "CNAME"]
            if not targets or qtype == "CNAME":
                return
            name = targets[-1]
            script = self._scripts.get(name)
            if script is None:
                yield from self._generate(name, qtype)
                return
            _, records = script.take()

    def _generate(self, name: str, qtype: str) -> Iterator[Record]:
        first, _, suffix = name.partition(".")
        rule = self._generated.get(suffix)
        digits = "".join(filter(str.isdigit, first))
        if rule is None or not digits:
            return
        if qtype == "A":
            yield _record(name, "A", 1, rule.ttl, (rule.first4 + int(digits)).to_bytes(4))
        elif qtype == "AAAA":
            yield _record(name, "AAAA", 28, rule.ttl, (rule.first6 + int(digits)).to_bytes(16))

    def _missing(self, name: str) -> Reply:
        return Reply() if name.partition(".")[2] in self._generated else Reply(rcode="NXDOMAIN")


def response(query: bytes, question_end: int, name: str, reply: Reply, records: list[Record], *, limit: int) -> bytes:
    """The whole message; without records and with TC where it would be longer than `limit`. An OPT record goes back when one came."""
    if reply.raw:
        return query[:2] + reply.raw[2:]
    opt = _OPT if query[11] else b""
    answers = b"".join([record.packed(name) for record in records])
    is_truncated = question_end + len(answers) + len(opt) > limit or (reply.is_truncated and limit < WHOLE)
    if is_truncated:
        records, answers = [], b""
    flags = 0x8080 | (query[2] << 8 & 0x0100) | (0x0200 if is_truncated else 0) | RCODE.reverse[reply.rcode]
    counts = b"\x00\x01" + len(records).to_bytes(2) + b"\x00\x00\x00" + (b"\x01" if opt else b"\x00")
    return b"".join((query[:2], flags.to_bytes(2), counts, query[12:question_end], answers, opt))


def size_limit(query: bytes, question_end: int) -> int:
    """What the client takes over UDP; its OPT record, if any, is taken to be the first of the additional ones."""
    if not query[11]:
        return 512
    return max(512, int.from_bytes(query[question_end + 3 : question_end + 5]))


def read_question(query: bytes) -> tuple[str, str, int]:
    """Name in lower case, type, and where the question ends. A question that does not parse raises IndexError."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("latin-1"))
        at += length + 1
    kind = int.from_bytes(query[at + 1 : at + 3])
    return ".".join(labels).lower(), str(QTYPE.forward.get(kind, f"TYPE{kind}")), at + 5


def _parse(name: str, line: str) -> Record:
    first = line.split(None, 1)[0]
    text = line if first.endswith(".") else f"{name}. {line}"
    owner, ttl, rest = text.split(None, 2)
    record = RR.fromZone(f"{owner} {ttl} IN {rest}")[0]
    # A ttl past 2^31 - 1 is a case of its own (RFC 2181 §8), so it must be possible to say it.
    record.ttl = int(ttl)
    buffer = _UncompressedBuffer()
    record.pack(buffer)
    kind = str(QTYPE[record.rtype])
    owner = _canonical(owner)
    target = _canonical(str(record.rdata)) if kind == "CNAME" else ""
    return Record(owner, kind, bytes(buffer.data[len(_wire_name(owner)) :]), target)


def _record(name: str, kind: str, number: int, ttl: int, data: bytes) -> Record:
    return Record(name, kind, number.to_bytes(2) + b"\x00\x01" + ttl.to_bytes(4) + len(data).to_bytes(2) + data)


def _wire_name(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode("latin-1") for label in name.split(".") if label) + b"\x00"


def _canonical(name: str) -> str:
    return name.lower().rstrip(".")
