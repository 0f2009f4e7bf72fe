"""The real `dnsfw run`, started on the laboratory's node, known only by its command line.

Touches its own folder in the laboratory's. Its output goes to a file there.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnsfw.clock import SystemClock
from dnsfw.demo import topology
from dnsfw.demo.documents import replace_file
from dnsfw.demo.inside import Inside, LabError, Process

_POLL_S = 0.005


class Program:
    """`arguments` come after ours, so that they win where a flag counts once."""

    def __init__(self, inside: Inside, folder: Path, pods_file: Path, arguments: Sequence[str]) -> None:
        self._inside = inside
        self._process: Process | None = None
        self.rules = folder / "rules"
        self.socket = folder / "api.sock"
        self.audit_db = folder / "audit.db"
        self.log_file = folder / "dnsfw.log"
        self.rules.mkdir(exist_ok=True)
        self.arguments = [
            *("--listen", f"{topology.LISTEN4}:53", "--listen", f"[{topology.LISTEN6}]:53"),
            *("--upstream", f"{topology.RESOLVER4}:53", "--interface", "veth*"),
            *("--cluster-cidr", topology.PODS4, "--cluster-cidr", topology.PODS6),
            *("--rules", str(self.rules), "--pods", str(pods_file)),
            *("--audit-db", str(self.audit_db), "--api", f"unix:{self.socket}", "--log-format", "json"),
            *arguments,
        ]

    def write_rules(self, rules: str | Path | Mapping[str, str]) -> None:
        """All rules there are: the text of one file, texts by file name, or a file or folder to copy. Each file is switched as one."""
        texts = _texts(rules)
        for name, text in texts.items():
            replace_file(self.rules / name, text)
        for path in self.rules.glob("*.yaml"):
            if path.name not in texts:
                path.unlink()

    def save_rule(self, name: str, text: str) -> None:
        """One file of them."""
        replace_file(self.rules / name, text)

    def start(self) -> None:
        """Also starts it again after an end; the log goes on."""
        with Path(os.devnull).open() as nothing, self.log_file.open("ab") as log:
            argv = [sys.executable, "-m", "dnsfw", "run", *self.arguments]
            self._process = self._inside.start(topology.NODE, argv, stdin=nothing.fileno(), stdout=log.fileno(), stderr=log.fileno())
        self._log_start = self.log_file.stat().st_size

    def wait_ready(self, timeout: float = 15.0) -> None:
        self.wait_for_event("ready", timeout)

    def wait_for_event(self, event: str, timeout: float = 5.0, *, since: int | None = None) -> dict[str, Any]:
        """The first log line with this event since this start (or since a `log_position`)."""
        clock, patience = SystemClock(), threading.Event()
        deadline = clock.now() + timeout
        while True:
            for entry in self.events(self._log_start if since is None else since):
                if entry.get("event") == event:
                    return entry
            if (status := self.running.poll()) is not None:
                raise LabError(f"dnsfw run ended with status {status} before {event!r}:\n{self.log}")
            if clock.now() > deadline:
                raise LabError(f"dnsfw run: no {event!r} within {timeout} s:\n{self.log}")
            patience.wait(_POLL_S)

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def log_position(self) -> int:
        return self.log_file.stat().st_size

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """The log's JSON lines; others are left out."""
        lines = self.log_file.read_bytes()[since:].split(b"\n")
        return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    @property
    def running(self) -> Process:
        if self._process is None:
            raise LabError("dnsfw run was never started")
        return self._process

    @property
    def pid(self) -> int:
        """As processes inside the laboratory see it."""
        return self.running.pid

    def stop(self, timeout: float = 5.0) -> int:
        """SIGTERM, and its exit status."""
        self.running.signal(signal.SIGTERM)
        return self.running.wait(timeout)

    def kill(self) -> None:
        """SIGKILL."""
        self.running.signal(signal.SIGKILL)
        self.running.wait(5.0)

    def signal(self, number: signal.Signals) -> None:
        self.running.signal(number)


def _texts(rules: str | Path | Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(rules, str):
        return {"rules.yaml": rules}
    if isinstance(rules, Path):
        files = sorted(rules.glob("*.yaml")) if rules.is_dir() else [rules]
        return {file.name: file.read_text() for file in files}
    return rules
