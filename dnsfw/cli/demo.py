"""`dnsfw demo`: the story that dnsfw was made for, with real packets, in namespaces that end with it."""

from typing import Annotated

import typer


def demo(
    *,
    is_json: Annotated[bool, typer.Option("--json", metavar="", help="One JSON document with every step, for programs.")] = False,
    is_kept: Annotated[bool, typer.Option("--keep", metavar="", help="End with a shell in one of the pods, to play in.")] = False,
) -> None:
    """Build pods and an internet in namespaces, run dnsfw between them, and try everything that it must allow and refuse.

    Needs no settings; works as root, and without where user namespaces are allowed. Exit status 0 if every step went as it should.
    """
    if is_json and is_kept:
        raise typer.BadParameter("--keep is for people, --json for programs: one of the two")
    from dnsfw.demo.play import play  # noqa: PLC0415  rich and the laboratory load only where they are needed

    raise typer.Exit(play(is_json=is_json, is_kept=is_kept))
