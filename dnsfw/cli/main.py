"""`dnsfw`: finds the command and says in words what went wrong.

A command's module is imported only when it is called: `dnsfw check` in a hook must not wait for an event loop and a web server.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from dnsfw.errors import DnsfwError

# To add a command: a line here, and `dnsfw/cli/NAME.py` with a function NAME that typer can read.
COMMANDS = {
    "demo": "See it work: pods, an internet and every attempt that must fail, in 20 seconds.",
    "run": "Protect this node's pods, with rules and pods from files.",
    "check": "Check rules and pods without putting them into force.",
    "status": "How the running process is doing.",
    "grants": "Who may reach what, and for how long.",
    "audit": "What was asked and what became of it.",
    "uninstall": "Remove every trace from the kernel.",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0, 1 (it failed), 2 (it was called wrongly)."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _app(words)(args=words, prog_name="dnsfw")
    except DnsfwError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        sys.exit(getattr(error, "exit_code", 1))


def _app(words: Sequence[str]) -> typer.Typer:
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, context_settings=_CONTEXT)
    app.callback()(_root)
    for name, summary in COMMANDS.items():
        # What is not called is only listed; its own help is not asked for either.
        command = _load(name) if name in words else _listed
        app.command(name, short_help=summary, help=_help(command) if name in words else summary)(command)
    return app


def _help(command: Callable[..., Any]) -> str:
    """The docstring by paragraphs: where its lines end in the source is no matter for a terminal."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(command) or "")


_CONTEXT = {"help_option_names": ["-h", "--help"]}


def _load(name: str) -> Callable[..., Any]:
    command: Callable[..., Any] = getattr(importlib.import_module(f"dnsfw.cli.{name}"), name)
    return command


def _listed() -> None:
    """Stands in the list of commands for one that was not called."""


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version  # noqa: PLC0415 - 50 ms, for this flag alone

        typer.echo(f"dnsfw {version('dnsfw')}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A per-pod DNS egress firewall: a pod reaches only what DNS has just told it, for names its rules allow."""
