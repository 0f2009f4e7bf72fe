"""The laboratory as fixtures: a node, an internet, and pods on demand (dnsfw.demo.lab).

Where namespaces are not allowed these tests cannot run: they are skipped, with the reason that `netns` reports loudly.
"""

from collections.abc import Iterator

import pytest

from dnsfw.demo.lab import Lab
from dnsfw.demo.namespaces import NamespacesError


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A node and an internet, without pods."""
    yield from _open_lab()


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    """One for a whole file, for tests that leave it as they found it."""
    yield from _open_lab()


def _open_lab() -> Iterator[Lab]:
    try:
        opened = Lab().__enter__()
    except NamespacesError as error:
        pytest.skip(f"no network namespaces here: {error}")
    try:
        yield opened
    finally:
        opened.__exit__(None, None, None)
