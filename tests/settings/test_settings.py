"""Settings from flags, environment and file: one meaning, one order, every fault named."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from dnsfw.api.settings import TcpAddress, UnixAddress
from dnsfw.audit.settings import AuditSettings
from dnsfw.cli.run import run
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.forwarder.settings import Endpoint, ForwarderSettings, Refusal
from dnsfw.names import parse_name
from dnsfw.policy.model import PolicySettings
from dnsfw.settings import LogFormat, LogSettings, RunSettings, SettingsError, settings_from
from dnsfw.settings.table import SETTINGS
from dnsfw.sources.settings import FilesSettings

NEEDED = {
    "listen": ["192.0.2.53:53"],
    "upstream": ["192.0.2.1"],
    "rules": "rules",
    "pods": "pods.yaml",
    "audit-db": "state/audit.db",
    "api": "unix:s",
}
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of these tests alone


def made(**flags: str | list[str]) -> RunSettings:
    return settings_from({**NEEDED, **{name.replace("_", "-"): value for name, value in flags.items()}}, {})


def faults(flags: dict[str, str | list[str]], environ: dict[str, str] | None = None, config: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings_from({**NEEDED, **flags}, environ or {}, config)
    return list(caught.value.faults)


def test_few_flags_are_enough() -> None:
    """What is not said is the packages' own default."""
    listen, upstream = Endpoint(ip_address("192.0.2.53"), 53), Endpoint(ip_address("192.0.2.1"), 53)

    assert made() == RunSettings(
        files=FilesSettings(rules=Path("rules"), pods=Path("pods.yaml")),
        policy=PolicySettings(cluster_domain=parse_name("cluster.local")),
        forwarder=ForwarderSettings(listen=(listen,), upstreams=(upstream,)),
        enforce=EnforceSettings(
            listener4=(ip_address("192.0.2.53"), 53),
            own=(ip_address("192.0.2.53"),),
            exempt=(upstream.address,),
            journal=Path("state/dnsfw.journal"),
        ),
        audit=AuditSettings(path=Path("state/audit.db")),
        api=made().api,
        log=LogSettings(),
        workers=1,
    )
    assert made().api.address == UnixAddress(Path("s"))


