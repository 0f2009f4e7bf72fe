"""F3, F4, F6 to F9, F11: the machine refuses: privileges, tables, descriptors, ports, disk, time to run.

Whatever happens, nothing opens that the rules do not allow, the program does not end, and it is well again when the machine is.
"""

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

import pytest
from system_kit import Site, cidrs, names, rule, wait_for

from dnsfw.demo import topology
from dnsfw.demo.inside import LabError
from dnsfw.demo.lab import Lab, Pod
from dnsfw.demo.wires import Sysctl

CLIENTS = str(Path(__file__).parents[1] / "attacks" / "clients.py")
FORBIDDEN = "198.51.100.66"
OWNER = """
import time
from nft.owned import guard_program
from nft.socket import NetlinkSocket
link = NetlinkSocket()
guard_program("dnsfw", -149, 16).create(link)
print("held", flush=True)
time.sleep(30)
"""


def furnished(site: Site) -> Pod:
    """A pod that may reach all of many.example.net, and has been told one of it."""
    site.lab.internet.generate("many.example.net")
    site.allow("web", names("*.example.net"))
    pod = site.pod("web")
    assert pod.fetch("h1.many.example.net").is_connected
    return pod


def is_alive(site: Site) -> bool:
    return site.program.running.poll() is None


# ---- F3


def test_f3_without_net_admin_it_does_not_start(lab: Lab) -> None:
    """EPERM at the very first: exit status 1, and a message that says what is missing."""
    program = lab.run_dnsfw({}, is_waiting=False)
    program.stop()
    argv = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-m", "dnsfw", "run", *program.arguments]
    ended = lab.run(*argv)

    assert ended.status == 1
    assert "error: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_f3_table_owned_by_another_process(lab: Lab) -> None:
    """Our table's name is taken by a table that nobody but its owner may change: no start, and the reason; no half a firewall."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lab.run, sys.executable, "-c", OWNER)
        wait_for(lambda: "dnsfw" in lab.run("nft", "list", "tables").stdout)
        with pytest.raises(LabError, match="ended with status 1"):
            lab.run_dnsfw({})
        holder = lab.run("pgrep", "-f", "guard_program").stdout.split()
        lab.run("kill", *holder)

    assert "Traceback" not in (lab.folder / "dnsfw.log").read_text()


def test_f3_helper_killed_under_a_change_of_rules(own_site: Site) -> None:
    """The process that speaks libnftables dies: the next change of the rules is in force all the same, or nothing is answered meanwhile."""
    pod = furnished(own_site)
    listed = own_site.lab.run("pgrep", "-P", str(own_site.program.pid), "-f", "nft.helper").stdout.split()
    assert listed
    own_site.lab.run("kill", "-9", *listed)
    own_site.save("more", rule("more", cidrs("203.0.113.7/32"), app="web"))

    assert wait_for(lambda: pod.fetch("h2.many.example.net").is_connected)
    assert not pod.connect(FORBIDDEN).is_connected
    assert is_alive(own_site)


# ---- F4


def test_f4_stopped_process_opens_nothing_and_comes_back(own_site: Site) -> None:
    """SIGSTOP, as a machine that starves it: grants end by the kernel's clock, others go on, nothing new opens, DNS returns."""
    own_site.lab.internet.set("short.example.net", "1 A 192.0.2.50")
    own_site.lab.internet.set("long.example.org", "600 A 192.0.2.51")
    own_site.allow("long", names("long.example.org"), app="web")
    own_site.allow("web", names("short.example.net"), ttl={"minSeconds": 1, "maxSeconds": 1, "graceSeconds": 0})
    pod = own_site.pod("web")
    assert pod.fetch("short.example.net").is_connected
    assert pod.fetch("long.example.org").is_connected

    own_site.program.signal(signal.SIGSTOP)
    silence = pod.resolve("short.example.net", timeout=2.0)
    outcomes = [pod.connect(address, timeout=0.3).is_connected for address in ("192.0.2.50", "192.0.2.51", FORBIDDEN)]
    own_site.program.signal(signal.SIGCONT)

    assert silence.rcode == "TIMEOUT"
    assert outcomes == [False, True, False]
    assert wait_for(lambda: pod.fetch("short.example.net").is_connected)
    assert is_alive(own_site)


