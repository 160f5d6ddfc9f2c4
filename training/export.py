"""From a result to the artefact on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.manifest import BackboneRef, Manifest
from training.artefact import check_parity, golden_bytes, versions, write_artefact
from training.job import Job, Result
from training.metrics import conformal_half_width


def export(job: Job, result: Result) -> Manifest:
    """Prove the graph on the examples, then write it with its golden examples and manifest.

    Raises JobFailed (`parity`, `non_finite`).
    """
    pack = job.data.examples
    features = job.embed_at(result.backbone, result.tap, pack)
    graph = result.head.to_onnx()
    answers = check_parity(result.head, graph, features)
    return write_artefact(
        Path(job.spec.output),
        graph,
        golden_bytes(pack.contents, features, answers),
        task=job.spec.task,
        labels=result.labels,
        input=pack.input,
        backbone=BackboneRef(id=result.backbone.id, digest=result.backbone.digest),
        tap=result.tap,
        head=result.head.record(),
        method=result.method,
        hyperparameters=result.setting,
        interval=_half_width(job, result),
        seed=job.spec.seed,
        dataset_digest=job.spec.training_digest,
        versions=versions(),
    )


def _half_width(job: Job, result: Result) -> float | None:
    """Regression: half the width of the 95 % interval, from out-of-fold residuals."""
    if job.spec.task != "regression" or not len(result.evidence.logits):
        return None
    residuals = np.abs(result.evidence.logits - result.evidence.problem.targets).max(axis=1)
    return conformal_half_width(residuals)
