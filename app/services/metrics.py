"""Prometheus metrics, read off the parts when they are asked for; every label is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from app.db.database import Database
from app.db.tables import Job
from app.engine.engine import EngineStats
from app.engine.predictor import Predictor


class Metrics(Collector):
    """What the engine and the queue have to say; `restarts` counts, by kind, the service's processes that
    were started anew."""

    def __init__(
        self, engine: Predictor, db: Database, restarts: Callable[[], Mapping[str, int]] = dict
    ) -> None:
        self._engine = engine
        self._db = db
        self._restarts = restarts
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._engine_metrics()
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
        with self._db.read() as session:
            return [(s, n) for s, n in session.execute(select(Job.status, func.count()).group_by(Job.status))]

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
