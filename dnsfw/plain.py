"""The common response, and its record, made from bytes: what the exchange would have made of them, without one.

Touches nothing; what it remembers is bounded, and forgotten as a whole. A question is `Asked` here once it is read; `fresh` sends it on its
way, `hot` remembers what becomes of it. Covers what nearly every question of a pod under default-deny is: see `fresh`. Says None or False
where the exchange (forwarder/exchange.py) is needed; tests/hot holds one against the other.
"""

from math import inf
from typing import Final, NamedTuple

from dnsfw.audit.record import Asker, Own, Verdict
from dnsfw.clock import Instant, WallTime
from dnsfw.forwarder import respond, wire
from dnsfw.forwarder.account import REFUSED, decision_of, listed, reason_of, rule_of
from dnsfw.forwarder.aliases import MAX_TTL
from dnsfw.forwarder.answer import NO_TTL, Answer
from dnsfw.forwarder.edns import opt_record
from dnsfw.forwarder.events import Received
from dnsfw.forwarder.exchange import BLOCKED, LEAST_RECORD, REFUSAL_RCODES
from dnsfw.forwarder.listener_udp import ClientAddress, Way
from dnsfw.forwarder.perform import Call
from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.forwarder.tallies import Tallies
from dnsfw.forwarder.wildcards import CANARY, has_limits
from dnsfw.names import Name, format_name
from dnsfw.policy.grants import Granted
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import NameVerdict, Subject

MOST_SHAPES: Final = 256
MOST_PARENTS: Final = 2048
MOST_VERDICTS: Final = 4096
"""Remembered of each; more, and all of them are forgotten."""

NOTHING_GRANTED: Final = Granted(inf, MAX_TTL, 0)
_CANARY: Final = CANARY
_WITHOUT_MBZ: Final = tuple(bytes((octet & ~wire.MBZ,)) for octet in range(256))


class Who(NamedTuple):
    """A pod by its source address, and as its records name it (packed: the same for them)."""

    subject: Subject
    fields: Asker
    packed: bytes


class Shape(NamedTuple):
    """All of a query but its id and its question.

    bits: behind the key, of what is shared. ask, refusal: what stands before and behind the question as upstream is asked, and as a refusal
    has it (without the id). opt: what an answer ends in.
    """

    bits: bytes
    ask: tuple[bytes, bytes]
    refusal: tuple[bytes, bytes]
    opt: bytes
    limit: int


class Words:
    """A verdict, as records say it (missing: where there is no such name), and how often; it is kept so that its id stays its own."""

    __slots__ = ("fields", "missing", "tally", "verdict")

    def __init__(self, verdict: NameVerdict, refusal_rcode: int, tallies: Tallies) -> None:
        self.verdict = verdict
        decision, rcode = (decision_of(verdict), wire.NOERROR) if verdict.is_resolved else (REFUSED, refusal_rcode)
        reason = reason_of(verdict).value
        self.fields: Verdict = (decision, reason, rule_of(verdict), rcode)
        self.missing: Verdict = (decision, reason, rule_of(verdict), wire.NXDOMAIN)
        self.tally = tallies.of(decision, reason)


class Asked(Call):
    """A question that was read. begun, replied_at: when it came, and its answer; of one from the cache, the age alone counts."""

    __slots__ = (
        "age",
        "at",
        "begun",
        "data",
        "end",
        "is_cached",
        "key",
        "name",
        "received",
        "replied_at",
        "shape",
        "shared_key",
        "who",
        "words",
    )

    def __init__(self, data: bytes, who: Who, shape: Shape, way: Way, address: ClientAddress) -> None:
        self.data = data
        self.who = who
        self.shape = shape
        self.way = way
        self.address = address
        self.source = who.fields[3]
        self.owner = who.fields[2]
        self.wait = None
        self.is_taken = False
        self._exchange = None
        self.received: Received | None = None
        self.age = 0
        self.is_cached = False
        self.begun: Instant
        self.deadline: Instant
        self.replied_at: Instant
        self.at: WallTime
        self.end: int  # of the question
        self.name: Name
        self.key: bytes
        self.shared_key: bytes
        self.words: Words


