"""The walker against dnspython and dnslib, on messages that are made by chance and then spoiled.

All three read the same bytes. Of what they read, the records must be the same (owner, type, class, TTL), and so must be the addresses that
CNAMEs lead to. Where one refuses what another reads, one of these reasons must apply, or the test fails:

question  We refuse: not one question, or one that is not written as we wrote ours; who answers us repeats it (U3, U4).
header    We refuse: a name that lies in the header by a pointer would change with the id and the flags, which are ours to set.
ttl       We refuse: a name that lies in a TTL by a pointer would change as that ages.
opt       We refuse: an OPT whose root is a pointer to one. RFC 6891 §6.1.2 wants the octet itself, and no server writes it otherwise.
size      We refuse: an address of the wrong length (U10); dnspython keeps it as unknown data.
rdata     They refuse: data that is not as its type wants it. It goes on as it came (RFC 3597); that of A, AAAA and CNAME we refuse, too.
owner     They refuse: a bad pointer or label in the owner of a record that cannot grant, which we never follow; else we refuse it, too.
tsig      dnspython refuses: a TSIG that is not last, or of another class than ANY. To us it is a record like any other.
lax       dnslib alone reads: bad labels and pointers, data that ends behind the message, any OPT. dnspython agrees with us.
strict    dnslib alone refuses: pointers that loop, text that is no UTF-8, lengths that it knows better. dnspython agrees with us.
adrift    dnslib reads other records: it goes on where the data of a type ends, not where the record says that it ends. We go by the
          record; dnspython agrees with us or refuses the message (as "rdata").
"""

import random
from collections import Counter
from collections.abc import Callable
from struct import pack
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.tsig
import dnslib
import pytest
from wire_messages import QNAME, name, opt, response, rr

from dnsfw.forwarder.aliases import MAX_CHAIN, MAX_TTL
from dnsfw.forwarder.answer import Answer, Malformed, parse_response
from dnsfw.forwarder.records import expand, read_records
from dnsfw.forwarder.wire import AAAA, CNAME, HEADER_SIZE, IN, PAST_THE_END, A, WireError, plain_name_end

# Now, or a record of class ANY would make its type unknown data in all classes that dnspython has not met yet.
dns.rdata.load_all_types()

OPT, TSIG = 41, 250
REASONS = ("", "question", "header", "ttl", "opt", "size", "rdata", "owner", "tsig")
OWNERS = [b"\xc0\x0c"] * 4 + [
    b"\xc0\x10",
    b"\1a\xc0\x10",
    b"\1b\xc0\x0c",
    b"\0",
    *map(name, ("example.net", "a.example.net", "WWW.Example.NET")),
]
DATA = {
    A: lambda chance: chance.randbytes(4),
    2: lambda chance: chance.choice(OWNERS),
    CNAME: lambda chance: chance.choice(OWNERS),
    6: lambda chance: chance.choice(OWNERS) + chance.choice(OWNERS) + chance.randbytes(20),
    12: lambda chance: chance.choice(OWNERS),
    15: lambda chance: chance.randbytes(2) + chance.choice(OWNERS),
    16: lambda _: b"\3abc\1d",
    AAAA: lambda chance: chance.randbytes(16),
    33: lambda chance: chance.randbytes(6) + name("a.example.net"),
    35: lambda chance: chance.randbytes(4) + b"\1u\0\2ab" + name("b.example.net"),
    OPT: lambda chance: chance.choice([b"", pack(">HHH", 15, 2, 22)]),
    46: lambda chance: chance.randbytes(18) + name("example.net") + chance.randbytes(8),
    65: lambda chance: b"\0\1\0\0\4\0\4" + chance.randbytes(4),
    TSIG: lambda chance: name("hmac") + chance.randbytes(6) + pack(">HHHHH", 300, 0, 7, 0, 0),
    257: lambda _: b"\0\5issueca",
    65280: lambda chance: chance.randbytes(5),
}
TYPES = [A] * 4 + [CNAME] * 4 + [AAAA] * 2 + list(DATA)


def made(chance: random.Random) -> bytes:
    """An answer as servers send them, more or less."""
    sections = [[record(chance) for _ in range(chance.choice(sizes))] for sizes in ((0, 1, 1, 2, 3, 5), (0, 0, 1), (0, 0, 1, 2))]
    if chance.random() < 0.5:
        sections[2].append(opt(chance.randrange(65536), chance.choice([0, 0x8000]), DATA[OPT](chance)))
    flags = chance.choice([0x8180, 0x8180, 0x8580, 0x8380, 0x8183])
    answers, authority, additional = sections
    return response(
        *answers, authority=tuple(authority), additional=tuple(additional), qtype=chance.choice([A, A, AAAA, CNAME, 65]), flags=flags
    )


