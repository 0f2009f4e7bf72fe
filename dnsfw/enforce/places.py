"""The small sets, brought in line address by address: who is who, which chain judges whom, which numbers are in force.

Pure but for `accept`, which takes note of what the kernel has acknowledged. Always true: what is stored as placed is what
`targets.place_at` gives for each address, so the cost of a change is that of the addresses it touches, however many others there are.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from dnsfw.enforce.state import State
from dnsfw.enforce.targets import Place, all_addresses, differences, mark_key, place_at
from dnsfw.policy.model import IPAddress
from dnsfw.policy.snapshot import Snapshot
from nft.changes import Change, Discard, Put


class Move(NamedTuple):
    """What a commit is to make of some addresses, and the numbers that come into force or go."""

    places: dict[bytes, Place]
    entered: set[int]
    left: set[int]
    changes: list[Change]


def move(state: State, snapshot: Snapshot, addresses: Iterable[IPAddress]) -> Move:
    """A number is live until it has left, even when nobody holds it: its survivors are being re-marked."""
    layout, numbers = state.layout, state.numbers
    places = {address.packed: place_at(layout, snapshot, numbers, state.closed, address) for address in addresses}
    changes = [change for key, place in places.items() for change in differences(key, state.placed.get(key, {}), place)]
    entered, left = set(numbers.live_numbers() - state.live), set(state.live - numbers.live_numbers())
    changes += [Put(layout.live, mark_key(layout, number)) for number in entered]
    changes += [Discard(layout.live, mark_key(layout, number)) for number in left]
    return Move(places, entered, left, changes)


def accept(state: State, moved: Move) -> None:
    for key, place in moved.places.items():
        if place:
            state.placed[key] = place
        else:
            state.placed.pop(key, None)
    state.live |= moved.entered
    state.live -= moved.left


def everywhere(state: State, snapshot: Snapshot) -> set[IPAddress]:
    """Every address at which anything is, or should be."""
    return all_addresses(snapshot, state.closed) | {ip_address(key) for key in (*state.placed, *state.guard.selected)}
