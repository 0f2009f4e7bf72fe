"""What is kept, for how long, and what goes when room is needed."""

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from wire_messages import ANSWERED, TO_QUESTION, a, cname, header, read, response, soa

from dnsfw.forwarder.cache import Cache, CacheStats, cost_of
from dnsfw.forwarder.events import Received
from dnsfw.forwarder.settings import ForwarderSettings

T0 = 1000.0
ONE = "192.0.2.1"


def settings(**changed) -> ForwarderSettings:
    return ForwarderSettings(listen=(), upstreams=(), **changed)


def received(data: bytes, at: float = T0) -> Received:
    return Received(data, read(data), at)


def filled(cache: Cache, *keys: bytes, ttl: int = 60) -> Cache:
    for key in keys:
        cache.put(key, received(response(a(ONE, ttl))))
    return cache


COST = cost_of(b"a", received(response(a(ONE))))


def test_what_was_put_is_found() -> None:
    """Under its key alone, with its age."""
    cache = Cache(settings())
    kept = received(response(a(ONE)))
    cache.put(b"a", kept)

    assert cache.get(b"a", T0) == (kept, 0)
    assert cache.get(b"b", T0) is None
    assert (cache.hits, cache.misses, cache.evictions, len(cache), cache.size_bytes) == (1, 1, 0, 1, COST)


def test_figures_are_of_now_and_since_the_start() -> None:
    """What is there now; hits and misses, which only grow."""
    cache = filled(Cache(settings()), b"a", b"b")
    for key in (b"a", b"a", b"b", b"c"):
        cache.get(key, T0)

    assert cache.stats() == CacheStats(entries=2, bytes=2 * COST, hits=3, misses=1)


@pytest.mark.parametrize(("passed", "age"), [(0, 0), (0.001, 1), (1, 1), (1.5, 2), (59, 59)])
def test_age_is_rounded_up(passed: float, age: int) -> None:
    """So that what remains of a TTL is rounded down."""
    found = filled(Cache(settings()), b"a").get(b"a", T0 + passed)

    assert found is not None
    assert found[1] == age


@pytest.mark.parametrize("passed", [59.001, 60, 10**6])
def test_expired_answers_are_gone(passed: float) -> None:
    """With less than a second to live, an answer is asked for anew, and gives up its room."""
    cache = filled(Cache(settings()), b"a")

    assert cache.get(b"a", T0 + passed) is None
    assert (cache.hits, cache.misses, cache.evictions, len(cache), cache.size_bytes) == (0, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "changed", "seconds"),
    [
        pytest.param(response(a(ONE, 60)), {}, 60, id="ttl"),
        pytest.param(response(a(ONE, 2**31 - 1)), {}, 86_400, id="a13-capped"),
        pytest.param(response(a(ONE, 60)), {"cache_max_ttl": 10}, 10, id="capped-by-setting"),
        pytest.param(response(a(ONE, 1)), {}, 1, id="ttl-1"),
        pytest.param(response(a(ONE, 0)), {}, 0, id="a12-ttl-0"),
        pytest.param(response(a(ONE, 60)), {"cache_max_ttl": 0}, 0, id="off"),
        pytest.param(response(authority=(soa(50),)), {}, 50, id="nodata"),
        pytest.param(response(authority=(soa(5000, 5000),)), {}, 900, id="negative-capped"),
        pytest.param(response(authority=(soa(5000, 5000),)), {"cache_max_ttl": 10}, 10, id="negative-capped-by-both"),
        pytest.param(response(authority=(soa(50),), flags=ANSWERED | 3), {}, 50, id="nxdomain"),
        pytest.param(response(a(ONE), flags=ANSWERED | 2), {}, 0, id="servfail"),
        pytest.param(header(0, ANSWERED | 2, qd=0), {}, 0, id="servfail-without-question"),
        pytest.param(response(a(ONE), flags=ANSWERED | 0x200), {}, 0, id="truncated"),
        pytest.param(response(a(ONE, 5000), authority=(soa(5000, 5000),)), {}, 5000, id="positive-with-soa"),
    ],
)
def test_how_long_answers_are_kept(data: bytes, changed: dict[str, int], seconds: int) -> None:
    """TTL, capped; negative ones by their own cap; errors, truncated ones and a TTL of 0 not at all."""
    cache = Cache(settings(**changed))
    cache.put(b"a", received(data))

    assert len(cache) == (1 if seconds else 0)
    if seconds:
        assert cache.get(b"a", T0 + seconds - 1) is not None
        assert cache.get(b"a", T0 + seconds - 0.999) is None