def record(chance: random.Random) -> bytes:
    rtype = chance.choice(TYPES)
    rclass = 1232 if rtype == OPT else 255 if rtype == TSIG else chance.choice([IN] * 12 + [3, 255])
    ttl = chance.choice([0, 1, 60, 3600, MAX_TTL, MAX_TTL + 1, chance.getrandbits(32)])
    return rr(b"\0" if rtype == OPT else chance.choice(OWNERS), rtype, DATA[rtype](chance), ttl, rclass=rclass)


def spoilt(chance: random.Random, message: bytes) -> bytes:
    data = bytearray(message)
    for _ in range(chance.choice([0, 1, 1, 2, 4])):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0:
                data[place : place + 1] = bytes(octet ^ 1 << chance.randrange(8) for octet in data[place : place + 1])
            case 1:
                data[place : place + 1] = chance.randbytes(1)
            case 2:
                del data[place:]
            case 3:
                data[place:place] = chance.randbytes(chance.randrange(1, 4))
            case 4:
                del data[place : place + chance.randrange(1, 4)]
            case 5:
                target = chance.choice([0, 3, HEADER_SIZE, 16, place, place + 1, max(place - 1, 0), chance.randrange(len(data) + 1)])
                data[place : place + 2] = pack(">H", 0xC000 | target & 0x3FFF)
            case 6:
                at = chance.choice([5, 7, 9, 11])
                data[at : at + 1] = bytes([chance.choice([0, 1, 2, 255])])
    return bytes(data)


def asked_by(data: bytes) -> bytes:
    """The question in the message, taken for ours; the usual one where there is none."""
    try:
        end = plain_name_end(data)
    except (WireError, *PAST_THE_END):
        end = len(data)
    return data[HEADER_SIZE:end].lower() + data[end : end + 4] if end + 4 <= len(data) else name(QNAME) + pack(">HH", A, IN)


# ---- what each of them says


Said = list[tuple[bytes, int, int, int]]
"""Owner, type, class and TTL of each record but OPT and TSIG, in order."""


def ours(data: bytes, answer: Answer) -> Said:
    counts = [int.from_bytes(data[at : at + 2], "big") for at in (6, 8, 10)]
    found = [record for record in read_records(data, answer.question_end, sum(counts)) if record.rtype not in (OPT, TSIG)]
    return [(expand(data, record.start, {}).lower(), record.rtype, record.rclass, effective(record.ttl)) for record in found]


def effective(ttl: int) -> int:
    return ttl if ttl <= MAX_TTL else 0


def dnspythons(message: dns.message.Message) -> Said:
    sets = [rrset for section in message.sections[1:] for rrset in section]
    return [(rrset.name.to_wire().lower(), int(rrset.rdtype), int(rrset.rdclass), rrset.ttl) for rrset in sets]


def dnslibs(message: dnslib.DNSRecord) -> Said:
    found = [each for each in (*message.rr, *message.auth, *message.ar) if each.rtype not in (OPT, TSIG)]
    return [(wire_of(each.rname), each.rtype, each.rclass, effective(each.ttl)) for each in found]


def wire_of(label: dnslib.DNSLabel) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in label.label).lower() + b"\0"


def granted(message: dns.message.Message, qtype: int) -> tuple[list[bytes], int]:
    """What dnspython's objects lead to, found in the most obvious way, and the least TTL on the way."""
    if message.rcode() or message.flags & dns.flags.TC or qtype not in (A, AAAA):
        return [], 0
    owner, ttl = message.question[0].name, MAX_TTL
    for _ in range(MAX_CHAIN + 1):
        mine = [rrset for rrset in message.answer if rrset.name == owner and rrset.rdclass == IN]
        targets = [rrset for rrset in mine if rrset.rdtype == CNAME]
        if len(targets) > 1:
            return [], 0
        if not targets:
            addresses = [rrset for rrset in mine if rrset.rdtype == qtype]
            return list(dict.fromkeys(rrset[0].to_wire() for rrset in addresses)), min([ttl, *(rrset.ttl for rrset in addresses)])
        owner, ttl = targets[0][0].target, min(ttl, targets[0].ttl)
    return [], 0


def read_by_dnspython(data: bytes) -> dns.message.Message | Exception:
    try:
        return dns.message.from_wire(data, one_rr_per_rrset=True, ignore_trailing=True, keyring=False)
    except (dns.exception.DNSException, ValueError, NotImplementedError) as error:
        return error


def read_by_dnslib(data: bytes) -> dnslib.DNSRecord | Exception:
    try:
        return dnslib.DNSRecord.parse(data)
    except (dnslib.DNSError, ValueError, IndexError, RecursionError) as error:  # it follows loops of pointers
        return error


# ---- whether they agree


