"""One frozen `Settings`, built once from the environment (`DURIAN_...`) and handed down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.shelf import SHIPPED

PROJECT = Path(__file__).resolve().parents[1]
MIB = 1024 * 1024


def _comma_separated(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(BaseSettings):
    """Every setting of the service. `DURIAN_DATA=/srv/durian` sets `data`, and so on."""

    model_config = SettingsConfigDict(env_prefix="DURIAN_", frozen=True)

    data: Path = Field(default=Path("data"), description="folder of the database, uploads and models")
    embedded_backbones: Path = Field(
        default=PROJECT / "build" / "backbones", description="folder that `durian backbones setup` fills"
    )
    database: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite in `data`")
    auth: Literal["auto", "open", "keys"] = Field(
        default="auto", description="auto: keys are asked for once one exists, or off the loopback address"
    )
    max_upload_bytes: int = 512 * MIB
    max_body_bytes: int = Field(default=32 * MIB, description="largest body of any request but an upload")
    max_classes: int = 5_000
    lanes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="inference threads")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where graphs run")
    tensorrt: bool = Field(default=False, description="on a GPU: TensorRT before CUDA, where it is installed")
    gpu_streams: int | None = Field(
        default=None, ge=1, description="batches that run on a GPU at a time; default: 1 or 2, by a probe"
    )
    max_queue: int = Field(default=16_384, ge=1, description="inputs waiting in the engine, a backbone")
    max_queue_tenant: int = Field(default=4_096, ge=1, description="inputs waiting in the engine, a tenant")
    max_queue_model: int = Field(default=2_048, ge=1, description="inputs waiting in the engine, a model")
    memory_budget: ByteSize | None = Field(
        default=None, gt=0, description="loaded backbones and models; default: half of the memory there is"
    )
    pinned: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = Field(
        default=(), description="ids of backbones that are loaded at start and never unloaded"
    )
    max_queued_jobs: int = Field(default=1_000, ge=1, description="jobs waiting, a tenant")
    jobs: int = Field(default=1, ge=1, description="jobs one worker runs at a time")
    lease_seconds: float = Field(default=15.0, gt=0, description="a silent worker loses its job after this")
    max_attempts: int = Field(default=3, ge=1, description="starts of one job before it fails")

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data.resolve() / 'durian.sqlite'}"

    @property
    def backbones(self) -> Path:
        """Backbones that an administrator imported."""
        return self.data / "backbones"

    @property
    def backbone_roots(self) -> tuple[Path, ...]:
        """Where backbones are looked for; of two with one id the first counts."""
        return self.embedded_backbones, SHIPPED, self.backbones

    @property
    def blobs(self) -> Path:
        return self.data / "blobs"

    @property
    def artefacts(self) -> Path:
        return self.data / "artefacts"

    @property
    def features(self) -> Path:
        return self.data / "features.sqlite"

    @property
    def work(self) -> Path:
        """Where running jobs write; emptied at start."""
        return self.data / "work"
