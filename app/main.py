"""The service, wired: the one place where parts meet."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi_offline import FastAPIOffline
from starlette.middleware.errors import ServerErrorMiddleware

from app.api import (
    administration,
    backbones,
    datasets,
    faults,
    files,
    jobs,
    models,
    oip,
    operations,
    predictions,
    recommendations,
)
from app.api.bodies import Bodies
from app.api.gate import Gate
from app.api.load import Load
from app.api.observe import Observe
from app.api.quick import Quick
from app.api.turnstile import Turnstile
from app.db import queue
from app.db.database import Database
from app.decoding.decoders import Decoders
from app.engine.blas import use_one_thread
from app.engine.engine import Engine
from app.engine.limit import memory_limit
from app.engine.memory import Memory
from app.engine.predictor import Predictor
from app.engine.providers import providers
from app.engine.queue import Limits
from app.runners.base import Advisor, Runner
from app.runners.local import LocalRunner
from app.services.artefacts import Artefacts
from app.services.audit import AuditLog
from app.services.bucket import Bucket, open_bucket
from app.services.catalogue import Catalogue
from app.services.container import Services
from app.services.data import DataSource
from app.services.datasets import Datasets
from app.services.features import Embedder
from app.services.files import Files
from app.services.growing import Growing
from app.services.health import Health
from app.services.identities import Identities
from app.services.jobs import Jobs
from app.services.keys import Keys
from app.services.methods import Methods
from app.services.metrics import Metrics
from app.services.models import Models
from app.services.plan import Planner
from app.services.presence import Presence
from app.services.publication import Publisher
from app.services.quotas import Quotas
from app.services.rates import Rates
from app.services.recommendations import Recommendations
from app.services.reconcile import reconcile
from app.services.registry import Registry, open_here
from app.services.requests import Requests
from app.services.serving import Serving
from app.services.shared import SharedArtefacts, SharedBlobs
from app.services.specs import SpecBuilder
from app.services.sweep import Sweeper
from app.services.workers import Workers
from app.settings import Settings
from app.worker import Worker
from models import __version__
from models.dataset import Pack
from models.disk import Disk
from models.errors import DurianError
from models.features import FeatureCache
from models.shelf import Shelf
from models.store import BlobStore

log = logging.getLogger(__name__)

ROUTERS = (
    predictions.router,
    files.router,
    datasets.router,
    jobs.router,
    models.router,
    backbones.router,
    recommendations.router,
    oip.router,
    administration.router,
    operations.router,
)


@dataclass(frozen=True)
class Ground:
    """What every process of a service stands on."""

    settings: Settings
    db: Database
    disk: Disk
    blobs: BlobStore
    artefacts: Artefacts
    shelf: Shelf
    presence: Presence
    decoders: Decoders
    bucket: Bucket | None

    @classmethod
    def of(cls, settings: Settings) -> Ground:
        """Opened, with the database's schema brought up to date and what a crash left cleared away."""
        presence = Presence(settings.data)
        db, disk = Database(settings.database_url), Disk(settings.data, settings.min_free_bytes)
        try:
            db.migrate()
            reconcile(settings, db, presence)
            bucket = open_bucket(settings)
        except BaseException:
            presence.close()
            raise
        return cls(
            settings,
            db,
            disk,
            SharedBlobs(settings.blobs, bucket, disk) if bucket else BlobStore(settings.blobs, disk),
            SharedArtefacts(settings.artefacts, bucket, disk)
            if bucket
            else Artefacts(settings.artefacts, disk),
            Shelf(settings.backbone_roots),
            presence,
            decoders(settings, settings.decoders),
            bucket,
        )

    def close(self) -> None:
        self.db.close()
        self.presence.close()


def decoders(settings: Settings, most: int) -> Decoders:
    """Children that decode, at most so many at a time."""
    return Decoders(most, memory=settings.decode_memory, seconds=settings.decode_seconds)


@dataclass(frozen=True)
class Behind:
    """What stands behind the services: `ahead` is given new packs, `wake` told of new jobs; `restarts` counts
    those of other processes."""

    engine: Predictor
    runner: Advisor
    registry: Registry
    serving: Serving
    ahead: Callable[[Pack], None]
    wake: Callable[[], None]
    restarts: Callable[[], Mapping[str, int]] = dict
    degraded: Callable[[], Iterable[str]] = tuple


class Life(Protocol):
    """A process that an app starts and closes with itself."""

    @property
    def services(self) -> Services: ...
    def start(self, *, worker: bool) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Process:
    """The parts of a process that does everything, and their life."""

    ground: Ground
    services: Services
    engine: Engine
    decoders: Sequence[Decoders]
    runner: Runner
    embedder: Embedder
    worker: Worker
    sweeper: Sweeper

    def start(self, *, worker: bool) -> None:
        """Load what is published, then take requests and, if asked, jobs."""
        use_one_thread()
        # The training side takes a second to import; nobody needs to wait for that to predict.
        threading.Thread(target=self._warm, name="warm-training", daemon=True).start()
        self.services.registry.start()
        self.services.health.start()
        self.engine.preload_pinned()
        if worker:
            self.worker.start()
            self.sweeper.start()

    def _warm(self) -> None:
        for pool in self.decoders:
            pool.warm()
        try:
            self.services.methods.all()
        except DurianError as error:
            log.error("no job can run: %s", error.message)

    def close(self) -> None:
        self.services.health.close()
        self.worker.stop()
        self.sweeper.close()
        self.embedder.close()
        self.services.registry.close()
        self.engine.close()
        for pool in self.decoders:
            pool.close()
        self.runner.close()
        self.ground.close()


