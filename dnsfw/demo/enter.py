"""Go into the laboratory from outside and run a command there, with the terminal as it is.

`enter.py <network> <user> <mounts> <processes> <resolv.conf> -- <command>...`, the first four as inherited descriptors. Touches this
process only; its own view of /etc/resolv.conf becomes the file given.
"""

import os
import signal
import sys
from pathlib import Path

from dnsfw.demo import namespaces


def main() -> None:
    network, user, mounts, processes = (int(argument) for argument in sys.argv[1:5])
    if os.fstat(user).st_ino != Path("/proc/self/ns/user").stat().st_ino:
        namespaces.setns(user, namespaces.NEW_USERS)
    namespaces.setns(mounts, namespaces.NEW_MOUNTS)
    namespaces.setns(processes, namespaces.NEW_PIDS)
    namespaces.setns(network, namespaces.NEW_NETWORK)
    namespaces.unshare(namespaces.NEW_MOUNTS)
    if Path("/etc/resolv.conf").exists():
        namespaces.bind_file(Path(sys.argv[5]), Path("/etc/resolv.conf"))
    command = sys.argv[7:]
    child = os.fork()  # only a child is within the other process ids
    if child == 0:
        os.execvp(command[0], command)  # noqa: S606  no shell is what is wanted
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
