"""One request: examples in, model out. A model's own dataset grows, and every batch refits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import Dataset, Job, Model, Version
from app.services.datasets import Added, Datasets, DatasetView, NewExample, rows_of, store_pack
from app.services.ids import check_name, new_id, now
from app.services.jobs import JobRequest, Jobs
from models.dataset import Pack
from models.errors import Conflict, InvalidInput, NotFound

_NOT_YET = frozenset({"too_few_examples", "too_few_classes"})


@dataclass(frozen=True)
class Grown:
    """`job` is None while the examples do not make a model yet; `note` says what is missing."""

    added: Added
    dataset: DatasetView
    job: Job | None
    note: str | None


class Growing:
    def __init__(self, db: Database, datasets: Datasets, jobs: Jobs) -> None:
        self.db = db
        self.datasets = datasets
        self.jobs = jobs

    def add(
        self,
        tenant: str,
        name: str,
        examples: Sequence[NewExample],
        *,
        backbone: str | None = None,
        method: str | None = None,
        modality: str | None = None,
        task: str | None = None,
    ) -> Grown:
        """Store examples under a model's name and start a job on all it has.

        The first batch makes the model's dataset; its modality and task are read off the examples
        unless given. A model that was trained on a file goes on from that file's examples. `backbone` and
        `method` default to those of the model's last version, or for a new model to "auto".
        """
        dataset_id = self._dataset(tenant, check_name(name, "name"), examples, modality, task)
        added = self.datasets.add(tenant, dataset_id, examples)
        job, note = self._job(tenant, name, dataset_id, backbone, method)
        return Grown(added, self.datasets.get(tenant, dataset_id), job, note)

    def _job(
        self, tenant: str, name: str, dataset_id: str, backbone: str | None, method: str | None
    ) -> tuple[Job | None, str | None]:
        with self.db.read() as session:
            last = _last_job(session, _model(session, tenant, name))
        same = last is not None and method in (None, last.method)
        request = JobRequest(
            model=backbone or (name if last is not None else "auto"),
            training_file=dataset_id,
            suffix=name,
            method=last.method if last is not None and same else method or "auto",
            hyperparameters=last.hyperparameters if last is not None and same else {},
        )
        try:
            return self.jobs.create(tenant, request), None
        except InvalidInput as error:
            if error.code not in _NOT_YET:
                raise
            return None, error.message

    def _dataset(
        self,
        tenant: str,
        name: str,
        examples: Sequence[NewExample],
        modality: str | None,
        task: str | None,
    ) -> str:
        with self.db.read() as session:
            model = _model(session, tenant, name)
            last = _last_job(session, model)
        if model is not None and model.dataset_id is not None:
            return model.dataset_id
        seed = None if last is None else self._examples_of(last)
        pack = seed or self.datasets.decoders.pack_rows(rows_of(examples), modality=modality, task=task)
        dataset = Dataset(
            id=new_id("dataset"),
            tenant=tenant,
            created_at=now(),
            name=name,
            modality=pack.input.modality,
            task=pack.task,
            grid=None,
        )
        with self.db.write() as session:
            session.add(dataset)
            session.flush()
            if seed is not None and last is not None:
                store_pack(session, dataset, seed, last.spec["packs"]["training"])
            return _attach(session, tenant, name, dataset)

    def _examples_of(self, job: Job) -> Pack:
        """What a model was trained on. Raises Conflict when that was deleted since."""
        digest = job.spec["packs"]["training"]
        try:
            return Pack.from_bytes(self.datasets.blobs.get(digest))
        except NotFound:
            raise Conflict(
                "The examples that this model was trained on were deleted, so it cannot go on from them: "
                "train it anew under another name.",
                code="examples_gone",
                param="name",
            ) from None


def _model(session: Session, tenant: str, name: str) -> Model | None:
    return session.scalar(select(Model).where(Model.tenant == tenant, Model.name == name))


def _last_job(session: Session, model: Model | None) -> Job | None:
    """The job that made the newest version; None for a model without versions."""
    if model is None or not model.last_version:
        return None
    made = (Version.model_id == model.id) & (Version.job_id == Job.id)
    return session.scalar(select(Job).join(Version, made).order_by(Version.version.desc()).limit(1))


def _attach(session: Session, tenant: str, name: str, dataset: Dataset) -> str:
    """Give the model this dataset, unless another request was faster."""
    model = _model(session, tenant, name)
    if model is None:
        model = Model(id=new_id("model"), tenant=tenant, name=name, created_at=now(), last_version=0)
        session.add(model)
    if model.dataset_id is not None:
        session.delete(dataset)
        return model.dataset_id
    model.dataset_id = dataset.id
    return dataset.id
