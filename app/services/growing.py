"""One request: examples in, model out. A model's own dataset grows, and every batch refits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import Dataset, Job, Model
from app.services.datasets import Added, Datasets, DatasetView, NewExample
from app.services.ids import check_name, new_id, now
from app.services.jobs import JobRequest, Jobs
from models.errors import InvalidInput
from models.formats import pack_rows

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
        modality: str | None = None,
        task: str | None = None,
    ) -> Grown:
        """Store examples under a model's name and start a job on all it has.

        The first batch makes the model's dataset; its modality and task are read off the examples
        unless given. `backbone` defaults to the model's own, or for a new model to "auto".
        """
        dataset_id = self._dataset(tenant, check_name(name, "name"), examples, modality, task)
        added = self.datasets.add(tenant, dataset_id, examples)
        job, note = self._job(tenant, name, dataset_id, backbone)
        return Grown(added, self.datasets.get(tenant, dataset_id), job, note)

    def _job(
        self, tenant: str, name: str, dataset_id: str, backbone: str | None
    ) -> tuple[Job | None, str | None]:
        with self.db.read() as session:
            model = _model(session, tenant, name)
        existing = model is not None and model.last_version > 0
        base = backbone or (name if existing else "auto")
        try:
            request = JobRequest(model=base, training_file=dataset_id, suffix=name)
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
        if model is not None and model.dataset_id is not None:
            return model.dataset_id
        rows = [(f"example {i}", e.input, e.label) for i, e in enumerate(examples)]
        pack = pack_rows(rows, modality=modality, task=task)
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
            return _attach(session, tenant, name, dataset)


def _model(session: Session, tenant: str, name: str) -> Model | None:
    return session.scalar(select(Model).where(Model.tenant == tenant, Model.name == name))


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
