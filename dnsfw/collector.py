"""Python's garbage collector, kept from what lives long while queries wait.

Touches the interpreter's collector. What queries and connections leave behind has no cycles (tests/forwarder/test_garbage.py), nor has what
changed rules, changed pods and the API leave (looked at by hand): it goes with the last reference. Looking for cycles all the same took a
tenth of the processor time of new names, and takes 200 ms beside 1,000,000 grants (design §2). So the collector never looks of its own
accord, and at our word now and then, the more rarely the longer it takes, for what a library may leave.
"""

import asyncio
import gc

from dnsfw.clock import Clock

LOOK_S = 30.0
SHARE = 0.001
"""Of the time, that looking may take: beside 1,000,000 grants once in 200 s."""


def settle() -> None:
    """Once everything stands: what lives until the end needs no look at all."""
    gc.collect()
    gc.freeze()
    gc.disable()


async def collect(clock: Clock) -> None:
    """Until cancelled."""
    took = 0.0
    while True:
        await asyncio.sleep(max(LOOK_S, took / SHARE))
        begun = clock.now()
        gc.collect()
        took = clock.now() - begun
