"""Self-training: the target's surest predictions become labels (Zou et al. 2018, class-balanced).

The source is first brought to the target in mean and covariance. Then, for a few rounds, the head is fitted
on source and believed target rows together, and each class's surest part of the target is believed anew,
a larger part each round. The believed rows weigh together half of what the source does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from training.adaptation.domains import Domains, in_target, part
from training.adaptation.fitting import AdaptationHyperparameters, fit_heads
from training.adaptation.moves import affine, recolouring
from training.adaptation.pseudo import confident
from training.heads import scores
from training.methods.base import Alignment, Auto, Fitted, Floats, MethodInfo, Problem, Setting, register

_ROUNDS, _REGULARISATION = 3, 1.0
_FIRST, _LAST = 0.3, 0.7  # of the target, believed in the first and in the last round


class SelfTrainingHyperparameters(AdaptationHyperparameters):
    rounds: Auto | int = Field(default="auto", ge=1, le=20, description=f"auto: {_ROUNDS}")

    def own(self, problem: Problem) -> Setting:
        return {"rounds": _ROUNDS if self.rounds == "auto" else self.rounds}


class SelfTraining:
    info = MethodInfo(
        name="self_training",
        title="Class-balanced self-training after correlation alignment",
        tasks=("classification",),
        setting="transductive",
        source="Zou et al. 2018, Unsupervised Domain Adaptation via Class-Balanced Self-Training",
        hyperparameters=SelfTrainingHyperparameters,
        needs=("unlabelled",),
    )

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        domains = part(problem)
        alignment = _align(domains)
        return [_train(problem, domains, alignment, setting, rough) for setting in grid]


def _align(domains: Domains) -> Alignment:
    """CORAL's move (Sun, Feng, Saenko 2016)."""
    source, target = domains.source, domains.target
    turn = recolouring(source, target, _REGULARISATION)
    return Alignment(affine(source.mean(axis=0), target.mean(axis=0), turn))


def _train(problem: Problem, domains: Domains, alignment: Alignment, setting: Setting, rough: bool) -> Fitted:
    """Rounds of believing and fitting."""
    rounds = int(setting["rounds"])  # type: ignore[arg-type]
    head = fit_heads(problem, [setting], alignment, rough=rough)[0][0]
    for share in np.linspace(_FIRST, _LAST, rounds) if len(domains.unlabelled) else ():
        rows, labels = confident(scores(head, domains.unlabelled), float(share))
        joined = _joined(problem, domains.unlabelled[rows], labels)
        head = fit_heads(joined, [setting], alignment, rough=rough)[0][0]
    return Fitted(head, setting, alignment)


def _joined(problem: Problem, rows: Floats, labels: np.ndarray) -> Problem:
    """The problem with believed rows as labelled ones of the target."""
    marks = np.concatenate([in_target(problem), np.ones(len(rows), bool)])
    X, y = np.concatenate([problem.X, rows]), np.concatenate([problem.y, labels])
    return replace(problem, X=X, y=y, in_target=marks)


register(SelfTraining())
