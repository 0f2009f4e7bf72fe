"""The demo from curtain to curtain: builds the laboratory, plays the story, shows it or gives it as JSON.

Touches nothing outside the laboratory but the terminal. Always true: the exit status is 0 only if every step went as it should.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from dnsfw.clock import SystemClock
from dnsfw.demo import commands
from dnsfw.demo.lab import Lab
from dnsfw.demo.scene import Scene, example_rules
from dnsfw.demo.shell import keep_open
from dnsfw.demo.show import Show
from dnsfw.demo.steps import Chapter, Step
from dnsfw.demo.story import chapters

now = SystemClock().now


def play(*, is_json: bool, is_kept: bool) -> int:
    return _as_json() if is_json else _for_people(is_kept=is_kept)


def _for_people(*, is_kept: bool) -> int:
    console = Console(highlight=False)
    show = Show(console)
    started = now()
    show.opening()
    with Lab() as lab:
        scene = Scene(lab)
        show.ready((now() - started) * 1000, example_rules())
        steps: list[Step] = []
        for number, chapter in enumerate(chapters(scene), 1):
            show.chapter(number, chapter)
            steps += chapter.steps
        show.grants(commands.grants(scene))
        show.audit(commands.audit(scene))
        show.verdict(steps, now() - started)
        if is_kept:
            keep_open(scene, console)
    return _status(steps)


def _as_json() -> int:
    started = now()
    with Lab() as lab:
        scene = Scene(lab)
        played = list(chapters(scene))
        steps = [step for chapter in played for step in chapter.steps]
        document = {
            "verdict": "broken" if _status(steps) else "kept",
            "chapters": _documents(played),
            "grants": commands.grants(scene),
            "audit": commands.audit(scene),
            "seconds": round(now() - started, 3),
        }
    json.dump(document, sys.stdout, indent=2)
    print()  # noqa: T201  a file ends with a newline
    return _status(steps)


def _documents(played: Sequence[Chapter]) -> list[dict[str, Any]]:
    return [asdict(chapter) for chapter in played]


def _status(steps: Sequence[Step]) -> int:
    return 0 if all(step.is_as_expected for step in steps) else 1
