"""Datasets: examples that grow, folded by content, with an immutable snapshot for every job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import Dataset, Example
from app.decoding.decoders import Decoders
from app.services.files import Stored, grid_json
from app.services.ids import check_name, display_name, new_id, now
from app.services.page import Page, before, fetch_page
from app.services.quotas import UNLIMITED, Quotas
from models.base import Label, ModalityName, TaskName, sha256
from models.dataset import Pack
from models.errors import Conflict, InvalidInput, NotFound
from models.manifest import InputSpec, SignalGrid
from models.store import BlobStore


@dataclass(frozen=True)
class NewExample:
    """One example to add: an input as the API takes it, its label, and a file's name if it came as one."""

    input: object
    label: Label = None
    filename: str | None = None


@dataclass(frozen=True)
class Added:
    """What became of a batch: the rows stored, and how many were there already."""

    examples: Sequence[Example]
    duplicates: int
    warnings: Sequence[str]


@dataclass(frozen=True)
class DatasetView:
    """A dataset with the counts and the digest of its current snapshot."""

    row: Dataset
    examples: int
    unlabelled: int
    labels: dict[str, int]
    digest: str


def dataset_of(session: Session, tenant: str, dataset_id: str) -> Dataset:
    """The tenant's dataset. Raises NotFound."""
    row = session.get(Dataset, dataset_id)
    if row is None or row.tenant != tenant:
        raise NotFound("No such dataset.", param="dataset_id")
    return row


class Datasets:
    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        decoders: Decoders,
        stored: Stored,
        quotas: Quotas = UNLIMITED,
    ) -> None:
        self.db = db
        self.blobs = blobs
        self.decoders = decoders
        self.stored = stored
        self.quotas = quotas

    def create(self, tenant: str, name: str, modality: ModalityName, task: TaskName) -> DatasetView:
        row = Dataset(
            id=new_id("dataset"),
            tenant=tenant,
            created_at=now(),
            name=check_name(name, "name"),
            modality=modality,
            task=task,
            grid=None,
        )
        with self.db.write() as session:
            session.add(row)
        return DatasetView(row, 0, 0, {}, _digest([]))

    def get(self, tenant: str, dataset_id: str) -> DatasetView:
        with self.db.read() as session:
            row = dataset_of(session, tenant, dataset_id)
            return _view(row, session.scalars(_in_order(row.id)).all())

    def list(self, tenant: str, after: str | None, limit: int) -> Page[DatasetView]:
        """Newest first."""
        with self.db.read() as session:
            cursor = None if after is None else dataset_of(session, tenant, after)
            query = before(
                select(Dataset).where(Dataset.tenant == tenant), cursor, Dataset.created_at, Dataset.id
            )
            page = fetch_page(session, query, limit)
            views = [_view(row, session.scalars(_in_order(row.id)).all()) for row in page.rows]
        return Page(views, page.has_more)

    def delete(self, tenant: str, dataset_id: str) -> None:
        """Forget the dataset; snapshots that jobs were given stay until those jobs end."""
        with self.db.write() as session:
            session.delete(dataset_of(session, tenant, dataset_id))

    def add(self, tenant: str, dataset_id: str, examples: Sequence[NewExample]) -> Added:
        """Validate and store a batch; all of it, or on an error none of it.

        Raises Conflict when a stored example of the same content has another label.
        """
        with self.db.read() as session:
            dataset = dataset_of(session, tenant, dataset_id)
        pack = self._pack(dataset, examples)
        if dataset.grid is not None and (pack.input.grid is None or dataset.grid != grid_json(pack)):
            raise InvalidInput("These signals do not fit the dataset's grid.", code="grid_coverage")
        digest = self.blobs.put(pack.to_bytes())
        with self.db.write() as session:
            dataset = dataset_of(session, tenant, dataset_id)
            names = [_name(examples, pack, i) for i in range(len(pack))]
            rows = store_pack(session, dataset, pack, digest, names)
            self.quotas.check(session, tenant, nbytes=0, examples=0)  # those rows are counted already
        self.stored(pack)
        return Added(rows, len(examples) - len(rows), pack.warnings)

    def _pack(self, dataset: Dataset, examples: Sequence[NewExample]) -> Pack:
        grid = None if dataset.grid is None else SignalGrid.model_validate(dataset.grid)
        return self.decoders.pack_rows(
            rows_of(examples), modality=dataset.modality, task=dataset.task, grid=grid
        )

    def examples(
        self, tenant: str, dataset_id: str, after: str | None, limit: int, label: str | None
    ) -> Page[Example]:
        """In the order of their upload; with `label`, those that carry it."""
        with self.db.read() as session:
            query = _in_order(dataset_of(session, tenant, dataset_id).id)
            if after is not None:
                query = query.where(Example.seq > _example_of(session, dataset_id, after).seq)
            if label is None:
                return fetch_page(session, query, limit)
            rows = [row for row in session.scalars(query) if _carries(row.label, label)]
            return Page(rows[:limit], len(rows) > limit)

    def delete_example(self, tenant: str, dataset_id: str, example_id: str) -> None:
        with self.db.write() as session:
            dataset_of(session, tenant, dataset_id)
            session.delete(_example_of(session, dataset_id, example_id))

    def snapshot(self, session: Session, tenant: str, dataset_id: str) -> tuple[str, Pack]:
        """The current examples as one immutable pack: (digest, pack)."""
        dataset = dataset_of(session, tenant, dataset_id)
        rows = session.scalars(_in_order(dataset_id)).all()
        packs = {digest: Pack.from_bytes(self.blobs.get(digest)) for digest in {row.pack for row in rows}}
        grid = None if dataset.grid is None else SignalGrid.model_validate(dataset.grid)
        spec = InputSpec.model_validate({"modality": dataset.modality, "grid": grid})
        pack = Pack(
            task=_task(dataset),
            input=spec,
            contents=tuple(packs[row.pack].contents[row.row] for row in rows),
            labels=tuple(row.label for row in rows),
        )
        return self.blobs.put(pack.to_bytes()), pack


