"""EDNS (RFC 6891) of one hop: what a client's OPT says, and the OPT that we write.

Pure. Always true: nothing of a client's OPT but its DO bit goes further, in either direction; of a message's options only the lengths are
looked at, and no option is echoed.
"""

from struct import Struct
from typing import Final, NamedTuple

OPT: Final = 41
OUR_PAYLOAD_SIZE: Final = 1232  # survives IPv6's smallest MTU unfragmented (DNS flag day 2020)
MIN_PAYLOAD_SIZE: Final = 512  # RFC 6891 §6.2.3: smaller values are treated as this one
DO: Final = 0x8000
MAX_OPTIONS: Final = 1024  # of a query; 30 are assigned, 64 kB would hold 16,000, 0.2 µs each

_OPT_RECORD: Final = Struct(">BHHBBHH")  # root, type, payload size, extended rcode, version, flags, length of the options
_OPTION: Final = Struct(">HH")
_EDE: Final = 15


class Edns(NamedTuple):
    """What the OPT of a query says about its sender."""

    payload_size: int
    version: int
    is_do: bool


class Ede(NamedTuple):
    """An extended DNS error (RFC 8914). `text` never names a rule: pods must not learn what others may do."""

    code: int
    text: str = ""


class InfoCode:
    """The codes of RFC 8914 §4 that we give."""

    OTHER: Final = 0
    NOT_READY: Final = 14
    BLOCKED: Final = 15
    PROHIBITED: Final = 18
    NOT_SUPPORTED: Final = 21
    NO_REACHABLE_AUTHORITY: Final = 22
    NETWORK_ERROR: Final = 23


def are_options_whole(data: bytes, offset: int, end: int) -> bool:
    """Whether the options between `offset` and `end` fill that space exactly, and are no more than MAX_OPTIONS."""
    left = MAX_OPTIONS
    while end - offset >= 4 and left:
        offset += 4 + _OPTION.unpack_from(data, offset)[1]
        left -= 1
    return offset == end


def opt_record(*, is_do: bool, extended_rcode: int = 0, ede: Ede | None = None) -> bytes:
    """Our OPT, whose version is always 0: that answers other versions too (RFC 6891 §6.1.3)."""
    options = b"" if ede is None else _ede_option(ede)
    return _OPT_RECORD.pack(0, OPT, OUR_PAYLOAD_SIZE, extended_rcode, 0, DO if is_do else 0, len(options)) + options


def _ede_option(ede: Ede) -> bytes:
    text = ede.text.encode()
    return _OPTION.pack(_EDE, 2 + len(text)) + ede.code.to_bytes(2, "big") + text
