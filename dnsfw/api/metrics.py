"""Metrics in Prometheus' text format, in portions so that the loop breathes between them.

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
_PORTION = 20  # series of some 40 µs each


@dataclass(frozen=True, slots=True, eq=False)  # the registry hashes its collectors, and families cannot be hashed
class _One(Collector):
    family: Metric

    def collect(self) -> Iterator[Metric]:
        yield self.family


def texts_of(metric: MetricView) -> Iterator[bytes]:
    """The family in portions; each but the first goes without the heading that generate_latest writes."""
    samples = bounded(metric.samples)
    for start in range(0, max(len(samples), 1), _PORTION):
        text = _text(metric, samples[start : start + _PORTION])
        yield text if start == 0 else b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"# "))


def _text(metric: MetricView, samples: tuple[Sample, ...]) -> bytes:
    names = [name for name, _ in samples[0].labels] if samples else []
    kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=names)
    for sample in samples:
        family.add_metric([value for _, value in sample.labels], sample.value)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_One(family))
    return generate_latest(registry)


def bounded(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    if len(samples) <= MAX_SERIES:
        return samples
    kept, rest = samples[: MAX_SERIES - 1], samples[MAX_SERIES - 1 :]
    other = tuple((name, "other") for name, _ in rest[0].labels)
    return (*kept, Sample(other, sum(sample.value for sample in rest)))