def test_every_flag_reaches_its_field(tmp_path: Path) -> None:
    """Each setting ends where the table says."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    settings = made(
        listen=["192.0.2.53:5353", "[2001:db8::53]:53", "192.0.2.54"],
        upstream=["192.0.2.1:9053", "[2001:db8::1]", "2001:db8::2"],
        node_name="node-1",
        interface=["veth*", "eth0"],
        cluster_cidr=["10.0.0.0/8", "2001:db8:1::/48"],
        cluster_domain="Cluster.Example.",
        protected_cidr=["198.51.100.0/24"],
        refusal="refused",
        dns_filter="off",
        audit_days="7",
        audit_size="512MiB",
        api="192.0.2.53:9155",
        api_token_file=str(tmp_path / "token"),
        log_format="json",
        log_level="debug",
        table="fw2",
        answer_timeout="3.5",
        upstream_timeout="0.4",
        pod_timeout="1",
        tcp_idle_timeout="20",
        tcp_message_timeout="5",
        max_queries_per_pod="200",
        max_addresses_per_answer="500",
        max_tcp_connections_per_pod="20",
        max_tcp_connections="400",
        max_names_per_minute="6000",
        max_queries_per_second="5000",
        wildcard_refuse_type=["txt", "NULL", "TYPE65280"],
        max_wildcard_name="100",
        max_wildcard_label="40",
        mark_mask="0x00ff0000",
        packet_mark="0x1",
        max_grants_per_pod="1000",
        max_grants="2000",
        workers="4",
    )

    assert settings.files.node_name == "node-1"
    assert settings.policy == PolicySettings(
        cluster_networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")),
        protected_networks=(ip_network("198.51.100.0/24"),),
        cluster_domain=parse_name("cluster.example"),
        is_dns_filtered=False,
    )
    assert [str(each) for each in settings.forwarder.upstreams] == ["192.0.2.1:9053", "[2001:db8::1]:53", "[2001:db8::2]:53"]
    assert (settings.forwarder.refusal, settings.forwarder.interfaces) == (Refusal.REFUSED, ("veth*", "eth0"))
    forwarder = settings.forwarder
    assert (forwarder.answer_seconds, forwarder.upstream_seconds, forwarder.pod_wait_seconds) == (3.5, 0.4, 1.0)
    assert (forwarder.tcp_idle_seconds, forwarder.tcp_message_seconds) == (20.0, 5.0)
    assert (forwarder.in_flight_per_pod, forwarder.addresses_per_answer) == (200, 500)
    assert (forwarder.tcp_connections_per_pod, forwarder.tcp_connections) == (20, 400)
    assert (forwarder.names_per_minute, forwarder.queries_per_second) == (6000, 5000)
    assert forwarder.wildcard_refused_types == (16, 10, 65280)
    assert (forwarder.wildcard_name_octets, forwarder.wildcard_label_octets) == (100, 40)
    assert settings.enforce == EnforceSettings(
        table="fw2",
        ct_mask=0x00FF0000,
        packet_mark=1,
        interfaces=("veth*", "eth0"),
        listener4=(ip_address("192.0.2.53"), 5353),
        listener6=(ip_address("2001:db8::53"), 53),
        own=(ip_address("2001:db8::53"), ip_address("192.0.2.54")),
        exempt=tuple(map(ip_address, ("192.0.2.1", "2001:db8::1", "2001:db8::2"))),
        journal=Path("state/fw2.journal"),
        grants_per_pod=1000,
        grants_per_node=2000,
    )
    assert settings.audit == AuditSettings(path=Path("state/audit.db"), max_age_s=7 * 86400.0, max_bytes=512 << 20)
    assert (settings.api.address, settings.api.token) == (TcpAddress(ip_address("192.0.2.53"), 9155), TOKEN)
    assert settings.log == LogSettings(format=LogFormat.JSON, level="debug")
    assert settings.workers == 4


def test_flag_wins_over_environment_over_file(tmp_path: Path) -> None:
    """Each setting is taken from the nearest place that says it, repeatable ones whole."""
    config = tmp_path / "dnsfw.yaml"
    config.write_text("cluster-domain: file.example\ncluster-cidr: [192.0.2.0/24, 198.51.100.0/24]\ndns-filter: off\nmax-grants: 5000\n")
    environ = {
        "DNSFW_CLUSTER_DOMAIN": "env.example",
        "DNSFW_INTERFACE": "eth0 veth*",
        "DNSFW_CLUSTER_CIDR": "203.0.113.0/24",
        "DNSFW_TABLE": "",
    }
    settings = settings_from({**NEEDED, "interface": ["lo"]}, environ, config)

    assert settings.policy.cluster_domain == parse_name("env.example")
    assert settings.policy.cluster_networks == (ip_network("203.0.113.0/24"),)
    assert settings.enforce.interfaces == ("lo",)
    assert settings.enforce.table == "dnsfw"
    assert (settings.policy.is_dns_filtered, settings.enforce.grants_per_node) == (False, 5000)


def test_mistyped_variable_is_told() -> None:
    """It would otherwise be as if nothing had been said; what Kubernetes says of services called dnsfw is not ours."""
    services = {"DNSFW_SERVICE_HOST", "DNSFW_PORT", "DNSFW_PORT_53_UDP_ADDR", "DNSFW_METRICS_SERVICE_PORT_HTTP"}
    mistyped = {"DNSFW_PROTECTED_CIDRS": "192.0.2.0/24", "DNSFW_DNSFILTER": "off", "DNSFW_SURPRISE": ""}

    assert faults({}, {"DNSFW_CONFIG": "x", "UNRELATED": "x"} | dict.fromkeys(services, "x") | mistyped) == [
        'DNSFW_DNSFILTER: unknown setting; did you mean "DNSFW_DNS_FILTER"?',
        'DNSFW_PROTECTED_CIDRS: unknown setting; did you mean "DNSFW_PROTECTED_CIDR"?',
        "DNSFW_SURPRISE: unknown setting; `dnsfw run --help` lists all",
    ]


def test_file_says_the_same_as_flags(tmp_path: Path) -> None:
    """The keys are the flags' names; a repeatable setting may stand alone."""
    config = tmp_path / "dnsfw.yaml"
    config.write_text(
        "listen: 192.0.2.53:53\nupstream: [192.0.2.1]\nrules: rules\npods: pods.yaml\naudit-db: state/audit.db\napi: unix:s\n"
    )

    assert settings_from({}, {}, config) == made()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("clusterdomain: x\n", ':1: clusterdomain: unknown setting; did you mean "cluster-domain"?', id="unknown"),
        pytest.param("zzz: x\n", ":1: zzz: unknown setting; one of listen, upstream", id="far-off"),
        pytest.param("\nrefusal: servfail\n", ':2: refusal: "servfail" is not known; one of nxdomain, refused', id="value"),
        pytest.param("table: [a]\n", ":1: table: must be one value", id="list"),
        pytest.param("cluster-cidr: []\n", ":1: cluster-cidr: has 0 entries; at least 1", id="empty-list"),
        pytest.param(
            "cluster-cidr:\n- 10.0.0.0/8\n- 10.0.0.1/8\n",
            ':3: cluster-cidr[1]: "10.0.0.1/8" has host bits set; write "10.0.0.0/8"',
            id="element",
        ),
        pytest.param("table:\n", ":1: table: must be one value", id="null"),
        pytest.param("a: [\n", ":2: not YAML", id="yaml"),
        pytest.param("", ": must be one mapping of settings", id="empty"),
        pytest.param("- a\n", ": must be one mapping of settings", id="sequence"),
        pytest.param("table: a\n---\ntable: b\n", ": must be one mapping of settings", id="two"),
        pytest.param("table: a\ntable: b\n", ':2: "table" stands twice', id="twice"),
    ],
)
def test_fault_in_the_file_names_its_line(tmp_path: Path, text: str, told: str) -> None:
    """File, line, key, what is wrong and what would be right."""
    config = tmp_path / "dnsfw.yaml"
    config.write_text(text)
    (fault,) = faults({}, config=config)

    assert fault.startswith(f"{config}{told}")


