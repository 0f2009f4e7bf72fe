"""The process that holds a laboratory together: number 1 of its own process ids, parent of all that runs inside.

Makes network namespaces, lays wires between them, starts and signals processes in them, as told over the socket it is given.
Always true: when whoever started it is gone, however that happened, the keeper ends, and the kernel ends all that it held with it;
its starter outside (`main`) then removes the folder that the laboratory had.
"""

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnsfw.demo import namespaces
from dnsfw.demo.wires import MESSAGE_SIZE, Json, from_json
from dnsfw.demo.wiring import Wiring


class Keeper:
    def __init__(self, control: socket.socket, folder: Path) -> None:
        self._control = control
        self._folder = folder
        self._places: dict[str, int] = {}
        self._statuses: dict[int, int] = {}
        self._wiring = Wiring()

    def serve(self) -> None:
        commands: dict[str, Callable[..., dict[str, Any]]] = {
            "hello": self.hello,
            "place": self.place,
            "lay": self.lay,
            "start": self.start,
            "signal": self.signal,
            "poll": self.poll,
        }
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_SIZE, 8)
            if not message:
                return
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            request = json.loads(message)
            try:
                reply = commands[request.pop("do")](**request, descriptors=descriptors)
            except Exception as error:
                reply = {"error": f"{type(error).__name__}: {error}"}
            attached = reply.pop("attached", [])
            socket.send_fds(self._control, [json.dumps(reply).encode()], attached)
            for descriptor in descriptors:
                os.close(descriptor)

    def hello(self, **_: Json) -> dict[str, Any]:
        """The folder, and the namespaces that all places share."""
        shared = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("user", "mnt", "pid")]
        return {"folder": str(self._folder), "attached": shared}

    def place(self, *, name: str, **_: Json) -> dict[str, Any]:
        """A new network namespace; its descriptor goes along with the reply."""
        self._places[name] = namespaces.new_network()
        self._wiring.add_place(name, self._places[name])
        return {"attached": [self._places[name]]}

    def lay(self, *, wires: list[list[str]], **_: Json) -> dict[str, Any]:
        self._wiring.lay(from_json(wires))
        return {}

    def start(self, *, place: str, argv: list[str], env: dict[str, str], cwd: str, descriptors: list[int]) -> dict[str, Any]:
        """Start a process in a place; the three descriptors become its standard streams."""
        pid = os.fork()
        if pid == 0:
            self._become(place, argv, env, cwd, descriptors)
        return {"pid": pid}

    def signal(self, *, pid: int, number: int, **_: Json) -> dict[str, Any]:
        self._reap()
        if pid not in self._statuses:
            os.kill(pid, number)
        return {}

    def poll(self, *, pid: int, **_: Json) -> dict[str, Any]:
        self._reap()
        return {"status": self._statuses.get(pid)}

    def _become(self, place: str, argv: list[str], env: dict[str, str], cwd: str, descriptors: list[int]) -> None:
        try:
            namespaces.setns(self._places[place], namespaces.NEW_NETWORK)
            os.setsid()
            os.chdir(cwd)
            # High first: the received numbers may themselves be 0, 1 or 2.
            high = [os.dup2(descriptor, 100 + index) for index, descriptor in enumerate(descriptors)]
            for index, descriptor in enumerate(high):
                os.dup2(descriptor, index)
                os.close(descriptor)
            os.execvpe(argv[0], argv, env)  # noqa: S606  no shell is what is wanted
        except BaseException as error:
            os.write(2, f"cannot start {argv[0]}: {error}\n".encode())
        finally:
            os._exit(127)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._statuses[pid] = os.waitstatus_to_exitcode(status)


def main() -> None:
    """`keeper.py <descriptor of the socket> <rootless: 0|1>`."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    folder = Path(tempfile.mkdtemp(prefix="dnsfw-lab-"))
    try:
        namespaces.leave_the_host(is_rootless=sys.argv[2] == "1")
        child = os.fork()
        if child == 0:
            _keep(control, folder)
        control.close()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.waitpid(child, 0)
    except namespaces.NamespacesError as error:
        # As the reply to the first request: to close with a request unread would reset the connection, and the reply be lost.
        control.recv(MESSAGE_SIZE)
        control.send(json.dumps({"error": str(error)}).encode())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(control: socket.socket, folder: Path) -> None:
    try:
        namespaces.die_with_parent()
        namespaces.mount_proc()
        Keeper(control, folder).serve()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
