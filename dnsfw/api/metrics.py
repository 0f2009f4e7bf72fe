"""Metrics in Prometheus' text format, one family at a time so that the loop breathes between them.

Pure. Always true: a family has at most `MAX_SERIES` series; what is beyond is summed up as "other".
"""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dnsfw.api.sources import MetricView, Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES = 1_000


@dataclass(frozen=True, slots=True, eq=False)  # the registry hashes its collectors, and families cannot be hashed
class _One(Collector):
    family: Metric

    def collect(self) -> Iterator[Metric]:
        yield self.family


def text_of(metric: MetricView) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_One(_family(metric)))
    return generate_latest(registry)


def _family(metric: MetricView) -> Metric:
    names = [name for name, _ in metric.samples[0].labels] if metric.samples else []
    kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=names)
    for sample in bounded(metric.samples):
        family.add_metric([value for _, value in sample.labels], sample.value)
    return family


def bounded(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    if len(samples) <= MAX_SERIES:
        return samples
    kept, rest = samples[: MAX_SERIES - 1], samples[MAX_SERIES - 1 :]
    other = tuple((name, "other") for name, _ in rest[0].labels)
    return (*kept, Sample(other, sum(sample.value for sample in rest)))
