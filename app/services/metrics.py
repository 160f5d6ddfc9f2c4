"""Prometheus metrics, read off the parts when they are asked for; every label is bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from app.db.database import Database
from app.db.tables import Job
from app.engine.engine import EngineStats
from app.engine.predictor import Predictor
from app.engine.stats import Duration
from app.services.health import REASONS
from app.services.requests import Requests
from models.errors import DurianError
from models.features import size as cache_size

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics(Collector):
    """What the engine and the queue have to say; `restarts` counts, by kind, the service's processes that
    were started anew."""

    def __init__(
        self,
        engine: Predictor,
        db: Database,
        features: Path,
        requests: Requests,
        degraded: Callable[[], list[str]],
        restarts: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._engine = engine
        self._db = db
        self._features = features
        self._requests = requests
        self._degraded = degraded
        self._restarts = restarts
        self._counted: list[tuple[str, int]] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._requests.collect()
        yield from self._engine_metrics()
        yield self._degraded_metric()
        yield GaugeMetricFamily(
            "durian_features_cached_bytes", "The cache of features on disk", cache_size(self._features)
        )
        restarts = CounterMetricFamily(
            "durian_restarts", "Processes of the service that were started anew", labels=["process"]
        )
        for process, times in self._restarts().items():
            restarts.add_metric([process], times)
        yield restarts
        jobs = GaugeMetricFamily("durian_jobs", "Fine-tuning jobs by status", labels=["status"])
        for status, count in self._jobs():
            jobs.add_metric([status], count)
        yield jobs

    def _jobs(self) -> list[tuple[str, int]]:
        """Without the database, what it said last."""
        query = select(Job.status, func.count()).group_by(Job.status)
        with suppress(DurianError), self._db.read(hasty=True) as session:
            self._counted = [(status, n) for status, n in session.execute(query)]
        return self._counted

    def _degraded_metric(self) -> Metric:
        family = GaugeMetricFamily(
            "durian_degraded", "1 for what does not work as it should", labels=["reason"]
        )
        now = self._degraded()
        for reason in REASONS:
            family.add_metric([reason], float(reason in now))
        return family

    def _engine_metrics(self) -> Iterator[Metric]:
        stats = self._engine.stats()
        device = GaugeMetricFamily(
            "durian_device", "1 for the device that runs the backbones", labels=["device"]
        )
        device.add_metric([stats.device], 1)
        yield device
        yield GaugeMetricFamily("durian_lanes", "Inference threads", stats.lanes)
        waiting = GaugeMetricFamily(
            "durian_waiting_inputs", "Inputs in the engine's queue", labels=["priority"]
        )
        waiting.add_metric(["serving"], stats.waiting)
        waiting.add_metric(["background"], stats.waiting_background)
        yield waiting
        yield from self._memory_metrics(stats)
        yield from self._backbone_metrics(stats)
        yield _phases(stats)
        yield _batches(stats)

    @staticmethod
    def _memory_metrics(stats: EngineStats) -> Iterator[Metric]:
        if stats.memory_budget is not None:
            yield GaugeMetricFamily(
                "durian_memory_budget_bytes", "What loaded backbones and heads may take", stats.memory_budget
            )
        loaded = GaugeMetricFamily("durian_loaded", "Backbones and heads in memory", labels=["kind"])
        size = GaugeMetricFamily("durian_loaded_bytes", "What they take", labels=["kind"])
        evictions = CounterMetricFamily("durian_evictions", "Unloaded to make room", labels=["kind"])
        for use in stats.memory:
            loaded.add_metric([use.kind], use.loaded)
            size.add_metric([use.kind], use.nbytes)
            evictions.add_metric([use.kind], use.evictions)
        yield from (loaded, size, evictions)

    @staticmethod
    def _backbone_metrics(stats: EngineStats) -> Iterator[Metric]:
        inputs = CounterMetricFamily("durian_inputs", "Inputs run through a backbone", labels=["backbone"])
        batches = CounterMetricFamily("durian_batches", "Batches run through a backbone", labels=["backbone"])
        seen: dict[str, tuple[int, int]] = {}
        for backbone in stats.backbones:  # two of one id, where one was replaced on disk
            n, runs = seen.get(backbone.id, (0, 0))
            seen[backbone.id] = (n + backbone.counters.inferences, runs + backbone.counters.executions)
        for id, (n, runs) in seen.items():
            inputs.add_metric([id], n)
            batches.add_metric([id], runs)
        yield inputs
        yield batches


def _phases(stats: EngineStats) -> Metric:
    """How long requests waited and batches took, over all backbones."""
    family = SummaryMetricFamily(
        "durian_phase_seconds",
        "Time in the engine: queue (a request), prepare, run and answer (a batch)",
        labels=["phase"],
    )
    all_of_them = [backbone.counters for backbone in stats.backbones]
    for phase, durations in {
        "queue": [c.queue for c in all_of_them],
        "prepare": _compute("input", stats),
        "run": _compute("infer", stats),
        "answer": _compute("output", stats),
    }.items():
        count, ns = sum(d.count for d in durations), sum(d.ns for d in durations)
        family.add_metric([phase], count, ns / 1e9)
    return family


def _compute(phase: str, stats: EngineStats) -> list[Duration]:
    return [getattr(batch, phase) for b in stats.backbones for batch in b.counters.batches.values()]


def _batches(stats: EngineStats) -> Metric:
    """How many inputs ran together."""
    sizes: Counter[int] = Counter()
    for backbone in stats.backbones:
        for size, batch in backbone.counters.batches.items():
            sizes[size] += batch.infer.count
    bounds = [(str(bound), sum(n for size, n in sizes.items() if size <= bound)) for bound in _BATCH_SIZES]
    family = HistogramMetricFamily("durian_batch_size", "Inputs a batch", labels=[])
    total = sum(size * n for size, n in sizes.items())
    family.add_metric([], [*bounds, ("+Inf", sizes.total())], total)
    return family
