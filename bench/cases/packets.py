"""What the table costs connections and packets: the same ones with 100,000 grants, and with connection tracking alone.

Touches what `Setup` gives, and a table of its own in the node's namespace.
"""

import subprocess
from ipaddress import ip_address

from bench import kernel, zone
from bench.cases.grants import GRANTS
from bench.figures import Bar, Result, Series
from bench.lab import end
from bench.load import Questions, put
from bench.program import Dnsfw, Document, Setting, rule
from bench.servers import python
from bench.setup import Setup
from bench.shell import run

_ALONE = "conntrack alone"
_CONNECTS, _PACKETS = 3_000, 100_000
_TRACKED = (
    "table inet alone { chain forward { type filter hook forward priority 0; ct state established,related accept; ct state new accept; }; }"
)


def connect(setup: Setup) -> Result:
    ours, alone = Series("dnsfw", "µs a connect"), Series(_ALONE, "µs a connect")
    result = Result("connect", f"A connect and a packet through the table with {GRANTS:,} grants", [alone, ours])
    run(setup.lab.outside(["ip", "route", "add", "local", "64.0.0.0/8", "dev", "lo"]))
    listener = subprocess.Popen(setup.lab.outside(python("bench.clients", "listen")))
    try:
        for number in range(setup.rounds):
            run(["nft", "-f", "-"], _TRACKED)
            _measure(setup, alone)
            kernel.clear()
            with _program(setup, number) as server:
                names = (f"{name} A" for name in zone.names("day", range(1, GRANTS + 1)))
                put(setup.lab, server.target, Questions(setup.folder / "fill", names), seconds=300, is_once=True, pods=1, is_pod=False)
                _measure(setup, ours)
                ours.note("elements in the kernel", server.installed_count())
    finally:
        end(listener)
        run(setup.lab.outside(["ip", "route", "del", "local", "64.0.0.0/8", "dev", "lo"]))
    result.bars.append(
        Bar(what="connect through the table against conntrack alone", value=ours.median / alone.median, bar=1.1, unit="×", is_ceiling=True)
    )
    return result


def _program(setup: Setup, number: int) -> Dnsfw:
    """The load's own address is the pod here, since only datagrams are given other sources."""
    server = Dnsfw(setup.folder / f"connect-{number}", is_caching=False)
    ports: list[Document] = [{"port": 443}, {"port": 443, "protocol": "UDP"}]
    server.setting = Setting(rules=(rule("plain", ["*.example.net"], namespace="plain", ports=ports),), pods=1)
    return server


def _measure(setup: Setup, series: Series) -> None:
    first = str(ip_address(zone.packed_address(1)))
    run(setup.lab.pods(python("bench.clients", "connects", first, "500")))
    series.values.append(float(run(setup.lab.pods(python("bench.clients", "connects", first, str(_CONNECTS))))))
    series.note("packets/s", float(run(setup.lab.pods(python("bench.clients", "packets", first, str(_PACKETS))))))
