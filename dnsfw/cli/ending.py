"""How a listing ends early: the reader of the pipe has seen enough, or a person pressed ^C.

Touches stdout. Neither is an error.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

_PIPE_WIDTH = 10_000  # nothing is folded where there is no terminal


class Listing(Console):
    """As wide as the terminal; in a pipe nothing is folded and no line is filled up. Leaves a pipe's end to `quiet_end`."""

    def __init__(self) -> None:
        self._is_piped = not sys.stdout.isatty()
        super().__init__(highlight=False, width=_PIPE_WIDTH if self._is_piped else None)

    def print(self, *objects: Any, **how: Any) -> None:  # noqa: ANN401 - as rich has it
        if not self._is_piped:
            super().print(*objects, **how)
            return
        with self.capture() as paper:
            super().print(*objects, **how)
        sys.stdout.write("\n".join(line.rstrip() for line in paper.get().split("\n")))
        sys.stdout.flush()

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
