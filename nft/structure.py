"""The way to libnftables: a helper process that takes one request at a time.

Touches that process only. Always true: a request that got no answer in time ends the helper, so a late answer is never taken for
another's; the next request starts a new one, in the same network namespace.
"""

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from nft.errors import KernelUnreachableError, from_text

_LONGEST_LINE = 1 << 28
_HOME = str(Path(__file__).resolve().parent.parent)
_GRACE_S = 1.0  # to end by itself when its stdin is closed


class Libnftables:
    """Runs nft text; belongs to one loop."""

    def __init__(self, deadline_s: float = 10.0) -> None:
        self.deadline_s = deadline_s
        self.ports: set[int] = set()
        """Netlink ports whose commits are the helper's."""
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the helper and see that it works."""
        await self.run("")

    async def run(self, text: str) -> str:
        """What libnftables prints; its refusal as an NftError."""
        async with self._turn:
            answer = await self._ask(text)
        if answer["rc"]:
            raise from_text(str(answer["error"]))
        return str(answer["output"])

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _GRACE_S)
        except TimeoutError:
            await _end(process)

    async def _ask(self, text: str) -> dict[str, object]:
        try:
            async with asyncio.timeout(self.deadline_s):
                return await self._exchange(text)
        except BaseException as error:
            process, self._process = self._process, None
            if process is not None:
                await asyncio.shield(_end(process))
            if isinstance(error, TimeoutError):
                raise KernelUnreachableError(f"libnftables: no answer within {self.deadline_s:g} s") from error
            if isinstance(error, OSError | ValueError):
                raise KernelUnreachableError(f"libnftables' helper: {error or type(error).__name__}") from error
            raise

    async def _exchange(self, text: str) -> dict[str, object]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await _start()
        assert process.stdin is not None and process.stdout is not None  # noqa: S101  # both were asked for
        process.stdin.write(json.dumps({"text": text}).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise KernelUnreachableError("libnftables' helper ended without an answer")
        answer: dict[str, object] = json.loads(line)
        if isinstance(port := answer["port"], int):
            self.ports = {port}
        elif answer["rc"] == -1 and answer["port"] is None:
            raise KernelUnreachableError(str(answer["error"]))
        return answer


async def _start() -> asyncio.subprocess.Process:
    # -P and our own folder first: neither the working directory nor the environment decides which code runs.
    path = os.pathsep.join(filter(None, (_HOME, os.environ.get("PYTHONPATH"))))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "nft.helper",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        limit=_LONGEST_LINE,
        start_new_session=True,  # Ctrl-C is for us to handle; the helper ends when we close its stdin
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
