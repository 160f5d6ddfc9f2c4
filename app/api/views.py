"""Rows of the database as the objects of the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from app.api import schemas
from app.db.tables import Example, File, Job, JobEvent
from app.services.datasets import DatasetView
from app.services.models import ModelView
from app.services.page import Page
from models.backbone import BackboneCard

Row = TypeVar("Row")
Item = TypeVar("Item")


def listing(page: Page[Row], view: Callable[[Row], Any]) -> dict[str, Any]:
    """A page in OpenAI's list shape."""
    data = [view(row) for row in page.rows]
    ids = [item.id for item in data]
    return {
        "object": "list",
        "data": data,
        "has_more": page.has_more,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }


def file_view(row: File) -> schemas.FileObject:
    return schemas.FileObject.model_validate(
        {
            **{key: getattr(row, key) for key in ("id", "bytes", "filename", "purpose", "modality", "task")},
            "created_at": int(row.created_at),
            "examples": row.examples,
            "labels": row.labels,
            "unlabelled": row.unlabelled,
            "digest": row.pack,
            "warnings": row.warnings,
        }
    )


def dataset_view(view: DatasetView) -> schemas.DatasetObject:
    row = view.row
    return schemas.DatasetObject.model_validate(
        {
            **{key: getattr(row, key) for key in ("id", "name", "modality", "task")},
            "created_at": int(row.created_at),
            "examples": view.examples,
            "labels": view.labels,
            "unlabelled": view.unlabelled,
            "digest": view.digest,
        }
    )


def example_view(row: Example) -> schemas.ExampleObject:
    return schemas.ExampleObject(
        id=row.id,
        digest=row.digest,
        label=row.label,
        filename=row.filename,
        created_at=int(row.created_at),
    )


_JOB_FIELDS = (
    "id",
    "status",
    "model",
    "fine_tuned_model",
    "error",
    "training_file",
    "validation_file",
    "unlabelled_file",
    "suffix",
    "seed",
    "result",
)


def job_view(row: Job) -> schemas.JobObject:
    used = (row.result or {}).get("hyperparameters", row.hyperparameters)
    return schemas.JobObject.model_validate(
        {
            **{key: getattr(row, key) for key in _JOB_FIELDS},
            "created_at": int(row.created_at),
            "started_at": _seconds(row.started_at),
            "finished_at": _seconds(row.finished_at),
            "estimated_finish": None,  # few-shot fits end in seconds; no honest estimate is known before
            "method": {"type": row.method, row.method: {"hyperparameters": row.hyperparameters}},
            "hyperparameters": used,
            "metadata": row.metadata_,
            "result_files": [],
            "organization_id": row.tenant,
            "trained_tokens": None,
        }
    )


def _seconds(time: float | None) -> int | None:
    return None if time is None else int(time)


def event_view(row: JobEvent) -> schemas.EventObject:
    return schemas.EventObject.model_validate(
        {
            "id": f"ftevent-{row.seq}",
            "created_at": int(row.created_at),
            "level": row.level,
            "type": row.type,
            "message": row.message,
            "data": row.data,
        }
    )


def event_number(event_id: str | None) -> int:
    """The position an event id names; an unknown form starts from the beginning."""
    number = (event_id or "").removeprefix("ftevent-")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0


def checkpoints_view(row: Job) -> Sequence[schemas.CheckpointObject]:
    """A closed-form fit has one checkpoint: its result."""
    if row.result is None:
        return []
    reference = f"{row.result['model']}:{row.result['version']}"
    return [
        schemas.CheckpointObject(
            id=row.id.replace("ftjob-", "ftckpt-"),
            created_at=int(row.finished_at or row.created_at),
            fine_tuned_model_checkpoint=reference,
            fine_tuning_job_id=row.id,
            step_number=1,
            metrics=row.result["metrics"],
        )
    ]


def model_view(view: ModelView) -> schemas.ModelObject:
    manifest = view.manifest
    return schemas.ModelObject(
        id=view.name,
        created=int(view.created_at),
        owned_by=view.tenant,
        modality=manifest.input.modality,
        task=manifest.task,
        labels=list(manifest.labels),
        outputs=[schemas.OutputObject(**dict(output)) for output in manifest.outputs],
        backbone=manifest.backbone.id,
        version=view.version,
        aliases=view.aliases,
        digest=manifest.digest,
        dataset_digest=manifest.dataset_digest,
        method=manifest.method,
        metrics=view.metrics,
    )


def backbone_view(card: BackboneCard) -> schemas.BackboneObject:
    return schemas.BackboneObject.model_validate(
        {
            **card.model_dump(
                include={
                    "id",
                    "modality",
                    "parameters",
                    "taps",
                    "default_tap",
                    "baseline",
                    "licence",
                    "source",
                    "variant_of",
                    "precision",
                    "effect",
                }
            ),
            "digest": card.digest,
            "embedding_dim": card.embedding_dim,
            "ready": True,
        }
    )
