"""Many rules: how long a name never seen before takes to judge, a compilation, and one changed rule until it is in force.

Touches what `Setup` gives; judges in this process with the policy that the program uses.
"""

import socket
import time
from collections.abc import Iterator

from bench import zone
from bench.figures import Bar, Result, Series, percentile
from bench.lab import NODE
from bench.program import Dnsfw, Document, Setting, pod, rule, write
from bench.setup import Setup
from bench.shell import BenchError
from dnsfw.clock import SystemClock
from dnsfw.names import parse_name
from dnsfw.policy.compile import compile_snapshot
from dnsfw.policy.model import PolicySettings, World
from dnsfw.policy.snapshot import Snapshot
from dnsfw.sources.files import FileSource
from dnsfw.sources.settings import FilesSettings

RULES, PODS = 10_000, 200
_NAMES = 4_000  # half of what a policy remembers
_FILES = 100


def rules(setup: Setup) -> Result:
    judged, compiled, changed = Series("fresh name", "µs, p50"), Series("compile", "ms"), Series("changed rule", "ms until in force")
    result = Result("rules", f"{RULES:,} rules × {PODS} pods", [judged, compiled, changed])
    folder = setup.folder / "rules"
    folder.mkdir(exist_ok=True)
    for at in range(_FILES):
        write(folder / f"{at}.yaml", _file(at))
    write(setup.folder / "many-pods.yaml", [{"apiVersion": "v1", "kind": "List", "items": [pod(at) for at in range(PODS)]}])
    world = FileSource(FilesSettings(rules=folder, pods=setup.folder / "many-pods.yaml")).load()
    for number in range(setup.rounds):
        _judge(world, number, judged, compiled)
    _change(setup, changed)
    result.bars += [
        Bar(what=f"a fresh name among {RULES:,} rules and {PODS} pods", value=judged.median, bar=20, unit="µs", is_ceiling=True),
        Bar(
            what="a changed rule in force, judged and installed",
            value=changed.median_of("by its log, ms"),
            bar=200,
            unit="ms",
            is_ceiling=True,
        ),
    ]
    return result


def _file(at: int) -> Iterator[Document]:
    """Every pod has fifty rules of its own; some patterns are wildcards of several depths."""
    for number in range(at, RULES, _FILES):
        patterns = [f"name{number}.example.net", f"*.sub{number}.example.org", f"*.deep.a{number % 7}.example.com"]
        yield rule(f"rule{number}", patterns, labels={"app": f"app{number % PODS}"})


def _judge(world: World, number: int, judged: Series, compiled: Series) -> None:
    clock = SystemClock()
    begun = clock.now()
    snapshot = compile_snapshot(world, PolicySettings(cluster_domain=parse_name("cluster.local")), clock.wall(), number, None)
    compiled.values.append((clock.now() - begun) * 1e3)
    took = list(_judgements(snapshot, clock, number))
    judged.values.append(percentile(took, 0.5))
    judged.note("p99", percentile(took, 0.99))


def _judgements(snapshot: Snapshot, clock: SystemClock, number: int) -> Iterator[float]:
    subjects = list(snapshot.subjects.values())
    for at in range(_NAMES):
        name = parse_name(f"host{at}.sub{at * 7 % RULES}.round{number}.example.org")
        policy = subjects[at % len(subjects)].policy
        begun = clock.now()
        policy.judge_name(name)
        yield (clock.now() - begun) * 1e6


def _change(setup: Setup, changed: Series) -> None:
    server = _Many(setup.folder / "many", is_caching=False)
    server.setting = Setting(pods=PODS)
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((NODE, server.port))
        asking.settimeout(2.0)
        for number in range(setup.rounds):
            begun = time.monotonic()
            write(server.folder / "rules" / "0.yaml", [*_file(0), _plain_rule(number)])
            _await_rule(asking, number)
            changed.values.append((time.monotonic() - begun) * 1e3)
        for took in server.in_force_ms()[-setup.rounds :]:
            changed.note("by its log, ms", took)


def _plain_rule(number: int) -> Document:
    """For the pod that this process asks as: the node itself."""
    return rule("changing", [f"x{number + 1:08x}.one.{zone.DOMAIN}"], namespace="plain")


def _await_rule(asking: socket.socket, number: int) -> None:
    name = f"x{number + 1:08x}".encode()
    query = bytes.fromhex("000101000001000000000000") + b"\x09" + name + b"\x03one\x07example\x03net\0\0\1\0\1"
    until = time.monotonic() + 10
    while time.monotonic() < until:
        asking.send(query)
        if asking.recv(512)[3] & 0xF == 0 and number >= 0:
            return
        time.sleep(0.002)
    raise BenchError("the changed rule did not come into force")


class _Many(Dnsfw):
    """With a folder of rule files."""

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "rules").mkdir()
        for at in range(_FILES):
            write(self.folder / "rules" / f"{at}.yaml", [*_file(at), *([_plain_rule(-1)] if at == 0 else [])])

    def rules_path(self) -> str:
        return str(self.folder / "rules")
