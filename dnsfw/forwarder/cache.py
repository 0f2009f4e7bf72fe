"""Answers that may be given again, by their question.

Pure: time is passed in. Always true: what is given has at least a second to live; all entries together cost at most `cache_bytes` (as
`cost_of` counts, which a test holds against what Python really allocates) and number at most `cache_entries`; neither a hit nor a put takes
longer when the cache is fuller.

Second chance: when room is needed the oldest goes, unless it was asked for since it was last spared. One bit a hit, where an exact
order (LRU) would move an entry on each. A flood of names asked for once passes through without displacing the hot ones.
"""

from typing import Final, NamedTuple, cast

from dnsfw.clock import Instant
from dnsfw.forwarder.answer import Answer, Malformed, parse_response
from dnsfw.forwarder.events import Received
from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.forwarder.wire import HEADER_SIZE
from dnsfw.ring import Link, Ring

# Measured with tracemalloc on CPython 3.11: the objects of an entry with neither records nor aliases, then what each of these adds.
_ENTRY_COST: Final = 800
_RECORD_COST: Final = 40
_ADDRESS_COST: Final = 180
_ALIAS_COST: Final = 50  # and its octets
_LAZY_COST: Final = 500  # of an entry that keeps the message alone

_MAX_SPARED: Final = 8  # a put; where everything is hot, the oldest goes


def cost_of(key: bytes, received: Received) -> int:
    """Bytes that keeping this takes."""
    answer = received.answer
    if is_lazy(answer):
        return _LAZY_COST + 2 * len(key) + len(received.data)
    records = len(answer.ttl_offsets) * _RECORD_COST + len(answer.located) * _ADDRESS_COST
    aliases = sum([_ALIAS_COST + len(name) for name in answer.chain]) if answer.chain else 0
    return _ENTRY_COST + 2 * len(key) + len(received.data) + records + aliases


def is_lazy(answer: Answer) -> bool:
    """Whether it is read anew from its message when it is needed, one address in 1.7 µs: most of what is kept is never asked for again.

    A dozen small objects less, made where the last one's were and gone with the query: 1 µs of a put that makes room for itself.
    """
    return len(answer.ttl_offsets) == len(answer.located) == 1


def age_at(now: Instant, received_at: Instant) -> int:
    """In whole seconds, rounded up, so that what remains of a TTL is rounded down."""
    seconds = now - received_at
    whole = int(seconds)
    return whole + 1 if seconds > whole else whole


class Entry(Link):
    """What the cache keeps for one question. `is_kept`: until it goes."""

    __slots__ = ("_answer", "_data", "_question_end", "at", "cost", "expires_at", "is_kept", "is_spared", "key")

    def __init__(self, key: bytes, received: Received, expires_at: Instant, cost: int) -> None:
        self.key = key
        self._data = received.data
        self._answer = None if is_lazy(received.answer) else received.answer
        self._question_end = received.answer.question_end
        self.at = received.at
        self.expires_at = expires_at
        self.cost = cost
        self.is_spared = False
        self.is_kept = True

    @property
    def received(self) -> Received:
        answer = self._answer or self._read()
        return Received(self._data, answer, self.at)

    def _read(self) -> Answer:
        type_at = self._question_end - 4
        key = self._data[HEADER_SIZE:type_at].lower() + self._data[type_at : self._question_end]
        answer = parse_response(self._data, key)
        if isinstance(answer, Malformed):
            raise AssertionError("was read before")
        return answer


class CacheStats(NamedTuple):
    """entries, bytes: now. hits, misses: since the start. Workers send it, and a compiled dataclass cannot be pickled (ADR 0010)."""

    entries: int
    bytes: int
    hits: int
    misses: int


class Cache:
    """`Query.shared_key` -> what upstream said."""

    def __init__(self, settings: ForwarderSettings) -> None:
        self._most_bytes, self._most_entries = settings.cache_bytes, settings.cache_entries
        self._most_seconds = settings.cache_max_ttl
        self._most_negative_seconds = min(settings.cache_max_negative_ttl, settings.cache_max_ttl)
        self._entries: dict[bytes, Entry] = {}
        self._ring = Ring()
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def stats(self) -> CacheStats:
        return CacheStats(entries=len(self._entries), bytes=self.size_bytes, hits=self.hits, misses=self.misses)

    def get(self, key: bytes, now: Instant) -> tuple[Received, int] | None:
        """The answer and its age."""
        if (entry := self.find(key, now)) is None:
            return None
        entry.is_spared = True
        self.hits += 1
        return entry.received, age_at(now, entry.at)

    def find(self, key: bytes, now: Instant) -> Entry | None:
        """What `get` would give, and a miss where that is nothing; a hit only when it is given (`gives`)."""
        entry = self._entries.get(key)
        if entry is not None and entry.expires_at - now >= 1:
            return entry
        if entry is not None:
            self._remove(entry)
        self.misses += 1
        return None

    def peek(self, key: bytes) -> Entry | None:
        """What stands there, perhaps too old to be given; neither a hit nor a miss."""
        return self._entries.get(key)

    def gives(self, entry: Entry, now: Instant) -> bool:
        """Whether `get` would give just this; then it counts as that hit, otherwise as nothing."""
        if not entry.is_kept or entry.expires_at - now < 1:
            return False
        entry.is_spared = True
        self.hits += 1
        return True

    def put(self, key: bytes, received: Received) -> None:
        """Keep it if it may be kept (`Answer.lifetime`): not truncated, no TTL of 0, NOERROR or NXDOMAIN, a negative one with its SOA."""
        seconds = self._seconds(received.answer)
        cost = cost_of(key, received)
        if (old := self._entries.get(key)) is not None:
            self._remove(old)
        if seconds < 1 or cost > self._most_bytes:
            return
        self._make_room(cost)
        entry = self._entries[key] = Entry(key, received, received.at + seconds, cost)
        self._ring.append(entry)
        self.size_bytes += cost

    def clear(self) -> None:
        for entry in list(self._entries.values()):
            self._remove(entry)

    def _seconds(self, answer: Answer) -> int:
        cap = self._most_negative_seconds if answer.is_negative else self._most_seconds
        return answer.lifetime if answer.lifetime < cap else cap

    def _make_room(self, cost: int) -> None:
        spared = 0
        while self._entries and (self.size_bytes + cost > self._most_bytes or len(self._entries) >= self._most_entries):
            entry = cast("Entry", self._ring.after)
            if entry.is_spared and spared < _MAX_SPARED:
                entry.is_spared = False
                entry.leave()
                self._ring.append(entry)
                spared += 1
            else:
                self._remove(entry)
                self.evictions += 1

    def _remove(self, entry: Entry) -> None:
        entry.leave()
        entry.is_kept = False
        del self._entries[entry.key]
        self.size_bytes -= entry.cost
