"""Any bytes as a file of rules and pods, from its text to the snapshot in force.

Beside "nothing escapes": a text gives objects or problems, never both; a problem names a line that is there and prints on one line; reading
again by memory, and reading the documents one by one, gives the same; whatever was taken can be compiled, linted and judged.
"""

import functools
from pathlib import Path
from typing import Any, cast

from harness import Meter, main

LARGEST = 16384
_FILE = "rules.yaml"
_OTHER_LINE_ENDS = "\r\x85\u2028\u2029"


def target(data: bytes, meter: Meter) -> None:
    content = modules()["content"]
    text = content._text(Path(_FILE), data)  # what read_content does with a file's bytes
    if not isinstance(text, str):
        return
    check_whole(text, meter)
    check_taken(text, meter)


def check_whole(text: str, meter: Meter) -> None:
    """Each document by itself, from end to end: Refused, or trees that can be parsed."""
    found = modules()
    try:
        nodes = meter.run("documents", lambda: list(found["documents"].read_documents(text, _FILE)))
    except found["reader"].Refused as refused:
        check_problem(refused.problem, text)
        return
    for node in nodes:
        for problem in meter.run("parse", found["parse"].parse_document, node, _FILE).problems:
            check_problem(problem, text)


def check_taken(text: str, meter: Meter) -> None:
    reading = modules()["reading"]
    parsed, memory = meter.run("read_text", reading.read_text, text, _FILE, {}, lambda: None)
    assert not (parsed.items and parsed.problems)
    for problem in parsed.problems:
        check_problem(problem, text)
    again, _ = reading.read_text(text, _FILE, memory, lambda: None)
    assert again == parsed
    assert parsed.problems or without_lines(parsed.items, text) == without_lines(uncut(text), text)
    if parsed.items:
        check_world(parsed.items, meter)


def without_lines(items: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    """A file's lines end at line feeds, as editors count them; libyaml counts other ends too, those of one document at least."""
    return tuple(item._replace(line=None) for item in items) if any(map(text.count, _OTHER_LINE_ENDS)) else items


def uncut(text: str) -> tuple[Any, ...]:
    found = modules()
    parts = [found["parse"].parse_document(node, _FILE) for node in found["documents"].read_documents(text, _FILE)]
    assert not any(part.problems for part in parts), "read in pieces it had no problem"
    return tuple(item for part in parts for item in part.items)


def check_problem(problem: Any, text: str) -> None:
    shown = str(problem)
    assert shown.isprintable(), shown
    assert len(shown) < 2000
    lines = len(text.split("\n")) + sum(map(text.count, _OTHER_LINE_ENDS))
    assert problem.line is None or 1 <= problem.line <= lines + 1, problem


def check_world(items: tuple[Any, ...], meter: Meter) -> None:
    found = modules()
    if any(found["gather"].clashes({_FILE: items})):
        return
    world = found["gather"].world_of(items)
    settings, now = found["settings"], found["now"]
    snapshot = meter.run("compile", found["compile"].compile_snapshot, world, settings, now, 1, None)
    for finding in found["lint"].lint_world(world, settings, now):
        assert str(finding)
    for subject in snapshot.by_source.values():
        verdict = subject.policy.judge_name(found["name"])
        address = bytes([198, 51, 100, 7])
        assert verdict.is_granting or subject.policy.judge_address(address) or not subject.policy.judge(found["name"], address)
        assert not subject.policy.judge(found["name"], bytes([127, 0, 0, 1]))


@functools.cache
def modules() -> dict[str, Any]:
    # atheris instruments what is imported later
    from dnsfw.names import parse_name  # noqa: PLC0415
    from dnsfw.policy import compile as compile_  # noqa: PLC0415
    from dnsfw.policy import lint, model, parse, reader  # noqa: PLC0415
    from dnsfw.sources import content, documents, gather, reading  # noqa: PLC0415

    return {
        "compile": compile_,
        "content": content,
        "documents": documents,
        "gather": gather,
        "lint": lint,
        "name": parse_name("www.example.net"),
        "now": cast("Any", 1_800_000_000.0),
        "parse": parse,
        "reader": reader,
        "reading": reading,
        "settings": model.PolicySettings(cluster_domain=parse_name("cluster.local")),
    }


if __name__ == "__main__":
    main("rules", target, largest=LARGEST)