def test_file_must_be_readable(tmp_path: Path) -> None:
    """A file that was named and is not there is no empty one."""
    (tmp_path / "bad").write_bytes(b"\xff")

    assert faults({}, config=tmp_path / "none") == [f"{tmp_path}/none: does not exist"]
    assert faults({}, config=tmp_path / "bad") == [f"{tmp_path}/bad:1: is not UTF-8"]


def test_all_that_is_missing_or_wrong_is_told_at_once() -> None:
    """One run names every fault, each with the place it was said in."""
    with pytest.raises(SettingsError) as caught:
        settings_from({"listen": ["::"], "refusal": "x"}, {"DNSFW_TABLE": "a b"})

    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "--upstream",
        "--rules",
        "--pods",
        "--listen",
        "--refusal",
        "DNSFW_TABLE",
    ]
    assert caught.value.exit_code == 2


BAD_FLAGS = [
    ("listen", "192.0.2.53:0", "0 is not a port; 1 to 65535"),
    ("listen", "192.0.2.53:65536", "65536 is not a port"),
    ("listen", "192.0.2.53:", "nothing is not a port"),
    ("listen", "192.0.2.53:५३", "is not a port"),
    ("listen", "localhost:53", "has no IP address; such as 192.0.2.1:53"),
    ("listen", "[192.0.2.53", "has no IP address"),
    ("listen", "[::]:53", "is every address; one address"),
    ("listen", "224.0.0.1:53", "multicast"),
    ("listen", "[fe80::1%eth0]:53", "zoned"),
    ("upstream", "[::]:53", "nobody's address"),
    ("upstream", "", "has no IP address"),
    ("rules", "", "is empty; a path"),
    ("rules", "a\0b", "NUL"),
    ("node-name", "Node_1", '"Node_1" is not a valid name'),
    ("interface", "*", "is not an interface"),
    ("interface", "a*b", "is not an interface"),
    ("interface", "a" * 16, "at most 15 characters"),
    ("interface", "a/b", "is not an interface"),
    ("interface", "..", "is not an interface"),
    ("interface", 'a"b', "is not an interface"),
    ("cluster-cidr", "10.0.0.1/8", 'has host bits set; write "10.0.0.0/8"'),
    ("cluster-cidr", "ten", "is not a CIDR"),
    ("cluster-domain", ".", "every name the cluster's"),
    ("cluster-domain", "a..b", "a label is empty"),
    ("protected-cidr", "192.0.2.1", 'write "192.0.2.1/32"'),
    ("refusal", "nxdomian", 'did you mean "nxdomain"?'),
    ("dns-filter", "true", "one of on, off"),
    ("audit-days", "0", "out of range; 1 to 3,650"),
    ("audit-days", "1.5", "out of range"),
    ("audit-size", "1KiB", "16 MiB to 1024 GiB"),
    ("audit-size", "2PB", "not a fitting size"),
    ("audit-size", "big", "such as 512MiB"),
    ("api", "unix:", "the path is missing"),
    ("api", "unix:" + "a" * 108, "108 bytes"),
    ("api", "9155", "write unix:PATH"),
    ("api-token-file", "/nonexistent/token", "No such file"),
    ("log-format", "xml", "one of text, json"),
    ("log-level", "warn", 'did you mean "warning"?'),
    ("table", "1st", "a letter, then"),
    ("table", "a" * 33, "at most 32"),
    ("mark-mask", "0x7f", "at least 8 bits side by side"),
    ("mark-mask", "0xff00ff", "not a run of bits"),
    ("mark-mask", "0", "not a mark"),
    ("mark-mask", "0x1ffffffff", "not a mark"),
    ("mark-mask", "ff", "not a mark"),
    ("packet-mark", "0x3", "is not one bit"),
    ("workers", "0", "1 to 64"),
    ("workers", "65", "1 to 64"),
    ("max-grants-per-pod", "99", "100 to 10,000,000"),
    ("max-grants", "1e6", "out of range"),
    ("max-addresses-per-answer", "99", "100 to 4,096"),
    ("max-names-per-minute", "-1", "0 to 1,000,000"),
    ("max-wildcard-name", "256", "0 to 255"),
    ("max-wildcard-label", "64", "0 to 63"),
    ("wildcard-refuse-type", "TEXT", "such as TXT, NULL or TYPE65280"),
    ("wildcard-refuse-type", "TYPE65536", "not a record type"),
    ("answer-timeout", "1.4", "1.5 to 30 seconds"),
    ("answer-timeout", "4s", "out of range"),
    ("upstream-timeout", "nan", "0.05 to 10 seconds"),
]


