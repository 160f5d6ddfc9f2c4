"""Zero-shot classification of texts by descriptions of the classes, embedded like any text.

score_c(x) = t cos(x, d_c), with d_c the mean of the unit embeddings of the descriptions of class c, or of
its name (dataless classification, Chang et al. 2008; with sentence encoders, Yin et al. 2019). Nothing is
learnt from examples but the temperature t; labelled ones, where there are any, only test it. That names
join the examples of few-shot learning is decided elsewhere (`auto`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.dataset import plain_text
from models.errors import JobFailed
from models.report import Estimate
from training.calibrate import temperature
from training.evaluate import Evidence, estimate
from training.folds import Folds
from training.methods.base import Hyperparameters, MethodInfo, Problem, Setting, register_procedure
from training.zero_shot.classes import text_pack, unit
from training.zero_shot.heads import SimilarityHead

if TYPE_CHECKING:
    from models.fitspec import BackboneChoice
    from training.job import Job, Result

_SHARPNESS = 20.0  # of cosines of sentence embeddings, where no example says better
_UNTESTED = "No labelled example was given, so nothing is known of how good it is: label a few to find out."
Text = Annotated[str, Field(min_length=1, max_length=10_000)]


class DescriptionsHyperparameters(Hyperparameters):
    descriptions: (
        Annotated[
            dict[str, Text | Annotated[list[Text], Field(min_length=1, max_length=100)]],
            Field(min_length=2, max_length=5000, json_schema_extra={"format": "class-table"}),
        ]
        | None
    ) = Field(
        default=None,
        description="class -> one or more texts that describe it; default: the names of the classes",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: there is nothing to choose."""
        return [{"described": self.descriptions is not None}]


class ClassDescriptions:
    info = MethodInfo(
        name="class_descriptions",
        title="Zero-shot: nearest description of a class",
        tasks=("classification",),
        modalities=("text",),
        setting="zero-shot",
        source="Chang et al. 2008, dataless classification; Yin et al. 2019, benchmarking zero-shot text",
        hyperparameters=DescriptionsHyperparameters,
        labels_optional=True,
    )

    def run(self, job: Job) -> Result:
        """The descriptions as class vectors, on the first real backbone's default tap."""
        from training.job import Result  # it imports the methods, and so this module

        given = DescriptionsHyperparameters.model_validate(job.spec.hyperparameters)
        texts = _texts(job, given)
        source = next((s for s in job.sources if not s.backbone.baseline), job.sources[0])
        labels = tuple(sorted(texts))
        vectors = _class_vectors(job, source.backbone, source.tap, [texts[name] for name in labels])
        dim = vectors.shape[1]
        head = SimilarityHead(np.eye(dim), np.zeros(dim), vectors, np.zeros(len(labels)), factor=_SHARPNESS)
        evidence = _evidence(head, source.raw, labels)
        return Result(
            method=self.info.name,
            setting={"described": given.descriptions is not None, "temperature": 1 / evidence.factor},
            backbone=source.backbone,
            tap=source.tap,
            head=head.scaled(evidence.factor),
            labels=labels,
            evidence=evidence,
            folds=_each_alone(len(evidence.logits)),
            estimate=_estimate(evidence),
            baselines=(),
        )


def _texts(job: Job, given: DescriptionsHyperparameters) -> dict[str, list[str]]:
    """The descriptions of each class. Raises JobFailed."""
    if given.descriptions is None:
        if len(job.data.names) < 2:
            message = "Fewer than two classes are named: give descriptions, or examples with their labels."
            raise JobFailed(message, code="too_few_classes")
        return {name: [plain_text(name)] for name in job.data.names}
    if missing := set(job.data.names) - set(given.descriptions):
        message = f"{len(missing)} classes of the examples have no description; each class needs one."
        raise JobFailed(message, code="class_table")
    return {name: [texts] if isinstance(texts, str) else texts for name, texts in given.descriptions.items()}


def _class_vectors(job: Job, choice: BackboneChoice, tap: str, texts: list[list[str]]) -> NDArray[np.float64]:
    """The unit mean [C, D] of each class's descriptions."""
    flat = [text for some in texts for text in some]
    found = unit(job.embed_at(choice, tap, text_pack(flat)))
    owner = np.repeat(np.arange(len(texts)), [len(some) for some in texts])
    means = np.stack([found[owner == c].mean(axis=0) for c in range(len(texts))])
    return unit(means)


def _evidence(head: SimilarityHead, examples: Problem, labels: tuple[str, ...]) -> Evidence:
    """Every labelled example tests the head: none was learnt from."""
    place = {name: c for c, name in enumerate(labels)}
    y = np.array([place[examples.labels[c]] for c in examples.y], np.int64)
    tested = Problem(examples.X, y, "classification", labels, examples.seed)
    logits = head.logits(examples.X)
    factor = temperature("softmax", logits, tested.targets)
    return Evidence({}, tested, logits * factor, factor)


def _each_alone(n: int) -> Folds:
    return Folds(np.arange(n))


def _estimate(evidence: Evidence) -> Estimate:
    """The accuracy on the labelled examples, with the interval of the usual estimate."""
    n = len(evidence.logits)
    if not n:
        return Estimate(metric="accuracy", value=None, n=0, how=_UNTESTED, insufficient_evidence=True)
    found = estimate(evidence, _each_alone(n), n)
    return found.model_copy(update={"how": f"{n} labelled examples, none of them learnt from"})


register_procedure(ClassDescriptions())
