"""Attacks are made in the laboratory of the system tests, with the real program running."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))

from system_kit import Site

from dnsfw.demo.lab import Lab


@pytest.fixture(scope="module")
def site(shared_lab: Lab) -> Site:
    """One for a whole file, for tests whose pods and rules have labels of their own."""
    return Site(shared_lab, shared_lab.run_dnsfw({}))


@pytest.fixture
def own_site(lab: Lab) -> Site:
    """One for a test that turns something of the node's, or wants to be alone."""
    return Site(lab, lab.run_dnsfw({}))
