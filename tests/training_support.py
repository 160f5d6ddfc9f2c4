"""Small problems and jobs for the tests of the training side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.base import Label, TaskName, sha256
from models.dataset import Pack
from models.features import FeatureCache
from models.fitspec import BackboneChoice, FitSpec
from models.manifest import InputSpec
from training.methods.base import Problem


def blobs(task: TaskName, per_class: int = 8, classes: int = 3, dim: int = 6, seed: int = 0) -> Problem:
    """Well separated clusters; targets of the other tasks follow the cluster."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), per_class)
    centres = 3 * np.eye(classes, dim)
    X = (centres[y] + 0.4 * rng.normal(size=(len(y), dim))).astype(np.float32)
    labels = tuple(f"c{i}" for i in range(classes))
    if task == "classification":
        return Problem(X, y, task, labels, seed)
    if task == "multilabel":
        marks = np.eye(classes)[y]
        marks[:, -1] = y > 0
        return Problem(X, marks, task, labels, seed)
    values = X[:, :1].astype(np.float64) * 2 + 5 + 0.05 * rng.normal(size=(len(y), 1))
    return Problem(X, values, task, ("value",), seed)


class Bench:
    """A folder with packs, a prefilled feature cache and FitSpecs over them; no backbone runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = FeatureCache(root / "features.db")

    def backbone(
        self, name: str = "text/tiny", taps: Sequence[str] = ("top",), **more: Any
    ) -> BackboneChoice:
        return BackboneChoice(
            id=name, digest=sha256(name.encode()), folder="nowhere", taps=tuple(taps), **more
        )

    def pack(self, name: str, task: TaskName, labels: Sequence[Label]) -> tuple[str, str, Pack]:
        """Stored as `name`; each content is the name and row number. Returns path, digest and pack."""
        contents = tuple(f"{name} {row}".encode() for row in range(len(labels)))
        pack = Pack(task, InputSpec(modality="image"), contents, tuple(labels))
        data = pack.to_bytes()
        (self.root / name).write_bytes(data)
        return str(self.root / name), sha256(data), pack

    def embed(self, pack: Pack, X: np.ndarray, backbone: BackboneChoice, tap: str = "top") -> None:
        self.cache.put(backbone.digest, tap, pack.digests, X)

    def spec(self, task: TaskName, labels: Sequence[Label], X: np.ndarray, **more: Any) -> FitSpec:
        """A job on `X` [n, D] as features of the only backbone."""
        path, digest, pack = self.pack("train", task, labels)
        self.embed(pack, X, self.backbone())
        fields: dict[str, Any] = {
            "job_id": "ftjob-1",
            "task": task,
            "modality": "image",
            "training_pack": path,
            "training_digest": digest,
            "backbones": (self.backbone(),),
            "features": str(self.cache.folder),
            "output": str(self.root / "output"),
            **more,
        }
        return FitSpec(**fields)


def names_of(problem: Problem) -> list[Label]:
    """A problem's targets as a dataset's labels."""
    if problem.task == "classification":
        return [problem.labels[i] for i in problem.y]
    if problem.task == "multilabel":
        return [[problem.labels[c] for c in np.flatnonzero(row)] for row in problem.y]
    return [float(row[0]) for row in problem.y]