# ---- F7


def test_f7_without_descriptors_it_degrades_and_recovers(own_site: Site) -> None:
    """Not one descriptor more, and a pod that holds connections open: answers or SERVFAIL, no end, and later all is well."""
    pod = furnished(own_site)
    pid = str(own_site.program.pid)
    limit = own_site.lab.run("prlimit", "--pid", pid, "--nofile", "--output", "SOFT", "--noheadings").stdout.strip()
    opened = len(own_site.lab.run("ls", f"/proc/{pid}/fd").stdout.split())
    own_site.lab.run("prlimit", "--pid", pid, f"--nofile={opened}:")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(own_site.lab.run, sys.executable, CLIENTS, "hold", topology.LISTEN4, "100", place=pod.place)
        rcodes = {pod.resolve(f"h{number}.many.example.net", timeout=6.0).rcode for number in range(10, 30)}
        held.result()
    own_site.lab.run("prlimit", "--pid", pid, f"--nofile={limit}:")

    assert rcodes <= {"NOERROR", "SERVFAIL"}
    assert is_alive(own_site)
    assert wait_for(lambda: pod.fetch("h99.many.example.net").is_connected)
    assert wait_for(lambda: pod.resolve("h100.many.example.net", is_tcp=True).rcode == "NOERROR")


def test_f7_without_ports_it_degrades_and_recovers(lab: Lab) -> None:
    """Two ephemeral ports for all of the node (`cannot assign requested address`): answers or SERVFAIL, no end, and later all is well."""
    usual = lab.run("cat", "/proc/sys/net/ipv4/ip_local_port_range").stdout.split()
    lab.inside.lay([Sysctl(topology.NODE, "ipv4/ip_local_port_range", "40000 40001")])
    lab.internet.generate("many.example.net")
    site = Site(lab, lab.run_dnsfw({}))
    site.allow("web", names("*.example.net"))
    pod = site.pod("web")
    rcodes = [pod.resolve(f"h{number}.many.example.net", timeout=6.0).rcode for number in range(20)]
    lab.inside.lay([Sysctl(topology.NODE, "ipv4/ip_local_port_range", " ".join(usual))])

    assert set(rcodes) <= {"NOERROR", "SERVFAIL"}
    assert "NOERROR" in rcodes
    assert is_alive(site)
    assert wait_for(lambda: pod.fetch("h99.many.example.net").is_connected)


# ---- F8


