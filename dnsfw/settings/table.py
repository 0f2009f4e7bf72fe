"""Every setting there is: its name (the flag's, the file's and, as DNSFW_NAME, the environment's), what it may be, and whose field it is.

Pure. To add a setting is to add a line here; its default is that of the field it fills.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from dnsfw.forwarder.settings import Refusal
from dnsfw.settings import values


class LogFormat(Enum):
    TEXT = "text"
    JSON = "json"


class Owner(Enum):
    """Whose settings a value belongs to."""

    FILES = "files"
    POLICY = "policy"
    FORWARDER = "forwarder"
    ENFORCE = "enforce"
    AUDIT = "audit"
    API = "api"
    LOG = "log"
    PROCESSES = "processes"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `parse` raises Unfit; `is_many`: may be repeated; `group`: its heading in the help."""

    name: str
    owner: Owner
    field: str
    parse: Callable[[str], Any]
    metavar: str
    help: str
    is_many: bool = False
    is_required: bool = False
    group: str = "Settings"

    @property
    def variable(self) -> str:
        return f"DNSFW_{self.name.upper().replace('-', '_')}"


_many = partial(Setting, is_many=True)
_limit = partial(Setting, group="Limits (no honest pod meets them)")
_time = partial(Setting, group="Times")
_kernel = partial(Setting, group="Kernel")
_audit = partial(Setting, group="Audit, API and logs")
_MIB, _GIB = 1 << 20, 1 << 30

