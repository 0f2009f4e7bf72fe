"""Hypothesis looks for wrong answers here, not for slow ones: on a busy machine its deadlines fail by chance."""

import uvloop
from hypothesis import settings

settings.register_profile("forwarder", deadline=None)
settings.load_profile("forwarder")


def pytest_asyncio_loop_factories(config, item):
    """Sockets are tested under the loop that they run under."""
    return {"uvloop": uvloop.new_event_loop}