def reason_with_dnspython(data: bytes, found: Answer | Malformed, theirs: Any) -> str:
    """Why one refuses and the other does not; "" where both do the same."""
    if isinstance(found, Malformed):
        if isinstance(theirs, Exception):
            return ""
        if found.detail == "another question":
            return "question"
        if found.detail == "an address of the wrong length":
            return "size"
        if found.detail == "a name that lies in a TTL":
            return "ttl"
        if has_pointing_opt(data):
            return "opt"
        return "header" if lies_in_the_header(data, found) else f"ours alone: {found.detail}"
    if not isinstance(theirs, Exception):
        return ""
    if isinstance(theirs, dns.message.BadTSIG):
        return "tsig"
    if has_bad_owner(data, found):
        return "owner"
    return "rdata" if is_data_to_blame(data, theirs) else f"dnspython alone: {theirs!r}"


def lies_in_the_header(data: bytes, found: Malformed) -> bool:
    return "backwards" in found.detail and any(data.find(bytes([0xC0, low]), HEADER_SIZE) >= 0 for low in range(HEADER_SIZE))


def has_pointing_opt(data: bytes) -> bool:
    counts = [int.from_bytes(data[at : at + 2], "big") for at in (6, 8, 10)]
    found = read_records(data, HEADER_SIZE + len(asked_by(data)), sum(counts))
    return any(record.rtype == OPT and data[record.start] >= 0xC0 for record in found)


def has_bad_owner(data: bytes, found: Answer) -> bool:
    try:
        ours(data, found)
    except (WireError, *PAST_THE_END):
        return True
    return False


def is_data_to_blame(data: bytes, error: Exception) -> bool:
    """With the data of each faulty record passed over, dnspython reads the message to its end."""
    try:
        message = dns.message.from_wire(data, one_rr_per_rrset=True, ignore_trailing=True, keyring=False, continue_on_error=True)
    except (dns.exception.DNSException, ValueError, NotImplementedError):
        return False
    return bool(message.errors)


def reason_with_dnslib(found: Answer | Malformed, theirs: Any, second: Any, reason: str) -> str:
    if isinstance(found, Malformed) == isinstance(theirs, Exception):
        return ""
    if isinstance(found, Malformed) == isinstance(second, Exception):
        return "lax" if isinstance(found, Malformed) else "strict"
    return reason  # both of them against us


def is_adrift(data: bytes, answer: Answer) -> bool:
    """Whether dnslib leaves a record at another place than the record's end."""
    buffer = dnslib.DNSBuffer(data)
    for record in read_records(data, answer.question_end, sum(int.from_bytes(data[at : at + 2], "big") for at in (6, 8, 10))):
        buffer.offset = record.start
        dnslib.RR.parse(buffer)
        if buffer.offset != record.end:
            return True
    return False


def compare(data: bytes) -> tuple[str, str]:
    """Asserts that all who read it read the same; gives the reasons why not all do."""
    key = asked_by(data)
    found, second, third = parse_response(data, key), read_by_dnspython(data), read_by_dnslib(data)
    reason = reason_with_dnspython(data, found, second)
    if isinstance(found, Answer) and not has_bad_owner(data, found):
        said = ours(data, found)
        assert isinstance(second, Exception) or dnspythons(second) == said
        if not isinstance(third, Exception) and dnslibs(third) != said:
            assert is_adrift(data, found)
            return reason, "adrift"
    if isinstance(found, Answer) and not isinstance(second, Exception) and found.question_end > HEADER_SIZE:
        addresses, ttl = granted(second, key[-4] << 8 | key[-3])
        assert list(found.addresses) == addresses
        assert not addresses or found.ttl == ttl
    return reason, reason_with_dnslib(found, third, second, reason)


def compare_many(count: int, seed: int) -> Counter[tuple[str, str]]:
    chance = random.Random(seed)
    reasons: Counter[tuple[str, str]] = Counter()
    for _ in range(count):
        data = spoilt(chance, made(chance))
        with_dnspython, with_dnslib = compare(data)
        assert with_dnspython in REASONS, (with_dnspython, data)
        assert with_dnslib in (*REASONS, "lax", "strict", "adrift"), (with_dnslib, data)
        reasons["dnspython", with_dnspython] += 1
        reasons["dnslib", with_dnslib] += 1
    return reasons


def test_three_parsers_agree_but_for_known_reasons() -> None:
    """What the walker reads is what is there; 5,000 messages, the reasons all met."""
    reasons = compare_many(5_000, seed=1)

    assert reasons["dnspython", ""] > 4_000
    assert {reason for _, reason in reasons} >= {"", "rdata", "owner", "tsig", "lax", "strict"}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 20))
def test_three_parsers_agree_on_a_million(seed: int, record_property: Callable[[str, object], None]) -> None:
    """The same, 10 times 100,000; `--junit-xml` has the figures."""
    reasons = compare_many(100_000, seed)

    record_property("reasons", sorted(reasons.items()))
    assert reasons.total() == 2 * 100_000
    assert all(reasons[who, ""] > 80_000 for who in ("dnspython", "dnslib"))
