"""Fair turns: nobody waits behind another's crowd."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.policy.turns import MOST_RESTING, Turns


def test_one_thing_waits_for_one_of_each() -> None:
    """A pod with hundreds waiting delays another's single thing by one of its own."""
    turns: Turns[str] = Turns(1000, 4000)
    for number in range(500):
        turns.put("crowd", f"crowd-{number}")
    turns.put("single", "single-0")

    assert turns.owners == 2
    assert (turns.of("crowd"), turns.of("nobody")) == (500, 0)
    assert [turns.take() for _ in range(3)] == ["crowd-0", "single-0", "crowd-1"]
    assert (len(turns), turns.owners) == (498, 1)


def test_all_of_some_owners_can_be_taken_at_once() -> None:
    """In their order; whoever is left keeps turn and things."""
    turns: Turns[str] = Turns(10, 40)
    for thing in ("a0", "b0", "c0", "a1", "c1"):
        turns.put(thing[0], thing)

    assert turns.take_all(lambda owner: owner != "b") == ["a0", "a1", "c0", "c1"]
    assert (len(turns), turns.owners, turns.take_all(lambda owner: owner == "a")) == (1, 1, [])
    turns.put("a", "a2")
    assert [turns.take(), turns.take(), len(turns)] == ["b0", "a2", 0]


def test_what_was_taken_leaves_no_trace() -> None:
    """However long a crowd goes on: no more is held than waits, but for a few places."""
    turns: Turns[object] = Turns(1000, 4000)
    for number in range(3):
        turns.put("crowd", number)
    for number in range(3, 1000):
        turns.put("crowd", number)
        assert turns.take() == number - 3

    things = turns._queues["crowd"]._things
    assert len(things) < 3 + 64
    assert [thing for thing in things if thing is not None] == [997, 998, 999]
    assert turns.take_all(lambda _: True) == [997, 998, 999]


def test_owners_without_anything_waiting_are_kept_up_to_a_bound() -> None:
    """Ever new owners fill nothing; those who wait do not count, and whoever was let go comes back like anybody."""
    turns: Turns[int] = Turns(2, 4_000)
    for owner in range(MOST_RESTING + 50):
        turns.put(owner, owner)
    assert (turns.owners, len(turns._queues)) == (MOST_RESTING + 50, MOST_RESTING + 50)

    assert [turns.take() for _ in range(MOST_RESTING + 50)] == [*range(MOST_RESTING + 50)]
    assert (turns.owners, len(turns._queues)) == (0, MOST_RESTING)
    assert all(turns.put(owner, owner) for owner in (MOST_RESTING + 49, 0))
    assert (turns.owners, turns.take_all(lambda _: True), len(turns._queues)) == (2, [MOST_RESTING + 49, 0], MOST_RESTING)


def test_an_owner_has_a_bound_of_its_own() -> None:
    """What is too much is not kept, and costs the others nothing."""
    turns: Turns[int] = Turns(2, 9)

    assert [turns.put("a", number) for number in range(3)] == [True, True, False]
    assert turns.put("b", 9)
    assert [turns.take() for _ in range(3)] == [0, 9, 1]
    assert turns.put("a", 3)


def test_crowds_leave_room_for_others() -> None:
    """One crowd takes half of the places, a second one half of the rest; somebody else's first thing still finds one."""
    turns: Turns[int] = Turns(1000, 64)

    taken = [sum(turns.put(owner, number) for number in range(1000)) for owner in "ab"]

    assert taken == [32, 16]
    assert turns.put("quiet", 0)


def test_full_is_full() -> None:
    """However many owners there are, no more wait than there are places."""
    turns: Turns[int] = Turns(1, 4)

    assert [turns.put(owner, 0) for owner in "abcde"] == [True, True, True, True, False]


def test_nothing_to_take() -> None:
    """Who takes looks at the length first."""
    turns: Turns[int] = Turns(1, 1)

    assert not turns
    with pytest.raises(IndexError):
        turns.take()


@given(st.lists(st.one_of(st.sampled_from("abc"), st.none())))
def test_order_and_fairness(steps: list[str | None]) -> None:
    """A letter puts a thing of that owner, None takes: things come in their owner's order, nobody is taken twice past one who waits."""
    turns: Turns[tuple[str, int]] = Turns(100, 1000)
    put, taken = defaultdict(int), defaultdict(int)
    passed: dict[str, set[str]] = defaultdict(set)  # owner -> who has been taken since it began to wait
    for owner in steps:
        if owner is not None:
            turns.put(owner, (owner, put[owner]))
            put[owner] += 1
        elif turns:
            who, number = turns.take()
            assert number == taken[who]
            taken[who] += 1
            passed.pop(who, None)
            for other in put:
                if other != who and taken[other] < put[other]:
                    assert who not in passed[other]
                    passed[other].add(who)
    assert len(turns) == sum(put.values()) - sum(taken.values())
