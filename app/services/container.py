"""The use cases of one process, built once by `app.main`."""

from __future__ import annotations

from dataclasses import dataclass

from app.db.database import Database
from app.engine.engine import Engine
from app.runners.base import Runner
from app.services.datasets import Datasets
from app.services.features import Embedder
from app.services.files import Files
from app.services.growing import Growing
from app.services.identities import Identities
from app.services.jobs import Jobs
from app.services.keys import Keys
from app.services.methods import Methods
from app.services.metrics import Metrics
from app.services.models import Models
from app.services.publication import Publisher
from app.services.recommendations import Recommendations
from app.services.registry import Registry
from app.services.serving import Serving
from app.services.specs import SpecBuilder
from app.settings import Settings
from models.shelf import Shelf


@dataclass(frozen=True)
class Services:
    settings: Settings
    db: Database
    shelf: Shelf
    engine: Engine
    runner: Runner
    registry: Registry
    serving: Serving
    embedder: Embedder
    keys: Keys
    files: Files
    datasets: Datasets
    methods: Methods
    metrics: Metrics
    identities: Identities
    jobs: Jobs
    models: Models
    growing: Growing
    specs: SpecBuilder
    publisher: Publisher
    recommendations: Recommendations
