"""What the table costs connections and packets: the same ones with 100,000 grants, with connection tracking alone, and with NAT.

Touches what `Setup` gives, and a table of its own in the node's namespace.
"""

import time
from ipaddress import ip_address

from bench import kernel, zone
from bench.cases.grants import GRANTS
from bench.figures import Bar, Result, Series
from bench.load import Questions, put
from bench.program import Dnsfw, Document, Setting, rule
from bench.servers import python
from bench.setup import Setup
from bench.shell import BenchError, run

_ALONE = "conntrack alone"
_NODE = "conntrack and a NAT chain"
_PARTS, _CONNECTS, _PACKETS = 20, 1_000, 10_000
_PAUSE_S = 0.2
_ATTEMPTS = 3
_TRACKED = (
    "table inet alone { chain forward { type filter hook forward priority 0; ct state established,related accept; ct state new accept; }; }"
)

# As every node with kube-proxy has one: from then on the kernel looks for each connection's translation. Ours asks for it too (port 53).
_TRANSLATED = f"{_TRACKED}\ntable inet translated {{ chain services {{ type nat hook prerouting priority -100; }}; }}"


def connect(setup: Setup) -> Result:
    alone, node, ours = (Series(name, "µs a connect") for name in (_ALONE, _NODE, "dnsfw"))
    result = Result("connect", f"A connect and a packet through the table with {GRANTS:,} grants", [alone, node, ours])
    run(setup.lab.outside(["ip", "route", "add", "local", "64.0.0.0/8", "dev", "lo"]))
    try:
        for number in range(setup.rounds):
            for ruleset, series in ((_TRACKED, alone), (_TRANSLATED, node)):
                run(["nft", "-f", "-"], ruleset)
                _measure(setup, series)
                kernel.clear()
            with _program(setup, number) as server:
                _fill(setup, server)
                _measure(setup, ours)
                ours.note("elements in the kernel", server.installed_count())
    finally:
        run(setup.lab.outside(["ip", "route", "del", "local", "64.0.0.0/8", "dev", "lo"]))
    result.bars.append(
        Bar(what="connect through the table against conntrack alone", value=ours.median / alone.median, bar=1.1, unit="×", is_ceiling=True)
    )
    return result


def _fill(setup: Setup, server: Dnsfw) -> None:
    """Every name, for the first ones' addresses are connected to; all once more where an answer was lost."""
    for _ in range(_ATTEMPTS):
        names = (f"{name} A" for name in zone.names("day", range(1, GRANTS + 1)))
        load = put(setup.lab, server.target, Questions(setup.folder / "fill", names), seconds=300, is_once=True, pods=1, is_pod=False)
        if load.sent == GRANTS and not load.failures("NOERROR"):
            return
    raise BenchError(f"{load.failures('NOERROR')} of {load.sent} names got no answer that grants")


def _program(setup: Setup, number: int) -> Dnsfw:
    """The load's own address is the pod here, since only datagrams are given other sources."""
    server = Dnsfw(setup.folder / f"connect-{number}", is_caching=False)
    ports: list[Document] = [{"port": 443}, {"port": 443, "protocol": "UDP"}]
    server.setting = Setting(rules=(rule("plain", ["*.example.net"], namespace="plain", ports=ports),), pods=1)
    return server


def _measure(setup: Setup, series: Series) -> None:
    """The quickest of many short parts: a core's speed changes by half from one second to the next, for all alike."""
    first = str(ip_address(zone.packed_address(1)))
    took, rates = [], []
    for _ in range(_PARTS):
        time.sleep(_PAUSE_S)
        took.append(_client(setup, "connects", first, _CONNECTS))
        rates.append(_client(setup, "packets", first, _PACKETS))
    series.values.append(min(took))
    series.note("packets/s", max(rates))


def _client(setup: Setup, what: str, first: str, count: int) -> float:
    return float(run(setup.lab.outside(python("bench.clients", what, setup.lab.pods_net, first, str(count)))))
