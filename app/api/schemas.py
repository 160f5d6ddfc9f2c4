"""What the routes take and give, as OpenAPI shows it. Names and shapes follow OpenAI's where they exist."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from models.backbone import Effect, Precision
from models.base import Label, ModalityName, TaskName
from models.manifest import BackboneRef

Item = TypeVar("Item")
Key = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Value = Annotated[str, StringConstraints(max_length=512)]


class Body(BaseModel):
    """A request body; unknown fields are refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")


class ListOf(BaseModel, Generic[Item]):
    """A page; `last_id` is the `after` of the next one."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


class Deleted(BaseModel):
    id: str
    object: str
    deleted: Literal[True] = True


class FileObject(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    modality: ModalityName
    task: TaskName
    examples: int
    labels: dict[str, int]
    unlabelled: int
    digest: str
    warnings: list[str]


class CreateDataset(Body):
    name: str
    modality: ModalityName
    task: TaskName = "classification"


class DatasetObject(BaseModel):
    id: str
    object: Literal["dataset"] = "dataset"
    name: str
    modality: ModalityName
    task: TaskName
    created_at: int
    examples: int
    labels: dict[str, int]
    unlabelled: int
    digest: str


class ExampleObject(BaseModel):
    id: str
    object: Literal["example"] = "example"
    digest: str
    label: Label
    filename: str | None
    created_at: int


class AddedExamples(ListOf[ExampleObject]):
    """The examples stored; `duplicates` were there already."""

    duplicates: int
    warnings: list[str]
    dataset: DatasetObject


class MethodChoice(BaseModel):
    """`{"type": "logistic", "logistic": {"hyperparameters": {"C": 10}}}`."""

    model_config = ConfigDict(extra="allow")
    type: str = "auto"


class CreateJob(BaseModel):
    """Fields of OpenAI's request that mean nothing here (integrations) are taken and left unused."""

    model: str
    training_file: str
    validation_file: str | None = None
    unlabelled_file: str | None = None
    suffix: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    method: MethodChoice | None = None
    hyperparameters: dict[str, Any] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    metadata: Annotated[dict[Key, Value], Field(max_length=16)] | None = None


class JobError(BaseModel):
    code: str
    message: str
    param: str | None


class JobMethod(BaseModel):
    model_config = ConfigDict(extra="allow")
    type: str


class JobObject(BaseModel):
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    status: Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
    model: str
    fine_tuned_model: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    estimated_finish: int | None
    error: JobError | None
    method: JobMethod
    hyperparameters: dict[str, Any]
    training_file: str
    validation_file: str | None
    unlabelled_file: str | None
    result_files: list[str]
    organization_id: str
    trained_tokens: int | None
    suffix: str | None
    seed: int
    metadata: dict[str, str]
    result: dict[str, Any] | None


class EventObject(BaseModel):
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    type: Literal["message", "metrics"]
    message: str
    data: dict[str, Any]


class CheckpointObject(BaseModel):
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, Any]


class MethodObject(BaseModel):
    """A transfer method; `hyperparameters` is a JSON schema."""

    model_config = ConfigDict(extra="allow")
    name: str
    title: str
    tasks: list[TaskName]
    modalities: list[ModalityName]
    setting: str
    source: str
    hyperparameters: dict[str, Any]


class OutputObject(BaseModel):
    """A further answer of a model of several."""

    name: str
    task: TaskName
    labels: list[str]
    interval: float | None = None


class ModelObject(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    modality: ModalityName
    task: TaskName
    labels: list[str]
    outputs: list[OutputObject] = []
    backbone: str
    version: int
    aliases: dict[str, int]
    digest: str
    dataset_digest: str
    method: str
    metrics: dict[str, Any]


class SetAlias(Body):
    version: Annotated[int, Field(ge=1, lt=2**31)]


class AliasObject(BaseModel):
    object: Literal["model.alias"] = "model.alias"
    model: str
    alias: str
    version: int


class TapObject(BaseModel):
    name: str
    dim: int
    depth: float


class BackboneObject(BaseModel):
    id: str
    object: Literal["backbone"] = "backbone"
    modality: ModalityName
    digest: str
    parameters: int
    embedding_dim: int
    taps: list[TapObject]
    default_tap: str
    baseline: bool
    licence: str
    source: str
    ready: bool
    variant_of: BackboneRef | None = Field(default=None, description="of a variant: its original")
    precision: Precision | None = Field(default=None, description="of a variant")
    effect: Effect | None = Field(default=None, description="of a variant: what it did to a fitted task")


class TrainedModel(BaseModel):
    """What became of examples sent to a model: its job and, once it serves, the new version."""

    object: Literal["model.examples"] = "model.examples"
    added: int
    duplicates: int
    dataset: DatasetObject
    job: JobObject | None
    model: ModelObject | None
    note: str | None = Field(description="why no job was started, and what is missing")


class PredictRequest(Body):
    model: str
    input: Any
    top_k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    return_embedding: bool = False


class EmbeddingRequest(BaseModel):
    model: str
    input: Any
    encoding_format: Literal["float", "base64"] = "float"
    tap: str | None = None
    dimensions: int | None = None
    user: str | None = None
