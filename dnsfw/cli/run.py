"""`dnsfw run`: the flags, nothing else. What each means stands in `settings.table`, from which they are made."""

import inspect
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dnsfw.settings import settings_from
from dnsfw.settings.table import SETTINGS, Setting


def run(config: Path | None = None, **flags: Any) -> None:  # noqa: ANN401 - typer gives text or lists of text, by the signature below
    """Protect this node's pods, with rules and pods from files.

    Each flag may also stand in the file of --config under its name (`cluster-domain: cluster.local`), or in the environment
    (DNSFW_CLUSTER_DOMAIN; several values separated by spaces). The flag wins over the environment, the environment over the file.
    """
    settings = settings_from({name.replace("_", "-"): value for name, value in flags.items()}, os.environ, config)
    from dnsfw.agent import run_agent  # noqa: PLC0415 - the whole program; wrong flags and --help need not wait for it

    sys.exit(run_agent(settings))


def _parameter(setting: Setting) -> inspect.Parameter:
    option = typer.Option(f"--{setting.name}", metavar=setting.metavar, help=setting.help, rich_help_panel=setting.group)
    kind = list[str] | None if setting.is_many else str | None
    name = setting.name.replace("-", "_")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


_CONFIG = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[Path | None, typer.Option("--config", metavar="FILE", envvar="DNSFW_CONFIG", help="The same settings as YAML.")],
)
_PARAMETERS = [*map(_parameter, SETTINGS), _CONFIG]
# typer reads a command's options from its signature; this one is made from the table, so that flag, file and environment are one list.
run.__signature__ = inspect.Signature(_PARAMETERS)  # type: ignore[attr-defined]  # inspect honours it, functions do not declare it
run.__annotations__ = {parameter.name: parameter.annotation for parameter in _PARAMETERS}