def test_a_newer_answer_replaces_the_older() -> None:
    """And is counted once."""
    cache = filled(Cache(settings()), b"a")
    newer = received(response(a(ONE, 30)), T0 + 5)
    cache.put(b"a", newer)

    assert cache.get(b"a", T0 + 5) == (newer, 0)
    assert (len(cache), cache.size_bytes) == (1, COST)


def test_what_may_not_be_kept_ends_what_was() -> None:
    """A newer answer with a TTL of 0 says that the older one is over."""
    cache = filled(Cache(settings()), b"a")
    cache.put(b"a", received(response(a(ONE, 0))))

    assert cache.get(b"a", T0) is None


@pytest.mark.parametrize("changed", [{"cache_entries": 3}, {"cache_bytes": 4 * COST - 1}])
def test_oldest_goes_first(changed: dict[str, int]) -> None:
    """Beyond the bound in entries or bytes what was put first goes first."""
    cache = filled(Cache(settings(**changed)), b"a", b"b", b"c", b"d")

    assert [key for key in (b"a", b"b", b"c", b"d") if cache.get(key, T0)] == [b"b", b"c", b"d"]
    assert (cache.evictions, cache.size_bytes) == (1, 3 * COST)


def test_bound_is_inclusive() -> None:
    """Exactly as much as allowed may be kept, in entries and in bytes."""
    assert len(filled(Cache(settings(cache_entries=2)), b"a", b"b")) == 2
    assert len(filled(Cache(settings(cache_bytes=2 * COST)), b"a", b"b")) == 2
    assert len(filled(Cache(settings(cache_bytes=COST)), b"a")) == 1
    assert len(filled(Cache(settings(cache_bytes=COST - 1)), b"a")) == 0


def test_what_is_asked_for_is_spared() -> None:
    """Once for each time that room is needed; a flood of names asked for once passes by."""
    cache = filled(Cache(settings(cache_entries=3)), b"a", b"b", b"c")
    for place in range(20):
        assert cache.get(b"a", T0) is not None
        filled(cache, b"flood%d" % place)

    assert cache.get(b"a", T0) is not None
    assert cache.get(b"b", T0) is None


def test_spared_once() -> None:
    """Who was spared and not asked for since goes with the rest."""
    cache = filled(Cache(settings(cache_entries=2)), b"a", b"b")
    cache.get(b"a", T0)
    filled(cache, b"c", b"d", b"e")

    assert cache.get(b"a", T0) is None


def test_room_is_made_in_bounded_time() -> None:
    """Where all is hot, a put spares eight, and then the oldest goes: no sweep over the whole cache."""
    keys = [b"%d" % place for place in range(100)]
    cache = filled(Cache(settings(cache_entries=100)), *keys)
    for key in keys:
        cache.get(key, T0)
    filled(cache, b"new")

    assert [place for place, key in enumerate(keys) if cache.get(key, T0) is None] == [8]


def test_large_answer_makes_as_much_room_as_it_needs() -> None:
    """And one that is larger than all room is not kept, and drives nobody out."""
    large = received(response(*[a(f"192.0.2.{octet}") for octet in range(9)]))
    huge = received(response(*[a(f"192.0.2.{octet}") for octet in range(99)]))
    cache = filled(Cache(settings(cache_bytes=7 * COST)), b"a", b"b", b"c", b"d", b"e")
    cache.put(b"large", large)
    cache.put(b"huge", huge)

    assert cache.get(b"large", T0) is not None
    assert cache.get(b"huge", T0) is None
    assert cache.get(b"e", T0) is not None
    assert cache.size_bytes <= 7 * COST


def test_everything_is_counted() -> None:
    """Hits, misses of both kinds, evictions: each time one more."""
    cache = filled(Cache(settings(cache_entries=1)), b"a", b"b", b"c")
    for key in (b"a", b"b", b"c", b"c"):
        cache.get(key, T0)
    cache.get(b"c", T0 + 60)
    filled(cache, b"c")
    cache.get(b"c", T0 + 60)

    assert (cache.hits, cache.misses, cache.evictions) == (2, 4, 2)


def test_clear() -> None:
    """Nothing is left, nothing is counted as kept."""
    cache = filled(Cache(settings()), b"a", b"b")
    cache.clear()

    assert (len(cache), cache.size_bytes, cache.get(b"a", T0)) == (0, 0, None)


