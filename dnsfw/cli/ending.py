"""How a listing ends early: the reader of the pipe has seen enough, or a person pressed ^C.

Touches stdout. Neither is an error.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

_PIPE_WIDTH = 10_000  # nothing is folded where there is no terminal


class Listing(Console):
    """As wide as the terminal; leaves a pipe's end to `quiet_end`."""

    def __init__(self) -> None:
        super().__init__(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@contextmanager
def quiet_end() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(0)
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
