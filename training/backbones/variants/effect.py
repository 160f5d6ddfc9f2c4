"""What a variant does to a fitted task, beside its original: measured, and written into its card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.backbone import GRAPH, Effect
from models.base import TaskName
from models.dataset import Pack
from models.modalities.base import Prepared
from models.runtime import Backbone, Features
from training.evaluate import METRIC, Evidence, cross_validate
from training.folds import make_folds
from training.frame import Frame
from training.methods import METHODS, Problem
from training.problem import encode, label_names

METHOD: dict[TaskName, str] = {"classification": "logistic", "multilabel": "logistic", "regression": "ridge"}
BATCH, TIMED, ROUNDS = 32, 64, 5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A labelled task by the name of its file; every example has a label."""

    name: str
    pack: Pack


def measure(original: Backbone, variant: Backbone, task: Task) -> Effect | None:
    """The effect, at the default tap; None where nothing of the task can be held out."""
    tap = original.card.default_tap
    features = [backbone.embed(task.pack.contents, [tap])[tap] for backbone in (original, variant)]
    before, after = _evidence(task.pack, features)
    if before.value is None or after.value is None:
        return None
    cosines = cosine(*features)
    hits, hits_error = paired(before.hits, after.hits) if task.pack.task != "regression" else (None, None)
    loss, loss_error = paired(before.losses, after.losses)
    size, size_original = (len((b.folder / GRAPH).read_bytes()) for b in (variant, original))
    return Effect(
        task=task.name,
        kind=task.pack.task,
        examples=len(before.losses),
        method=METHOD[task.pack.task],
        metric=METRIC[task.pack.task],
        original=before.value,
        variant=after.value,
        hits=hits,
        hits_error=hits_error,
        loss=loss,
        loss_error=loss_error,
        agreement=agreement(before, after),
        cosine_mean=float(cosines.mean()),
        cosine_least=float(cosines.min()),
        bytes=size,
        bytes_original=size_original,
        speed=speed(original, variant, task.pack.contents[:TIMED]),
    )


def _evidence(pack: Pack, features: Sequence[Features]) -> list[Evidence]:
    """Out-of-fold predictions of the reference method's default on each one's features, under equal folds."""
    names = label_names(pack)
    y = encode(pack.task, pack.labels, names)
    method = METHODS[METHOD[pack.task]]
    folds = make_folds(Problem(features[0], y, pack.task, names))
    found = []
    for X in features:
        problem = Problem(Frame.of(X).enter(X), y, pack.task, names)
        default = method.info.hyperparameters().grid(problem)[:1]
        found += cross_validate(method, problem, default, folds)
    return found


def paired(before: Floats, after: Floats) -> tuple[float, float]:
    """Mean of `after - before` over the same examples, and its standard error (0 for a single one)."""
    gain = after - before
    return float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0


def agreement(before: Evidence, after: Evidence) -> float | None:
    """The share of examples with the same answer: the same class, or the same set of labels."""
    if before.problem.task == "regression":
        return None
    if before.problem.task == "multilabel":
        return float(((before.scores > 0.5) == (after.scores > 0.5)).all(axis=1).mean())
    return float((before.logits.argmax(axis=1) == after.logits.argmax(axis=1)).mean())


def cosine(a: Features, b: Features) -> Floats:
    """Of each row of `a` [n, D] to that of `b`; 1 where both are zero, 0 where one is."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = np.einsum("ij,ij->i", a.astype(np.float64), b.astype(np.float64))
    equal = (a == b).all(axis=1)
    return np.where(equal, 1.0, products / np.where(lengths > 0, lengths, 1.0))


def speed(original: Backbone, variant: Backbone, contents: Sequence[bytes]) -> float:
    """Items per CPU second of the variant over the original's: the median of interleaved rounds."""
    prepared = [original.preprocessor.prepare(content) for content in contents]
    prepared.sort(key=original.preprocessor.size)
    pairs = [(_seconds(original, prepared), _seconds(variant, prepared)) for _ in range(ROUNDS + 1)]
    return float(np.median([before / max(after, 1e-9) for before, after in pairs[1:]]))  # the first warms up


def _seconds(backbone: Backbone, prepared: Sequence[Prepared]) -> float:
    started = time.process_time()
    for start in range(0, len(prepared), BATCH):
        backbone.run(prepared[start : start + BATCH], [backbone.card.default_tap])
    return time.process_time() - started
