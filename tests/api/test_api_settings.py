"""Where the API may listen, and who may ask it."""

from pathlib import Path

import pytest

from dnsfw.api.settings import ApiSettings, ApiSettingsError, TcpAddress, UnixAddress, parse_api_address


@pytest.mark.parametrize("text", ["unix:/run/dnsfw/dnsfw.sock", "unix:relative.sock", "127.0.0.1:9155", "[::1]:9155", "192.0.2.1:0"])
def test_address_is_read_and_shown_alike(text: str) -> None:
    """What is printed can be given again."""
    assert str(parse_api_address(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("unix:", "the path is missing", id="no-path"),
        pytest.param("unix:/" + "x" * 107, "the path has 108 bytes, a Unix socket's has 107 at most", id="long-path"),
        pytest.param("unix:/" + "é" * 54, "the path has 109 bytes", id="long-in-bytes"),
        pytest.param("localhost:9155", "write unix:PATH or ADDRESS:PORT", id="name"),
        pytest.param("127.0.0.1", "write unix:PATH or ADDRESS:PORT", id="no-port"),
        pytest.param("127.0.0.1:65536", "a port is 0 to 65535", id="port-too-high"),
        pytest.param("/run/dnsfw.sock", "write unix:PATH or ADDRESS:PORT", id="bare-path"),
    ],
)
def test_senseless_address_says_what_would_be_right(text: str, message: str) -> None:
    """The message names the fault and the two forms."""
    with pytest.raises(ApiSettingsError, match=message):
        parse_api_address(text)


def test_longest_path_is_taken() -> None:
    """The limit is the kernel's, not a byte less."""
    assert parse_api_address("unix:/" + "x" * 106) == UnixAddress(Path("/" + "x" * 106))


@pytest.mark.parametrize(
    ("text", "needs"), [("127.0.0.1:1", False), ("[::1]:1", False), ("0.0.0.0:1", True), ("192.0.2.1:1", True), ("[::]:1", True)]
)
def test_tcp_beyond_loopback_needs_a_token(text: str, needs: bool) -> None:
    """What pods and neighbours could reach is never open."""
    address = parse_api_address(text)
    assert isinstance(address, TcpAddress)

    shown = "secret"
    assert ApiSettings(address=address, token=shown).token == shown
    if needs:
        with pytest.raises(ApiSettingsError, match="--api-token-file"):
            ApiSettings(address=address)
    else:
        assert ApiSettings(address=address).token is None
