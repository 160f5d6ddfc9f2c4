"""The tables. Only app writes them; times are seconds since 1970, as the API gives them."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ACTIVE = ("validating_files", "queued", "running")
TERMINAL = ("succeeded", "failed", "cancelled")


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {dict[str, Any]: JSON, list[str]: JSON, float: Float(53)}


class ApiKey(Base):
    """A key `dk_<id>_<secret>`; only an HMAC of the secret is kept."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    secret_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class File(Base):
    """One upload: the original bytes and the pack of validated examples, both by digest."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[float]
    filename: Mapped[str] = mapped_column(String(255))
    purpose: Mapped[str] = mapped_column(String(32))
    bytes: Mapped[int]
    blob: Mapped[str] = mapped_column(String(64))
    pack: Mapped[str] = mapped_column(String(64))
    modality: Mapped[str] = mapped_column(String(16))
    task: Mapped[str] = mapped_column(String(16))
    grid: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    examples: Mapped[int]
    unlabelled: Mapped[int]
    labels: Mapped[dict[str, Any]]
    warnings: Mapped[list[str]]


class Dataset(Base):
    """Examples that grow. `grid` is the reference grid of its signals, set by the first batch."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[float]
    name: Mapped[str] = mapped_column(String(128))
    modality: Mapped[str] = mapped_column(String(16))
    task: Mapped[str] = mapped_column(String(16))
    grid: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class Example(Base):
    """One example of a dataset: row `row` of the pack `pack`."""

    __tablename__ = "examples"
    __table_args__ = (UniqueConstraint("dataset_id", "digest"),)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    pack: Mapped[str] = mapped_column(String(64))
    row: Mapped[int]
    label: Mapped[Any] = mapped_column(JSON)
    filename: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[float]
    bytes: Mapped[int] = mapped_column(default=0, server_default="0")


class Job(Base):
    """A fine-tuning job with its lease. `fence` rises with every claim: a late worker is refused."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("tenant", "idempotency_key"),
        Index("jobs_claim", "status", "not_before"),
        Index("jobs_list", "tenant", "seq"),
        Index("jobs_turn", "tenant", "started_at"),
    )
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    model: Mapped[str] = mapped_column(String(160))
    target: Mapped[str] = mapped_column(String(128))
    suffix: Mapped[str | None] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(64))
    hyperparameters: Mapped[dict[str, Any]]
    seed: Mapped[int]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)
    training_file: Mapped[str] = mapped_column(String(40))
    validation_file: Mapped[str | None] = mapped_column(String(40))
    unlabelled_file: Mapped[str | None] = mapped_column(String(40))
    spec: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    fine_tuned_model: Mapped[str | None] = mapped_column(String(128))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_digest: Mapped[str] = mapped_column(String(64))
    not_before: Mapped[float]
    attempts: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[float | None]


class JobTransition(Base):
    """Every status a job has had; written by the database's triggers, which also let a job end only once."""

    __tablename__ = "job_transitions"
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    at: Mapped[float]
    before: Mapped[str | None] = mapped_column(String(20))
    after: Mapped[str] = mapped_column(String(20))
    fence: Mapped[int]


class JobEvent(Base):
    __tablename__ = "job_events"
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float]
    level: Mapped[str] = mapped_column(String(8))
    type: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]]


class Report(Base):
    """A finished job's report, apart from the job so that listing stays cheap."""

    __tablename__ = "reports"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    body: Mapped[str] = mapped_column(Text)


class Model(Base):
    """A name that versions are published under. `changed` is the last change of its versions or aliases."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("tenant", "name"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[float]
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"))
    last_version: Mapped[int] = mapped_column(default=0)
    changed: Mapped[int] = mapped_column(default=0, server_default="0", index=True)


class Version(Base):
    """An immutable artefact under a model name; one job publishes at most one."""

    __tablename__ = "versions"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    artefact: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    job_id: Mapped[str] = mapped_column(String(40), unique=True)
    created_at: Mapped[float]


class Alias(Base):
    __tablename__ = "aliases"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int]


class Audit(Base):
    """One write: who, what, when, from where. Rows are only ever added."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_list", "tenant", "seq"),)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[float]
    tenant: Mapped[str] = mapped_column(String(64))
    key_id: Mapped[str] = mapped_column(String(32))
    address: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(16))
    request_id: Mapped[str] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(32))
    object_id: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(String(200))


class Change(Base):
    """One row whose `n` rises with every change of what is served; other processes watch it.

    `whole` is the last change that only a reading of everything shows: that of a deleted model. Both, and
    `Model.changed`, are written by the database's triggers alone (migration 0005).
    """

    __tablename__ = "changes"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int]
    whole: Mapped[int] = mapped_column(default=0, server_default="0")


class WorkerSeen(Base):
    """A worker, when it last said that it lives, and the methods that it can train."""

    __tablename__ = "workers"
    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    seen_at: Mapped[float]
    methods: Mapped[list[str]]