def store_pack(
    session: Session, dataset: Dataset, pack: Pack, digest: str, names: Sequence[str | None] = ()
) -> list[Example]:
    """Add the rows of a stored pack that the dataset lacks; `names` are files' names. Raises Conflict."""
    dataset.grid = dataset.grid or grid_json(pack)
    fresh = _merge(session, dataset, pack)
    rows = [_row(dataset, pack, digest, i, names[i] if names else None) for i in fresh]
    session.add_all(rows)
    return rows


def _task(dataset: Dataset) -> TaskName:
    return cast(TaskName, dataset.task)


def rows_of(examples: Sequence[NewExample]) -> list[tuple[str, object, Label]]:
    """Where each stands in its request, its input and its label."""
    return [(f"example {i}", e.input, e.label) for i, e in enumerate(examples)]


def _in_order(dataset_id: str) -> Select[Example]:
    return select(Example).where(Example.dataset_id == dataset_id).order_by(Example.seq)


def _example_of(session: Session, dataset_id: str, example_id: str) -> Example:
    row = session.scalar(select(Example).where(Example.dataset_id == dataset_id, Example.id == example_id))
    if row is None:
        raise NotFound("No such example in this dataset.", param="example_id")
    return row


def _merge(session: Session, dataset: Dataset, pack: Pack) -> list[int]:
    """Rows of `pack` that the dataset lacks. Raises Conflict on another label for the same content."""
    known = {row.digest: row for row in session.scalars(_in_order(dataset.id))}
    fresh = []
    for i, digest in enumerate(pack.digests):
        stored = known.get(digest)
        if stored is None:
            fresh.append(i)
        elif pack.labels[i] is not None and stored.label is None:
            stored.label = pack.labels[i]
        elif pack.labels[i] not in (None, stored.label):
            raise Conflict(
                f"Example {i} (label {pack.labels[i]!r}) has the content of the stored example {stored.id} "
                f"(label {stored.label!r}); give both one label, or delete the stored one first.",
                code="conflicting_labels",
                param=f"examples[{i}]",
            )
    return fresh


def _row(dataset: Dataset, pack: Pack, digest: str, i: int, filename: str | None) -> Example:
    return Example(
        id=new_id("ex"),
        dataset_id=dataset.id,
        digest=pack.digests[i],
        pack=digest,
        row=i,
        label=pack.labels[i],
        filename=filename,
        created_at=now(),
        bytes=len(pack.contents[i]),
    )


def _name(examples: Sequence[NewExample], pack: Pack, i: int) -> str | None:
    # Folding duplicates shifts rows, so a name is kept only where rows and examples still agree.
    if len(examples) != len(pack) or examples[i].filename is None:
        return None
    return display_name(examples[i].filename)


def _carries(label: Label, name: str) -> bool:
    return name in label if isinstance(label, list) else str(label) == name


def _digest(rows: Iterable[Example]) -> str:
    return sha256("".join(f"{row.digest}{row.label!r}" for row in rows).encode())


def _view(row: Dataset, examples: Sequence[Example]) -> DatasetView:
    counts: Counter[str] = Counter()
    for example in examples:
        if isinstance(example.label, str):
            counts[example.label] += 1
        elif isinstance(example.label, list):
            counts.update(example.label)
    unlabelled = sum(example.label is None for example in examples)
    return DatasetView(row, len(examples), unlabelled, dict(counts.most_common()), _digest(examples))
