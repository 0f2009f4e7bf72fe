"""On which of the pods' interfaces an unknown source is: where its answers would go (the source guard has seen to the rest).

Touches the kernel's routes, one short question for each source that is nobody's.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from ipaddress import ip_address

import structlog

from nft.route import RouteError, output_interface

log = structlog.get_logger(__name__)


def interface_among(patterns: Sequence[str]) -> Callable[[str], str | None]:
    """Source -> its interface, None where that is none of these."""
    return partial(_interface_of, patterns)


def _interface_of(patterns: Sequence[str], source: str) -> str | None:
    try:
        interface = output_interface(ip_address(source).packed)
    except RouteError as error:
        log.warning("the way to an unknown source cannot be told", source=source, reason=str(error))
        return None
    return interface if interface is not None and any(map(partial(fnmatchcase, interface), patterns)) else None
