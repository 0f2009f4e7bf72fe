"""The laboratory itself, against plain nft rules: what its probes say must be what happened."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from dnsfw.demo import topology
from dnsfw.demo.lab import Lab

CLOSED = "table inet t { chain c { type filter hook forward priority 0; %s; }; }"
REACHED = [
    pytest.param("198.51.100.7", 443, "tcp", id="tcp4"),
    pytest.param("2001:db8::7", 443, "tcp", id="tcp6"),
    pytest.param("198.51.100.7", 443, "udp", id="udp4"),
    pytest.param("2001:db8::7", 443, "udp", id="udp6"),
    pytest.param("169.254.169.254", 80, "tcp", id="metadata4"),
    pytest.param("fd00:ec2::254", 80, "tcp", id="metadata6"),
    pytest.param("10.1.2.3", 22, "tcp", id="private4"),
    pytest.param("64:ff9b::a9fe:a9fe", 80, "tcp", id="nat64"),
]


@pytest.mark.parametrize(("address", "port", "protocol"), REACHED)
def test_open_node_lets_every_probe_through(shared_lab: Lab, address: str, port: int, protocol: str) -> None:
    """With nothing in the way, every address of the internet answers on its ports."""
    assert shared_pod(shared_lab).connect(address, port, protocol).what == "connected"


def test_closed_node_lets_no_probe_through(lab: Lab) -> None:
    """A reject on the node is seen as what it is, and fast."""
    lab.nft(CLOSED % "meta l4proto 6 reject with tcp reset; reject with icmpx admin-prohibited")
    pod = lab.pod("shop/web")

    outcomes = {(case.id, pod.connect(*case.values).what) for case in REACHED}

    assert outcomes == {(case.id, "refused" if "tcp" in case.values else "unreachable") for case in REACHED}


def test_dropped_packets_are_a_timeout(lab: Lab) -> None:
    """Silence is told from refusal."""
    lab.nft(CLOSED % "drop")

    assert lab.pod("shop/web").connect("192.0.2.1", timeout=0.2).what == "timeout"


def test_unused_port_refuses(shared_lab: Lab) -> None:
    """A closed port of the internet is not mistaken for a firewall's doing."""
    pod = shared_pod(shared_lab)

    assert pod.connect("192.0.2.1", 9).detail == "ECONNREFUSED"
    assert pod.connect("192.0.2.1", 9, "udp").detail == "ECONNREFUSED icmp 3/3"


def test_ping_tells_open_from_closed(lab: Lab) -> None:
    """ICMP is probed like the others."""
    pod = lab.pod("shop/web")
    before = [pod.ping(address).what for address in ("8.8.8.8", "2001:db8::8")]
    lab.nft(CLOSED % "reject with icmpx admin-prohibited")
    after = [pod.ping(address).what for address in ("8.8.8.8", "2001:db8::8")]

    assert (before, after) == (["connected"] * 2, ["unreachable"] * 2)


def test_lab_works_in_a_user_namespace() -> None:
    """Without root, everything is as with it."""
    with Lab(is_rootless=True) as lab:
        pod, other = lab.pods_at_once([("shop/a", {}), ("shop/b", {})])

        assert pod.connect("192.0.2.1").is_connected
        assert pod.ping(other.address6).is_connected
        assert lab.outside.ping(pod.address4).is_connected


def test_host_is_not_touched(lab: Lab) -> None:
    """Interfaces and forwarding of the machine are what they were."""
    lab.pod("shop/web").hello()

    assert not {"veth1", "uplink0"} & {path.name for path in Path("/sys/class/net").iterdir()}
    assert not list(Path("/run/netns").glob("*"))


