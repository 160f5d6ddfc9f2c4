"""A stage of a chain: the fine-tuned model that training goes on from.

What the parent changed lies in its tail, whose weights bear the backbone's names; a parent whose head
stands on the backbone as it is has changed nothing below.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from models.errors import JobFailed
from models.fitspec import BackboneChoice
from models.manifest import GOLDEN, HEAD, Manifest
from models.runtime import open_session
from training.artefact import golden_contents
from training.deep.graft import Graft, deactivate
from training.frame import Frame
from training.heads import AffineHead, Scores
from training.job import Job, Parent, read_parent

_WEIGHT, _BIAS = "head_last_weight", "head_last_bias"  # as `training.deep.graft` calls them
_HIDDEN = "head_0_weight"


def parent_tail(job: Job, choice: BackboneChoice) -> Graft | None:
    """The tail of the model that the job starts from; None where there is none.

    Raises JobFailed (`parent_mismatch`) where it belongs to another backbone, CorruptArtefact.
    """
    parent = read_parent(job.spec)
    if parent is None or parent.manifest.head.kind != "tail":
        return None
    manifest = parent.manifest
    if manifest.backbone.digest != choice.digest:
        message = "The model to start from was trained on another backbone than this job's: choose that one."
        raise JobFailed(message, code="parent_mismatch")
    own = manifest.columns[0].stop
    return Graft(
        choice=choice,
        tap=manifest.tap,
        graph=_graph(parent),
        activation=manifest.head.activation,
        dim=manifest.head.in_dim,
        expected=np.empty((0, manifest.head.out_dim)),
        further=() if own == manifest.head.out_dim else (("identity", manifest.head.out_dim - own),),
    )


def _graph(parent: Parent) -> bytes:
    return (parent.folder / HEAD).read_bytes()


def parent_head(job: Job, parent: Graft | None, frame: Frame) -> AffineHead | None:
    """The parent's head in `frame`, if it is one layer and answers just what this job's examples are about.

    The frame may not be rotated.
    """
    manifest = _of_same_classes(job)
    if parent is None or manifest is None or manifest.outputs:
        return None
    stored = stored_numbers(parent)
    if _HIDDEN in stored or _WEIGHT not in stored:
        return None
    weight, bias = (np.asarray(stored[name], np.float64) for name in (_WEIGHT, _BIAS))
    return AffineHead(weight * frame.scale, bias + weight @ frame.mean, parent.activation)


def parent_answers(job: Job) -> Scores | None:
    """Logits [n, C] of a parent whose head stands on fixed features; None without the same classes.

    They are known up to what softmax forgets.
    """
    manifest, parent = _of_same_classes(job), read_parent(job.spec)
    if manifest is None or parent is None or manifest.head.kind == "tail" or manifest.outputs:
        return None
    choices = {choice.digest: choice for choice in job.spec.backbones}
    if manifest.backbone.digest not in choices:
        return None
    features = job.embed_at(choices[manifest.backbone.digest], manifest.tap, job.data.pack)
    scores: NDArray[np.float32] = open_session(_graph(parent)).run(None, {"features": features})[0]
    return deactivate(manifest.head.activation, scores)


def _of_same_classes(job: Job) -> Manifest | None:
    parent = read_parent(job.spec)
    if parent is None:
        return None
    manifest = parent.manifest
    same = (manifest.task, manifest.labels) == (job.spec.task, job.data.names)
    return manifest if same else None


def overlap(job: Job) -> tuple[str, ...]:
    """A warning where the parent has learnt from these very examples, or from some of them."""
    parent = read_parent(job.spec)
    if parent is None or not _seen(job, parent):
        return ()
    return (
        "The model that this one starts from was trained on the same examples: the estimate is too high. "
        "Judge it on a validation file.",
    )


def _seen(job: Job, parent: Parent) -> bool:
    """Its data are these, or some of its first examples, which it proves itself by, are among these."""
    if parent.manifest.dataset_digest == job.spec.training_digest:
        return True
    ours = set(job.data.pack.contents)
    return any(content in ours for content in golden_contents((parent.folder / GOLDEN).read_bytes()))


def stored_numbers(parent: Graft) -> Mapping[str, NDArray[np.floating]]:
    """The numbers of its graph, by name: those of the backbone's weights are as there."""
    model = onnx.load_model_from_string(parent.graph)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
