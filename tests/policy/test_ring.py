"""A ring: the order in which its links came, whoever leaves in between."""

import gc

from hypothesis import given
from hypothesis import strategies as st

from dnsfw.ring import Link, Ring


def links_of(ring: Ring) -> list[Link]:
    """Forwards, which must be what backwards says."""
    forwards, backwards = [], []
    link = ring.after
    while link is not ring:
        forwards.append(link)
        link = link.after
    link = ring.before
    while link is not ring:
        backwards.append(link)
        link = link.before
    assert forwards == backwards[::-1]
    return forwards


@given(st.lists(st.integers(0, 5)))
def test_order_is_that_of_coming(steps: list[int]) -> None:
    """Each number comes where it is not there, and leaves where it is."""
    ring, links, wanted = Ring(), [Link() for _ in range(6)], []
    for number in steps:
        link = links[number]
        if link in wanted:
            wanted.remove(link)
            link.leave()
        else:
            wanted.append(link)
            ring.append(link)
        assert links_of(ring) == wanted


def test_who_has_left_holds_nobody() -> None:
    """No cycle is left for the collector, which hardly ever looks."""
    ring = Ring()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            link = Link()
            ring.append(link)
            link.leave()
            del link
        assert gc.collect() == 0
    finally:
        gc.enable()