def test_f8_full_disk_never_blocks_dns(lab: Lab) -> None:
    """The audit's file system is full: questions are answered as before, status counts what waits, and the audit goes on with room."""
    small = lab.folder / "small"
    lab.run("mkdir", str(small))
    mounted = lab.run("mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small))
    assert mounted.status == 0, mounted.stderr
    lab.internet.generate("many.example.net")
    site = Site(lab, lab.run_dnsfw({}, "--audit-db", str(small / "audit.db")))
    site.allow("web", names("*.example.net"))
    pod = site.pod("web")
    assert pod.fetch("h0.many.example.net").is_connected
    lab.run("dd", "if=/dev/zero", f"of={small}/filler", "bs=4k")
    cycles = pod.cycle([f"h{number}.many.example.net" for number in range(1, 1500)])
    lab.run("rm", str(small / "filler"))

    assert (cycles.failed, cycles.unanswered) == ([], [])
    assert is_alive(site)
    assert wait_for(lambda: "after.example.net" in audited(site, small, pod), timeout=20)


def audited(site: Site, folder: Path, pod: Pod) -> str:
    pod.resolve("after.example.net")
    return site.lab.dnsfw("audit", "--audit-db", str(folder / "audit.db"), "--name", "after.example.net", "-o", "json").stdout


# ---- F9


OWN = [(server, is_tcp) for server in (topology.LISTEN4, topology.LISTEN6) for is_tcp in (False, True)]


@pytest.mark.parametrize(("server", "is_tcp"), OWN)
def test_f9_dns_to_our_own_address_needs_no_room_in_conntrack(own_site: Site, server: str, is_tcp: bool) -> None:
    """Neither the question nor its answer becomes a connection; a question to another resolver does, since its answer is translated."""
    pod = furnished(own_site)
    own_site.lab.run("conntrack", "-F")
    direct = pod.resolve("h2.many.example.net", server=server, is_tcp=is_tcp)
    tracked = asked_connections(own_site, pod)
    redirected = pod.resolve("h2.many.example.net", server="192.0.2.77", is_tcp=is_tcp)

    assert direct.addresses == redirected.addresses != []
    assert tracked == []
    assert asked_connections(own_site, pod) != []


def asked_connections(site: Site, pod: Pod) -> list[str]:
    listed = site.lab.run("cat", "/proc/net/nf_conntrack").stdout.splitlines()
    return [line for line in listed if "dport=53 " in line and any(ip_address(each).exploded in line for each in pod.addresses)]


@pytest.mark.long
def test_f9_full_conntrack_table_opens_nothing(own_site: Site) -> None:
    """No room for one more connection: nothing passes that may not, our own address still answers, and what may is back with the room.

    The table's size is the machine's, and no namespace may change it: it is filled with a quarter of a million entries.
    """
    pod = furnished(own_site)
    size = int(own_site.lab.run("cat", "/proc/sys/net/netfilter/nf_conntrack_max").stdout)
    filler = str(Path(__file__).parent / "fill_conntrack.py")
    filled = own_site.lab.run(sys.executable, filler, str(size), timeout=300)
    assert filled.status == 0, filled.stderr
    assert int(own_site.lab.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count").stdout) > size - 100
    outcomes = {to: pod.connect(to, timeout=0.5).is_connected for to in (FORBIDDEN, topology.METADATA4, "198.18.0.1")}
    refused = [pod.resolve("www.elsewhere.example", server=server, is_tcp=is_tcp).rcode for server, is_tcp in OWN]
    cached = [pod.resolve("h1.many.example.net", server=server, is_tcp=is_tcp).addresses for server, is_tcp in OWN]
    redirected = pod.resolve("h1.many.example.net", server="192.0.2.77", timeout=1)
    assert is_alive(own_site)
    own_site.lab.run("conntrack", "-F")

    assert not any(outcomes.values())
    assert refused == ["NXDOMAIN"] * len(OWN)
    assert all(addresses == ["198.18.0.1"] for addresses in cached)
    assert redirected.rcode == "TIMEOUT"
    assert wait_for(lambda: pod.fetch("h5.many.example.net").is_connected)


# ---- F11


def test_f11_hand_over_is_one_after_the_other(own_site: Site) -> None:
    """Two at once are refused (the second says why); stop and start lose no grant, and answers are back at once."""
    pod = furnished(own_site)
    second = own_site.lab.dnsfw("run", *own_site.program.arguments)
    own_site.program.stop()
    between = [pod.connect("198.18.0.1").is_connected, pod.connect(FORBIDDEN).is_connected]
    own_site.program.start()
    own_site.program.wait_ready()

    assert second.status == 1
    assert "another dnsfw keeps table" in second.stderr
    assert between == [True, False]
    assert pod.connect("198.18.0.1").is_connected
    assert pod.fetch("h7.many.example.net").is_connected
    assert json.loads(own_site.lab.dnsfw("grants", "--api", f"unix:{own_site.program.socket}", "-o", "json").stdout)


# ---- F6


def test_f6_address_taken_over_while_it_is_in_use(own_site: Site) -> None:
    """A pod is deleted and another has its address in the same save, while a connection pushes: nothing of the first is the second's."""
    pod = furnished(own_site)
    stream = own_site.stream(pod, pod.resolve("h1.many.example.net").address)
    for turn in range(5):
        with own_site.change() as change:
            pod.become(f"shop/next-{turn}")
        if turn == 0:
            assert stream.is_cut_by(change.in_force_at)
        assert not pod.connect("198.18.0.1").is_connected
        assert pod.fetch("h1.many.example.net").is_connected