SETTINGS: tuple[Setting, ...] = (
    _many(
        "listen",
        Owner.FORWARDER,
        "listen",
        values.listener,
        "ADDR[:PORT]",
        "Answer queries here, UDP and TCP; repeatable.",
        is_required=True,
    ),
    _many(
        "upstream",
        Owner.FORWARDER,
        "upstreams",
        values.upstream,
        "ADDR[:PORT]",
        "Ask this resolver; repeatable, the first that answers is kept.",
        is_required=True,
    ),
    Setting("rules", Owner.FILES, "rules", values.path, "PATH", "File or folder of rules; watched.", is_required=True),
    Setting(
        "pods",
        Owner.FILES,
        "pods",
        values.path,
        "PATH",
        "File or folder of pods, as `kubectl get pods -A -o yaml` prints them; watched.",
        is_required=True,
    ),
    Setting("node-name", Owner.FILES, "node_name", values.node_name, "NAME", "Take only this node's pods."),
    _many(
        "interface",
        Owner.ENFORCE,
        "interfaces",
        values.interface,
        "IFACE",
        "The pods' interfaces, by name or such as veth*; repeatable; without any, the source guards are off.",
    ),
    _many(
        "cluster-cidr",
        Owner.POLICY,
        "cluster_networks",
        values.network,
        "CIDR",
        "Pods, services, nodes: passed in both directions, never granted; repeatable.",
    ),
    Setting(
        "cluster-domain",
        Owner.POLICY,
        "cluster_domain",
        values.domain,
        "NAME",
        "Names below it always resolve and grant nothing; default cluster.local.",
    ),
    _many(
        "protected-cidr",
        Owner.POLICY,
        "protected_networks",
        values.network,
        "CIDR",
        "No name ever opens it; beside loopback, link-local, multicast and the like; repeatable.",
    ),
    Setting(
        "refusal",
        Owner.FORWARDER,
        "refusal",
        values.choice({each.value: each for each in Refusal}),
        "nxdomain|refused",
        "How a refused name is answered; default nxdomain.",
    ),
    Setting(
        "dns-filter",
        Owner.POLICY,
        "is_dns_filtered",
        values.choice({"on": True, "off": False}),
        "on|off",
        "off: every name resolves, only addresses are gated; default on.",
    ),
    Setting(
        "workers",
        Owner.PROCESSES,
        "workers",
        values.count(1, 64),
        "COUNT",
        "Processes that answer queries, each pod's always the same; worth it with a core for each; default 1.",
    ),
    _audit(
        "audit-db",
        Owner.AUDIT,
        "path",
        values.path,
        "PATH",
        "The audit's database, the journal beside it; default /var/lib/dnsfw/audit.db as root, else in the user's state folder.",
    ),
    _audit("audit-days", Owner.AUDIT, "max_age_s", values.days, "DAYS", "Older records are deleted; default 30."),
    _audit(
        "audit-size",
        Owner.AUDIT,
        "max_bytes",
        values.size(16 * _MIB, 1024 * _GIB),
        "SIZE",
        "Beyond this, the oldest records are deleted; default 1GiB.",
    ),
    _audit(
        "api",
        Owner.API,
        "address",
        values.api_address,
        "unix:PATH|ADDR:PORT",
        "Where status, grants and metrics are served; default unix:/run/dnsfw/dnsfw.sock as root, else in the user's runtime folder.",
    ),
    _audit("api-token-file", Owner.API, "token", values.token_of, "FILE", "What clients must show; needed on TCP beyond loopback."),
    _audit("log-format", Owner.LOG, "format", values.choice({each.value: each for each in LogFormat}), "text|json", "Default text."),
    _audit(
        "log-level",
        Owner.LOG,
        "level",
        values.choice({word: word for word in ("debug", "info", "warning", "error")}),
        "debug|info|warning|error",
        "The least that is written; default info.",
    ),
    _kernel("table", Owner.ENFORCE, "table", values.table_name, "NAME", "Our nftables table, family inet; default dnsfw."),
    _kernel(
        "mark-mask", Owner.ENFORCE, "ct_mask", values.mark_mask, "MASK", "The bits of the conntrack mark that are ours; default 0xffff0000."
    ),
    _kernel(
        "packet-mark", Owner.ENFORCE, "packet_mark", values.mark_bit, "BIT", "The bit of the packet mark that is ours; default 0x00100000."
    ),
    _limit(
        "max-grants-per-pod",
        Owner.ENFORCE,
        "grants_per_pod",
        values.count(100, 10_000_000),
        "COUNT",
        "Addresses that one pod may hold grants for; default 100000.",
    ),
    _limit(
        "max-queries-per-pod",
        Owner.FORWARDER,
        "in_flight_per_pod",
        values.count(10, 16_384),
        "COUNT",
        "Queries of one pod that may wait at the same time; default 1000.",
    ),
    _limit(
        "max-addresses-per-answer",
        Owner.FORWARDER,
        "addresses_per_answer",
        values.count(100, 4096),
        "COUNT",
        "Addresses of one answer that are granted and answered; the rest is left out; default 1000.",
    ),
    _limit(
        "max-tcp-connections-per-pod",
        Owner.FORWARDER,
        "tcp_connections_per_pod",
        values.count(1, 10_000),
        "COUNT",
        "DNS over TCP: open connections of one address; default 100.",
    ),
    _limit(
        "max-tcp-connections",
        Owner.FORWARDER,
        "tcp_connections",
        values.count(10, 100_000),
        "COUNT",
        "The same for all pods and one listener; default 1000.",
    ),
    _limit(
        "max-names-per-minute",
        Owner.FORWARDER,
        "names_per_minute",
        values.count(0, 1_000_000),
        "COUNT",
        "Different names that one pod may ask for below one rule's patterns; default 0, no limit.",
    ),
    _limit(
        "max-queries-per-second",
        Owner.FORWARDER,
        "queries_per_second",
        values.count(0, 1_000_000),
        "COUNT",
        "Queries of one pod; default 0, no limit but fair turns.",
    ),
    _limit(
        "wildcard-refuse-type",
        Owner.FORWARDER,
        "wildcard_refused_types",
        values.record_type,
        "TYPE",
        "Refuse this record type where only a wildcard allows the name, such as TXT and NULL against tunnels; repeatable.",
        is_many=True,
    ),
    _limit(
        "max-wildcard-name",
        Owner.FORWARDER,
        "wildcard_name_octets",
        values.count(0, 255),
        "OCTETS",
        "The longest name that a wildcard alone allows; default 0, no limit but DNS's.",
    ),
    _limit(
        "max-wildcard-label",
        Owner.FORWARDER,
        "wildcard_label_octets",
        values.count(0, 63),
        "OCTETS",
        "The longest label of such a name; default 0, no limit but DNS's.",
    ),
    _time(
        "answer-timeout",
        Owner.FORWARDER,
        "answer_seconds",
        values.seconds(1.5, 30),
        "SECONDS",
        "From a query to its answer or SERVFAIL; default 4, since resolvers give up at 5.",
    ),
    _time(
        "upstream-timeout",
        Owner.FORWARDER,
        "upstream_seconds",
        values.seconds(0.05, 10),
        "SECONDS",
        "How long one try at one upstream may take; default 0.8.",
    ),
    _time(
        "pod-timeout",
        Owner.FORWARDER,
        "pod_wait_seconds",
        values.seconds(0, 10),
        "SECONDS",
        "How long a query waits for its pod to become known; default 2.",
    ),
    _time(
        "tcp-idle-timeout",
        Owner.FORWARDER,
        "tcp_idle_seconds",
        values.seconds(0.5, 600),
        "SECONDS",
        "How long a connection may be without a query; default 10.",
    ),
    _time(
        "tcp-message-timeout",
        Owner.FORWARDER,
        "tcp_message_seconds",
        values.seconds(0.5, 600),
        "SECONDS",
        "DNS over TCP: from a message's first byte to its last; default 10.",
    ),
    _limit(
        "max-grants", Owner.ENFORCE, "grants_per_node", values.count(1000, 10_000_000), "COUNT", "The same for all pods; default 2000000."
    ),
)
