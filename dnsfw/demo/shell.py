"""A shell in a pod of the laboratory, to play in.

Touches the terminal. The shell and all it starts run inside; when it ends, so does the laboratory.
"""

import subprocess
import sys

from rich.console import Console
from rich.panel import Panel

from dnsfw.demo import topology
from dnsfw.demo.documents import replace_file
from dnsfw.demo.scene import Scene

_HINTS = """You are in the pod [bold]shop/app1-a[/]. Things to try:

  [cyan]connect www.github.com 443[/]        allowed
  [cyan]connect api.weather.gov 443[/]       refused: that is app2's
  [cyan]connect 198.51.100.99 443[/]         refused: no question, no way out
  [cyan]pod2 connect api.weather.gov 443[/]  allowed: the same from app2's pod
  [cyan]node nft list table inet dnsfw[/]    what the kernel has
  [cyan]grants[/] · [cyan]audit[/] · [cyan]status[/]           what dnsfw says
  [cyan]${EDITOR:-vi} $RULES/app1.yaml[/]    in force within a second

[dim]exit ends the shell, and everything with it.[/]"""

_RC = """
PS1='\\[\\e[36m\\]shop/app1-a\\[\\e[0m\\] \\$ '
connect() {{
  [ $# = 2 ] || {{ echo "usage: connect NAME-OR-ADDRESS PORT" >&2; return 2; }}
  timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null && echo "connected to $1 port $2" || echo "no way to $1 port $2"
}}
export -f connect
node() {{ nsenter --net=/proc/self/fd/{node} "$@"; }}
pod2() {{ nsenter --net=/proc/self/fd/{pod2} bash -c '"$@"' bash "${{@:-bash}}"; }}
grants() {{ {python} -m dnsfw grants --api unix:{socket} "$@"; }}
audit() {{ {python} -m dnsfw audit --audit-db {audit_db} "$@"; }}
status() {{ {python} -m dnsfw status --api unix:{socket} "$@"; }}
RULES={rules}
"""


def keep_open(scene: Scene, console: Console) -> None:
    console.print(Panel(_HINTS, title="yours now", title_align="left", border_style="cyan"))
    places = scene.lab.inside.places
    user, mounts, processes = scene.lab.inside.shared
    pod, node, pod2 = places[scene.app1.place], places[topology.NODE], places[scene.app2.place]
    replace_file(scene.lab.folder / "resolv.conf", f"nameserver {topology.LISTEN4}\nnameserver {topology.LISTEN6}\n")
    rc = scene.lab.folder / "bashrc"
    program = scene.program
    text = _RC.format(node=node, pod2=pod2, python=sys.executable, socket=program.socket, audit_db=program.audit_db, rules=program.rules)
    replace_file(rc, text)
    subprocess.run(  # noqa: S603  our own module, and the shell that the user asked for
        [
            *(sys.executable, "-m", "dnsfw.demo.enter", str(pod), str(user), str(mounts), str(processes)),
            str(scene.lab.folder / "resolv.conf"),
            *("--", "bash", "--noprofile", "--rcfile", str(rc), "-i"),
        ],
        pass_fds=(pod, node, pod2, user, mounts, processes),
        check=False,
    )
