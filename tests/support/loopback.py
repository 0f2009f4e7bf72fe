"""An address that no test beside us listens on."""

import os


def loopback_of_ours() -> str:
    """One of 127.0.0.0/8, this process's own: a port that was free there a moment ago still is."""
    pid = os.getpid()
    return f"127.{64 + (pid >> 16) % 128}.{pid >> 8 & 255}.{pid & 255}"
