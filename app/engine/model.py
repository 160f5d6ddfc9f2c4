"""A fine-tuned model in memory, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from app.engine.heads import Head, Outputs, load_head
from app.engine.stats import Stats
from models.manifest import Manifest
from models.runtime import CPU, Features


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """One immutable version of a model. Requests hold it, so it lives until the last one is answered."""

    manifest: Manifest
    version: int
    head: Head
    stats: Stats = field(default_factory=Stats)

    @classmethod
    def load(
        cls, manifest: Manifest, version: int, head: bytes, providers: Sequence[str] = CPU
    ) -> LoadedModel:
        """From the manifest and the (verified) bytes of `head.onnx`. Raises CorruptArtefact."""
        return cls(manifest, version, load_head(manifest, head, providers))

    @cached_property
    def digest(self) -> str:
        """The manifest's digest, computed once."""
        return self.manifest.digest


@dataclass(frozen=True)
class Prediction:
    """Answers to n inputs: `outputs` float32 [n, C] scores or [n, K] values, `embedding` float32 [n, D]."""

    outputs: Outputs
    embedding: Features | None = None
