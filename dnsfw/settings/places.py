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
    """Where a command finds the running process: its flag, else DNSFW_API, else the default. Raises Unfit."""
    said = flag or environ.get("DNSFW_API")
    return api_address(said) if said else default_api()


def _is_system(folder: Path) -> bool:
    """Root of the machine itself (root of a user namespace only looks like it), and the folder can be made or written."""
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.geteuid() == 0 and _is_initial_user_namespace() and os.access(nearest, os.W_OK)


def _is_initial_user_namespace() -> bool:
    try:
        return _UID_MAP.read_text(encoding="ascii").split() == _WHOLE_ID_RANGE
    except OSError:  # a kernel without user namespaces
        return True
