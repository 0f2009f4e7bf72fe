"""What the kernel, or the way to it, refuses: one family, so that a caller can fail closed on `NftError`.

Pure. `index` names the culprit among the changes of a commit, where the kernel told which one it was.
"""

import errno
import os


class NftError(Exception):
    """The kernel refused a transaction; nothing of it has happened."""

    def __init__(self, text: str, index: int | None = None) -> None:
        super().__init__(text)
        self.index = index


class AlreadyExistsError(NftError):
    """It is there already, and with other data."""


class NotFoundError(NftError):
    """A table, chain, set or element that is not there."""


class BusyError(NftError):
    """Something still refers to it; an expired element does so until it is collected."""


class NotPermittedError(NftError):
    """CAP_NET_ADMIN in this network namespace is missing."""


class TableOwnedError(NotPermittedError):
    """The table belongs to another process's socket (`flags owner`)."""


class NoSpaceError(NftError):
    """The set is full (ENFILE); expired elements count until they are collected."""


class NotValidError(NftError, ValueError):
    """A name, text or number that nftables cannot take; nothing was sent."""


class TooLargeError(NftError):
    """The transaction does not fit into one batch; split it, or raise net.core.wmem_max."""


class RefusedError(NftError):
    """The kernel or libnftables found the transaction wrong."""


class InterruptedDumpError(NftError):
    """What stands kept changing while it was being read."""


class KernelUnreachableError(NftError):
    """No answer in time, or the way to the kernel broke: whether the transaction happened is not known."""


_BY_ERRNO: dict[int, type[NftError]] = {
    errno.EEXIST: AlreadyExistsError,
    errno.ENOENT: NotFoundError,
    errno.EBUSY: BusyError,
    errno.EPERM: NotPermittedError,
    errno.EACCES: NotPermittedError,
    errno.ENFILE: NoSpaceError,
    errno.EMSGSIZE: TooLargeError,
    errno.ENOBUFS: KernelUnreachableError,
    errno.ETIMEDOUT: KernelUnreachableError,
}


def from_errno(number: int, what: str, index: int | None = None) -> NftError:
    """The error for an errno that the kernel answered."""
    kind = _BY_ERRNO.get(number, RefusedError)
    if kind is NotPermittedError and index is not None:
        kind = TableOwnedError  # capabilities are judged once a batch; past that, only an owner is refused (nft_table_lookup)
    return kind(f"{what}: {os.strerror(number)}", index)


_BY_WORDS: tuple[tuple[str, type[NftError]], ...] = (
    # Without "you must be root" it is not the capability that is missing.
    (f"Could not process rule: {os.strerror(errno.EPERM)}", TableOwnedError),
    *((os.strerror(number), kind) for number, kind in _BY_ERRNO.items()),
    ("does not exist", NotFoundError),
    ("interval overlaps", AlreadyExistsError),
    ("conflicting intervals", AlreadyExistsError),
)


def from_text(text: str) -> NftError:
    """The error for what libnftables printed: strerror's words where the kernel spoke, its own where it looked itself."""
    said = "\n".join(line for line in text.splitlines() if "Error" in line or "netlink" in line) or text
    kind = next((kind for words, kind in _BY_WORDS if words in said), RefusedError)
    return kind(text.strip() or "libnftables gave no reason")
