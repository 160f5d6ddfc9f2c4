"""From a result to the artefact on disk."""

from __future__ import annotations

from pathlib import Path

from models.dataset import Pack
from models.manifest import BackboneRef, Manifest
from models.runtime import Features
from training.artefact import check_parity, compare, golden_bytes, versions, write_artefact
from training.deep.graft import Graft
from training.evaluate import half_width
from training.honesty import Doubts
from training.job import Job, Result


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
        head=result.whole.record(),
        method=result.method,
        hyperparameters=result.setting,
        interval=half_width(result.evidence),
        prediction_sets=doubts.sets,
        rejection=doubts.rejection,
        outputs=tuple(answer.output for answer in result.answers),
        seed=job.spec.seed,
        dataset_digest=job.spec.training_digest,
        versions=versions(),
    )


def _proved(job: Job, result: Result, pack: Pack) -> tuple[bytes, Features, Features]:
    """The graph, what its embedding is of some examples, and its answers for them."""
    head = result.whole
    if isinstance(head, Graft):
        answers, features = head.run(pack.contents[: len(head.expected)])
        for columns, activation in head.parts:
            compare(answers[:, columns], head.expected[:, columns], activation)
        return head.graph, features, answers
    features = job.embed_at(result.backbone, result.tap, pack)
    graph = head.to_onnx()
    return graph, features, check_parity(head, graph, features)
