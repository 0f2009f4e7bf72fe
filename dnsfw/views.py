"""What the running process shows of itself, put together from its parts; the API and the command line show these values and nothing
else.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address
from typing import Protocol

from dnsfw import __version__
from dnsfw.api.sources import GrantsFilter, MetricView, Sample
from dnsfw.api.views import (
    AuditView,
    CacheView,
    GrantView,
    GuardsView,
    KernelView,
    PodsView,
    RefusedView,
    SnapshotView,
    StatusView,
    SwitchView,
    UpstreamView,
    WorkerView,
)
from dnsfw.audit.pipeline import AuditPipeline
from dnsfw.clock import Clock
from dnsfw.enforce.enforcer import Enforcer, GrantRow, is_adopted
from dnsfw.forwarder.cache import CacheStats
from dnsfw.forwarder.service import ForwarderStats
from dnsfw.forwarder.settings import Endpoint
from dnsfw.names import format_name
from dnsfw.policy.model import World
from dnsfw.policy.snapshot import Snapshot, Stance
from dnsfw.settings import RunSettings
from dnsfw.sources.files import FileSource


class Serving(Protocol):
    """Whoever answers queries: this process's forwarder, or a team of workers."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...

    def stats(self) -> ForwarderStats: ...


class Views:
    """Looks at the parts; changes nothing."""

    def __init__(  # noqa: PLR0917 -- one of each part
        self,
        settings: RunSettings,
        clock: Clock,
        enforcer: Enforcer,
        serving: Serving,
        audit: AuditPipeline,
        source: FileSource,
        world: Callable[[], World],
        workers: Callable[[], tuple[WorkerView, ...]],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._enforcer = enforcer
        self._serving = serving
        self._audit = audit
        self._source = source
        self._world = world
        self._workers = workers
        self._started_wall, self._started = clock.wall(), clock.now()

    def status(self) -> StatusView:
        snapshot, stats, enforcement = self._enforcer.snapshot, self._serving.stats(), self._enforcer.stats()
        workers = self._workers()
        not_ready = tuple(filter(None, [enforcement.trouble, "" if snapshot else "no rules have been read yet", *_absent(workers)]))
        return StatusView(
            version=__version__,
            ready=not not_ready,
            pid=os.getpid(),
            started_at=self._started_wall,
            uptime_s=self._clock.now() - self._started,
            not_ready=not_ready,
            listen=tuple(map(str, self._serving.endpoints)),
            upstreams=tuple(
                UpstreamView(
                    address=server.address,
                    state=server.state.value,
                    queries=server.answers + server.timeouts + server.refusals,
                    failures=server.timeouts + server.refusals,
                )
                for server in stats.upstreams.servers
            ),
            snapshot=self._snapshot(snapshot),
            pods=self._pods(snapshot),
            problems=(*map(str, self._source.problems), *filter(None, [enforcement.journal_problem])),
            guards=self._guards(),
            kernel=self._kernel(),
            grants=enforcement.grants,
            numbers_used=enforcement.numbers,
            numbers_total=self._settings.enforce.highest_number,
            refused=tuple(self._refused(snapshot)),
            audit=self._audit_view(),
            cache=_cache(stats.cache),
            workers=workers,
        )

    def grants(self, wanted: GrantsFilter) -> Iterator[GrantView]:
        for row in self._enforcer.grants():
            pod = row.subject.pod
            if wanted.namespace in {None, pod.namespace} and wanted.pod in {None, pod.name}:
                yield self._grant(row)

    def metrics(self) -> Iterable[MetricView]:
        stats, enforcement, audit = self._serving.stats(), self._enforcer.stats(), self._audit.counts()
        yield _labelled("dnsfw_forwarder_queries_total", "Queries that are over, by decision.", "decision", stats.by_decision.items())
        yield _labelled("dnsfw_forwarder_reasons_total", "Queries that are over, by reason.", "reason", stats.by_reason.items())
        yield _labelled("dnsfw_forwarder_dropped_total", "Messages that got no answer.", "reason", stats.dropped.items())
        yield _gauge("dnsfw_forwarder_in_flight_queries", "Queries that are being answered.", stats.in_flight)
        yield _counter("dnsfw_forwarder_cache_hits_total", "Answers that came from the cache.", stats.cache.hits)
        yield _labelled(
            "dnsfw_forwarder_upstream_mismatches_total",
            "Datagrams from upstream's address that answered no question of ours.",
            "upstream",
            ((server.address, server.mismatches) for server in stats.upstreams.servers),
        )
        yield from _worker_metrics(self._workers())
        yield _gauge("dnsfw_enforce_ready_state", "1 while grants are given.", int(not enforcement.trouble))
        yield _gauge("dnsfw_enforce_grants_addresses", "Addresses in the ledger.", enforcement.grants)
        yield _gauge("dnsfw_enforce_numbers_used", "Decision numbers in use.", enforcement.numbers)
        yield _counter("dnsfw_enforce_commits_total", "Transactions over raw netlink.", enforcement.commits)
        yield _counter("dnsfw_enforce_rebuilds_total", "Rebuilds of the table after someone else changed it.", enforcement.rebuilds)
        yield _counter("dnsfw_enforce_mended_total", "Elements that were not what they should be.", enforcement.mended)
        yield _counter("dnsfw_audit_records_written_total", "Audit records on disk.", audit.written)
        yield _counter("dnsfw_audit_records_lost_total", "Audit records that were lost; each loss left a gap record.", audit.lost)

    def _snapshot(self, snapshot: Snapshot | None) -> SnapshotView:
        if snapshot is None:
            return SnapshotView()
        age = self._clock.now() - self._enforcer.in_force_since
        return SnapshotView(serial=snapshot.serial, age_s=age, rules=len(self._world().rules), warnings=snapshot.warnings)

    def _pods(self, snapshot: Snapshot | None) -> PodsView:
        if snapshot is None:
            return PodsView()
        selected = sum(subject.policy.stance is not Stance.UNTOUCHED for subject in snapshot.subjects.values())
        return PodsView(
            known=len(snapshot.subjects),
            selected=selected,
            untouched=len(snapshot.subjects) - selected,
            conflicts=tuple(sorted(map(str, snapshot.conflicts))),
            not_enforceable=tuple(sorted(str(pod) for pod in self._world().pods if pod.is_host_network)),
        )

    def _guards(self) -> GuardsView:
        settings = self._settings.enforce
        interfaces = ", ".join(settings.interfaces)
        has_guard = self._enforcer.stats().has_guard
        return GuardsView(
            source=SwitchView(is_on=bool(interfaces), why=interfaces or "no --interface was given, so a pod may use another's address"),
            redirect4=_redirect(settings.listener4, "IPv4"),
            redirect6=_redirect(settings.listener6, "IPv6"),
            guard_table=SwitchView(is_on=has_guard, why="" if has_guard else "this kernel has no owned tables (Linux 5.12)"),
        )

    def _kernel(self) -> KernelView:
        features, stats = self._enforcer.state.kernel.features, self._enforcer.stats()
        named = {"renews-by-add": features.renews_by_add, "destroy": features.has_destroy, "owner": features.has_owner}
        return KernelView(
            table=f"inet {self._settings.enforce.table}",
            version=features.version,
            features=tuple(name for name, has in named.items() if has),
            structure_checked_s=self._enforcer.since_compared(),
            structure_repairs=stats.rebuilds,
            commits=stats.commits,
            commit_p50_us=stats.commit_p50_us,
            commit_p99_us=stats.commit_p99_us,
            commit_failures=stats.commit_failures,
        )

    def _refused(self, snapshot: Snapshot | None) -> Iterator[RefusedView]:
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for (uid, _), (refused, would) in self._enforcer.refusals().items() if snapshot else ():
            pod = snapshot.subjects[uid].pod  # type: ignore[union-attr]  # nothing is refused without a snapshot
            before = sums.get((pod.namespace, pod.name), (0, 0))
            sums[(pod.namespace, pod.name)] = (before[0] + refused, before[1] + would)
        for (namespace, name), (refused, would) in sorted(sums.items()):
            yield RefusedView(namespace=namespace, pod=name, refused_packets=refused, would_refuse_packets=would)

    def _audit_view(self) -> AuditView:
        counts = self._audit.counts()
        return AuditView(
            path=str(self._settings.audit.path), written=counts.written, lost=counts.lost, queued=counts.queued, trouble=counts.trouble
        )

    def _grant(self, row: GrantRow) -> GrantView:
        adopted = is_adopted(row.claim.name)
        return GrantView(
            namespace=row.subject.pod.namespace,
            pod=row.subject.pod.name,
            address=str(ip_address(row.address)),
            ports=str(row.claim.permit.ports),
            names=() if adopted else (format_name(row.claim.name),),
            rule=str(row.claim.permit.rule),
            number=row.number or 0,
            remaining_s=round(self._enforcer.remaining(row.claim.until), 1),
            is_adopted=adopted,
        )


def _absent(workers: Iterable[WorkerView]) -> Iterator[str]:
    for worker in workers:
        if not worker.ready:
            yield f"worker {worker.number} has ended or not begun; its pods wait"


def _cache(stats: CacheStats) -> CacheView:
    return CacheView(entries=stats.entries, bytes=stats.bytes, hits=stats.hits, misses=stats.misses)


def _redirect(listener: object, family: str) -> SwitchView:
    if listener is None:
        return SwitchView(is_on=False, why=f"no listener that pods can be sent to over {family}; their port 53 is rejected")
    return SwitchView(is_on=True)


def _worker_metrics(workers: Sequence[WorkerView]) -> Iterator[MetricView]:
    if workers:
        queries = [(str(worker.number), worker.queries) for worker in workers]
        restarts = [(str(worker.number), worker.restarts) for worker in workers]
        yield _labelled("dnsfw_workers_queries_total", "Queries that a worker has taken; pods are divided among them.", "worker", queries)
        yield _labelled("dnsfw_workers_restarts_total", "Processes of a worker that have ended.", "worker", restarts)


def _gauge(name: str, text: str, value: float) -> MetricView:
    return MetricView(name=name, help=text, is_counter=False, samples=(Sample((), value),))


def _counter(name: str, text: str, value: float) -> MetricView:
    return MetricView(name=name, help=text, is_counter=True, samples=(Sample((), value),))


def _labelled(name: str, text: str, label: str, values: Iterable[tuple[str, int]]) -> MetricView:
    samples = tuple(Sample(((label, word),), count) for word, count in values)
    return MetricView(name=name, help=text, is_counter=True, samples=samples)
