"""Each test of the policy makes what it needs itself."""

import pytest

from dnsfw.policy.cluster import cluster_suffixes
from dnsfw.policy.protected import protection_of


@pytest.fixture(autouse=True)
def fresh_memories() -> None:
    """What an earlier test made must not hide what this one looks at, nor (`make mutants` watches) that it runs it."""
    protection_of.cache_clear()
    cluster_suffixes.cache_clear()
