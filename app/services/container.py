"""The use cases of one process, built once by `app.main`."""

from __future__ import annotations

from dataclasses import dataclass

from app.db.database import Database
from app.services.audit import AuditLog
from app.services.datasets import Datasets
from app.services.files import Files
from app.services.growing import Growing
from app.services.health import Health
from app.services.identities import Identities
from app.services.jobs import Jobs
from app.services.keys import Keys
from app.services.methods import Methods
from app.services.metrics import Metrics
from app.services.models import Models
from app.services.recommendations import Recommendations
from app.services.registry import Registry
from app.services.requests import Requests
from app.services.serving import Serving
from app.settings import Settings
from models.shelf import Shelf


@dataclass(frozen=True)
class Services:
    settings: Settings
    db: Database
    shelf: Shelf
    registry: Registry
    serving: Serving
    keys: Keys
    audit: AuditLog
    files: Files
    datasets: Datasets
    methods: Methods
    metrics: Metrics
    health: Health
    requests: Requests
    identities: Identities
    jobs: Jobs
    models: Models
    growing: Growing
    recommendations: Recommendations
