"""The few system calls that make and enter Linux namespaces (`os.unshare` and `os.setns` came with Python 3.12).

Touches the calling process only. Always true: what is made here is anonymous, without a name under /run/netns, so that it ends with
the processes that hold it.
"""

import ctypes
import os
import signal
from pathlib import Path

from dnsfw.errors import DnsfwError

NEW_MOUNTS = 0x00020000
NEW_USERS = 0x10000000
NEW_PIDS = 0x20000000
NEW_NETWORK = 0x40000000

_PR_SET_PDEATHSIG = 1
_MS_REC_PRIVATE = 0x4000 | 0x40000
_MS_NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8
_MS_BIND = 0x1000
_CAP_SYS_ADMIN = 1 << 21

_libc = ctypes.CDLL(None, use_errno=True)


class NamespacesError(DnsfwError):
    """This machine does not let us make namespaces; the text says what would."""


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    _check(_libc.setns(descriptor, kind), "setns")


def die_with_parent() -> None:
    """Be killed when the parent ends, however it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def new_network() -> int:
    """A fresh network namespace, as a descriptor; the caller stays where it was."""
    home = current_network()
    unshare(NEW_NETWORK)
    made = current_network()
    setns(home, NEW_NETWORK)
    os.close(home)
    return made


def current_network() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def may_without_users() -> bool:
    """Whether this process may make namespaces without a user namespace around them (root, in most places)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _CAP_SYS_ADMIN)
    return False


def leave_the_host(*, is_rootless: bool) -> None:
    """Put this process into its own network and mounts, its future children into their own process ids."""
    uid, gid = os.getuid(), os.getgid()
    try:
        unshare(NEW_NETWORK | NEW_PIDS | NEW_MOUNTS | (NEW_USERS if is_rootless else 0))
    except OSError as error:
        raise NamespacesError(f"cannot make namespaces: {error.strerror}{_what_is_missing()}") from error
    if is_rootless:
        Path("/proc/self/setgroups").write_text("deny")  # user_namespaces(7): asked of whoever maps its own group
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    _check(_libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None), "mount")


def mount_proc() -> bool:
    """A /proc that shows the new process ids. Some containers refuse it; then the outer one serves as well."""
    return bool(_libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID_NODEV_NOEXEC, None) == 0)


def bind_file(source: Path, target: Path) -> bool:
    """Show `source` in the place of `target` in the mounts of this process."""
    return bool(_libc.mount(bytes(source), bytes(target), None, _MS_BIND, None) == 0)


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _what_is_missing() -> str:
    """Which switch of this machine forbids it; the names differ between distributions."""
    switches = (
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    )
    found = [cure for switch, bad, cure in switches if _read_switch(switch) == bad]
    if found:
        return f"; as root: {', '.join(found)}; or run this as root"
    return "; inside a container it needs --privileged, or --cap-add SYS_ADMIN and a seccomp profile that allows unshare"


def _read_switch(name: str) -> str:
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return ""
