"""Python's garbage collector, kept from what lives long while queries wait.

Touches the interpreter's collector. Young garbage is collected as ever, 10,000 objects at a time. Of its own accord Python would also look
at everything each time a quarter has been added: 200 ms beside 1,000,000 grants (design §2), every few seconds where thousands come a
second. Nothing on a UDP query's way leaves cycles, so what is old is looked at only now and then, and the more rarely the longer it takes.
"""

import asyncio
import gc

from dnsfw.clock import Clock

YOUNG, MIDDLE, NEVER = 10_000, 10, 1_000_000_000
FULL_S = 30.0  # with ten minutes in between, a soak at 2,000 queries/s, a tenth of it abuse, grew by 5.3 MB in as long
SHARE = 0.001
"""Of the time, that full collections may take: beside 1,000,000 grants one every 200 s."""


def settle() -> None:
    """Once everything stands: what lives until the end needs no look at all."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


async def collect(clock: Clock) -> None:
    """Until cancelled: what connections, changed rules and the like have left behind."""
    took = 0.0
    while True:
        await asyncio.sleep(max(FULL_S, took / SHARE))
        begun = clock.now()
        gc.collect()
        took = clock.now() - begun
