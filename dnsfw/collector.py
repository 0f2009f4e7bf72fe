"""Python's garbage collector, kept from what lives long while queries wait.

Touches the interpreter's collector. Young garbage is collected as ever, 10,000 objects at a time. Of its own accord Python would also look
at everything each time a quarter has been added: 200 ms beside 1,000,000 grants (design §2), every few seconds where thousands come a
second. Nothing on a query's way leaves cycles, so what is old is looked at only now and then.
"""

import asyncio
import gc

YOUNG, MIDDLE, NEVER = 10_000, 10, 1_000_000_000
FULL_S = 600.0


def settle() -> None:
    """Once everything stands: what lives until the end needs no look at all."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


async def collect() -> None:
    """Until cancelled: what the API's connections, changed rules and the like have left behind."""
    while True:
        await asyncio.sleep(FULL_S)
        gc.collect()
