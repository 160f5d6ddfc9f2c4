"""What the service answers, as frozen records. Fields that a newer service adds are kept."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from models.backbone import Effect, Precision
from models.base import Label, ModalityName, TaskName
from models.manifest import BackboneRef

T = TypeVar("T")
JobStatus = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
FINAL: frozenset[JobStatus] = frozenset({"succeeded", "failed", "cancelled"})


class Result(BaseModel):
    """Base of all results."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class Page(Result, Generic[T]):
    """One page of a listing; ask for the next with `after=page.last_id` while `has_more`."""

    data: tuple[T, ...]
    has_more: bool = False
    last_id: str | None = None


class Deleted(Result):
    """What was deleted."""

    id: str | None = None
    deleted: bool = True


class File(Result):
    """An upload, validated. `labels` counts the examples of each class."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str
    modality: ModalityName | None = None
    task: TaskName | None = None
    examples: int | None = None
    labels: dict[str, int] = Field(default_factory=dict)
    unlabelled: int = 0
    digest: str | None = None
    warnings: tuple[str, ...] = ()


class Dataset(Result):
    """Examples that grow; `digest` is that of the current snapshot."""

    id: str
    name: str
    modality: ModalityName
    task: TaskName
    examples: int = 0
    labels: dict[str, int] = Field(default_factory=dict)
    unlabelled: int = 0
    digest: str | None = None


class Example(Result):
    """One stored example."""

    id: str
    label: Label = None
    digest: str | None = None
    filename: str | None = None
    created_at: int | None = None


class Added(Result):
    """What became of a batch of examples: those stored, and how many were there already."""

    data: tuple[Example, ...] = ()
    duplicates: int = 0
    warnings: tuple[str, ...] = ()


class JobError(Result):
    """Why a job failed."""

    code: str | None = None
    message: str
    param: str | None = None


class Job(Result):
    """A fine-tuning job. Times are Unix seconds."""

    id: str
    status: JobStatus
    model: str
    fine_tuned_model: str | None = None
    created_at: int
    started_at: int | None = None
    finished_at: int | None = None
    estimated_finish: int | None = None
    error: JobError | None = None
    method: dict[str, Any] | None = None
    hyperparameters: dict[str, Any] | None = None
    training_file: str | None = None
    validation_file: str | None = None
    seed: int | None = None
    metadata: dict[str, str] | None = None
    result: dict[str, Any] | None = None

    @property
    def finished(self) -> bool:
        return self.status in FINAL

    @property
    def seconds(self) -> int | None:
        """From its creation to its end, as far as the service's whole seconds tell."""
        return None if self.finished_at is None else self.finished_at - self.created_at


class JobEvent(Result):
    """One line of a job's log. `metrics` events carry numbers, such as `progress` from 0 to 1."""

    id: str
    created_at: int
    level: Literal["info", "warn", "error"] = "info"
    message: str
    type: Literal["message", "metrics"] = "message"
    data: dict[str, Any] | None = None

    @property
    def progress(self) -> float | None:
        """Share of the job that is done, 0 to 1, where the event tells it."""
        value = (self.data or {}).get("progress")
        return float(value) if isinstance(value, int | float) else None


class Checkpoint(Result):
    """A callable state of a job's model."""

    id: str
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, Any] = Field(default_factory=dict)


class Method(Result):
    """A transfer method: what it serves, where it is from, the JSON schema of its hyperparameters."""

    name: str
    title: str | None = None
    tasks: tuple[TaskName, ...] = ()
    modalities: tuple[ModalityName, ...] = ()
    source: str | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict)


class Model(Result):
    """A version of a fine-tuned model. `aliases` are those of the model: name -> version."""

    id: str
    created: int | None = None
    owned_by: str | None = None
    modality: ModalityName | None = None
    task: TaskName | None = None
    labels: tuple[str, ...] | None = None
    backbone: str | None = None
    version: int | None = None
    aliases: dict[str, int] = Field(default_factory=dict)
    digest: str | None = None
    dataset_digest: str | None = None
    method: str | None = None
    metrics: dict[str, Any] | None = None


class Alias(Result):
    """A name that means a version of a model."""

    model: str
    alias: str
    version: int


class Taught(Result):
    """Answer to examples sent straight to a model: the job, and the model once it serves.

    Without a job, `note` says what is still missing for one.
    """

    added: int = 0
    duplicates: int = 0
    dataset: Dataset | None = None
    job: Job | None = None
    model: Model | None = None
    note: str | None = None


class Tap(Result):
    """A place in a backbone where a head may begin: its width and its depth, 0 to 1."""

    name: str
    dim: int
    depth: float


class Backbone(Result):
    """A pretrained backbone; of a variant also its original, its precision and its measured effect."""

    id: str
    modality: ModalityName
    digest: str
    parameters: int
    embedding_dim: int
    taps: tuple[Tap, ...] = ()
    default_tap: str | None = None
    baseline: bool = False
    licence: str
    source: str
    ready: bool = True
    variant_of: BackboneRef | None = None
    precision: Precision | None = None
    effect: Effect | None = None


class Score(Result):
    """A class and its probability."""

    label: str
    score: float


class Prediction(Result):
    """The answer to one input.

    `label` is the class, or the classes (multilabel); regression gives `value` and, where it can be
    told, the ends of its 95 % `interval`. `outputs` are further answers, by name, of a model of several.
    """

    index: int
    label: str | tuple[str, ...] | None = None
    score: float | None = None
    scores: tuple[Score, ...] = ()
    value: float | tuple[float, ...] | None = None
    interval: tuple[float, float] | tuple[tuple[float, float], ...] | None = None
    set: tuple[str, ...] | None = None
    outputs: dict[str, dict[str, Any]] | None = None
    unknown: bool | None = None
    embedding: tuple[float, ...] | None = None


class Predictions(Result):
    """Answers in the order of the inputs, and the exact version and digest that gave them."""

    id: str
    model: str
    version: int
    digest: str
    data: tuple[Prediction, ...]
    usage: dict[str, Any] | None = None


class Embedding(Result):
    """One embedded input: floats, or base64 of little-endian float32."""

    index: int
    embedding: tuple[float, ...] | str


class Embeddings(Result):
    """Embeddings in the order of the inputs."""

    model: str
    data: tuple[Embedding, ...]
    usage: dict[str, Any] | None = None


class LeftOut(Result):
    """A ridge head's leave-one-out result on `n` examples."""

    metric: str
    value: float
    n: int | None = None


class TapCandidate(Result):
    """One tap of one backbone, with its scores; None where the examples cannot tell."""

    backbone: str
    tap: str
    baseline: bool = False
    score: float | None = None
    logme: float | None = None
    h_score: float | None = None
    loo: LeftOut | None = None


class TransferSetting(Result):
    """The setting of transfer by its name, and what in the data makes it so."""

    name: str
    why: str


class Recommendation(Result):
    """Candidates from the best to the worst, and what to do."""

    setting: TransferSetting
    candidates: tuple[TapCandidate, ...]
    a_distance: float | None = None
    advice: tuple[str, ...] = ()
    examples: int | None = None
    seconds: float | None = None


class Health(Result):
    """Whether the service is ready to predict."""

    ready: bool = False
