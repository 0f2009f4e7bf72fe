"""The laboratory with the program running, and figures that are printed at the end rather than judged."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system_kit import Site

from dnsfw.demo.lab import Lab

MEASUREMENTS = Path(__file__).parents[2] / ".measurements"
_figures: dict[str, Any] = {}


@pytest.fixture(scope="module")
def site(shared_lab: Lab) -> Site:
    """One for a whole file, for tests whose pods and rules have labels of their own."""
    return Site(shared_lab, shared_lab.run_dnsfw({}))


@pytest.fixture
def own_site(lab: Lab) -> Site:
    """One for a test that kills it, stops it, or wants to be alone."""
    return Site(lab, lab.run_dnsfw({}))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a test has measured: shown at the end of the run, and kept as JSON."""
    measured: dict[str, Any] = {}
    yield measured
    if measured:
        measured["load"] = os.getloadavg()[0]
        _figures[request.node.name] = measured
        MEASUREMENTS.mkdir(exist_ok=True)
        (MEASUREMENTS / f"{request.node.name}.json").write_text(json.dumps(measured, indent=2))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, measured in _figures.items():
        values = "  ".join(f"{key} {_shown(value)}" for key, value in measured.items())
        terminalreporter.write_line(f"measured: {name}: {values}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + " ".join(f"{key} {_shown(each)}" for key, each in value.items()) + ")"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