@pytest.mark.parametrize(("name", "text", "told"), [pytest.param(*bad, id=f"{bad[0]}-{index}") for index, bad in enumerate(BAD_FLAGS)])
def test_unfit_value_is_told_with_what_would_be_right(name: str, text: str, told: str) -> None:
    """Nothing is guessed, clamped or ignored."""
    (fault,) = faults({name: text if name not in ("listen", "upstream") else [text]})

    assert fault.startswith(f"--{name}: ")
    assert told in fault


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        pytest.param({"upstream": ["192.0.2.53"]}, "is our own --listen", id="loop"),
        pytest.param(
            {"max-grants": "1000", "max-grants-per-pod": "2000"}, "--max-grants-per-pod: 2000 is above --max-grants 1000", id="quota"
        ),
        pytest.param({"api": "192.0.2.53:9155"}, "it needs a token", id="token"),
    ],
)
def test_values_that_do_not_fit_together(flags: dict[str, str | list[str]], told: str) -> None:
    """What is right by itself may be wrong beside another."""
    (fault,) = faults(flags)

    assert told in fault


def test_loopback_needs_no_token() -> None:
    """Whoever is on the node may ask."""
    assert made(api="127.0.0.1:9155").api.token is None


@pytest.mark.parametrize(
    "content", [pytest.param("short", id="short"), pytest.param(f"{TOKEN} {TOKEN}", id="two"), pytest.param("é" * 20, id="umlaut")]
)
def test_token_file_must_hold_a_token(tmp_path: Path, content: str) -> None:
    """A secret that could be guessed, or is something else, is none; it does not show in the message."""
    (tmp_path / "token").write_text(content)
    (fault,) = faults({"api-token-file": str(tmp_path / "token")})

    assert "--api-token-file" in fault
    assert content not in fault


def test_same_value_twice_is_one() -> None:
    """A repeated network or listener is no fault and no second one."""
    assert len(made(cluster_cidr=["10.0.0.0/8", "10.0.0.0/8"]).policy.cluster_networks) == 1
    assert len(made(listen=["192.0.2.53", "192.0.2.53:53"]).forwarder.listen) == 1


def test_table_is_whole() -> None:
    """Names and fields are unique, and `run` has exactly these flags and --config."""
    names = [setting.name for setting in SETTINGS]
    fields = [(setting.owner, setting.field) for setting in SETTINGS]

    assert len(set(names)) == len(names)
    assert len(set(fields)) == len(fields)
    assert set(run.__annotations__) == {name.replace("-", "_") for name in names} | {"config"}


def test_port_53_is_sent_where_it_can_go() -> None:
    """A listener on loopback answers who asks it, but nothing forwarded reaches it: the next one of the family is the pods'."""
    enforce = made(listen=["127.0.0.1", "192.0.2.53", "[2001:db8::1]:5353"]).enforce

    assert (enforce.listener4, enforce.own) == ((ip_address("192.0.2.53"), 53), tuple(map(ip_address, ("127.0.0.1", "192.0.2.53"))))
