"""A fine-tuned model in memory, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.engine.heads import Head, Outputs, TailHead, load_head
from app.engine.stats import Stats
from models.manifest import Manifest
from models.novelty import Novelty
from models.runtime import CPU, Features


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """One immutable version of a model. Requests hold it, so it lives until the last one is answered.

    `tenant` and `name` say whose model it is: what waits for it is theirs.
    """

    manifest: Manifest
    version: int
    head: Head
    stats: Stats = field(default_factory=Stats)
    novelty: Novelty | None = None
    tenant: str = ""
    name: str = ""

    @classmethod
    def load(
        cls,
        manifest: Manifest,
        version: int,
        head: bytes,
        providers: Sequence[str] = CPU,
        *,
        novelty: bytes | None = None,
    ) -> LoadedModel:
        """From the manifest and the (verified) bytes of `head.onnx` and, where there is one, `novelty.npz`. A
        tail runs on `providers`.

        Raises CorruptArtefact.
        """
        known = None if novelty is None else Novelty.from_bytes(novelty, manifest.head.in_dim)
        return cls(manifest, version, load_head(manifest, head, providers), novelty=known)

    @property
    def tap(self) -> str | None:
        """Where its features are taken; None where it has a tail, which knows its own cut."""
        return None if isinstance(self.head, TailHead) else self.manifest.tap

    @property
    def nbytes(self) -> int:
        """What its arrays take in memory."""
        return self.head.nbytes + (0 if self.novelty is None else self.novelty.nbytes)

    @cached_property
    def own_columns(self) -> slice:
        """Where in its head's outputs the answers of its own task lie."""
        return self.manifest.columns[0]

    @cached_property
    def digest(self) -> str:
        """The manifest's digest, computed once."""
        return self.manifest.digest


@dataclass(frozen=True)
class Prediction:
    """Answers to n inputs: `outputs` float32 [n, C] scores or [n, K] values, `embedding` float32 [n, D].

    `unknown` bool [n]: unlike everything the model learnt from; None where it was not asked, or cannot tell.
    """

    outputs: Outputs
    embedding: Features | None = None
    unknown: NDArray[np.bool_] | None = None
