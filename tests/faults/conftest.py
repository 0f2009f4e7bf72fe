"""Faults are made in the laboratory of the system tests, to the real program."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))

from system_kit import Site

from dnsfw.demo.lab import Lab


@pytest.fixture
def own_site(lab: Lab) -> Site:
    """Alone, since it will be harmed."""
    return Site(lab, lab.run_dnsfw({}))