SHAPES = {
    "one-address": lambda place: response(a(ONE, 60 + place)),
    "nodata": lambda place: response(authority=(soa(60 + place),)),
    "chain": lambda place: response(
        *[cname(f"c{step}.{place}.net" if step else TO_QUESTION, f"c{step + 1}.{place}.net") for step in range(8)],
        a(ONE, owner=f"c8.{place}.net"),
    ),
    "many-addresses": lambda place: response(*[a(f"192.{place % 256}.2.{octet}") for octet in range(100)]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_stated_cost_covers_what_is_allocated(shape: str) -> None:
    """`cost_of` is at least what Python allocates, and not twice as much: the bound in bytes is one of memory."""
    count = 300
    cache = Cache(settings(cache_bytes=1 << 30))
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for place in range(count):
            cache.put(b"key of the usual length %d" % place, received(SHAPES[shape](place)))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(cache) == count
    assert (after - before) <= cache.size_bytes <= 2 * (after - before)


class CacheMachine(RuleBasedStateMachine):
    """Against a plain dict that forgets nothing: the cache may know less, never more, and never beyond its bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = settings(cache_entries=4, cache_bytes=6 * COST)
        self.cache = Cache(self.settings)
        self.known: dict[bytes, Received] = {}
        self.now = T0

    @rule(key=st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"]), ttl=st.integers(0, 20), count=st.integers(1, 8))
    def put(self, key: bytes, ttl: int, count: int) -> None:
        kept = received(response(*[a(f"192.0.2.{octet}", ttl) for octet in range(count)]), self.now)
        self.cache.put(key, kept)
        self.known[key] = kept

    @rule(seconds=st.floats(0, 10))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.known)))
        found = self.cache.get(key, self.now)
        if found is not None:
            kept, age = found
            assert kept == self.known[key]
            assert 0 <= age - (self.now - kept.at) < 1
            assert kept.answer.ttl - age >= 1

    @invariant()
    def bounded(self) -> None:
        entries = self.cache._entries
        assert len(self.cache) <= self.settings.cache_entries
        assert self.cache.size_bytes <= self.settings.cache_bytes
        assert self.cache.size_bytes == sum(cost_of(key, entry.received) for key, entry in entries.items())


TestCacheMachine = CacheMachine.TestCase


@given(st.binary(max_size=40), st.integers(1, 60))
def test_cost_grows_with_what_is_kept(key: bytes, count: int) -> None:
    """Longer keys and larger answers cost more."""
    one, more = (received(response(*[a(ONE)] * number)) for number in (count, count + 1))

    assert cost_of(key, one) < cost_of(key, more)
    assert cost_of(key, one) < cost_of(key + b"x", one)


def test_cost_grows_with_the_names_of_a_chain() -> None:
    """An alias costs its octets twice: in the message, and spelled out."""
    short, long = (received(response(cname(TO_QUESTION, target))) for target in ("b.net", "bbbbb.net"))

    assert cost_of(b"", long) == cost_of(b"", short) + 8


def test_a_look_is_neither_hit_nor_miss() -> None:
    """`peek` shows what stands there, however old; `gives` counts as the hit that `get` would have been, or as nothing."""
    cache = Cache(settings())
    kept = received(response(a(ONE, 60)))
    cache.put(b"a", kept)

    entry = cache.peek(b"a")
    assert entry is not None
    assert (entry.received, cache.peek(b"b")) == (kept, None)
    assert cache.gives(entry, T0 + 58.5)
    assert cache.gives(entry, T0 + 59)
    assert not cache.gives(entry, T0 + 59.5)
    cache.put(b"a", kept)
    assert not cache.gives(entry, T0)
    assert (cache.hits, cache.misses) == (2, 0)


def test_finding_is_no_hit_but_may_be_a_miss() -> None:
    """`find` gives what `get` would, and counts only what it does not find; what is too old goes."""
    cache = Cache(settings())
    kept = received(response(a(ONE, 60)))
    cache.put(b"a", kept)

    found = cache.find(b"a", T0 + 59)
    assert found is not None
    assert found is cache.peek(b"a")
    assert cache.find(b"b", T0) is None
    assert (cache.hits, cache.misses, len(cache)) == (0, 1, 1)
    assert cache.find(b"a", T0 + 59.5) is None
    assert (cache.hits, cache.misses, len(cache)) == (0, 2, 0)


def test_an_answer_that_was_given_is_spared() -> None:
    """As after a hit: when room is needed, the one that nobody asked for goes first."""
    cache = filled(Cache(settings(cache_entries=2)), b"a", b"b")
    kept = cache.peek(b"a")
    assert kept is not None
    assert cache.gives(kept, T0)

    filled(cache, b"c")

    assert cache.peek(b"a") is kept
    assert cache.peek(b"b") is None
