"""From a result to the artefact on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.dataset import Pack
from models.manifest import BackboneRef, Manifest
from models.runtime import Features
from training.artefact import check_parity, compare, golden_bytes, versions, write_artefact
from training.deep.graft import Graft
from training.honesty import Doubts
from training.job import Job, Result
from training.metrics import conformal_half_width

_LEAST_RESIDUALS = 10
"""n residuals cover n / (n + 1) of new ones at most: from fewer, an interval would promise too much."""


def export(job: Job, result: Result, doubts: Doubts) -> Manifest:
    """Prove the graph on the examples, then write it with its golden examples and manifest.

    Raises JobFailed (`parity`, `non_finite`).
    """
    pack = job.data.examples
    graph, features, answers = _proved(job, result, pack)
    return write_artefact(
        Path(job.spec.output),
        graph,
        golden_bytes(pack.contents, features, answers),
        doubts.novelty,
        task=job.spec.task,
        labels=result.labels,
        input=pack.input,
        backbone=BackboneRef(id=result.backbone.id, digest=result.backbone.digest),
        tap=result.tap,
        head=result.head.record(),
        method=result.method,
        hyperparameters=result.setting,
        interval=_half_width(job, result),
        prediction_sets=doubts.sets,
        rejection=doubts.rejection,
        seed=job.spec.seed,
        dataset_digest=job.spec.training_digest,
        versions=versions(),
    )


def _proved(job: Job, result: Result, pack: Pack) -> tuple[bytes, Features, Features]:
    """The graph, what its embedding is of some examples, and its answers for them."""
    if isinstance(result.head, Graft):
        some = pack.contents[: len(result.head.expected)]
        answers, features = result.head.run(some)
        compare(answers, result.head.expected, result.head.activation)
        return result.head.graph, features, answers
    features = job.embed_at(result.backbone, result.tap, pack)
    graph = result.head.to_onnx()
    return graph, features, check_parity(result.head, graph, features)


def _half_width(job: Job, result: Result) -> float | None:
    """Regression: half the width of the 95 % interval, from out-of-fold residuals; None from too few."""
    if job.spec.task != "regression" or len(result.evidence.logits) < _LEAST_RESIDUALS:
        return None
    residuals = np.abs(result.evidence.logits - result.evidence.problem.targets).max(axis=1)
    return conformal_half_width(residuals)