def test_killed_lab_leaves_nothing() -> None:
    """After kill -9 neither a process nor its folder stays."""
    code = "from dnsfw.demo.lab import Lab\nwith Lab() as lab:\n  lab.pod('a/b').hello(); print(lab.folder, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        folder = holder.stdout.readline().strip()
        assert Path(folder).is_dir()
        holder.kill()
    deadline = time.monotonic() + 5

    while Path(folder).exists() or processes_with(folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes_with(folder: str) -> list[str]:
    """Starters of a laboratory live exactly as long as its processes; they are the ones that remove its folder."""
    return [entry.name for entry in Path("/proc").glob("[0-9]*") if folder.encode() in read_if_there(entry / "cmdline")]


def read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_spoofed_packets_arrive_and_are_seen(lab: Lab) -> None:
    """A forged source leaves the pod and reaches the internet when nobody stops it: otherwise a guard would be tested by nothing."""
    liar, victim = lab.pods_at_once([("shop/liar", {}), ("shop/victim", {})])
    with lab.internet.capture() as packets:
        assert liar.send_syn(victim.address4, "192.0.2.9", 443) == ""
        assert liar.send_udp(victim.address6, "2001:db8::9", 443, b"payload") == ""
        liar.connect("192.0.2.10")

    seen = {(packet.source, packet.destination, packet.dport) for packet in packets}
    assert {(victim.address4, "192.0.2.9", 443), (victim.address6, "2001:db8::9", 443), (liar.address4, "192.0.2.10", 443)} <= seen


def test_streams_count_both_directions_and_stop_when_cut(lab: Lab) -> None:
    """Payloads are counted at both ends with times that compare, and none is counted after a cut."""
    pod = lab.pod("shop/web")
    kinds = [(address, protocol) for address in ("192.0.2.9", "2001:db8::9") for protocol in ("tcp", "udp")]
    streams = [pod.open_stream(address, 443, protocol, push_ms=5, pull_ms=5) for address, protocol in kinds]
    for stream in streams:
        wait_until(lambda stream=stream: len(stream.report().arrived_at) > 5 and len(lab.internet.arrivals(stream.token)) > 5)
    lab.nft(CLOSED % "drop")
    cut_at = time.monotonic()
    time.sleep(0.3)

    late = [at for stream in streams for at in stream.close().arrived_at + lab.internet.arrivals(stream.token) if at > cut_at + 0.1]
    assert all(stream.outcome.is_connected for stream in streams)
    assert late == []


def test_cycle_reports_each_kind_of_trouble(lab: Lab) -> None:
    """Loops of resolve-then-connect say which names failed to answer, and which addresses to connect."""
    lab.internet.generate("many.example.net", "198.18.0.0/15")
    lab.nft(CLOSED % "ip daddr 198.18.0.3 reject with icmpx admin-prohibited")
    names = [*(f"h{number}.many.example.net" for number in range(6)), "absent.example.net"]

    cycles = lab.pod("shop/web").cycle(names, server=topology.RESOLVER4)

    assert (cycles.count, cycles.connected) == (7, 5)
    assert [address for _, address, _ in cycles.failed] == ["198.18.0.3"]
    assert [name for name, _ in cycles.unanswered] == ["absent.example.net"]


def test_watch_tries_again_and_again(lab: Lab) -> None:
    """A watch shows when something closed."""
    pod = lab.pod("shop/web")
    pod.hello()
    watch = pod.begin_watch("192.0.2.1", interval=0.02, count=25)
    time.sleep(0.2)
    lab.nft(CLOSED % "meta l4proto 6 reject with tcp reset")

    outcomes = [what for _, what in watch.result(10)]
    assert (outcomes[0], outcomes[-1]) == ("connected", "refused")


def test_outsiders_reach_a_listening_pod(lab: Lab) -> None:
    """Ingress can be tried as well."""
    pod = lab.pod("shop/web")
    pod.listen(8000)

    wait_until(lambda: lab.outside.connect(pod.address4, 8000).is_connected)
    assert lab.node.connect(pod.address6, 8000).is_connected


def test_pods_file_tells_who_has_which_address(lab: Lab) -> None:
    """pods.yaml follows new, changed and removed pods."""
    web, gone = lab.pods_at_once([("shop/web", {"app": "web"}), ("shop/gone", {})])
    web.become("shop/web-2", labels={"app": "other"})
    gone.remove()

    (item,) = yaml.safe_load(lab.pods_file.read_text())["items"]
    assert (item["metadata"]["name"], item["metadata"]["labels"]) == ("web-2", {"app": "other"})
    assert item["status"]["podIPs"] == [{"ip": web.address4}, {"ip": web.address6}]


def test_command_inside_tells_its_end(lab: Lab) -> None:
    """Output and exit status of a command on the node come back."""
    done = lab.run("sh", "-c", "cat; echo oops >&2; exit 3", stdin="in")

    assert (done.status, done.stdout, done.stderr) == (3, "in", "oops\n")


def shared_pod(lab: Lab):
    return lab.pods[0] if lab.pods else lab.pod("shop/web")


def wait_until(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
