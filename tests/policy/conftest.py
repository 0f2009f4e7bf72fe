"""Properties are judged by what holds, not by how long an example took on a busy machine."""

import pytest
from hypothesis import settings

from dnsfw.policy.cluster import cluster_suffixes
from dnsfw.policy.protected import protection_of

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def fresh_memories() -> None:
    """What was remembered before the tests began (a mutant runs in a fork of a warm process) must not hide what they look at."""
    protection_of.cache_clear()
    cluster_suffixes.cache_clear()
