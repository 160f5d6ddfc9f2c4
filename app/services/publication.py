"""From a finished job's folder to a served version: verified, warmed, registered, swapped in.

The order is what makes it safe. Bytes are checked and made durable before anything names them; golden
examples run through the engine before `live` moves; the row, the alias and the job's end are one
transaction, guarded by the fence of the job's claim. A failure anywhere leaves the old version serving.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.db import queue
from app.db.database import Database
from app.db.tables import Alias, Job, Model, Report, Version
from app.engine.engine import Engine
from app.engine.model import LoadedModel
from app.services.artefacts import Artefacts
from app.services.catalogue import LIVE
from app.services.claims import Claim
from app.services.ids import new_id, now
from app.services.registry import Registry
from models.events import Event
from models.manifest import GOLDEN, HEAD, REPORT, Manifest
from models.novelty import NOVELTY
from models.report import Report as ReportBody

_NAMED = select(Model).where(Model.tenant == bindparam("tenant"), Model.name == bindparam("name"))


@dataclass(frozen=True)
class Published:
    name: str
    version: int
    digest: str


class Publisher:
    def __init__(self, db: Database, artefacts: Artefacts, engine: Engine, registry: Registry) -> None:
        self.db = db
        self.artefacts = artefacts
        self.engine = engine
        self.registry = registry

    def publish(self, claim: Claim, output: Path) -> Published | None:
        """Publish what a job wrote to `output`; None when the job was cancelled or taken over.

        While the database is away it waits. Raises CorruptArtefact when the artefact is not what its manifest
        says, or does not give its golden outputs.
        """
        job = claim.job
        report = ReportBody.model_validate_json((output / REPORT).read_bytes())
        manifest = self.artefacts.admit(output)
        self._check(manifest)
        version = claim.patiently(lambda: self._register(job, manifest, report))
        if version is None:
            return None
        self.registry.refresh()
        return Published(job.target, version, manifest.digest)

    def _register(self, job: Job, manifest: Manifest, report: ReportBody) -> int | None:
        with self.db.write() as session, session.no_autoflush:  # rows are written together, at the end
            return _register(session, job, manifest, report)

    def _check(self, manifest: Manifest) -> None:
        """Load an admitted artefact and run golden examples. Raises CorruptArtefact."""
        _, files = self.artefacts.load(manifest.digest)
        model = LoadedModel.load(manifest, 0, files[HEAD], self.engine.providers, novelty=files.get(NOVELTY))
        self.engine.warm(model, files[GOLDEN])


def _register(session: Session, job: Job, manifest: Manifest, report: ReportBody) -> int | None:
    if not queue.holds(session, job.id, job.fence):
        return None
    model = _next(session, job.tenant, job.target)
    result = _result(job, model.last_version, manifest, report)
    session.add(_version(job, model, manifest, result["metrics"]))
    session.add(Report(job_id=job.id, body=report.model_dump_json()))
    _go_live(session, model)
    end = {"finished_at": now(), "result": result, "fine_tuned_model": model.name}
    queue.finish(session, job.id, job.fence, "succeeded", end)
    done = Event(
        message=f"{model.name} version {model.last_version} is live.", data={"progress": 1.0, "phase": "done"}
    )
    queue.append_events(session, job.id, now(), [done])
    session.flush()  # while the model is in memory: the audit log looks it up for each of its rows
    return model.last_version


def _version(job: Job, model: Model, manifest: Manifest, metrics: dict[str, Any]) -> Version:
    return Version(
        model_id=model.id,
        version=model.last_version,
        artefact=manifest.digest,
        manifest=manifest.model_dump(mode="json"),
        metrics=metrics,
        job_id=job.id,
        created_at=now(),
    )


def _next(session: Session, tenant: str, name: str) -> Model:
    """The model with the number of a version that is still to be added."""
    model = session.scalar(_NAMED, {"tenant": tenant, "name": name})
    if model is not None:
        model.last_version += 1
        return model
    model = Model(id=new_id("model"), tenant=tenant, name=name, created_at=now(), last_version=1)
    session.add(model)
    session.flush()  # before the rows that name it
    return model


def _go_live(session: Session, model: Model) -> None:
    live = Alias(model_id=model.id, alias=LIVE, version=model.last_version)
    if model.last_version == 1:
        session.add(live)  # there was none
    else:
        session.merge(live)


def _result(job: Job, version: int, manifest: Manifest, report: ReportBody) -> dict[str, Any]:
    return {
        "model": job.target,
        "version": version,
        "digest": manifest.digest,
        "backbone": manifest.backbone.id,
        "tap": manifest.tap,
        "method": manifest.method,
        "hyperparameters": dict(manifest.hyperparameters),
        "metrics": {**report.metrics, "estimate": report.estimate.model_dump(mode="json")},
        "timings": dict(report.timings),
    }
