"""Commands that have to succeed, and what they say when they do not.

Touches processes; always ends those that it waits for.
"""

import subprocess
from collections.abc import Sequence


class BenchError(Exception):
    """Something that must be there for a measurement is not, or a check on what was measured failed."""


def run(command: Sequence[str], text: str | None = None, timeout_s: float = 120.0) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
