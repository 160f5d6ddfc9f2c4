"""A progressive network: the pretrained column stays, a new one beside it learns from what it sees.

The new column begins with pooled features of a low tap; each further layer also gets those of the next
higher tap through an adapter, and the last one those of the top directly (Rusu et al. 2016, equations 2 and
1). Nothing that was learnt before can be lost, since nothing of it is changed: the model is a head on the
joined taps. It pays where what tells the classes apart is lost on the way to the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from models.backbone import BackboneCard, read_card
from models.errors import JobFailed
from models.fitspec import BackboneChoice
from training.column_fit import adapted, fit_column, random_layer
from training.columns import Column, Lateral, Layer
from training.evaluate import Evidence, make_evidence
from training.folds import Folds
from training.frame import Frame
from training.heads import AffineHead
from training.job import Job, Result
from training.methods.base import (
    METHODS,
    Auto,
    Floats,
    Hyperparameters,
    MethodInfo,
    Problem,
    Setting,
    register_procedure,
)
from training.portfolio import REFERENCE
from training.select import clearly_better

Taps = Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]
_TAPS = 4
_MOST_FOLDS = 5
_RESTRAINTS = (10.0, 1.0)
_LOSS_ERRORS, _HIT_ERRORS = 1.0, 0.0  # by how much the layers must help to be let loose


class ProgressiveHyperparameters(Hyperparameters):
    taps: Auto | Taps = Field(
        default="auto", description="where the new column looks in, from below; auto: four"
    )
    width: int = Field(default=64, ge=1, le=2048, description="of each new layer")
    adapter: int = Field(default=32, ge=1, le=2048, description="of each lateral connection")
    C: float = Field(
        default=10.0, gt=0, le=1e6, description="inverse strength of the penalty, on features of unit norm"
    )
    restraint: Auto | float = Field(
        default="auto",
        gt=0,
        le=1e4,
        description="penalty of the new layers over that of the direct connection; auto: 10, with which "
        "they keep silent where the top says enough, or 1 by cross-validation",
    )

    def grid(self, problem: Problem) -> list[Setting]:
        restraints = _RESTRAINTS if self.restraint == "auto" else (self.restraint,)
        fixed: Setting = {"width": self.width, "adapter": self.adapter, "C": self.C}
        return [{**fixed, "restraint": restraint} for restraint in restraints]


class Progressive:
    info = MethodInfo(
        name="progressive",
        title="A new column beside the frozen backbone",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Rusu et al. 2016, equations 1 and 2 (lateral connections and adapters)",
        hyperparameters=ProgressiveHyperparameters,
    )

    def run(self, job: Job) -> Result:
        given = ProgressiveHyperparameters.model_validate(job.spec.hyperparameters)
        real = [source.backbone for source in job.sources if not source.backbone.baseline]
        study = _Study.of(job, given, (real or [job.sources[0].backbone])[0])
        folds = Folds(np.where(job.folds.fold >= 0, job.folds.fold % _MOST_FOLDS, -1))
        evidence = study.choose(folds)
        setting: Setting = {**evidence.setting}
        if study.problem.activation != "identity":
            setting["temperature"] = 1 / evidence.factor
        return Result(
            method=self.info.name,
            setting=setting,
            backbone=study.choice,
            tap=study.tap,
            head=study.fit(study.problem, evidence.setting).scaled(evidence.factor),
            labels=job.data.names,
            evidence=evidence,
            folds=folds,
        )


@dataclass(frozen=True, eq=False)
class _Study:
    """The examples on joined taps, whose parts have `widths`."""

    job: Job
    given: ProgressiveHyperparameters
    choice: BackboneChoice
    tap: str
    widths: tuple[int, ...]
    problem: Problem

    @classmethod
    def of(cls, job: Job, given: ProgressiveHyperparameters, choice: BackboneChoice) -> _Study:
        card = read_card(Path(choice.folder))
        taps = _looked_into(card, given)
        tap = "+".join(taps)
        X = job.embed_at(choice, tap, job.data.pack)
        problem = Problem(X, job.data.y, job.spec.task, job.data.names, job.spec.seed)
        return cls(job, given, choice, tap, tuple(card.tap(name).dim for name in taps), problem)

    def choose(self, folds: Folds) -> Evidence:
        """Of the first setting, or of one that is clearly better."""
        first, *others = self.given.grid(self.problem)
        best = self._cross_validate(folds, first)
        for setting in others:
            found = self._cross_validate(folds, setting)
            best = found if clearly_better(found, best, _LOSS_ERRORS, _HIT_ERRORS) else best
        return best

    def _cross_validate(self, folds: Folds, setting: Setting) -> Evidence:
        """Out-of-fold predictions, each by a column that had not seen the row."""
        logits = np.zeros(self.problem.targets.shape)
        for done, (learn, predict) in enumerate(folds):
            head = self.fit(self.problem.take(learn), setting)
            logits[predict] = head.logits(self.problem.X[predict])
            self.job.phases.progress((done + 1) / (folds.count + 1), f"Fold {done + 1} of {folds.count}.")
        tested = folds.tested
        return make_evidence(setting, self.problem.take(tested), [logits[tested]])

    def fit(self, problem: Problem, setting: Setting) -> Column:
        """A column that takes raw features of the joined taps."""
        parts = np.split(problem.X, np.cumsum(self.widths)[:-1], axis=1)
        frames = [Frame.of(part) for part in parts]
        seen = [frame.enter(part) for frame, part in zip(frames, parts, strict=True)]
        widths = [part.shape[1] for part in seen]
        inside = replace(problem, X=np.concatenate(seen, axis=1))
        start = _start(seen, problem, self.given)
        beside = float(setting["restraint"] or 0)
        return fit_column(inside, start, widths, self.given.C, beside=beside).entered(frames)


def _start(parts: Sequence[Floats], problem: Problem, given: ProgressiveHyperparameters) -> list[Layer]:
    """Random layers beside the linear probe on the last part, to whose logits they give nothing at first."""
    rng = np.random.default_rng(problem.seed)
    layers = [random_layer(parts[0].shape[1], given.width, rng)]
    for part in range(1, len(parts) - 1):
        layer = random_layer(given.width, given.width, rng)
        layers.append(adapted(layer, part, parts[part].shape[1], given.adapter, rng))
    probe = METHODS[REFERENCE[problem.task]]
    (setting, *_) = probe.info.hyperparameters().grid(problem)
    head = probe.fit(replace(problem, X=parts[-1]), [setting])[0].head
    if not isinstance(head, AffineHead):
        raise TypeError("the probe is linear")
    nothing = np.zeros((len(head.bias), given.width))
    return [*layers, Layer(nothing, head.bias, Lateral(len(parts) - 1, head.weight))]


def _looked_into(card: BackboneCard, given: ProgressiveHyperparameters) -> list[str]:
    """The asked taps, or some at even depths below the top and the top. Raises JobFailed."""
    if given.taps != "auto":
        strange = set(given.taps) - {tap.name for tap in card.taps}
        if strange:
            names = ", ".join(tap.name for tap in card.taps)
            raise JobFailed(f"taps must be among those of {card.id}: {names}.", code="bad_hyperparameters")
        return list(given.taps)
    below = {tap.depth: tap.name for tap in card.taps if tap.name != card.default_tap}
    lower = [below[depth] for depth in sorted(below)]
    places = np.unique(np.linspace(0, len(lower) - 1, _TAPS - 1).round().astype(np.int64))
    return [*(lower[place] for place in places if lower), card.default_tap]


register_procedure(Progressive())
