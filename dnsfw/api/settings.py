"""Where the API listens; parsed once."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from dnsfw.errors import DnsfwError
from dnsfw.names import quoted

_LONGEST_SOCKET_PATH = 107  # sun_path of unix(7) without its final NUL


class ApiSettingsError(DnsfwError):
    """An address that the API cannot listen on; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    host: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.host.version == 4 else f"[{self.host}]:{self.port}"


ApiAddress = UnixAddress | TcpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Field by field:

    address: a Unix socket with mode 0600, or a TCP port.
    token: what a TCP client must show as `Authorization: Bearer`; may be missing on loopback only.
    requests: how many are served at once; more get 503, so that clients who read slowly cannot gather.
    request_s: how long one may take, its reading included.
    """

    address: ApiAddress
    token: str | None = None
    requests: int = 32
    request_s: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.address, TcpAddress) and not self.address.host.is_loopback and not self.token:
            raise ApiSettingsError(f"api {self.address}: not loopback, so it needs a token (--api-token-file), or use unix:PATH")


def parse_api_address(text: str) -> ApiAddress:
    """`unix:PATH`, or ADDRESS:PORT with an IPv6 address in brackets."""
    if text.startswith("unix:"):
        return _unix(text, Path(text.removeprefix("unix:")))
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port)
    except ValueError as error:
        raise ApiSettingsError(f"api {quoted(text)}: write unix:PATH or ADDRESS:PORT, such as 127.0.0.1:9155 or [::1]:9155") from error
    if not 0 <= number <= 65535:
        raise ApiSettingsError(f"api {quoted(text)}: a port is 0 to 65535")
    return TcpAddress(address, number)


def _unix(text: str, path: Path) -> UnixAddress:
    if not text.removeprefix("unix:"):
        raise ApiSettingsError(f"api {quoted(text)}: the path is missing; write unix:PATH")
    length = len(bytes(path))
    if length > _LONGEST_SOCKET_PATH:
        raise ApiSettingsError(f"api {quoted(text)}: the path has {length} bytes, a Unix socket's has {_LONGEST_SOCKET_PATH} at most")
    return UnixAddress(path)