def build(
    settings: Settings,
    runner: Runner | None = None,
    applied: Callable[[int], None] = lambda _: None,
    device_lost: Callable[[], None] = lambda: None,
) -> Process:
    """Every part, connected; nothing runs yet. `applied` is told of each change of what is served,
    `device_lost` when a GPU no longer computes."""
    runner = runner or LocalRunner(settings.job_memory)
    ground = Ground.of(settings)
    inputs = decoders(settings, settings.lanes)  # one a lane, apart from uploads: none waits for another
    memory = Memory(settings.memory_budget or memory_limit() // 2)
    engine = Engine(
        ground.shelf,
        lanes=settings.lanes,
        max_queue=Limits(settings.max_queue, settings.max_queue_tenant, settings.max_queue_model),
        gpu_streams=settings.gpu_streams,
        device_lost=device_lost,
        providers=providers(settings.device, tensorrt=settings.tensorrt),
        memory=memory,
        pinned=settings.pinned,
        decoders=inputs,
        max_seconds=settings.predict_seconds,
    )
    catalogue = Catalogue(memory)
    registry = Registry(ground.db, catalogue, partial(open_here, ground.artefacts, engine.providers), applied)
    features = FeatureCache(settings.features)
    embedder = Embedder(engine, ground.shelf, features)
    worker = _worker(ground, runner, embedder, Publisher(ground.db, ground.artefacts, engine, registry))
    serving = Serving(engine, catalogue, registry.refresh)
    behind = Behind(engine, runner, registry, serving, embedder.ahead, worker.wake, degraded=engine.degraded)
    sweeper = Sweeper(settings, ground.db, bucket=ground.bucket, features=features)
    pools = ground.decoders, inputs
    return Process(ground, services(ground, behind), engine, pools, runner, embedder, worker, sweeper)


def _worker(ground: Ground, runner: Runner, embedder: Embedder, publisher: Publisher) -> Worker:
    datasets = Datasets(ground.db, ground.blobs, ground.decoders, embedder.ahead)
    data = DataSource(ground.blobs, datasets)
    specs = SpecBuilder(ground.settings, ground.blobs, ground.artefacts, ground.shelf, data)
    return Worker(ground.settings, ground.db, runner, embedder, specs, publisher)


def services(ground: Ground, behind: Behind) -> Services:
    """The use cases."""
    settings, db = ground.settings, ground.db
    keys = Keys(db, settings.pepper_file)
    quotas = Quotas(settings.max_tenant_bytes, settings.max_tenant_examples)
    datasets = Datasets(db, ground.blobs, ground.decoders, behind.ahead, quotas)
    data = DataSource(ground.blobs, datasets)
    methods = Methods(behind.runner, Workers(db).methods)
    health, requests = _health(ground, behind), Requests()
    planner = Planner(ground.shelf, settings.max_classes, lambda: behind.engine.device)
    jobs = Jobs(db, data, planner, methods, settings.max_queued_jobs, behind.wake, behind.registry.refresh)
    return Services(
        settings=settings,
        db=db,
        shelf=ground.shelf,
        registry=behind.registry,
        serving=behind.serving,
        keys=keys,
        audit=AuditLog(db),
        identities=Identities(keys, settings.auth),
        files=Files(db, ground.blobs, ground.decoders, behind.ahead, quotas),
        datasets=datasets,
        methods=methods,
        metrics=Metrics(behind.engine, db, settings.features, requests, health.degraded, behind.restarts),
        requests=requests,
        health=health,
        jobs=jobs,
        models=Models(db, behind.registry.refresh),
        growing=Growing(db, datasets, jobs),
        recommendations=Recommendations(settings, db, data, ground.blobs, ground.shelf, behind.runner),
    )


def _health(ground: Ground, behind: Behind) -> Health:
    db = ground.db

    def database() -> Iterable[str]:
        db.probe()
        with db.read() as session:
            return ["job_queue_full"] if queue.longest(session) >= ground.settings.max_queued_jobs else []

    probes = (database, ground.disk.degraded, behind.degraded)
    return Health(probes, (db.trouble.degraded, ground.disk.broken, behind.registry.degraded))


def create_app(settings: Settings, *, worker: bool = True, runner: Runner | None = None) -> FastAPI:
    """The ASGI app, all in this process. `worker=False` leaves jobs to other processes."""
    return app_of(build(settings, runner), worker=worker)


def app_of(process: Life, *, worker: bool) -> FastAPI:
    """The ASGI app over a process, which starts and ends with it."""
    settings = process.services.settings

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(process.start, worker=worker)
        yield
        await run_in_threadpool(process.close)

    app = FastAPIOffline(  # the same, with its pages' scripts served from here: no network is needed
        title="Durian",
        version=__version__,
        summary="Transfer learning over HTTP: a handful of examples in, a served ONNX model out.",
        lifespan=lifespan,
        redoc_url=None,
        static_url="/docs-assets",
    )
    services, load = process.services, Load(settings.max_wait_seconds)
    app.state.services = services
    app.state.process = process
    app.state.turnstile = Turnstile(services.identities, load, services.requests)
    faults.install(app)
    for router in ROUTERS:
        app.include_router(router)
    # Our layers go around the framework's, so that what a short cut answers costs nothing of those; but for
    # the outermost, which would answer what nobody foresaw: the gate does.
    stack = app.build_middleware_stack()
    routed = Quick(stack.app if isinstance(stack, ServerErrorMiddleware) else stack, services)
    bodies = Bodies(settings.max_json_bytes, settings.max_upload_bytes, settings.max_body_bytes)
    rates = Rates(settings.max_requests_per_second)
    gate = Gate(routed, services.identities, bodies, rates, load)
    app.middleware_stack = Observe(gate, services.requests, services.health)
    return app
