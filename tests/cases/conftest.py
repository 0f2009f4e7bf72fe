"""One running program a file (`bench`), one scripted upstream and one set of clients a test (`scene`)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from scene import Bench, Scene
from upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """`dnsfw run` with the flags that the file names in FLAGS."""
    folder: Path = tmp_path_factory.mktemp("dnsfw")
    with Bench(folder, getattr(request.module, "FLAGS", ()), getattr(request.module, "RULES", None)) as running:
        yield running


@pytest.fixture
async def scene(bench: Bench) -> AsyncIterator[Scene]:
    """Ends with the promise that all of them share: what happened has hurt nobody."""
    async with ScriptedUpstream(*bench.upstream, make_socket=bench.place.socket) as upstream:
        made = Scene(bench, upstream)
        yield made
        await made.serves_on()
        made.close()
