"""How `grants` and `status` reach the running process: the flags, and the one request."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dnsfw.api.client import ApiClient
from dnsfw.errors import DnsfwError
from dnsfw.settings.places import api_from
from dnsfw.settings.values import Unfit

ApiOption = Annotated[
    str | None,
    typer.Option(
        "--api", metavar="unix:PATH|http://ADDR:PORT", help="Where dnsfw run serves its API. [DNSFW_API, or where it does by default]"
    ),
]
TokenOption = Annotated[
    Path | None,
    typer.Option("--api-token-file", metavar="FILE", envvar="DNSFW_API_TOKEN_FILE", help="The token that the API asks for on TCP."),
]


class AskingError(DnsfwError):
    """Flags that name no API."""

    exit_code = 2


def ask(api: str | None, token_file: Path | None, path: str, query: Mapping[str, str | int | None] | None = None) -> Any:  # noqa: ANN401 -- JSON
    try:
        address = api_from(None if api is None else api.removeprefix("http://").rstrip("/"), os.environ)
    except Unfit as error:
        raise AskingError(f"api {error}") from error
    return ApiClient(address=address, token=None if token_file is None else _token(token_file)).get(path, query)


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise AskingError(f"--api-token-file {path}: {error}") from error
