"""Siamese comparison: two inputs go through the same map, and how near they come says whether they are of
one class (Koch, Zemel, Salakhutdinov 2015).

Koch learns p(same) = sigmoid(sum_j a_j |h_j(x1) - h_j(x2)| + b) from pairs. Here the encoder is the fixed
backbone, or what an earlier stage of the chain made of it (`contrastive`, from pairs too), and what the pairs
of the examples teach is a linear map W on top of it: W' W is the inverse of the scatter within classes,
shrunk towards a multiple of the identity, so that with one example a class, which makes no pair, it is the
plain cosine. The distance is |u1 - u2|^2 = 2 - 2 cos for u = W z / |W z|: a matrix product with the stored
references, where Koch's |.| would need a tensor of all differences. On Omniglot drawings the map is worth 2
points at five examples a class (docs/benchmarks.md), weights a_j on squared differences in its place less
than 1.

A class scores as its nearest reference. What was left out of cross-validation gives the threshold of
p(same) = 1/2: where false accepts and false rejects are equally many, or where so many are false accepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.manifest import Output
from training.methods.base import Auto, Fitted, Hyperparameters, MethodInfo, Problem, Setting, register
from training.novelty import Examples, spread_out
from training.several import Answer
from training.verification.head import ReferenceHead, directions
from training.verification.threshold import fit_slope, fit_threshold

if TYPE_CHECKING:
    from training.job import Result

Array = NDArray[np.float64]
Compare = Literal["nearest", "mean"]
SAME = "same"
_SHARPNESS = 10.0  # of the softmax over cosines, where nothing can be left out
_SHRINKAGE = 0.5


class SiameseHyperparameters(Hyperparameters):
    compare: Auto | Compare = Field(
        default="auto", description="with each reference of a class, or with their mean direction"
    )
    shrinkage: Auto | float = Field(
        default="auto",
        ge=0.01,
        le=1,
        description="of the learnt map towards the plain cosine, which 1 is; auto: 0.5",
    )
    references: Auto | int = Field(
        default="auto", ge=1, le=10_000, description="examples stored, one a class at least; auto: 1,000"
    )
    false_accepts: Auto | float = Field(
        default="auto",
        ge=0,
        le=0.5,
        description="share of different pairs taken for the same; auto: as many as false rejects",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        kinds: tuple[Compare, ...] = ("nearest", "mean") if self.compare == "auto" else (self.compare,)
        shrinkage = _SHRINKAGE if self.shrinkage == "auto" else self.shrinkage
        room = 1000 if self.references == "auto" else self.references
        accepts = None if self.false_accepts == "auto" else self.false_accepts
        fixed: Setting = {"shrinkage": shrinkage, "references": room, "false_accepts": accepts}
        return [{"compare": kind, **fixed} for kind in kinds]


class Siamese:
    info = MethodInfo(
        name="siamese",
        title="Same or different from stored references",
        tasks=("classification",),
        setting="one-shot",
        source="Koch, Zemel, Salakhutdinov 2015; within-class covariance normalisation, Hatch et al. 2006",
        hyperparameters=SiameseHyperparameters,
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        within = _Within.of(problem)
        return [_fit(problem, within.map(float(setting["shrinkage"] or 0)), setting) for setting in grid]

    def finish(self, result: Result) -> Result:
        """The result with its threshold, and with p(same) for each class as a second answer."""
        return _verifying(result)


@dataclass(frozen=True, eq=False)
class _Within:
    """The scatter within classes, in its own axes [D, D], of mean `powers` [D] one."""

    powers: Array
    axes: Array

    @classmethod
    def of(cls, problem: Problem) -> _Within:
        """The identity where no class has two different examples."""
        X, targets = np.asarray(problem.X, np.float64), problem.targets
        means = targets.T @ X / np.maximum(targets.sum(axis=0), 1)[:, None]
        rest = X - means[problem.y]
        scatter = rest.T @ rest
        mean = float(np.trace(scatter)) / len(scatter)
        if mean <= np.finfo(np.float32).eps * float((X**2).sum()) / len(scatter):
            return cls(np.ones(len(scatter)), np.eye(len(scatter)))
        powers, axes = np.linalg.eigh(scatter / mean)
        return cls(np.maximum(powers, 0), axes)

    def map(self, shrinkage: float) -> Array:
        """W [D, D]: one over the square root of the shrunk scatter."""
        return np.asarray(self.axes.T / np.sqrt((1 - shrinkage) * self.powers + shrinkage)[:, None])


def _fit(problem: Problem, weight: Array, setting: Setting) -> Fitted:
    mapped = directions(problem.X @ weight.T)
    if setting["compare"] == "mean":
        owner = np.arange(len(problem.labels))
        references = problem.targets.T @ mapped / problem.targets.sum(axis=0)[:, None]
    else:
        room = max(int(setting["references"] or 0), len(problem.labels))
        kept = spread_out(Examples(problem.X, problem.y, seed=problem.seed), room)
        owner, references = problem.y[kept], mapped[kept]
    head = ReferenceHead(weight, np.zeros(len(weight)), references, owner, _SHARPNESS)
    return Fitted(head, {**setting, "references": len(references)})


def _verifying(result: Result) -> Result:
    head, evidence = result.head, result.evidence
    marks = evidence.problem.targets > 0.5
    if not isinstance(head, ReferenceHead) or marks.shape[1] < 2 or not len(marks):
        return replace(result, warnings=(*result.warnings, _UNJUDGED))
    same, different = evidence.logits[marks], evidence.logits[~marks]
    asked = result.setting["false_accepts"]
    found = fit_threshold(same, different, None if asked is None else float(asked))
    slope = fit_slope(same, different, found.value)
    verify = replace(
        head,
        factor=slope * head.factor,
        shift=slope * (head.shift - found.value),
        activation="sigmoid",
    )
    output = Output(name=SAME, task="multilabel", labels=result.labels)
    errors = {"false_accept_rate": found.false_accepts, "false_reject_rate": found.false_rejects}
    return replace(
        result,
        setting={**result.setting, "threshold": found.value / head.factor, **errors},
        answers=(*result.answers, Answer(output, verify)),
        metrics={**result.metrics, "equal_error_rate": found.equal_error, **errors},
    )


_UNJUDGED = (
    "No class has two examples, so no pair of one class was seen: there is no threshold, and the model "
    "answers with the nearest reference. Add a second example of some classes."
)

register(Siamese())
