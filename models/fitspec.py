"""A job as the training side sees it: one JSON file from which the job can be replayed."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from models.base import ModalityName, Record, TaskName


class BackboneChoice(Record):
    """A backbone that this job may use: where it lies and which taps are candidates."""

    id: str
    digest: str
    folder: str
    taps: tuple[str, ...]
    baseline: bool = False
    variant_of: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="digest of the original: a variant is taken only where it loses nothing",
    )


class FitSpec(Record):
    """Everything a fit depends on. Paths are of this machine; digests make the result repeatable."""

    job_id: str
    task: TaskName
    modality: ModalityName
    training_pack: str
    training_digest: str
    validation_pack: str | None = None
    unlabelled_pack: str | None = None
    backbones: tuple[BackboneChoice, ...] = Field(min_length=1)
    baselines: tuple[BackboneChoice, ...] = Field(
        default=(), description="declared baseline backbones that the estimate compares against"
    )
    method: str = "auto"
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    time_budget_s: float = Field(default=30.0, gt=0, description="what deeper methods may spend on training")
    parent: str | None = Field(
        default=None, description="artefact folder of the model that this job starts from; a stage of a chain"
    )
    extra_packs: dict[str, str] = Field(
        default_factory=dict, description="further packs, by the file or dataset id in the hyperparameters"
    )
    text_backbone: BackboneChoice | None = Field(
        default=None, description="where class names and descriptions of other modalities are embedded"
    )
    seed: int = 0
    features: str = Field(description="path of the feature cache (SQLite)")
    output: str = Field(description="empty folder for manifest.json, head.onnx, golden.npz, report.json")
    threads: int = 1
