"""The pool of heads from trials that were made anyway: no further fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.evaluate import Evidence, make_evidence
from training.folds import Folds
from training.members import member_key, members
from training.methods.base import Problem
from training.pooling import cross_fitted, pool_weights, prior_weights


def pooled(problem: Problem, found: Mapping[str, Evidence], folds: Folds) -> Evidence | None:
    """What the method `pool` would show on the folds, from its members' evidence by `member_key`.

    Its setting holds the weights, so that fitting it needs no cross-validation. None when the anchor or
    all others are missing, or nothing but the anchor has weight.
    """
    keys = [member_key(*member) for member in members(problem)]
    present = [key for key in keys if key in found]
    if len(present) < 2 or present[0] != keys[0]:
        return None
    evidence = [found[key] for key in present]
    tested, prior = evidence[0].problem, prior_weights(len(present))
    divisions = (folds, *folds.repeats)
    logits = np.stack([np.stack(one.all_logits) for one in evidence])  # [M, repetitions, m, C]
    weights = pool_weights(tested.activation, logits, tested.targets, prior)
    if (weights > 0).sum() < 2:
        return None
    held_out = [
        cross_fitted(tested.activation, logits[:, i : i + 1], tested.targets, prior, again.fold[folds.tested])
        for i, again in enumerate(divisions)
    ]
    factors = [one.factor for one in evidence]
    setting = {key: float(w * f) for key, w, f in zip(present, weights, factors, strict=True) if w > 0}
    return make_evidence(dict(setting), tested, held_out)
