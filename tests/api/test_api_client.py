"""The command line's client where nobody, or somebody else, answers."""

import asyncio
import socket
from pathlib import Path

import pytest

from dnsfw.api.client import ApiClient, ApiClientError
from dnsfw.api.settings import UnixAddress


@pytest.mark.parametrize(
    ("is_dead", "message"),
    [
        pytest.param(False, "nothing listens at unix:.*is dnsfw running here", id="missing"),
        pytest.param(True, "nobody answers at unix:.*start it", id="dead"),
    ],
)
def test_client_says_what_to_do(tmp_path: Path, is_dead: bool, message: str) -> None:
    """The path that was tried, and what to do."""
    path = tmp_path / "api.sock"
    if is_dead:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))

    with pytest.raises(ApiClientError, match=message):
        ApiClient(address=UnixAddress(path)).get("/v1/status")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.0 200 OK\r\n\r\nhello", b"SSH-2.0-x\r\n", b'HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{"a":']
)
async def test_client_bears_a_stranger(tmp_path: Path, answer: bytes) -> None:
    """Whatever else listens there, it is one clear error."""
    path = tmp_path / "api.sock"

    async def strange(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(strange, str(path))
    with pytest.raises(ApiClientError, match="unix:"):
        await asyncio.to_thread(ApiClient(address=UnixAddress(path)).get, "/v1/status")
    server.close()
