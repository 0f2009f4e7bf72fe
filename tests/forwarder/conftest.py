"""Hypothesis looks for wrong answers here, not for slow ones: on a busy machine its deadlines fail by chance."""

from hypothesis import settings

settings.register_profile("forwarder", deadline=None)
settings.load_profile("forwarder")
