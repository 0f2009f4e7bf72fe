"""dnsfw with records that are made and handed to nobody: what the audit's way to the disk costs is the difference.

A measurement's stand-in for a switch that the program rightly does not have. Compiled code does not go through what stands in a method's
place: so the hot path is given a worker's recorder whose link never has room, and what the slow path says is forgotten.
"""

import asyncio
from typing import cast

from dnsfw.agent import Agent
from dnsfw.audit.pipeline import AuditPipeline
from dnsfw.audit.record import QueryRecord
from dnsfw.cli.main import main
from dnsfw.forwarder.perform import Performer
from dnsfw.hot import Hot
from dnsfw.workers.link import Link
from dnsfw.workers.recording import Recording

_MANY = 1_000_000  # records; what a tenth of a second brings is let go before


class _Full:
    """A link without room: what is gathered for it is counted and let go."""

    has_room = False


def _hot(self: Agent, performer: Performer) -> Hot:
    """In place of `Agent._hot`."""
    recorder = Recording(cast("Link", _Full()), _MANY, self._settings.audit.batch_s, asyncio.get_running_loop())
    return Hot(self._settings.forwarder, performer, self.enforcer.state, self.enforcer, recorder, self._clock)


def _forget(_self: AuditPipeline, _record: QueryRecord) -> None:
    """In place of `AuditPipeline.sink`."""


Agent._hot = _hot  # type: ignore[method-assign]  # this is the whole point
AuditPipeline.sink = _forget  # type: ignore[method-assign]  # as above

if __name__ == "__main__":
    main()