class Plain:
    """One for a forwarder."""

    def __init__(self, settings: ForwarderSettings, tallies: Tallies) -> None:
        self._tallies = tallies
        self._most_addresses = settings.addresses_per_answer
        self._is_limited = has_limits(settings)
        self._refusal_rcode = REFUSAL_RCODES[settings.refusal]
        self._shapes: dict[bytes, Shape | None] = {}
        self._parents: dict[bytes, str] = {}
        self._words: dict[int, Words] = {}

    def is_ours(self, verdict: NameVerdict, qtype: int, name: Name) -> bool:
        """Of a name that is allowed."""
        return not (verdict.would_refuse or qtype == wire.ANY or name == _CANARY or self._is_limited)

    def remembered(self, data: bytes, query: wire.Query, who: Who, way: Way, address: ClientAddress, age: int) -> Asked | None:  # noqa: PLR0917 -- names cost 1 µs
        """A question that has been read before, whose answer is in the cache and of this age; only to make its response of.

        So it has no times and no keys: nobody waits for it.
        """
        words, end = self.words_of(who.subject.policy.judge_name(query.name)), wire.HEADER_SIZE + len(query.key)
        if not words.verdict.is_resolved or not self.is_ours(words.verdict, query.qtype, query.name):
            return None
        if (shape := self.shape(data, end)) is None:
            return None
        asked = Asked(data, who, shape, way, address)
        asked.name, asked.end, asked.words, asked.age, asked.is_cached = query.name, end, words, age, True
        return asked

    def is_plain(self, answer: Answer, asked: Asked) -> bool:
        """Whether every address in it is one to grant, and nothing else is the matter."""
        count = len(answer.addresses)
        if answer.rcode or answer.is_truncated or not 0 < count <= self._most_addresses:
            return False
        if not asked.words.verdict.is_granting or count * LEAST_RECORD > asked.shape.limit:
            return False
        return not asked.who.subject.policy.protected_among(answer.located)

    def shape(self, data: bytes, end: int) -> Shape | None:
        """What stands around the question is nearly always one of a few; None: not for us."""
        around = data[2 : wire.HEADER_SIZE] + data[end - 2 :]
        try:
            return self._shapes[around]
        except KeyError:
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
        shape = self._shapes[around] = _shape_of(data, self._refusal_rcode)
        return shape

    def words_of(self, verdict: NameVerdict) -> Words:
        if (words := self._words.get(id(verdict))) is None:
            if len(self._words) >= MOST_VERDICTS:
                self._words.clear()
            words = self._words[id(verdict)] = Words(verdict, self._refusal_rcode, self._tallies)
        return words

    def own(self, asked: Asked, answer: Answer, granted: Granted, install_us: int) -> Own:
        """What the record has for itself."""
        data, end = asked.data, asked.end
        return (
            self.text(asked.name),
            data[end - 4] << 8 | data[end - 3],
            listed(answer.addresses),
            "",
            " ".join(map(format_name, answer.chain)) if answer.chain else "",
            min(max(answer.ttl - asked.age, 0), granted.ttl) if answer.answer_count else NO_TTL,
            granted.grants,
            0 if asked.is_cached else int((asked.replied_at - asked.begun) * 1e6),
            install_us,
        )

    def text(self, name: Name) -> str:
        """`format_name`, the text of a plain label's parent being remembered."""
        label_end = 1 + name[0]
        label = name[1:label_end]
        if not label.isalnum():
            return format_name(name)
        parent = name[label_end:]
        if (text := self._parents.get(parent)) is None:
            if len(self._parents) >= MOST_PARENTS:
                self._parents.clear()
            text = self._parents[parent] = "" if parent == b"\x00" else f".{format_name(Name(parent))}"
        return label.decode() + text


def is_free(answer: Answer, asked: Asked) -> bool:
    """Whether it needs no grant, and nothing is taken out: there is no address in it, or the cluster itself says so of its own name."""
    if answer.rcode not in (wire.NOERROR, wire.NXDOMAIN) or answer.is_truncated:
        return False
    if asked.words.verdict.reason is Reason.CLUSTER_NAME:
        return not answer.chain and len(answer.addresses) * LEAST_RECORD <= asked.shape.limit
    return not answer.located


def verdict_of(answer: Answer, words: Words) -> Verdict:
    return words.missing if answer.rcode else words.fields


def response_of(asked: Asked, received: Received, ttl_cap: int) -> bytes | None:
    """`respond.make_response`; None where upstream's OPT is not last, or the client does not take that much."""
    data, answer, shape, question = received.data, received.answer, asked.shape, asked.data
    opt_start, opt_end = answer.opt
    if opt_end and opt_end != answer.end:
        return None
    if asked.age or answer.max_ttl > ttl_cap:
        patched = bytearray(data)
        respond.patch_ttls(patched, data, answer, respond.Aging(asked.age, ttl_cap))
        data = bytes(patched)
    more = (1 if shape.opt else 0) - (1 if opt_end else 0)
    if more or data[3] & wire.MBZ:
        head = data[2:3] + _WITHOUT_MBZ[data[3]] + data[4:10] + ((data[10] << 8 | data[11]) + more).to_bytes(2, "big")
    else:
        head = data[2 : wire.HEADER_SIZE]
    records = data[answer.question_end : opt_start or answer.end]
    response = b"".join((question[:2], head, question[wire.HEADER_SIZE : asked.end], records, shape.opt))
    return response if len(response) <= shape.limit else None


def _shape_of(data: bytes, refusal_rcode: int) -> Shape | None:
    query = wire.parse_query(data)
    if isinstance(query, wire.Rejected):
        return None
    asked, refused = respond.make_upstream_query(query), respond.make_error(query, refusal_rcode, BLOCKED)
    end = wire.HEADER_SIZE + len(query.key)
    opt = b"" if query.edns is None else opt_record(is_do=query.edns.is_do)
    bits = query.shared_key[len(query.key) :]
    return Shape(bits, (asked[: wire.HEADER_SIZE], asked[end:]), (refused[2 : wire.HEADER_SIZE], refused[end:]), opt, query.udp_limit)
