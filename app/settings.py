"""One frozen `Settings`, built once from the environment (`DURIAN_...`) or a file, and handed down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from app.configuration import FileSource, told, toml_source
from models.errors import InvalidInput
from models.shelf import SHIPPED

PROJECT = Path(__file__).resolve().parents[1]
MIB = 1024 * 1024


def _comma_separated(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _cores() -> int:
    """Those this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """Every setting of the service. `DURIAN_DATA=/srv/durian` sets `data`, and so on.

    Raises InvalidInput naming what is wrong.
    """

    model_config = SettingsConfigDict(env_prefix="DURIAN_", frozen=True)

    data: Path = Field(default=Path("data"), description="folder of the database, uploads and models")
    embedded_backbones: Path = Field(
        default=PROJECT / "build" / "backbones", description="folder that `durian backbones setup` fills"
    )
    database: str | None = Field(
        default=None, description="sqlite:/// or postgresql:// URL; default: SQLite in `data`"
    )
    store: str | None = Field(
        default=None,
        pattern=r"^(file:///.+|s3://[^/]+(/.*)?)$",
        description="where uploads and models lie, file:///folder or s3://bucket/prefix; default: in `data`",
    )
    store_endpoint: str | None = Field(default=None, description="address of an S3 that is not Amazon's")
    store_region: str = Field(default="us-east-1", description="region of the bucket")
    store_key: SecretStr | None = Field(default=None, description="access key of the bucket")
    store_secret: SecretStr | None = Field(default=None, description="its secret")
    pepper: Path | None = Field(
        default=None, description="file with the secret that API keys are hashed with; default: in `data`"
    )
    auth: Literal["auto", "open", "keys"] = Field(
        default="auto", description="auto: keys are asked for once one exists, or off the loopback address"
    )
    max_upload_bytes: int = 512 * MIB
    max_body_bytes: int = Field(default=32 * MIB, description="largest body of any request but an upload")
    decoders: int = Field(
        default_factory=lambda: max(2, os.cpu_count() or 1), ge=1, description="uploads decoded at a time"
    )
    decode_memory: ByteSize = Field(
        default=ByteSize(2048 * MIB), ge=64 * MIB, description="what decoding one upload may take"
    )
    decode_seconds: float = Field(
        default=10.0, gt=0, description="CPU seconds for decoding one picture or clip"
    )
    max_json_bytes: int = Field(default=2 * MIB, description="largest body of JSON")
    max_classes: int = 5_000
    lanes: int = Field(default_factory=_cores, ge=1, description="inference threads")
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
    max_running_jobs: int = Field(default=16, ge=0, description="jobs under way, a tenant; 0: no limit")
    max_tenant_bytes: ByteSize = Field(
        default=ByteSize(64 * 1024 * MIB),
        ge=0,
        description="files and examples stored, a tenant; 0: no limit",
    )
    max_tenant_examples: int = Field(
        default=10_000_000, ge=0, description="examples stored, a tenant; 0: no limit"
    )
    max_requests_per_second: float = Field(
        default=10_000.0, ge=0, description="requests, a tenant and HTTP process; 0: no limit"
    )
    max_wait_seconds: float = Field(
        default=2.0, gt=0, description="requests that stand still for longer let no more of their tenant in"
    )
    header_seconds: float = Field(default=10.0, gt=0, description="time for the head of a request")
    body_seconds: float = Field(default=30.0, gt=0, description="time for a body, beside its size")
    write_seconds: float = Field(default=30.0, gt=0, description="a client that reads nothing is cut off")
    max_connections_per_address: int = Field(
        default=512, ge=0, description="open at once, of one address and HTTP process; 0: no limit"
    )
    jobs: int = Field(default=1, ge=1, description="jobs one worker runs at a time")
    lease_seconds: float = Field(default=15.0, gt=0, description="a silent worker loses its job after this")
    max_attempts: int = Field(default=3, ge=1, description="starts of one job before it fails")
    retry_seconds: float = Field(
        default=1.0, ge=0, le=60, description="pause before a job's second start; doubled before each next"
    )
    job_silence_seconds: float = Field(
        default=900.0, gt=0, description="a job that reports nothing for so long is ended: `timeout`"
    )
    job_seconds: float = Field(default=86_400.0, gt=0, description="longest training of one job: `timeout`")
    job_memory: ByteSize | None = Field(
        default=None, gt=0, description="what one job may allocate; default: what the machine has"
    )
    predict_seconds: float = Field(
        default=60.0, gt=0, description="a request for a prediction is answered after this: 504"
    )
    drain_notice_seconds: float = Field(
        default=1.0, ge=0, le=4, description="after SIGTERM: not ready, but serving, for so long"
    )
    max_features_bytes: ByteSize = Field(
        default=ByteSize(4 * 1024 * MIB), ge=MIB, description="cached features; the longest unused go first"
    )
    features_days: float = Field(
        default=90.0, gt=0, description="cached features that nothing used for so long are dropped"
    )
    min_free_bytes: ByteSize = Field(
        default=ByteSize(64 * MIB), ge=0, description="disk left free: below it, uploads are refused with 507"
    )

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise InvalidInput(told(error), code="bad_setting") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first that names a setting counts."""
        return init_settings, env_settings, FileSource(settings_cls), toml_source(settings_cls)

    @field_validator("database")
    @classmethod
    def _known_database(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("it must begin with sqlite:/// or postgresql://")
        return url

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
    def stored(self) -> Path:
        """The folder of uploads and models; of a bucket, that of what is cached here."""
        if self.store is None or not self.store.startswith("file://"):
            return self.data
        return Path(self.store.removeprefix("file://"))

    @property
    def bucket(self) -> str | None:
        """The `s3://` URL, where uploads and models lie in a bucket."""
        return self.store if self.store is not None and self.store.startswith("s3://") else None

    @property
    def blobs(self) -> Path:
        return self.stored / "blobs"

    @property
    def artefacts(self) -> Path:
        return self.stored / "artefacts"

    @property
    def pepper_file(self) -> Path:
        return self.pepper or self.data / "pepper"

    @property
    def features(self) -> Path:
        return self.data / "features"

    @property
    def work(self) -> Path:
        """Where running jobs write; emptied by the first process that starts here."""
        return self.data / "work"
