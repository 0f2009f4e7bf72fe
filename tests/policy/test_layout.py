"""How permits lie in the kernel's maps."""

import pytest
from worlds import ports

from dnsfw.policy import layout as layouts
from dnsfw.policy.layout import Layout
from dnsfw.policy.ports import Cuts


def test_pieces_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look is the same value; a full memory is emptied, which changes no answer."""
    monkeypatch.setattr(layouts, "_MEMORY", 2)
    sets = [ports(f"tcp/{number}-{number + 5}") for number in range(1, 6)]
    layout = Layout(Cuts.of(sets))

    first, second = layout.pieces(sets[0]), layout.pieces(sets[1])

    assert layout.pieces(sets[0]) is first
    assert layout.pieces(sets[1]) is second
    for each in sets:
        assert layout.pieces(each) == each.pieces(Cuts.of(sets))
        assert 0 < len(layout._known) <= 2
