"""Where state lives if nobody says: the system's folders for root, else the user's.

Looks at the file system and this process's rights; creates nothing.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from dnsfw.api.settings import ApiAddress, UnixAddress
from dnsfw.settings.values import api_address

_SYSTEM_STATE = Path("/var/lib/dnsfw")
_SYSTEM_RUNTIME = Path("/run/dnsfw")
_UID_MAP = Path("/proc/self/uid_map")
_WHOLE_ID_RANGE = ["0", "0", "4294967295"]  # user_namespaces(7): what uid_map says in the initial user namespace


def state_folder() -> Path:
    """For the audit and the journal."""
    return _SYSTEM_STATE if _is_system(_SYSTEM_STATE) else platformdirs.user_state_path("dnsfw", appauthor=False)


def default_api() -> ApiAddress:
    """The socket that the process opens and that the other commands ask."""
    if _is_system(_SYSTEM_RUNTIME):
        return UnixAddress(_SYSTEM_RUNTIME / "dnsfw.sock")
    # Without a session's own runtime folder others would offer one in /tmp, where anybody could be first.
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return UnixAddress((Path(runtime) / "dnsfw" if runtime else state_folder()) / "dnsfw.sock")


def api_from(flag: str | None, environ: Mapping[str, str]) -> ApiAddress:
    """Where a command finds the running process: its flag, else DNSFW_API, else the default, else the system's: whoever has forgotten
    `sudo` is to hear that, not that nothing runs. Raises Unfit.
    """
    if said := flag or environ.get("DNSFW_API"):
        return api_address(said)
    own = default_api()
    is_own = isinstance(own, UnixAddress) and own.path.exists()
    return own if is_own or not _SYSTEM_RUNTIME.is_dir() else UnixAddress(_SYSTEM_RUNTIME / "dnsfw.sock")


def audit_to_read() -> Path:
    """Where `dnsfw audit` looks if nobody says, likewise."""
    own = state_folder() / "audit.db"
    return own if own.exists() or not _SYSTEM_STATE.is_dir() else _SYSTEM_STATE / "audit.db"


def _is_system(folder: Path) -> bool:
    """Root of the machine itself (root of a user namespace only looks like it), and the folder can be made or written."""
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.geteuid() == 0 and _is_initial_user_namespace() and os.access(nearest, os.W_OK)


def _is_initial_user_namespace() -> bool:
    try:
        return _UID_MAP.read_text(encoding="ascii").split() == _WHOLE_ID_RANGE
    except OSError:  # a kernel without user namespaces
        return True
