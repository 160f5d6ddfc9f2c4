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
    max_classes: int = 5_000
    lanes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="inference threads")
    max_queue: int = Field(default=4_096, ge=1, description="examples waiting in the engine, a backbone")
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
        return self.data / "features.sqlite"

    @property
    def work(self) -> Path:
        """Where running jobs write; emptied at start."""
        return self.data / "work"
