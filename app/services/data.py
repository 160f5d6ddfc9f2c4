"""What a job can train on: an uploaded file or the current snapshot of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from sqlalchemy.orm import Session

from app.db.tables import File
from app.services.datasets import Datasets
from app.services.files import file_of
from models.base import TaskName
from models.dataset import Pack, shortage
from models.errors import InvalidInput, NotFound
from models.manifest import InputSpec
from models.store import BlobStore


@dataclass(frozen=True)
class Source:
    """An immutable set of examples, by digest, with what a plan needs to know of it."""

    name: str
    digest: str
    task: TaskName
    input: InputSpec
    labelled: int
    unlabelled: int
    labels: tuple[str, ...]
    param: str

    @property
    def classes(self) -> int:
        return len(self.labels)

    def must_match(self, other: Source, param: str) -> None:
        """Raises InvalidInput unless both hold inputs of one kind and, where this is labelled, one task."""
        if self.input != other.input or (self.labelled and self.task != other.task):
            raise InvalidInput(
                f"{param} holds {self.input.modality} for {self.task}, the training file "
                f"{other.input.modality} for {other.task}; they must agree (signals: in their grid too).",
                code="file_mismatch",
                param=param,
            )

    def must_take(self, kind: InputSpec, param: str) -> None:
        """Raises InvalidInput unless the inputs are of that kind, whatever the task."""
        if self.input != kind:
            raise InvalidInput(
                f"{param} holds {self.input.modality}, the training file {kind.modality}; they must agree "
                "(signals: in their grid too).",
                code="file_mismatch",
                param=param,
            )

    def check_trainable(self, max_classes: int, *, labels_optional: bool = False) -> None:
        """Raises InvalidInput when no model can be fitted to these labels."""
        missing = None if labels_optional else shortage(self.task, self.labelled, self.classes)
        if missing is not None:
            self._refuse(*missing, "add labelled examples")
        if self.classes > max_classes:
            self._refuse(
                "too_many_classes",
                f"{self.classes} classes, more than the {max_classes} allowed",
                "check that the label column holds classes, or use task regression",
            )

    def _refuse(self, code: str, what: str, remedy: str) -> None:
        raise InvalidInput(f"{self.param} {self.name} has {what}: {remedy}.", code=code, param=self.param)


class DataSource:
    def __init__(self, blobs: BlobStore, datasets: Datasets) -> None:
        self.blobs = blobs
        self.datasets = datasets

    def open(self, session: Session, tenant: str, reference: str, param: str) -> Source:
        """A file or dataset of the tenant, by id. Raises NotFound naming the field."""
        try:
            return self._open(session, tenant, reference, param)
        except NotFound as error:
            raise NotFound(
                f"{param} names no file or dataset of yours; upload it with POST /v1/files.", param=param
            ) from error

    def _open(self, session: Session, tenant: str, reference: str, param: str) -> Source:
        if reference.startswith("dataset-"):
            digest, pack = self.datasets.snapshot(session, tenant, reference)
            return _source(reference, digest, pack, param)
        return _file_source(file_of(session, tenant, reference), param)

    def pack(self, digest: str) -> Pack:
        """The examples behind a digest."""
        return Pack.from_bytes(self.blobs.get(digest))


def _source(name: str, digest: str, pack: Pack, param: str) -> Source:
    labelled = len(pack) - pack.unlabelled
    return Source(name, digest, pack.task, pack.input, labelled, pack.unlabelled, tuple(pack.counts()), param)


def _file_source(row: File, param: str) -> Source:
    return Source(
        name=row.id,
        digest=row.pack,
        task=cast(TaskName, row.task),
        input=InputSpec.model_validate({"modality": row.modality, "grid": row.grid}),
        labelled=row.examples - row.unlabelled,
        unlabelled=row.unlabelled,
        labels=tuple(row.labels),
        param=param,
    )
