"""Views and their JSON."""

import json

import pytest

from dnsfw.api.metrics import MAX_SERIES, texts_of
from dnsfw.api.sources import GrantsFilter, MetricView, Sample
from dnsfw.api.views import (
    AuditView,
    GrantView,
    GuardsView,
    KernelView,
    RefusedView,
    StatusView,
    SwitchView,
    UpstreamView,
    ViewError,
    WorkerView,
    from_json,
    to_json,
)
from dnsfw.audit.filters import parse_name_filter

STATUS = StatusView(
    version="0.1.0",
    ready=True,
    pid=7,
    started_at=1.5,
    uptime_s=2.0,
    listen=("127.0.0.1:53",),
    upstreams=(UpstreamView(address="192.0.2.53:53", state="up"),),
    guards=GuardsView(source=SwitchView(is_on=True, why="veth*")),
    kernel=KernelView(structure_checked_s=1.0, features=("owner",)),
    refused=(RefusedView(namespace="shop", pod="app1", refused_packets=3),),
    audit=AuditView(lost=1),
    workers=(WorkerView(number=0, pid=8, ready=True, queries=5), WorkerView(number=1, pid=0, ready=False, restarts=2)),
)
GRANT = GrantView(
    namespace="shop",
    pod="app1",
    address="198.51.100.7",
    ports="tcp/443",
    names=("www.example.net",),
    rule="shop/app1",
    number=3,
    remaining_s=9.5,
)


@pytest.mark.parametrize("view", [pytest.param(STATUS, id="status"), pytest.param(GRANT, id="grant")])
def test_views_survive_json(view: StatusView | GrantView) -> None:
    """What the process sends is what the command line sees."""
    assert from_json(type(view), json.loads(json.dumps(to_json(view)))) == view


def test_other_versions_are_borne() -> None:
    """A field that only the other side knows is no error: it is left out, or takes its default."""
    document = to_json(STATUS) | {"novelty": 1}
    del document["cache"]
    document["uptime_s"] = 2

    assert from_json(StatusView, document) == STATUS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"version": None}, r"StatusView\.version: str was expected, found NoneType", id="null"),
        pytest.param({"pid": "7"}, r"StatusView\.pid: int was expected, found str", id="text"),
        pytest.param({"pid": True}, r"StatusView\.pid: int was expected, found bool", id="bool-is-no-int"),
        pytest.param({"listen": "all"}, r"StatusView\.listen: a list was expected", id="no-list"),
        pytest.param({"audit": []}, r"AuditView: an object was expected", id="no-object"),
        pytest.param({"upstreams": [{"address": "x"}]}, r"UpstreamView\.state is missing", id="missing"),
    ],
)
def test_what_is_no_view_is_refused(change: dict[str, object], message: str) -> None:
    """Something else that answers at the address is not shown as if it were dnsfw."""
    with pytest.raises(ViewError, match=message):
        from_json(StatusView, to_json(STATUS) | change)


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        pytest.param({}, True, id="everything"),
        pytest.param({"namespace": "shop", "pod": "app1"}, True, id="pod"),
        pytest.param({"namespace": "bank"}, False, id="other-namespace"),
        pytest.param({"pod": "app2"}, False, id="other-pod"),
        pytest.param({"pattern": parse_name_filter("*.example.net")}, True, id="below"),
        pytest.param({"pattern": parse_name_filter("example.net")}, False, id="other-name"),
    ],
)
def test_grants_filter(wanted: dict[str, object], takes: bool) -> None:
    """The same filters as the audit's."""
    assert GrantsFilter(**wanted).takes(GRANT) is takes


def test_a_name_that_is_none_matches_nothing() -> None:
    """Adopted grants have no names; an unreadable one is no match and no error."""
    odd = GrantView(namespace="", pod="", address="", ports="", names=("a..b",), rule="", number=1, remaining_s=0.0)

    assert not GrantsFilter(pattern=parse_name_filter("*.b")).takes(odd)


def counter(*samples: Sample) -> MetricView:
    return MetricView(name="dnsfw_forwarder_queries_total", help="Queries.", is_counter=True, samples=samples)


def test_metrics_are_prometheus_text() -> None:
    """One heading a family, one line a series, counters and gauges."""
    text = b"".join(texts_of(counter(Sample((("decision", "allowed"),), 5), Sample((("decision", "refused"),), 2)))).decode()
    gauge = MetricView(name="dnsfw_enforce_grants_addresses", help="Live.", is_counter=False, samples=(Sample((), 7),))

    assert text.splitlines() == [
        "# HELP dnsfw_forwarder_queries_total Queries.",
        "# TYPE dnsfw_forwarder_queries_total counter",
        'dnsfw_forwarder_queries_total{decision="allowed"} 5.0',
        'dnsfw_forwarder_queries_total{decision="refused"} 2.0',
    ]
    assert b"dnsfw_enforce_grants_addresses 7.0\n" in b"".join(texts_of(gauge))


def test_a25_label_values_cannot_break_out() -> None:
    """Quotes, line ends and backslashes in a pod's name stay inside the label."""
    (text,) = texts_of(counter(Sample((("pod", 'x"} 1\nevil_total{a="\\'),), 1)))

    assert len(text.splitlines()) == 3
    assert b'{pod="x\\"} 1\\nevil_total{a=\\"\\\\"} 1.0' in text


def test_a25_cardinality_is_bounded() -> None:
    """However many pods come and go, a family stays small, and its sum right."""
    samples = tuple(Sample((("pod", f"p{number}"),), 1) for number in range(5_000))
    lines = [line for line in b"".join(texts_of(counter(*samples))).decode().splitlines() if not line.startswith("#")]

    assert len(lines) == MAX_SERIES
    assert lines[-1] == f'dnsfw_forwarder_queries_total{{pod="other"}} {5_000 - MAX_SERIES + 1}.0'


def test_family_without_series_still_has_its_heading() -> None:
    """A counter that nothing has counted yet is known to exist."""
    assert b"# TYPE dnsfw_forwarder_queries_total counter" in b"".join(texts_of(counter()))


@pytest.mark.parametrize(
    ("name", "is_counter", "label"),
    [
        pytest.param("dnsfw_queries", False, "pod", id="no-unit"),
        pytest.param("dnsfw_forwarder_queries", True, "pod", id="counter-without-total"),
        pytest.param("dnsfw_forwarder_queries_total", False, "pod", id="gauge-with-total"),
        pytest.param("dnsfw_forwarder_queries_total", True, "name", id="a25-raw-name-as-label"),
    ],
)
def test_metric_that_breaks_the_rules_is_not_born(name: str, is_counter: bool, label: str) -> None:
    """Names follow the house's form, and no label can hold what a client chooses."""
    with pytest.raises(ValueError, match=name):
        MetricView(name=name, help="", is_counter=is_counter, samples=(Sample(((label, "x"),), 1),))
